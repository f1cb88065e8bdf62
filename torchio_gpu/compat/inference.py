"""Classes of ``torchio.inference``."""

from ..patches import GridAggregator

__all__ = ["GridAggregator"]

"""Classes of ``torchio.inference``."""

from ..patches import GridAggregator, GridSampler

__all__ = ["GridAggregator", "GridSampler"]

"""Dataset that keeps prepared subjects, in memory or in a folder."""

from .dataset import CachedDataset

__all__ = ["CachedDataset"]

"""Classes of ``torchio.sampler``."""

from ..patches import GridSampler, LabelSampler, PatchSampler, UniformSampler, WeightedSampler
from ..patches.sampling.samplers import RandomSampler

__all__ = [
    "GridSampler",
    "LabelSampler",
    "PatchSampler",
    "RandomSampler",
    "UniformSampler",
    "WeightedSampler",
]

"""Patches: cutting them out of volumes, and putting together what a network makes of them."""

from .aggregator import GridAggregator, PatchAggregator, Slab
from .cutting import PatchSampler
from .device_queue import DeviceQueue
from .grid import GridSampler
from .inference import predict_by_patches
from .location import PatchLocation
from .queue import Queue, QueueStatistics
from .samplers import UniformSampler
from .weighted import LabelSampler, WeightedSampler

__all__ = [
    "DeviceQueue",
    "GridAggregator",
    "GridSampler",
    "LabelSampler",
    "PatchAggregator",
    "PatchLocation",
    "PatchSampler",
    "Queue",
    "QueueStatistics",
    "Slab",
    "UniformSampler",
    "WeightedSampler",
    "predict_by_patches",
]

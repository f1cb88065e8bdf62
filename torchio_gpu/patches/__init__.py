"""Patches: sampling from volumes, queues for training, aggregation of predictions."""

from .inference.aggregator import GridAggregator, PatchAggregator, Slab
from .inference.predict import predict_by_patches
from .sampling.cutting import PatchSampler
from .sampling.grid import GridSampler
from .sampling.location import PatchLocation
from .sampling.samplers import UniformSampler
from .sampling.weighted import LabelSampler, WeightedSampler
from .training.device_queue import DeviceQueue
from .training.queue import Queue, QueueStatistics

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

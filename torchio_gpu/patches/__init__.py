"""Patches: sampling from volumes, queues for training, aggregation of predictions."""

from .inference.aggregator import GridAggregator, PatchAggregator, Slab
from .inference.original_space import to_original_space
from .inference.predict import predict_by_patches
from .inference.views import AveragedPrediction, test_time_augmentation
from .inference.whole import predict
from .sampling.cutting import PatchSampler
from .sampling.grid import GridSampler
from .sampling.location import PatchLocation
from .sampling.samplers import UniformSampler
from .sampling.weighted import LabelSampler, WeightedSampler
from .training.device_queue import DeviceQueue
from .training.queue import Queue, QueueStatistics

__all__ = [
    "AveragedPrediction",
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
    "predict",
    "predict_by_patches",
    "test_time_augmentation",
    "to_original_space",
]

"""Module ``torchio.data.sampler`` of TorchIO 1, whose classes are in a higher layer."""

from importlib import import_module


def __getattr__(name: str) -> object:
    """Return a class of ``torchio_gpu.sampler``."""
    return getattr(import_module("torchio_gpu.sampler"), name)

"""Module ``torchio.data.inference`` of TorchIO 1, whose classes are in a higher layer."""

from importlib import import_module


def __getattr__(name: str) -> object:
    """Return a class of ``torchio_gpu.inference``."""
    return getattr(import_module("torchio_gpu.inference"), name)

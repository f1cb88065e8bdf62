"""Module ``torchio.sampler`` of TorchIO 1; see :mod:`torchio_gpu.compat.sampler`."""

from .compat.sampler import *  # noqa: F403
from .compat.sampler import __all__ as __all__

"""Module ``torchio.inference`` of TorchIO 1; see :mod:`torchio_gpu.compat.inference`."""

from .compat.inference import *  # noqa: F403
from .compat.inference import __all__ as __all__

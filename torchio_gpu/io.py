"""Module ``torchio.io`` of TorchIO 1; see :mod:`torchio_gpu.compat.io`."""

from .compat.io import *  # noqa: F403
from .compat.io import __all__ as __all__

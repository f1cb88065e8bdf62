"""Module ``torchio.utils`` of TorchIO 1; see :mod:`torchio_gpu.compat.utils`."""

from .compat.utils import *  # noqa: F403
from .compat.utils import __all__ as __all__

"""Module ``torchio.transforms.augmentation`` of TorchIO 1: all transforms."""

from torchio_gpu.transforms import *  # noqa: F403
from torchio_gpu.transforms import __all__ as __all__

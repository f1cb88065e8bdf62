"""Module ``torchio.transforms.fourier`` of TorchIO 1."""

from .kinds import FourierTransform

__all__ = ["FourierTransform"]

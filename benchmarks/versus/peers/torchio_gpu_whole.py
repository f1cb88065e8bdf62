"""This library, where volumes are augmented whole and patches are cut out of the result."""

from __future__ import annotations

import torch
from torch import Tensor

import torchio_gpu as tio

from .. import workloads as w
from . import Op
from .torchio_gpu import PIPE6, VERSION, volume

__all__ = ["NAME", "OPS", "VERSION"]

NAME = "torchio_gpu by whole volumes"


def from_volume(number: int) -> Op:
    """Patches of one volume, augmented once."""

    def op(image: Tensor, labels: Tensor) -> Tensor:
        sampler = tio.UniformSampler(w.training_patch(image.shape[1:]))
        patches = sampler(PIPE6(volume(image, labels)), number)
        return torch.stack([patch.image.data for patch in patches])

    return op


OPS: dict[str, Op] = {"one_patch": from_volume(1), "four_patches": from_volume(4)}

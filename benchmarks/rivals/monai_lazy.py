"""MONAI's pipelines with lazy resampling, one sample at a time.

Affine maps, flips, crops and changes of orientation or spacing wait, and those in a row become one
step. Nothing else waits: elastic deformation and what changes intensities have done what came
before. So of pipe6 the three flips become one; in prep6 orientation, spacing, and crop or pad do;
there are no fewer interpolations here, only fewer copies.

How to interpolate is taken from the first in a row: after a change of orientation, which does not
say, the spacing of a label map would be changed linearly, and labels would be no whole numbers. So
it is said once more for all of them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from monai import transforms as m
from monai.data import MetaTensor
from torch import Tensor

from .. import workloads as w
from . import Op, per_sample
from .monai import (
    BOTH,
    FLIPS,
    FLIPSD,
    PREP6,
    STEPS,
    VOLUMES,
    plain,
    prep6,
    tracked,
)

NAME = "MONAI lazy"


def row(known: dict[str, Any], flips: list[Any]) -> list[Any]:
    """The steps of pipe6, with flips one by one."""
    return [step for n in w.PIPE6 for step in (flips if n == "random_flip" else [known[n]])]


def lazy(steps: list[Any]) -> m.Compose:
    """Steps on dictionaries of an image and its labels."""
    return m.Compose(steps, lazy=True, overrides={"label": {"mode": "nearest"}})


PIPE6 = m.Compose(row(STEPS, FLIPS), lazy=True)


def from_volume(number: int) -> Op:
    """Patches of one volume, augmented once."""

    @cache
    def pipeline(size: w.Triple) -> m.Compose:
        crop = m.RandSpatialCropSamplesd(BOTH, size, number, random_size=False)
        return lazy([*row(VOLUMES, FLIPSD), crop])

    def op(image: Tensor, labels: Tensor) -> Tensor:
        volume = {"image": MetaTensor(image), "label": MetaTensor(labels)}
        patches = pipeline(w.training_patch(image.shape[1:]))(volume)
        return torch.stack([plain(patch["image"]) for patch in patches])

    return tracked(op)


OPS: dict[str, Op] = {
    "pipe6": tracked(per_sample(lambda x: plain(PIPE6(MetaTensor(x))))),
    "prep6": prep6(lazy(PREP6)),
    "one_patch": from_volume(1),
    "four_patches": from_volume(4),
}

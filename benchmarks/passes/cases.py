"""Transforms of whole volumes, and what each may take of a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import torchio_gpu as tio


class Budget(NamedTuple):
    """What one call may take, with its small launches on parameters.

    Args:
        copies: Predicted time, in copies of the image.
        launches: Kernels that are launched.
        fourier: Passes of Fourier transforms.
    """

    copies: float
    launches: int
    fourier: int = 0


class Case(NamedTuple):
    """A transform, and its budget."""

    make: Callable[[], Any]
    budget: Budget


_POSES: dict[str, Any] = {"degrees": [(5, 0, 0)] * 2, "translation": [(0, 3, 0)] * 2}
_HISTOGRAM = {"image": np.linspace(0, 100, 13)}

#: By name, in the order of the table. All are called with the image and the label map of W1.
CASES = {
    "Motion, 2 poses": Case(lambda: tio.Motion(**_POSES, times=(0.3, 0.7)), Budget(50, 30, 2)),
    "Motion, magnitude": Case(
        lambda: tio.Motion(**_POSES, times=(0.3, 0.7), output="magnitude"), Budget(60, 40, 3)
    ),
    "RandomMotion": Case(tio.RandomMotion, Budget(60, 40, 2)),
    "Ghosting": Case(lambda: tio.Ghosting(4, 0, 0.5), Budget(9, 10, 2)),
    "RandomGhosting": Case(tio.RandomGhosting, Budget(11, 20, 2)),
    "Gibbs": Case(lambda: tio.Gibbs(0.6, 1), Budget(11, 20, 2)),
    "RandomGibbs": Case(tio.RandomGibbs, Budget(12, 20, 2)),
    "RandomSpike": Case(tio.RandomSpike, Budget(8, 20, 3)),
    "RandomBlur": Case(tio.RandomBlur, Budget(20, 40)),
    "RandomAnisotropy": Case(tio.RandomAnisotropy, Budget(9, 50)),
    "RandomAnisotropy, antialias": Case(
        lambda: tio.RandomAnisotropy(antialias=True), Budget(10, 60)
    ),
    "RandomLowResolution": Case(tio.RandomLowResolution, Budget(20, 40)),
    "RandomSwap": Case(tio.RandomSwap, Budget(50, 430)),
    "Resample": Case(lambda: tio.Resample(2), Budget(2, 8)),
    "Resample, antialias": Case(lambda: tio.Resample(2, antialias=True), Budget(20, 44)),
    "Resample, bspline": Case(lambda: tio.Resample(1.5, "bspline"), Budget(12, 36)),
    "Resize": Case(lambda: tio.Resize(96), Budget(2, 8)),
    "CropOrPad": Case(lambda: tio.CropOrPad(144), Budget(2, 4)),
    "Pad, reflect": Case(lambda: tio.Pad(8, padding_mode="reflect"), Budget(6, 8)),
    "ToOrientation": Case(lambda: tio.ToOrientation("LPI"), Budget(2, 4)),
    "RescaleIntensity": Case(tio.RescaleIntensity, Budget(11, 46)),
    "RescaleIntensity, percentiles": Case(
        lambda: tio.RescaleIntensity(percentiles=(1, 99)), Budget(60, 150)
    ),
    "ZNormalization": Case(tio.ZNormalization, Budget(15, 100)),
    "ZNormalization, masked": Case(lambda: tio.ZNormalization("label"), Budget(20, 110)),
    "HistogramStandardization": Case(
        lambda: tio.HistogramStandardization(_HISTOGRAM), Budget(66, 140)
    ),
    "Mask": Case(lambda: tio.Mask("label"), Budget(3, 4)),
    "OneHot": Case(lambda: tio.OneHot(4), Budget(2, 4)),
    "RemapLabels": Case(lambda: tio.RemapLabels({1: 2}), Budget(4, 16)),
    "Contour": Case(tio.Contour, Budget(6, 14)),
}

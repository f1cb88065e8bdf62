"""Ultrasound, on B-mode images of one slice, 60 dB from 0 to 255: a phased probe of 80 degrees and
60 mm above the middle of the first row, or a linear one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .asking import Op, ask, group, one

asks = group("Ultrasound")

#: Grey values of a dB.
_DB = 255 / 60


def _fan() -> tuple[Tensor, Tensor, Tensor]:
    """Return distance from the apex in mm, the angle, and the mask of the fan, (I, J)."""
    i, j = torch.meshgrid(torch.arange(96.0) - 47.5, torch.arange(80.0) + 0.5, indexing="ij")
    depth, angle = torch.hypot(i, j), torch.atan2(i, j)
    return depth, angle, (angle.abs() <= math.radians(40)) & (depth <= 60)


def _of_constant(op: Op, value: int) -> Tensor:
    return one(op, torch.full((1, 96, 80, 1), float(value)))[0, ..., 0]


def _off(found: Tensor, right: Tensor, most: float = 0.1) -> str | None:
    """Say by how many dB levels are off."""
    off = float((found - right).abs().max())
    return None if off < most else f"levels are {off:.1f} dB off"


@asks("ultrasound attenuation along beams", "attenuation")
def beam_attenuation(op: Op) -> str | None:
    """Of a constant image at 2 dB per cm: grey values fall by 2 dB for each cm of distance from the
    apex, to 0.1 dB, and stay outside of the fan."""
    depth, _, inside = _fan()
    return _off((200 - _of_constant(op, 200)) / _DB, depth / 5 * inside)


@asks("ultrasound acoustic shadow", "acousticshadow")
def acoustic_shadow(op: Op) -> str | None:
    """Of a constant image with a shadow of 20 dB behind 20 mm, a fifth of the fan wide: levels fall
    by 20 dB there, to 0.1 dB, and nowhere else."""
    depth, angle, inside = _fan()
    dark = inside & (depth > 20) & (angle.abs() < math.radians(8))
    return _off((200 - _of_constant(op, 200)) / _DB, 20.0 * dark)


@asks("ultrasound reverberation", "reverb")
def reverberation(op: Op) -> str | None:
    """Of a bright row with echoes of half the amplitude each 10 mm: rows 10 and 20 mm further down
    are 6 and 12 dB darker, to 0.1 dB, and others stay."""
    x = torch.zeros(1, 41, 60, 1)
    x[:, :, 12] = 255
    right = x.clone()
    for n in (1, 2):
        right[:, :, 12 + 10 * n] = 255 - n * 20 * math.log10(2) * _DB
    return _off(one(op, x)[:, 1:-1] / _DB, right[:, 1:-1] / _DB)


@asks("ultrasound speckle along beams", "speckle")
def speckle(op: Op) -> str | None:
    """Of a constant image: levels deviate by 5.57 dB, to 0.3 dB, and values outside of the fan
    stay."""
    y, (_, _, inside) = _of_constant(op, 150), _fan()
    if not (y[~inside] == 150).all():
        return "values outside of the fan change"
    deviation = float((y[inside] / _DB).std())
    return None if abs(deviation - 5.57) < 0.3 else f"levels deviate by {deviation:.1f} dB"


@asks("ultrasound haze that fades with depth", "haze")
def haze(op: Op) -> str | None:
    """Of a black image: rows near the probe become brighter than those below, and values outside of
    the fan stay."""
    y, (depth, _, inside) = _of_constant(op, 0), _fan()
    if not (y[~inside] == 0).all():
        return "values outside of the fan change"
    near, far = (float(y[inside & (abs(depth - at) < 5)].mean()) for at in (15, 50))
    return None if near > far + 10 else f"{near:.0f} near the probe, {far:.0f} far from it"


@asks("ultrasound images made of label maps", "ultrasound")
def labels_to_ultrasound(op: Op) -> str | None:
    """Of one label that attenuates by 3 dB per cm: mean intensities of the lower half are 9 dB
    below those of the upper one, 30 mm higher, to 1 dB."""
    y = ask(op, torch.ones(1, 1, 80, 60, 1, dtype=torch.uint8))[0, 0, ..., 0]
    power = 10 ** (y * 6 / 255)
    lost = 10 * math.log10(float(power[:, :30].mean() / power[:, 30:].mean()))
    return None if abs(lost - 9) < 1 else f"the level falls by {lost:.1f} dB in 30 mm"

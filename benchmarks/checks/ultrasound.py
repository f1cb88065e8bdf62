"""Ultrasound, on B-mode images of one slice, 60 dB from 0 to 255: a phased probe of 80 degrees and
60 mm above the middle of the first row, or a linear one."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from .asking import Op, ask, need, one, row

asks = partial(row, "Ultrasound")

#: Grey values of a dB.
_DB = 255 / 60
#: Distance from the apex in mm, the angle, and the mask of the fan, (I, J).
_I, _J = torch.meshgrid(torch.arange(96.0) - 47.5, torch.arange(80.0) + 0.5, indexing="ij")
_DEPTH, _ANGLE = torch.hypot(_I, _J), torch.atan2(_I, _J)
_FAN = (_ANGLE.abs() <= math.radians(40)) & (_DEPTH <= 60)


def _darker(op: Op, value: float) -> Tensor:
    """Return by how many dB an operation darkens a constant image, (I, J)."""
    return (value - one(op, torch.full((1, 96, 80, 1), value))[0, ..., 0]) / _DB


def _are(found: Tensor, right: Tensor) -> None:
    off = (found - right).abs().max()
    need(off < 0.1, f"levels are {off:.1f} dB off")


@asks("ultrasound attenuation along beams", "attenuation")
def beam_attenuation(op: Op) -> None:
    """Of a constant image at 2 dB per cm: grey values fall by 2 dB for each cm of distance from the
    apex, to 0.1 dB, and stay outside of the fan."""
    _are(_darker(op, 200.0), _DEPTH / 5 * _FAN)


@asks("ultrasound acoustic shadow", "acousticshadow")
def acoustic_shadow(op: Op) -> None:
    """Of a constant image with a shadow of 20 dB behind 20 mm, a fifth of the fan wide: levels fall
    by 20 dB there, to 0.1 dB, and nowhere else."""
    _are(_darker(op, 200.0), 20.0 * (_FAN & (_DEPTH > 20) & (_ANGLE.abs() < math.radians(8))))


@asks("ultrasound reverberation", "reverb")
def reverberation(op: Op) -> None:
    """Of a bright row with echoes of half the amplitude each 10 mm: rows 10 and 20 mm further down
    are 6 and 12 dB darker, to 0.1 dB, and others stay."""
    x = torch.zeros(1, 41, 60, 1)
    x[:, :, 12] = 255
    right = x / _DB
    right[:, :, 22], right[:, :, 32] = (60 - n * 20 * math.log10(2) for n in (1, 2))
    _are(one(op, x)[:, 1:-1] / _DB, right[:, 1:-1])


@asks("ultrasound speckle along beams", "speckle")
def speckle(op: Op) -> None:
    """Of a constant image: levels deviate by 5.57 dB, to 0.3 dB, and values outside of the fan
    stay."""
    change = _darker(op, 150.0)
    need((change[~_FAN] == 0).all(), "values outside of the fan change")
    std = change[_FAN].std()
    need(abs(std - 5.57) < 0.3, f"levels deviate by {std:.1f} dB")


@asks("ultrasound haze that fades with depth", "haze")
def haze(op: Op) -> None:
    """Of a black image: rows near the probe become brighter than those below, and values outside of
    the fan stay."""
    light = -_darker(op, 0.0) * _DB
    need((light[~_FAN] == 0).all(), "values outside of the fan change")
    near, far = (light[_FAN & (abs(_DEPTH - at) < 5)].mean() for at in (15, 50))
    need(near > far + 10, f"{near:.0f} near the probe, {far:.0f} far from it")


@asks("ultrasound images made of label maps", "ultrasound")
def labels_to_ultrasound(op: Op) -> None:
    """Of one label that attenuates by 3 dB per cm: mean intensities of the lower half are 9 dB
    below those of the upper one, 30 mm higher, to 1 dB."""
    power = 10 ** (ask(op, torch.ones(1, 1, 80, 60, 1, dtype=torch.uint8))[0, 0] * 6 / 255)
    lost = 10 * (power[:, :30].mean() / power[:, 30:].mean()).log10()
    need(abs(lost - 9) < 1, f"the level falls by {lost:.1f} dB in 30 mm")

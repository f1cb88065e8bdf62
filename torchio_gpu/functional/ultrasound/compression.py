"""Log compression of ultrasound: grey values of B-mode images, and decibels."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ...shapes import Volume
from ...signature import is_number

#: Logarithm of the ratio of amplitudes that is 1 dB.
NEPERS = math.log(10) / 20

#: Largest dynamic range in dB, whose ratio of intensities float32 has, and value of white.
_LARGEST = {"dynamic_range": 300.0, "white": 1e6}


def decibels(x: Volume, dynamic_range: float, white: float) -> Volume:
    """Return the level of grey values in dB: 0 of white, ``-dynamic_range`` of black, 0.

    >>> decibels(torch.tensor([0.0, 127.5, 255]), 60, 255)
    tensor([-60., -30.,   0.])
    """
    return (x / white - 1) * dynamic_range


def amplified(x: Volume, gain: Tensor, dynamic_range: float, white: float) -> Volume:
    """Return grey values whose level is changed by a gain in dB, clipped to black and white.

    Values that were outside black and white before keep their value where the gain is 0.

    >>> amplified(torch.tensor([0.0, 100, 200]), torch.tensor([-6.0, -6, 30]), 60, 255)
    tensor([  0.0000,  74.5000, 255.0000])
    """
    new = x + gain.to(x.dtype) * (white / dynamic_range)
    return torch.minimum(torch.maximum(new, x.clamp(max=0)), x.clamp(min=white))


def amplitudes(x: Volume, dynamic_range: float, white: float) -> Volume:
    """Return amplitudes of the envelope of grey values: 1 of white.

    >>> amplitudes(torch.tensor([255.0 - 255 * 20 / 60, 255]), 60, 255)
    tensor([0.1000, 1.0000])
    """
    return torch.exp(decibels(x, dynamic_range, white) * NEPERS)


def check_compression(dynamic_range: Any, white: Any) -> tuple[float, float]:
    """Return the dynamic range in dB and the value of white; raise if they are out of range."""
    for value, name in ((dynamic_range, "dynamic_range"), (white, "white")):
        if not is_number(value) or not 0 < value <= _LARGEST[name]:
            raise ValueError(
                f"{name} must be a number > 0 and <= {_LARGEST[name]:g}, got {value!r}"
            )
    return float(dynamic_range), float(white)


__all__ = ["NEPERS", "amplified", "amplitudes", "check_compression", "decibels"]

"""Gaussian pulses of ultrasound, along and across beams."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...shapes import Volume
from ..eager.separable import full_precision
from .geometry import Fan

#: Standard deviation of a Gaussian whose full width at half of its maximum is 1.
_DEVIATION = 1 / math.sqrt(8 * math.log(2))
#: Distance that is computed with in place of smaller widths, in points.
_NARROWEST = 1e-3
#: Logarithm of the least value of a pulse: products of smaller numbers would be denormal, and slow.
_LEAST = -30.0


def pulses(fan: Fan, axial: Tensor, lateral: Tensor) -> tuple[Tensor, Tensor]:
    """Return matrices that blur white noise across and along beams, and keep its variance.

    Args:
        fan: The beams.
        axial: Full width at half maximum along the beams in mm, [1 or B].
        lateral: The same across the beams, halfway along them.

    Returns:
        [1 or B, N, N] across N beams, and [1 or B, R, R] along their R points.
    """
    middle = 1 if fan.geometry.probe == "linear" else fan.radius + fan.depth / 2
    apart = fan.span * middle / (fan.beams - 1)  # mm between beams
    return _pulse(lateral / apart, fan.beams), _pulse(axial / fan.step, fan.points)


def blurred(x: Tensor, across: Tensor, along: Tensor) -> Tensor:
    """Multiply beams and points, (B, C, N, R, S), by matrices, [1 or B, N, N] and [1 or B, R, R].

    >>> x, two = torch.ones(1, 1, 2, 3, 1), torch.full((1, 2, 2), 0.5)
    >>> blurred(x, two, torch.eye(3)[None].cumsum(1)).flatten()
    tensor([1., 2., 3., 1., 2., 3.])
    """
    with full_precision(x.device):
        x = torch.matmul(across[:, None], x.flatten(3)).view_as(x)
        return torch.matmul(along[:, None, None], x)


def kept(fan: Fan, across: Tensor, along: Tensor) -> Volume:
    """Return the variance that interpolation on voxels leaves of blurred noise, (B, 1, I, J, K).

    Args:
        fan: The beams.
        across, along: Matrices of :func:`pulses`.
    """
    beam, depth = fan.places(across.device)
    left = _kept(across, beam) * _kept(along, depth / fan.step)
    return fan.over_volume(left)[:, None]


def _pulse(width: Tensor, count: int) -> Tensor:
    """Return matrices that filter white noise along some points, and keep its variance, [B, n, n].

    Args:
        width: Full width at half maximum in points, [B].
        count: Number of points.
    """
    at = torch.arange(count, dtype=width.dtype, device=width.device)
    distance = (at[:, None] - at) / (width * _DEVIATION).clamp(min=_NARROWEST)[:, None, None]
    pulse = torch.exp((-distance.square() / 2).clamp(min=_LEAST))
    return pulse / pulse.square().sum(-1, keepdim=True).sqrt()


def _kept(pulse: Tensor, place: Tensor) -> Tensor:
    """Return the variance that linear interpolation leaves of filtered noise, [B, P, Q].

    Args:
        pulse: Filters of :func:`_pulse`, [B, n, n].
        place: Places along the points, [P, Q].
    """
    count = pulse.shape[1]
    at = place.clamp(0, count - 1)
    low = at.floor().clamp(max=max(count - 2, 0)).long()
    share = (at - low).to(pulse.dtype)
    neighbours = (pulse * pulse.roll(-1, 1)).sum(-1)  # correlation of a point and the next one
    return 1 - 2 * share * (1 - share) * (1 - neighbours[:, low])


__all__ = ["blurred", "kept", "pulses"]

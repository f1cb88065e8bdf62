"""Echoes between an ultrasound probe and a reflector, on volumes (B, C, I, J, K)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...arrays import Array, Number
from ...shapes import Volume, check_count
from ..compiled import traceable
from ..dispatch.arguments import as_given, per_item, positive, real, within
from ..dispatch.launch import to_device
from ..eager.separable import full_precision
from .compression import NEPERS, amplified, amplitudes, check_compression
from .geometry import Fan, GeometriesLike, by_fans

#: Largest number of echoes.
MOST = 1000


@traceable
def reverberation(
    x: Volume,
    strength: Number | Array,
    distance: Number | Array,
    geometry: GeometriesLike,
    echoes: int = 4,
    spacing: Number | Array = 1.0,
    axes: Sequence[int] = (0, 1),
    *,
    dynamic_range: float = 60.0,
    white: float = 255.0,
) -> Volume:
    """Add echoes to B-mode images: copies further down the beams, each weaker than the last one.

    Sound that goes to and fro between the probe and a strong reflector comes back again and again:
    Szabo 2014, Diagnostic Ultrasound Imaging. The amplitude at depth r becomes the sum of
    strength^n a(r - n distance) over n from 0 to ``echoes``, where a is the amplitude above that of
    black. Envelopes are summed, as of waves in phase, since a B-mode image has no phase. Nothing
    comes from before the surface or from outside of the image. What lies outside of the fan stays.

    Args:
        x: Log-compressed images, (B, C, I, J, K): 0 is black, at ``-dynamic_range`` dB.
        strength: Amplitude of each echo relative to that before it, from 0 to 1: a number, or (B).
        distance: Distance of one echo from the next in mm of depth, > 0: a number, or (B).
        geometry: See :func:`attenuate`.
        echoes: Number of echoes.
        spacing, axes, dynamic_range, white: See :func:`attenuate`.

    Returns:
        Volume, clipped to black and white; integers become float32. Only echoes are interpolated
        on beams and back. Gradients reach voxels, strength and distance.

    Raises:
        ValueError: A parameter is not as above, or the volume is complex.

    >>> x = torch.zeros(1, 1, 1, 7, 1)
    >>> x[..., 1, :] = 255
    >>> probe = BeamGeometry("linear", center=(0, 0.5))
    >>> reverberation(x, 0.1, 2, probe, 2).flatten()  # about 20 and 40 dB weaker
    tensor([  0.0000, 255.0000,   0.0000, 170.3307,   0.0000,  88.4848,   0.0000])
    """
    compression = check_compression(dynamic_range, white)
    voxels = real(x)
    check_count(echoes, "echoes", 0, MOST)
    rho = within(per_item(strength, x, "strength"), 0, 1, "strength")
    far = positive(per_item(distance, x, "distance"), "distance")

    def run(part: Volume, fan: Fan, rho: Array, far: Array) -> Volume:
        ratio, shift = to_device(part.device, rho, far)
        kernel = _response(ratio, shift / fan.step, echoes, fan.points).to(part.dtype)
        own = amplitudes(part.clamp(0, compression[1]), *compression)
        # black has no echo, so that none begins with a jump
        above = (own - math.exp(-NEPERS * compression[0])).clamp(min=0)
        added = fan.from_beams(_convolved(fan.to_beams(above), kernel))
        return amplified(part, torch.log1p(added / own) / NEPERS, *compression)

    return as_given(by_fans(voxels, geometry, spacing, axes, run, rho, far), x)


def _response(ratio: Tensor, shift: Tensor, count: int, points: int) -> Tensor:
    """Return the response of the points of a beam to a pulse at the first one, less the pulse.

    Args:
        ratio: Amplitude of each echo relative to that before, [1 or B].
        shift: Distance of echoes in points, [1 or B]; between points, interpolation is linear.
        count: Number of echoes.
        points: Number R of points.

    Returns:
        [1 or B, R].

    >>> _response(torch.tensor([0.5]), torch.tensor([1.5]), 2, 5)
    tensor([[0.0000, 0.2500, 0.2500, 0.2500, 0.0000]])
    """
    number = torch.arange(1, count + 1, device=ratio.device)[:, None]
    point = torch.arange(points, device=ratio.device)
    ratio, shift = ratio[:, None, None], shift[:, None, None]
    weight = (1 - (point - number * shift).abs()).clamp(min=0)  # [1 or B, count, R]
    return (ratio**number * weight).sum(1)


def _convolved(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolve points along beams, (B, C, N, R, S), with a response that follows, [1 or B, R]."""
    points = x.shape[3]
    lags = F.pad(kernel, (points - 1, 0)).unfold(1, points, 1).flip(2)  # [1 or B, R, R]
    with full_precision(x.device):
        return torch.matmul(lags[:, None, None], x)


__all__ = ["MOST", "reverberation"]

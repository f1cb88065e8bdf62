"""Noise of several receive coils on volumes (B, C, I, J, K), as of phased arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array
from ..random import philox
from ..shapes import Volume, check_count
from ..tracing import instruction
from .compiled import traceable
from .dispatch.arguments import as_given, at_least, check_seeds, per_item, real, within
from .dispatch.launch import to_device
from .kspace_lines import Axis
from .operations import Noise
from .pointwise import pointwise
from .samples import by_axis

#: Distance of the coils from the middle of the volume, in halves of its extent.
RADIUS = 1.25
#: Narrowest and widest sensitivity: of narrower ones, the contrast leaves the range of float32, and
#: of this width on, they are flat.
WIDTHS = (0.3, 100.0)
MOST_COILS = 128


@traceable
def coil_noise(
    x: Volume,
    std: float | Array = 1.0,
    num_coils: int = 8,
    seeds: Array | None = None,
    axis: Axis = 2,
    width: float = 0.8,
    uniform: bool = True,
) -> Volume:
    """Add the noise of several receive coils, whose images join as the root of a sum of squares.

    ``sqrt(sum_c |s_c x + n_c|^2)``, where n_c is complex Gaussian noise: the result has a
    noncentral chi distribution, and with one coil a Rician one (Constantinides et al. 1997,
    doi:10.1002/mrm.1910380524). The more coils, the brighter is the background. Noise does not
    correlate between coils.

    The sensitivities s_c are Gaussians about points on an ellipse around the volume, in the plane
    across ``axis``: ``exp(-|v - p_c|^2 / 2 w^2)``, v from -1 to 1 between the outermost voxels
    along both axes of the plane, p_c = 1.25 (cos 2 pi c / L, sin 2 pi c / L) for coil c of L.

    Args:
        x: Volume, (B, C, I, J, K), a magnitude: not negative.
        std: Standard deviation of the real and of the imaginary part of the noise of each coil, in
            the image's own units, >= 0: a number or one per sample (B).
        num_coils: Number of coils, from 1 to 128.
        seeds: int64 seeds, (B): a sample's noise is a function of its seed, the same on all devices
            up to rounding; that of the first coil is that of :func:`rician_noise`. By default drawn
            from torch's CPU generator.
        axis: The axis that the coils are around, 0, 1, 2, or one per sample (B) on the host.
        width: Width w of the sensitivities, in halves of the extent of the volume, from 0.3
            to 100.
        uniform: Divide the sensitivities by the root of the sum of their squares, as a scanner
            does with a reference scan: without noise, the result is the magnitude of ``x``. If
            False, that root is 1 in the middle of the volume alone, and grows towards the coils.

    Coils are computed one after another, so that memory does not grow with their number, unless a
    gradient is required.

    Returns:
        Volume; integers become float32.

    Raises:
        ValueError: A parameter is not as above, or the volume is complex.

    >>> y = coil_noise(torch.zeros(1, 1, 32, 32, 32), std=1, num_coils=4, seeds=np.array([1]))
    >>> round(y.mean().item(), 1), round(coil_mean(4), 1)
    (2.7, 2.7)
    """
    y = real(x)
    spread = at_least(per_item(std, x, "std"), 0, "std")
    check_count(num_coils, "num_coils", 1, MOST_COILS)
    within(np.array(float(width)), *WIDTHS, "width")
    of_coils = coil_seeds(check_seeds(seeds, x), num_coils)

    def around(part: Volume, along: int, spread: Array, seeds: Array) -> Volume:
        maps = sensitivities(part, num_coils, along, width, uniform)
        total = None
        for coil, sensitivity in enumerate(maps):
            own = seeds[:, coil] + 0  # in a row, as a kernel reads them
            noise = Noise(np.zeros(1), spread, own, rician=True)
            image = pointwise(part * sensitivity, [noise])
            total = image if total is None else torch.hypot(total, image)
        assert total is not None
        return total

    return as_given(by_axis(y, axis, around, spread, of_coils), x)


def sensitivities(x: Volume, coils: int, axis: int, width: float, uniform: bool) -> Tensor:
    """Return the sensitivity of each coil, [L, 1, 1, I, J, K] with one voxel along ``axis``."""
    one, two = (n for n in range(3) if n != axis)
    turn = 2 * math.pi / coils * np.arange(coils)[:, None]  # [L, 1]
    exponents = []
    for each, place in ((one, np.cos(turn)), (two, np.sin(turn))):
        size = x.shape[2 + each]
        at = (2 * np.arange(size) - (size - 1)) / max(size - 1, 1)
        exponents.append(-((at - RADIUS * place) ** 2) / (2 * width**2))  # [L, size]
    across, along = to_device(x.device, *exponents)
    exponent = across[:, :, None] + along[:, None]
    if uniform:
        maps = torch.softmax(2 * exponent, 0).sqrt()
    else:
        maps = (exponent + RADIUS**2 / (2 * width**2)).exp() / math.sqrt(coils)
    return maps.to(x.dtype).unsqueeze(1 + axis)[:, None, None]


@instruction
def coil_seeds(seeds: Array, coils: int) -> Array:
    """Return the seed of the noise of each coil, [B, L]; that of the first is the sample's own."""
    xp: Any = np if isinstance(seeds, np.ndarray) else torch
    where = {} if xp is np else {"device": seeds.device}
    number = xp.arange(coils, dtype=xp.int64, **where)
    zero = number * 0
    low, high, _, _ = philox((number, zero, zero, zero + 2), seeds[:, None])
    return xp.where(number == 0, seeds[:, None], low | high << 32)  # type: ignore[no-any-return]


def coil_mean(num_coils: int) -> float:
    """Return the mean of the noise where there is no signal, in standard deviations.

    >>> round(coil_mean(1) - math.sqrt(math.pi / 2), 12)
    0.0
    """
    return math.sqrt(2) * math.exp(math.lgamma(num_coils + 0.5) - math.lgamma(num_coils))


__all__ = ["coil_mean", "coil_noise", "sensitivities"]

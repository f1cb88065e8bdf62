"""Reconstruction kernels of CT images (B, C, I, J, K): sharper or softer axial planes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

from ...arrays import Array, common, host, on_host
from ...shapes import Volume, check_volume, with_voxel_axes
from ..compiled import traceable
from ..dispatch.arguments import as_given, by_parts, check_spacing, per_item, positive, real
from ..dispatch.launch import to_device
from ..eager.filters import along_axis
from ..samples import by_axis
from .attenuation import clipped
from .beams import IN_PLANE


@traceable
def reconstruction_kernel(
    x: Volume,
    ratio: float | Array,
    frequency: float | Array = 0.5,
    axis: int | Sequence[int] | Array = 2,
    *,
    spacing: float | Array = 1.0,
) -> Volume:
    """Turn axial planes into those of a sharper or softer reconstruction kernel.

    The spectrum of each plane is multiplied by the ratio of the modulation transfer functions of
    the two kernels (image filtering as an alternative to another reconstruction: Ohkubo et al.
    2011, Medical Physics 38(7)), here that of two Gaussian ones up to a frequency f0, and constant
    beyond it, so that sharp kernels amplify noise by ``ratio`` at most:
    ``H(f) = ratio ** min((f / f0)^2, 1)`` at a distance f from the centre of the spectrum.

    Args:
        x: Volume in HU, (B, C, I, J, K); real and imaginary part each, if it is complex.
        ratio: Modulation transfer function of the new kernel over that of the old one at
            ``frequency``, > 0: a number or one per sample (B). Below 1 is softer, above 1 sharper,
            and 1 changes nothing.
        frequency: Frequency f0 in cycles per mm, > 0, shaped likewise.
        axis: Axis that the planes are stacked along: 0, 1, 2, or one per sample (B) on the host.
        spacing: Distance of voxels along I, J, K in mm: a number, (3,) or (B, 3).

    Planes are mirrored half a voxel outside their ends, as by ``scipy.ndimage``'s 'reflect', so
    that opposite sides do not mix. Their means are kept.

    Returns:
        Volume, clipped to -10240 to 30710 HU; integers become float32. Gradients reach voxels,
        ``ratio`` and ``frequency``. A voxel that is not finite makes its plane NaN, unless the
        ratio is 1.

    Raises:
        ValueError: A parameter is not as above.

    >>> x = torch.cos(torch.pi * (torch.arange(8) + 0.5) / 2).view(1, 1, 8, 1, 1)  # 1/4 per mm
    >>> (reconstruction_kernel(x, 16.0, 0.5) / x).flatten()[:4]
    tensor([2.0000, 2.0000, 2.0000, 2.0000])
    """
    check_volume(x)
    if x.is_complex():
        return by_parts(
            lambda parts: reconstruction_kernel(parts, ratio, frequency, axis, spacing=spacing), x
        )
    y = real(x)
    numbers = [
        positive(per_item(value, x, name), name)
        for value, name in ((ratio, "ratio"), (frequency, "frequency"))
    ]
    out = by_axis(y, axis, _filter, *numbers, check_spacing(spacing, x))
    return as_given(clipped(out), x)


def _filter(x: Volume, across: int, ratio: Array, frequency: Array, spacing: Array) -> Volume:
    """Multiply the cosine transforms of planes, which are those of mirrored planes.

    Args:
        x: Volume in float32 or float64.
        across: Axis across the planes.
        ratio, frequency: [1 or B].
        spacing: [1 or B, 3].
    """
    axes = IN_PLANE[across]
    sizes = [x.shape[2 + axis] for axis in axes]
    xp, power, limit, side, *waves = common(ratio, frequency, spacing, *map(_waves, sizes))
    squares = [
        (w / (side[:, a, None] * limit[:, None])) ** 2 for a, w in zip(axes, waves, strict=True)
    ]
    forward = [cosines(size)[None] for size in sizes]
    power, *on_device = to_device(x.device, xp.log(power), *squares, *forward)
    share = with_voxel_axes(power.new_zeros(1))
    for axis, square in zip(axes, on_device[:2], strict=True):
        shape = [-1, 1, 1, 1, 1]
        shape[2 + axis] = square.shape[1]
        share = share + square.view(shape)
    # 0 to the bit for a ratio of 1
    change = torch.expm1(share.clamp(max=1) * with_voxel_axes(power)).to(x.dtype)
    first, last = on_device[2:]
    spectrum = along_axis(along_axis(x, first, axes[0]), last, axes[1]) * change
    out = along_axis(along_axis(spectrum, first.mT, axes[0]), last.mT, axes[1], x)
    if on_host(ratio) and (host(ratio) == 1).any():  # NaN times 0 is NaN
        (same,) = to_device(x.device, host(ratio) == 1)
        out = torch.where(with_voxel_axes(same) != 0, x, out)
    return out


def _waves(size: int) -> np.ndarray:
    """Return the frequencies of a cosine transform in cycles per voxel, [size]."""
    return np.arange(size) / (2 * size)


@lru_cache(maxsize=16)
def cosines(size: int) -> np.ndarray:
    """Return the orthonormal cosine transform of a mirrored axis (DCT-II), [size, size]; read-only.

    >>> np.allclose(cosines(5) @ cosines(5).T, np.eye(5))
    True
    """
    matrix = np.cos(np.pi * np.arange(size)[:, None] * (np.arange(size) + 0.5) / size)
    matrix[0] = math.sqrt(0.5)
    matrix *= math.sqrt(2 / size)
    matrix.flags.writeable = False
    return matrix


__all__ = ["cosines", "reconstruction_kernel"]

"""Reconstruction kernels of CT images (B, C, I, J, K): sharper or softer axial planes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...arrays import Array, host, on_host
from ...shapes import Volume, check_volume, with_voxel_axes
from ..compiled import traceable
from ..dispatch.arguments import as_given, by_parts, per_item, real
from ..dispatch.launch import to_device
from ..eager.filters import along_axis
from ..eager.separable import ramp
from ..samples import by_axis
from .planes import IN_PLANE, check_spacing


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
        x: Volume, (B, C, I, J, K).
        ratio: Modulation transfer function of the new kernel over that of the old one at
            ``frequency``, > 0: a number or one per sample (B). Below 1 is softer, above 1 sharper,
            and 1 changes nothing.
        frequency: Frequency f0 in cycles per mm, > 0, shaped likewise.
        axis: Axis across the axial planes: 0, 1, 2, or one per sample (B) on the host.
        spacing: Distance of voxels along I, J, K in mm: a number, (3,) or (B, 3).

    Planes are mirrored half a voxel outside their ends, as by ``scipy.ndimage``'s 'reflect', so
    that opposite sides do not mix. Their means are kept.

    Returns:
        Volume; integers become float32. Gradients reach voxels, ``ratio`` and ``frequency``. A
        voxel that is not finite makes its plane NaN, unless the ratio is 1.

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
        check_positive(per_item(value, x, name), name)
        for value, name in ((ratio, "ratio"), (frequency, "frequency"))
    ]
    on_device = to_device(x.device, *numbers, check_spacing(spacing, x))
    return as_given(by_axis(y, axis, _filter, *on_device), x)


def check_positive(values: Array, name: str) -> Array:
    """Return an array if its values are > 0, or are on a device; raise otherwise."""
    if on_host(values) and not (host(values) > 0).all():
        raise ValueError(f"{name} must be > 0, got {host(values).tolist()}")
    return values


def _filter(x: Volume, across: int, ratio: Tensor, frequency: Tensor, spacing: Tensor) -> Volume:
    """Multiply the cosine transforms of planes, which are those of mirrored planes.

    Args:
        x: Volume in float32 or float64.
        across: Axis across the planes.
        ratio, frequency: [1 or B].
        spacing: [1 or B, 3].
    """
    forward, squares = {}, with_voxel_axes(ratio.new_zeros(1))
    for axis in IN_PLANE[across]:
        n, shape = x.shape[2 + axis], [-1, 1, 1, 1, 1]
        shape[2 + axis] = n
        forward[axis] = cosines(n, x.device)[None]
        cycles = ramp(n, x.device).view(shape[1:]) / (2 * n * with_voxel_axes(spacing[:, axis]))
        squares = squares + cycles**2
    share = (squares / with_voxel_axes(frequency) ** 2).clamp(max=1)
    change = torch.expm1(share * with_voxel_axes(ratio.log()))  # 0 to the bit for a ratio of 1
    spectrum = x
    for axis, matrix in forward.items():
        spectrum = along_axis(spectrum, matrix, axis)
    spectrum = spectrum * change.to(x.dtype)
    for axis, matrix in forward.items():
        spectrum = along_axis(spectrum, matrix.mT, axis)
    out = x + spectrum
    if ratio.requires_grad:
        return out
    return torch.where(with_voxel_axes(ratio == 1), x, out)  # NaN times 0 is NaN


def cosines(size: int, device: torch.device) -> Tensor:
    """Return the orthonormal cosine transform of a mirrored axis (DCT-II), [size, size] float64.

    >>> matrix = cosines(5, torch.device("cpu"))
    >>> torch.allclose(matrix @ matrix.mT, torch.eye(5).double())
    True
    """
    place = ramp(size, device)
    matrix = torch.cos(torch.pi * place[:, None] * (place + 0.5) / size) * math.sqrt(2 / size)
    return torch.where(place[:, None] == 0, math.sqrt(1 / size), matrix)


__all__ = ["check_positive", "cosines", "reconstruction_kernel"]

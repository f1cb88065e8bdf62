"""Resampling on a grid whose axes are parallel to those of the volume."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from torch import Tensor

from ..arrays import Array, host, on_host
from ..memory import empty
from ..shapes import Triple, Volume, check_volume, spatial_shape
from .compiled import traceable
from .dispatch import kernels, limits
from .dispatch.arguments import as_given, by_parts, real
from .dispatch.backend import choose_kernels
from .dispatch.launch import indices, to_device
from .eager import interpolation, windows
from .eager import resample as eager
from .eager.fields import fill_along_axes
from .fields_of_view import FieldOfView
from .maps import (
    MODES,
    WINDOWED,
    Reading,
    VoxelMap,
    check_fill,
    check_matrix,
    check_mode,
    check_size,
    exact_mask,
    is_exact,
    parts_of,
)
from .samples import samples_at
from .warping import warp_volume, warp_volumes

__all__ = ["is_parallel", "resample"]

#: Axes count as parallel when the off-axis entries of a matrix are below this share of the others:
#: above the rounding of a chain of float64 matrices, and far below a visible rotation.
_PARALLEL = 1e-6
#: Weights of voxels along an axis, by mode.
_WEIGHTS = {
    "linear": interpolation.linear_weights,
    "bspline": interpolation.bspline_weights,
    **windows.WEIGHTS,
}


@traceable
def resample(
    x: Volume,
    size: Triple,
    matrix: Array | None = None,
    *,
    mode: str = "linear",
    fill: float | Tensor = 0.0,
) -> Volume:
    """Sample a volume on a grid whose axes are parallel to its own: ``out(v) = x(matrix v)``.

    Content ends half a voxel beyond the outermost voxel centres; up to there the outermost voxels
    are repeated, as in ITK.

    Args:
        x: Volume, (B, C, I, J, K).
        size: Voxels of the output along I, J, K.
        matrix: Output voxel to input voxel on the host, (4, 4) or (B, 4, 4): each input axis
            follows one output axis. By default, both grids cover the same field of view.
        mode: 'linear', 'nearest', 'bspline' (cubic, through all voxels), 'label', or one of ITK's
            windowed sincs of radius 5 (Meijering et al. 1999, doi:10.1007/10704282_23): 'lanczos',
            'hamming', 'cosine', 'welch', 'blackman'. Their weights sum to 1 up to about 1%.
            'gaussian' smooths, with a standard deviation of 0.8 voxel.
        fill: Value outside the content: a number, one per sample (B), or per channel (B, C).

    Returns:
        Volume (B, C, \\*size). Floats keep their dtype; integers become float32 unless values are
        only moved. Samples whose map takes voxel centres to voxel centres are copied exactly.

    Raises:
        ValueError: A shape, the mode or the fill is not as above, or an axis is not parallel.

    >>> x = torch.tensor([0., 2., 4., 6.]).view(1, 1, 4, 1, 1)
    >>> resample(x, (2, 1, 1)).flatten()
    tensor([1., 5.])
    """
    return resample_volume(Reading(x, mode, fill), size, matrix)


def resample_volume(reading: Reading, size: Triple, matrix: Array | None = None) -> Volume:
    """Sample a volume as :func:`resample` does, with fields of view and without operations."""
    x, mode, fill, fields, _ = reading
    check_volume(x)
    size = check_size(size)
    if matrix is None:
        matrix = _same_field_of_view(spatial_shape(x), size)
    elif not on_host(matrix):
        raise ValueError(
            "matrix must be on the host and without gradient: the code path depends on its values"
        )
    matrix = host(check_matrix(matrix, len(x), "matrix"))
    check_mode(mode, known=(*MODES, *WINDOWED))
    if mode == "label" or is_exact(matrix):
        if mode in WINDOWED:  # voxels are copied
            reading = reading._replace(mode="linear")
        return warp_volumes([reading], VoxelMap(matrix, None, None, size))[0]
    if x.is_complex() and not reading.moves:
        parted = reading._replace(
            fill=parts_of(fill, x),
            fields=[field._replace(fill=parts_of(field.fill, x)) for field in fields],
        )
        return by_parts(lambda y: resample_volume(parted._replace(x=y), size, matrix), x)
    fields = fields or [FieldOfView.whole(spatial_shape(x), len(x), fill)]
    fields = [field._replace(fill=check_fill(field.fill, x, mode)) for field in fields]
    exact, fills = exact_mask(matrix), [field.fill for field in fields]
    # on a CPU, one axis after the other is faster than the eight voxels that a kernel reads
    chosen = choose_kernels(
        x, None, lambda name: limits.why_no_warp(x, size, mode, fills, None, False, name)
    )
    if chosen is not None:
        voxel_map = VoxelMap(matrix, None, None, size)
        return kernels.warp(
            Reading(x, mode, 0.0, fields), voxel_map, chosen, exact if exact.any() else None
        )
    kinds: dict[tuple[int, ...], list[int]] = {}
    for sample, axes in enumerate(_source_axes(matrix)):
        kinds.setdefault(() if exact[sample] else axes, []).append(sample)
    if len(kinds) == 1:
        return _along(x, size, matrix, mode, fields, next(iter(kinds)))
    parts = []
    for axes, samples in kinds.items():
        at = samples_at(samples, x.device)
        some, few = matrix[samples], [field.select(samples) for field in fields]
        if axes:
            parts.append((at, _along(x[at], size, some, mode, few, axes)))
        else:
            copied = "linear" if mode in WINDOWED else mode
            parts.append((at, warp_volume(x[at], some, size=size, mode=copied, fields=few)))
    out = empty((*x.shape[:2], *size), parts[0][1].dtype, x.device)
    for at, part in parts:
        out[at] = part
    return out


def is_parallel(matrix: Array) -> bool:
    """Return True if a map (B, 4, 4) is known to keep axes parallel, for every sample."""
    return on_host(matrix) and bool(_parallel(host(matrix))[1].all())


def _along(
    x: Volume,
    size: Triple,
    matrix: np.ndarray,
    mode: str,
    fields: Sequence[FieldOfView],
    axes: tuple[int, ...],
) -> Volume:
    """Sample along each axis; ``axes`` are the input axes that the output axes follow."""
    x = x.permute(0, 1, *(2 + axis for axis in axes))
    positions = []
    for a, axis in enumerate(axes):
        scale, offset = matrix[:, axis, a, None], matrix[:, axis, 3, None]
        position = scale * np.arange(size[a]) + offset
        same = len(position) > 1 and np.ptp(position, axis=0).max() == 0
        positions.append(position[:1] if same else position)  # [B or 1, N]
    pairs = [(position, x.shape[2 + a]) for a, position in enumerate(positions)]
    if mode == "nearest":
        places = [_unless_same(interpolation.nearest_voxel(p, n), n) for p, n in pairs]
        move = partial(indices, device=x.device)
        out = eager.by_index(x, [None if p is None else move(p) for p in places])
        return fill_along_axes(out, matrix, fields)
    needed = [a for a in range(3) if mode == "gaussian" or not _keeps_voxels(*pairs[a])]
    weights = to_device(x.device, *(_WEIGHTS[mode](*pairs[a]) for a in needed))
    matrices = dict(zip(needed, weights, strict=True))
    out = eager.by_weights(real(x), [matrices.get(a) for a in range(3)])
    return as_given(fill_along_axes(out, matrix, fields), x)


def _unless_same(place: np.ndarray, size: int) -> np.ndarray | None:
    """Return ``place``, or None if it leaves all voxels along the axis in place."""
    return None if _keeps_voxels(place, size) else place


def _keeps_voxels(position: np.ndarray, size: int) -> bool:
    """Return True if positions [B, N] are all voxels along an axis, in their order."""
    return np.array_equal(position, np.arange(size)[None])


def _same_field_of_view(source: Triple, size: Triple) -> np.ndarray:
    """Return the map from output to input voxels for grids of one field of view, (4, 4)."""
    matrix = np.eye(4)
    for axis, (n, m) in enumerate(zip(source, size, strict=True)):
        matrix[axis, axis] = n / m
        matrix[axis, 3] = (n / m - 1) / 2
    return matrix


def _source_axes(matrix: np.ndarray) -> list[tuple[int, ...]]:
    """Return the input axes parallel to the output axes of each sample; raise if there are none."""
    axes, parallel = _parallel(matrix)
    for sample in (~parallel).nonzero()[0].tolist():
        raise ValueError(
            "matrix must keep axes parallel: use warp for maps that rotate, "
            f"got {matrix[sample].tolist()} for sample {sample}"
        )
    return [tuple(each) for each in axes.tolist()]


def _parallel(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the input axis closest to each output axis, [B, 3], and a mask of parallel maps."""
    linear = abs(matrix[:, :3, :3])
    axes = linear.argmax(1)
    along = linear.max(1)
    beside = linear.sum((1, 2)) - along.sum(1)
    once = np.sort(axes, 1) == (0, 1, 2)
    return axes, once.all(1) & (beside <= _PARALLEL * along.min(1))

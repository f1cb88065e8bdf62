"""Filters on volumes (B, C, I, J, K): blur, loss of resolution, swapped patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array, as_array, common, host, on_host, send
from ..shapes import Volume, check_triple, check_volume, spatial_shape
from .compiled import traceable
from .dispatch.arguments import as_given, at_least, by_parts, per_item, real
from .dispatch.launch import indices, to_device
from .eager import filters as eager
from .eager import products
from .maps import check_mode
from .samples import by_axis, with_axes

__all__ = ["anisotropy", "blur", "low_resolution", "swap"]


@traceable
def blur(x: Volume, std: float | Array, spacing: float | Array = 1.0) -> Volume:
    """Convolve with a Gaussian whose width is in millimetres.

    The image is mirrored half a voxel outside its ends, and the Gaussian cut off at four standard
    deviations, as ``scipy.ndimage.gaussian_filter`` does, but not farther than 1024 voxels away.

    Args:
        x: Volume, (B, C, I, J, K).
        std: Standard deviation along I, J, K in mm: a number, (3,), (B, 3), or (B, C, 3) for one
            set per channel. 0 is none.
        spacing: Distance of voxels along I, J, K in mm, shaped likewise.

    Returns:
        Volume; integers become float32. A voxel that is not finite affects the voxels within four
        standard deviations, and no others.

    Raises:
        ValueError: ``std`` is negative, or ``spacing`` not positive.

    >>> x = torch.zeros(1, 1, 1, 1, 5)
    >>> x[..., 2] = 1
    >>> blur(x, std=1.0, spacing=2.0).round(decimals=3).flatten()
    tensor([0.0000, 0.1060, 0.7870, 0.1060, 0.0000])
    """
    check_volume(x)
    std = _without_channels(std)
    if isinstance(std, (np.ndarray, Tensor)) and std.ndim == 3:
        size = per_item(spacing, x, "spacing", (3,))
        return _by_channel(blur, x, std, "std", size)
    if x.is_complex():
        return by_parts(lambda parts: blur(parts, std, spacing), x)
    y = real(x)
    width = at_least(per_item(std, x, "std", (3,)), 0, "std")
    size = per_item(spacing, x, "spacing", (3,))
    if on_host(size) and not (host(size) > 0).all():
        raise ValueError(f"spacing must be > 0, got {host(size).tolist()}")
    _, width, size = common(width, size)
    voxels = width / size  # [1 or B, 3]
    kernels = [eager.gaussian(n, voxels[:, a]) for a, n in enumerate(spatial_shape(x))]
    return as_given(eager.blur(y, to_device(x.device, *kernels)), x)


@traceable
def anisotropy(
    x: Volume,
    factor: float | Array,
    axis: int | Sequence[int] | Array = 2,
    *,
    mode: str = "linear",
    antialias: bool = False,
) -> Volume:
    """Simulate thick slices along an axis, then interpolate back to the original grid.

    Slices are ``factor`` times as thick as voxels and share the centre of the image; the outer
    ones are repeated beyond their middle.

    Args:
        x: Volume, (B, C, I, J, K).
        factor: Thickness in voxels, >= 1: a number or one per sample (B).
        axis: Voxel axis across the slices: 0, 1, 2, or one per sample (B) on the host.
        mode: Interpolation between slices: 'linear', or 'nearest', which moves values and never
            mixes them.
        antialias: Let a slice be a Gaussian mean over its thickness (Cardoso et al. 2015,
            doi:10.1007/978-3-319-24571-3_81) rather than the voxel nearest to its middle.

    Returns:
        Volume; integers become float32 in 'linear' mode and are kept in 'nearest' mode. A voxel
        that is not finite affects the voxels interpolated from its slices, and no others.

    Raises:
        ValueError: ``factor`` is below 1, ``antialias`` is asked for in 'nearest' mode, or the
            volume is complex.

    >>> x = torch.arange(6.).view(1, 1, 1, 1, 6)
    >>> anisotropy(x, 3, mode="nearest").flatten()
    tensor([1., 1., 1., 4., 4., 4.])
    """
    check_mode(mode)
    if antialias and mode == "nearest":
        raise ValueError("antialias must be False in 'nearest' mode, which does not mix voxels")
    check_volume(x)
    if x.is_complex() and mode != "nearest":
        options: dict[str, Any] = {"mode": mode, "antialias": antialias}
        return by_parts(lambda parts: anisotropy(parts, factor, axis, **options), x)
    y = check_volume(x) if mode == "nearest" else real(x)
    thickness = at_least(per_item(factor, x, "factor"), 1, "factor")

    def run(part: Volume, across: int, factor: Array, place: products.Axis) -> Volume:
        slices = eager.thick_slices(part.shape[2 + across], factor)
        if mode == "nearest":
            xp, positions, weight = common(*slices)
            chosen = xp.where(weight[..., 1] > 0.5, positions[..., 1], positions[..., 0])
            (source,) = to_device(x.device, eager.nearest(chosen)[0])
            return eager.anisotropy_nearest(part, source, across)
        if antialias:
            std = eager.slice_profile(factor)
            positions, weight, std = to_device(x.device, *slices, std)
            return eager.anisotropy_antialiased(part, positions, weight, std, place)
        xp, places, weights = common(*slices)
        taps = xp.concatenate(eager.nearest(places), -1)
        taps, weight = to_device(x.device, taps, xp.concatenate((weights, weights), -1) / 2)
        return eager.anisotropy(part, taps, weight, place)

    if mode != "nearest" and products.has_kernel(y.device):

        def at_once(part: Volume, dims: list[int], axes: Any, factor: Array) -> Volume:
            on_device = [] if axes is None else to_device(x.device, axes)
            return run(part, dims[0], factor, products.axis_of(dims, *on_device))

        return as_given(with_axes(y, axis, at_once, thickness), x)

    def alone(part: Volume, across: int, factor: Array) -> Volume:
        return run(part, across, factor, across)

    return as_given(by_axis(y, axis, alone, thickness), x)


@traceable
def low_resolution(
    x: Volume, zoom: float | Array, *, mode: str = "linear", antialias: bool = False
) -> Volume:
    """Sample on a coarser grid of the same field of view, then interpolate back.

    The coarser grid has ``round(zoom n)`` voxels along an axis of n, at least one; each has the
    value of the voxel nearest to its centre, or the mean of two if it lies between them.

    Args:
        x: Volume, (B, C, I, J, K).
        zoom: Resolution along I, J, K relative to that of ``x``, > 0 and <= 1: a number, (3,),
            (B, 3), or (B, C, 3) for one set per channel; on the host. 1 changes nothing.
        mode: Interpolation between voxels of the coarser grid: 'linear', or 'nearest', which moves
            values and never mixes them.
        antialias: Let a voxel of the coarser grid be a Gaussian mean over its extent; see
            :func:`anisotropy`.

    Returns:
        Volume; integers become float32 in 'linear' mode and are kept in 'nearest' mode.

    Raises:
        ValueError: ``zoom`` is out of range, or as for :func:`anisotropy`.

    >>> x = torch.arange(6.).view(1, 1, 1, 1, 6)
    >>> low_resolution(x, 1 / 3, mode="nearest").flatten()
    tensor([1., 1., 1., 4., 4., 4.])
    """
    check_volume(x)
    options: dict[str, Any] = {"mode": mode, "antialias": antialias}
    zoom = _without_channels(zoom)
    if isinstance(zoom, (np.ndarray, Tensor)) and zoom.ndim == 3:
        return _by_channel(low_resolution, x, zoom, "zoom", **options)
    share = per_item(zoom, x, "zoom", (3,))
    if not on_host(share):
        raise ValueError("zoom must be on the host: the shape of the coarser grid depends on it")
    share = host(share)
    if not ((share > 0) & (share <= 1)).all():
        raise ValueError(f"zoom must be > 0 and <= 1, got {share.tolist()}")
    size = np.array(spatial_shape(x))
    factor = size / np.maximum(np.rint(share * size), 1)  # [1 or B, 3]
    out = x
    for axis in range(3):
        if (factor[:, axis] != 1).any():
            out = anisotropy(out, factor[:, axis], axis, **options)
    if out is x:
        check_mode(mode)
        return x.clone() if mode == "nearest" or x.is_complex() else as_given(real(x).clone(), x)
    if mode != "nearest" and (factor == 1).all(1).any():  # these would change by rounding
        (factors,) = to_device(x.device, factor)
        out = torch.where((factors == 1).all(1)[:, None, None, None, None], x, out)
    return out


def _by_channel(
    function: Any, x: Volume, values: Array, name: str, *shared: Array, **options: Any
) -> Volume:
    """Call a function with each channel as a sample of its own.

    Args:
        function: Called with (B C, 1, I, J, K) and values [B C, 3].
        x: Volume, (B, C, I, J, K).
        values: Values of the channels, [1 or B, 1 or C, 3].
        name: Name of the values, for errors.
        shared: Values of the samples, [1 or B, ...] each.
        options: Further arguments.
    """
    batch, channels = x.shape[:2]
    if values.shape[0] not in (1, batch) or values.shape[1] not in (1, channels):
        raise ValueError(
            f"{name} must have shape ({batch}, {channels}, 3) for one set per channel, "
            f"got {tuple(values.shape)}"
        )
    wanted = (batch, channels, 3)
    spread: Any = values.expand(wanted) if isinstance(values, Tensor) else None
    spread = np.broadcast_to(values, wanted) if spread is None else spread  # type: ignore[arg-type]
    of_samples = [_repeated(each, channels) if len(each) > 1 else each for each in shared]
    volumes = x.reshape(batch * channels, 1, *x.shape[2:])
    return function(volumes, spread.reshape(-1, 3), *of_samples, **options).view(x.shape)  # type: ignore[no-any-return]


def _without_channels(values: float | Array) -> float | Array:
    """Return values [B, 1, 3] of all channels as [B, 3], and others as they are."""
    if isinstance(values, (np.ndarray, Tensor)) and values.ndim == 3 and values.shape[1] == 1:
        return values[:, 0]
    return values


def _repeated(values: Array, times: int) -> Array:
    if isinstance(values, Tensor):
        return values.repeat_interleave(times, 0)
    return values.repeat(times, 0)


@traceable
def swap(x: Volume, locations: Array, patch_size: int | Sequence[int] = 15) -> Volume:
    """Exchange pairs of patches, one pair after another (Chen et al. 2019, context restoration).

    See https://doi.org/10.1016/j.media.2019.101539.

    Args:
        x: Volume, (B, C, I, J, K), of any dtype: values are moved.
        locations: First voxels of both patches of each pair, (T, 2, 3) for all samples or
            (B, T, 2, 3), whole numbers. Patches of a pair must not overlap.
        patch_size: Voxels of a patch along I, J, K; one number stands for three.

    Raises:
        ValueError: A patch does not fit into the image, or overlaps its partner.

    >>> x = torch.arange(6).view(1, 1, 1, 1, 6)
    >>> swap(x, torch.tensor([[[0, 0, 0], [0, 0, 4]]]), (1, 1, 2)).flatten()
    tensor([4, 5, 2, 3, 0, 1])
    """
    check_volume(x)
    patch = check_triple(patch_size, "patch_size")
    size = spatial_shape(x)
    if any(n > whole for n, whole in zip(patch, size, strict=True)):
        raise ValueError(f"patch_size must be at most the shape of the image, {size}, got {patch}")
    places = as_array(locations, "locations")
    places = places[None] if places.ndim == 3 else places
    if places.ndim != 4 or tuple(places.shape[2:]) != (2, 3) or len(places) not in (1, len(x)):
        raise ValueError(
            f"locations must have shape (T, 2, 3) or ({len(x)}, T, 2, 3), "
            f"got {tuple(np.shape(locations))}"
        )
    known = host(places) if on_host(places) else None
    if known is not None:
        if (known % 1).any():
            raise ValueError(f"locations must be whole numbers, got {known.tolist()}")
        if (known < 0).any() or (known > np.array(size) - patch).any():
            raise ValueError(
                f"locations must leave room for patches {patch} in an image {size}, got "
                f"{known.min((0, 1, 2)).tolist()} to {known.max((0, 1, 2)).tolist()}"
            )
        if (np.abs(known[:, :, 0] - known[:, :, 1]) < patch).all(-1).any():
            raise ValueError(
                f"locations must be of pairs of patches that do not overlap, got {known.tolist()}"
            )
    index = places.long() if isinstance(places, Tensor) else indices(places, x.device)
    index = send(index, x.device)
    return eager.swap(x, index.expand(len(x), -1, -1, -1), patch, known)

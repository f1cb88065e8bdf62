"""Patches of volumes: extraction, and aggregation of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torchio_gpu_kernels import load

from ..arrays import host
from ..shapes import Triple, Volume, check_volume, rectangular, spatial_shape
from .compiled import traceable
from .dispatch.backend import use_kernel
from .eager import patches as eager
from .maps import check_mode, check_size
from .stitching import OVERLAPS, Stitcher, check_overlap, table, why_no_kernel

__all__ = ["aggregate_patches", "extract_patches"]


@traceable
def extract_patches(
    x: Volume | Sequence[Volume],
    first: np.ndarray | Tensor | Sequence[Sequence[int]],
    size: Triple,
    *,
    sample: Sequence[int] | None = None,
) -> Volume:
    """Cut patches of one size out of volumes.

    Args:
        x: Volume, (B, C, I, J, K), or several of one dtype, whose shapes may differ along I, J, K.
        first: First voxel of each patch, (N, 3) whole numbers on the host. Patches are 0 outside
            the volume.
        size: Voxels of a patch along I, J, K.
        sample: Sample from which each patch is cut, (N), counted through all volumes; by default
            the only sample, or one patch from each.

    Returns:
        Volume (N, C, \\*size) of the same dtype. The gradient of a voxel is the sum over the
        patches that contain it.

    Raises:
        ValueError: A shape is not as above, or a sample does not exist.

    >>> x = torch.arange(4.).view(1, 1, 4, 1, 1)
    >>> extract_patches(x, [(0, 0, 0), (2, 0, 0), (3, 0, 0)], (2, 1, 1)).flatten(1)
    tensor([[0., 1.],
            [2., 3.],
            [3., 0.]])
    """
    volumes: list[Any] = list(x) if isinstance(x, (tuple, list)) else [x]
    for volume in volumes:
        check_volume(volume)
    kinds = {(volume.shape[1], volume.dtype, volume.device) for volume in volumes}
    if len(kinds) != 1:
        raise ValueError(f"x must share number of channels, dtype and device, got {kinds}")
    corner, size = _check_first(first), check_size(size)
    samples = sum(map(len, volumes))
    if sample is None:
        if samples not in (1, len(corner)):
            raise ValueError(
                f"sample must be given for {len(corner)} patches of {samples} samples, got None"
            )
        sample = range(len(corner)) if samples == len(corner) else [0] * len(corner)
    if len(sample) != len(corner) or not all(0 <= n < samples for n in sample):
        raise ValueError(
            f"sample must hold one of {samples} samples for each of {len(corner)} patches, "
            f"got {list(sample)}"
        )
    of = np.array(sample)
    shapes = np.repeat([spatial_shape(volume) for volume in volumes], list(map(len, volumes)), 0)
    where = eager.places(corner, size, shapes[of])
    reasons = (why_no_kernel(volume.dtype, volume.shape) for volume in volumes)
    if use_kernel(volumes[0].device, lambda: next(filter(None, reasons), None)):
        return load().gather_patches(volumes, table(where, of), [], size)
    return eager.Gather.apply(of, where, size, *volumes)  # type: ignore[no-untyped-call]


@traceable
def aggregate_patches(
    patches: Volume,
    first: np.ndarray | Tensor | Sequence[Sequence[int]],
    size: Triple,
    *,
    mode: str = "hann",
    overlap: Triple = (0, 0, 0),
) -> Volume:
    """Combine overlapping patches into a volume: the weighted mean at each voxel.

    Args:
        patches: (N, C, i, j, k).
        first: First voxel of each patch, (N, 3) whole numbers on the host. It may lie outside the
            volume; voxels outside are dropped.
        size: Voxels of the volume along I, J, K.
        mode: 'average'; 'hann' or 'gaussian', whose weights decrease from the centre of the patch
            to its border; or 'crop', which keeps the centre of each patch only.
        overlap: Voxels that neighbouring patches share along I, J, K: 'crop' removes half of them
            at either end of a patch, unless the volume ends there. Later patches overwrite
            earlier ones.

    Returns:
        Volume (1, C, \\*size), 0 where there is no patch. Floats keep their dtype and are added in
        float32 or better; integers are kept by 'crop' and become float32 otherwise. Gradients flow
        to the patches.

    Raises:
        ValueError: A shape or the mode is not as above, or a patch does not lie in the volume.

    >>> patches = torch.tensor([[1., 1.], [4., 4.]]).view(2, 1, 2, 1, 1)
    >>> aggregate_patches(patches, [(0, 0, 0), (1, 0, 0)], (3, 1, 1), mode="average").flatten()
    tensor([1.0000, 2.5000, 4.0000])
    """
    check_volume(patches, "patches")
    corner = _check_first(first)
    size = check_size(size)
    check_mode(mode, known=OVERLAPS)
    if len(corner) != len(patches):
        raise ValueError(f"first must hold {len(patches)} voxels, one per patch, got {len(corner)}")
    if mode == "crop":
        check_overlap(overlap, spatial_shape(patches), "overlap")
    stitcher = Stitcher(size, size, mode, overlap)
    stitcher.add(patches, corner, spatial_shape(patches))
    return stitcher.result()[None]


def _check_first(first: np.ndarray | Tensor | Sequence[Sequence[int]]) -> np.ndarray:
    corner = host(first) if isinstance(first, Tensor) else rectangular(first, "first")
    if corner.ndim != 2 or corner.shape[1] != 3 or not len(corner):
        raise ValueError(f"first must be whole numbers (N, 3), got shape {corner.shape}")
    if not (np.isfinite(corner) & (corner == np.rint(corner))).all():
        raise ValueError(f"first must be whole numbers (N, 3), got {corner.tolist()}")
    return corner.astype(np.int64)

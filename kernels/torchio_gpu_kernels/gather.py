"""Extraction of patches from volumes that may differ in shape, in one launch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import triton
import triton.language as tl
from torch import Tensor

from .patch_tiles import (
    PatchTiles,
    Places,
    accumulator,
    addresses_and_strides,
    any_wide,
    in_range,
    send,
    tile_voxels,
    weight_arguments,
    within_plane,
)
from .tiles import readable

#: Largest number of blocks along the last axis of a CUDA grid.
_GRID_Z = 65535


# numbers that differ between launches are not specialised: each would be compiled for
@triton.jit(do_not_specialize=["C", "I", "KB"])
def gather_kernel(
    out,
    like,
    table,
    wi,
    wj,
    wk,
    C,
    I,
    J,
    K,
    KB,
    WEIGHTED: tl.constexpr,
    WORK: tl.constexpr,
    WIDE: tl.constexpr,
    BJ: tl.constexpr,
    BK: tl.constexpr,
):
    """Fill a tile of a plane of a patch, in all channels.

    Args:
        out: Patches, contiguous [N, C, I, J, K].
        like: A tensor of the dtype of the volumes; it is not read.
        table: For each patch, int64 [N, 11]: the address of its first voxel in the volume, which
            may be outside; the strides of the volume along C, I, J, K; and along I, J, K, the first
            voxel of the patch that counts and the one after the last.
        wi, wj, wk: Weights along each axis, if WEIGHTED.
        WORK: Dtype of products.
        WIDE: True if offsets within a plane may need more than 32 bits.
    """
    i, n = tl.program_id(1), tl.program_id(2)
    j, k = tile_voxels(KB, BJ, BK)
    entry = table + n * 11
    sj, sk = tl.load(entry + 3), tl.load(entry + 4)
    if not WIDE:
        sj, sk = sj.to(tl.int32), sk.to(tl.int32)
    in_j = in_range(entry + 5, i + tl.arange(0, 1), 0) & in_range(entry + 5, j, 1)
    in_k = in_range(entry + 5, k, 2)
    counts, inside = in_j[:, None] & in_k[None, :], (j < J)[:, None] & (k < K)[None, :]
    source = (
        tl.load(entry).to(like.dtype) + i * tl.load(entry + 2) + within_plane(j, k, sj, sk, WIDE)
    )
    target = out + (n.to(tl.int64) * C * I + i) * J * K + within_plane(j, k, K, 1, WIDE)
    if WEIGHTED:
        along_j = tl.load(wj + j, mask=in_j, other=0) * tl.load(wi + i)
        weights = along_j[:, None] * tl.load(wk + k, mask=in_k, other=0)[None, :]
    for _ in range(C):
        x = tl.load(source, mask=counts, other=0)
        if WEIGHTED:
            x = x.to(WORK) * weights
        tl.store(target, x, mask=inside)
        source += tl.load(entry + 1)
        target += tl.cast(I, tl.int64) * J * K


def gather(
    out: Tensor, volumes: Sequence[Tensor], places: Tensor, weights: Sequence[Tensor]
) -> None:
    """Fill patches (N, C, i, j, k); other arguments as for :data:`.patches.gather_patches`."""
    at = Places.of(places)
    entries = np.concatenate([addresses_and_strides(volume) for volume in volumes])[at.volume]
    entries[:, 0] += (entries[:, 2:] * at.first).sum(1) * out.element_size()
    (table,) = send(out.device, np.concatenate([entries, at.low - at.first, at.high - at.first], 1))
    N, C, I, J, K = out.shape
    tiles = PatchTiles.of(1, J, K)
    for n in range(0, N, _GRID_Z):
        target = readable(out[n : n + _GRID_Z])
        gather_kernel[tiles.grid(I, len(target))](
            out=target,
            like=readable(volumes[0]),
            table=table[n * 11 :],
            **weight_arguments(weights, unused=target),
            C=C,
            I=I,
            J=J,
            K=K,
            WORK=accumulator(out.dtype),
            WIDE=any_wide(out, *volumes),
            **tiles.arguments(),
        )

"""Cutting patches out of volumes that may differ in shape: one launch for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import triton
import triton.language as tl
from torch import Tensor

from .patch_tiles import PatchTiles, counts_along, items, send, tile_at, wide, within_plane, work
from .tiles import readable

#: Programs along the last axis of a launch.
_ALONG_Z = 65535


# numbers that differ from launch to launch would else be compiled for again and again
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
        like: Of the type of the volumes.
        table: For each patch, int64 [N, 11]: the address of its first voxel in the volume, which
            may be outside; the strides of this along C, I, J, K; and along I, J, K, the first voxel
            of the patch that counts and the one after the last.
        wi, wj, wk: Weights along each axis, where WEIGHTED.
        WORK: What to multiply in.
        WIDE: Whether offsets within a plane may not fit 32 bits.
    """
    i, n = tl.program_id(1), tl.program_id(2)
    j, k = tile_at(KB, BJ, BK)
    row = table + n * 11
    sj, sk = tl.load(row + 3), tl.load(row + 4)
    if not WIDE:
        sj, sk = sj.to(tl.int32), sk.to(tl.int32)
    in_j = counts_along(row + 5, i + tl.arange(0, 1), 0) & counts_along(row + 5, j, 1)
    in_k = counts_along(row + 5, k, 2)
    counts, inside = in_j[:, None] & in_k[None, :], (j < J)[:, None] & (k < K)[None, :]
    source = tl.load(row).to(like.dtype) + i * tl.load(row + 2) + within_plane(j, k, sj, sk, WIDE)
    target = out + (n.to(tl.int64) * C * I + i) * J * K + within_plane(j, k, K, 1, WIDE)
    if WEIGHTED:
        along_j = tl.load(wj + j, mask=in_j, other=0) * tl.load(wi + i)
        weights = along_j[:, None] * tl.load(wk + k, mask=in_k, other=0)[None, :]
    for _ in range(C):
        x = tl.load(source, mask=counts, other=0)
        if WEIGHTED:
            x = x.to(WORK) * weights
        tl.store(target, x, mask=inside)
        source += tl.load(row + 1)
        target += tl.cast(I, tl.int64) * J * K


def gather(
    out: Tensor, volumes: Sequence[Tensor], places: Tensor, weights: Sequence[Tensor]
) -> None:
    """Fill patches (N, C, i, j, k); the rest as for :data:`.patches.gather_patches`."""
    of = places.numpy()
    first, low, high = of[:, 1:4], of[:, 4:7], of[:, 7:10]
    rows = np.concatenate([items(volume) for volume in volumes])[of[:, 0]]
    rows[:, 0] += (rows[:, 2:] * first).sum(1) * out.element_size()
    (table,) = send(out.device, np.concatenate([rows, low - first, high - first], 1))
    N, C, I, J, K = out.shape
    tiles = PatchTiles.of(1, J, K)
    for n in range(0, N, _ALONG_Z):
        target = readable(out[n : n + _ALONG_Z])
        gather_kernel[(tiles.JB * tiles.KB, I, len(target))](
            target,
            readable(volumes[0]),
            table[n * 11 :],
            *(weights or (target,) * 3),
            C,
            I,
            J,
            K,
            tiles.KB,
            WEIGHTED=bool(weights),
            WIDE=wide(out, *volumes),
            **tiles.options(work(out.dtype)),
        )

"""Addition of patches to volumes, and division of volumes by sums of weights.

Sums are deterministic: a block owns a tile of a volume, and adds patches to it in their order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import triton
import triton.language as tl
from torch import Tensor

from .patch_tiles import (
    LARGEST_BK,
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
from .tiles import Strides, readable

#: Patches in a word of a mask: half an int64, whose sign is not used.
_WORD = tl.constexpr(32)


@triton.jit(do_not_specialize=["C", "I", "sc", "si", "i0", "j0", "k0", "B", "JB", "KB", "words"])
def scatter_kernel(
    volume,
    like,
    table,
    masks,
    wi,
    wj,
    wk,
    C,
    I,
    J,
    K,
    sc,
    si,
    sj,
    sk,
    i0,
    j0,
    k0,
    B,
    JB,
    KB,
    words,
    WEIGHTED: tl.constexpr,
    OVERWRITE: tl.constexpr,
    FRESH: tl.constexpr,
    WORK: tl.constexpr,
    WIDE: tl.constexpr,
    BI: tl.constexpr,
    BJ: tl.constexpr,
    BK: tl.constexpr,
):
    """Add patches to a tile of a volume, or overwrite it with them, in order.

    Args:
        volume: Volumes, contiguous [B, C, I, J, K].
        like: A tensor of the dtype of the patches; it is not read.
        table: For each patch, int64 [N, 10]: the address, possibly outside the patch, of voxel
            (0, 0, 0) of the volume; and along I, J, K, the voxel of the volume at which the patch
            begins, the first one that counts and the one after the last.
        masks: Bits of the patches that touch each interval of BI planes of each volume, and each
            interval of BJ and of BK voxels along J and K: int64 [B IB + JB + KB, words].
        wi, wj, wk: Weights along each axis, if WEIGHTED.
        sc, si, sj, sk: Strides of the patches.
        i0, j0, k0: First voxel of the first tile.
        OVERWRITE: Replace voxels of the volume by those of patches.
        FRESH: The volume is not initialised, and becomes 0 outside patches.
        WORK: Dtype of sums.
        WIDE: True if offsets within a plane may need more than 32 bits.
    """
    interval, item = tl.program_id(1), tl.program_id(2)
    b, c = item // C, item % C
    tile, intervals = tl.program_id(0), tl.num_programs(1)
    touch_i = masks + (b * intervals + interval) * words
    touch_j = masks + (B * intervals + tile // KB) * words
    touch_k = masks + (B * intervals + JB + tile % KB) * words
    i = i0 + interval * BI + tl.arange(0, BI)
    j, k = tile_voxels(KB, BJ, BK)
    j, k = j0 + j, k0 + k
    inside = (i < I)[:, None, None] & ((j < J)[:, None] & (k < K)[None, :])[None]
    planes = (item.to(tl.int64) * I + i) * J * K
    target = (volume + planes)[:, None, None] + within_plane(j, k, K, 1, WIDE)[None]
    within = within_plane(j, k, sj, sk, WIDE)[None]
    plane = tl.cast(c, tl.int64) * sc + i.to(tl.int64) * si
    total = tl.zeros((BI, BJ, BK), WORK)
    read = FRESH
    for word in range(words):
        bits = tl.load(touch_i + word) & tl.load(touch_j + word) & tl.load(touch_k + word)
        if (bits != 0) & (not read):  # a tile that no patch touches is not written
            total = tl.load(target, mask=inside).to(WORK)
            read = True
        while bits != 0:
            lowest = bits & -bits
            bits = bits ^ lowest
            # the number of a bit is the exponent of its value
            n = word * _WORD + (lowest.to(tl.float32).to(tl.int32, bitcast=True) >> 23) - 127
            entry = table + n * 10
            in_i, in_j = in_range(entry + 4, i, 0), in_range(entry + 4, j, 1)
            in_k = in_range(entry + 4, k, 2)
            counts = in_i[:, None, None] & (in_j[:, None] & in_k[None, :])[None]
            source = (tl.load(entry).to(like.dtype) + plane)[:, None, None] + within
            x = tl.load(source, mask=counts, other=0).to(WORK)
            if OVERWRITE:
                total = tl.where(counts, x, total)
            elif WEIGHTED:
                along_i = tl.load(wi + i - tl.load(entry + 1), mask=in_i, other=0)
                along_j = tl.load(wj + j - tl.load(entry + 2), mask=in_j, other=0)
                along_k = tl.load(wk + k - tl.load(entry + 3), mask=in_k, other=0)
                weights = (along_j[:, None] * along_k[None, :])[None]
                total += x * (weights * along_i[:, None, None])
            else:
                total += x
    if read:
        tl.store(target, total, mask=inside)


@triton.jit(do_not_specialize=["KB"])
def divide_kernel(
    volume, si, sj, sk, J, K, KB, WORK: tl.constexpr, BJ: tl.constexpr, BK: tl.constexpr
):
    """Divide a tile of a contiguous volume [C, I, J, K] by products of sums, in which 0 is 1."""
    i, c = tl.program_id(1), tl.program_id(2)
    j, k = tile_voxels(KB, BJ, BK)
    inside = (j < J)[:, None] & (k < K)[None, :]
    plane = volume + (c.to(tl.int64) * tl.num_programs(1) + i) * J * K
    place = plane + (j.to(tl.int64) * K)[:, None] + k[None, :]
    along_j = _zero_as_one(tl.load(sj + j, mask=j < J, other=1)).to(WORK)
    along_k = _zero_as_one(tl.load(sk + k, mask=k < K, other=1)).to(WORK)
    sums = along_j[:, None] * along_k[None, :] * _zero_as_one(tl.load(si + i)).to(WORK)
    x = tl.load(place, mask=inside)
    # correctly rounded, so that the mean of equal numbers is that number
    tl.store(place, x / sums if tl.float64 == WORK else tl.div_rn(x, sums), mask=inside)


@triton.jit
def _zero_as_one(sums):
    return tl.where(sums > 0, sums, 1)


def _pack_bits(touches: np.ndarray) -> np.ndarray:
    """Return flags of patches, bool [intervals, N], as bits: int64 [intervals, words]."""
    intervals, n = touches.shape
    words = -(-n // _WORD.value)
    bits = np.zeros((intervals, words * _WORD.value), dtype=bool)
    bits[:, :n] = touches
    return np.packbits(bits, 1, bitorder="little").view("<u4").astype(np.int64)


def scatter(
    volume: Tensor,
    patches: Sequence[Tensor],
    places: Tensor,
    weights: Sequence[Tensor],
    overwrite: bool,
    fresh: bool = False,
) -> None:
    """Add patches to contiguous volumes, or overwrite these; see :data:`.patches.scatter_patches_`.

    Args:
        fresh: The volumes are not initialised, and become 0 outside patches.
    """
    at = Places.of(places)
    low, high = at.low, at.high
    B, C, I, J, K = volume.shape
    # bounds of all patches
    begin, end = np.zeros(3, dtype=np.int64), np.array([I, J, K])
    if not fresh:
        full = (low < high).all(1)
        if not full.any():
            return
        begin, end = low[full].min(0), high[full].max(0)
        begin[2] -= begin[2] % LARGEST_BK  # aligned to lines of memory, if rows are
    tiles = PatchTiles.of(*(end - begin).tolist())
    touches = []
    for axis, step in enumerate((tiles.BI, tiles.BJ, tiles.BK)):
        start = np.arange(begin[axis], end[axis], step)[:, None]
        touches.append((low[:, axis] < start + step) & (start < high[:, axis]))
    intervals = len(touches[0])
    own = at.volume == np.arange(B)[:, None]  # [B, N]
    touches[0] = (touches[0] & own[:, None]).reshape(-1, len(at.volume))
    words = _pack_bits(np.concatenate(touches))
    if len({(batch.dtype, Strides.of(batch)._replace(b=0)) for batch in patches}) > 1:
        patches = [batch.to(volume.dtype).contiguous() for batch in patches]
    entries = np.concatenate([addresses_and_strides(batch) for batch in patches])
    step = patches[0].element_size()
    origin = entries[:, :1] - (entries[:, 2:] * at.first).sum(1, keepdims=True) * step
    table, masks = send(volume.device, np.concatenate([origin, at.first, low, high], 1), words)
    target = readable(volume)
    # torch and Triton name dtypes alike
    kind = getattr(tl, str(target.dtype)[6:]) if overwrite else accumulator(volume.dtype)
    steps = Strides.of(patches[0])
    i0, j0, k0 = begin.tolist()
    scatter_kernel[tiles.grid(intervals, B * C)](
        volume=target,
        like=readable(patches[0]),
        table=table,
        masks=masks,
        **weight_arguments(weights, unused=target),
        C=C,
        I=I,
        J=J,
        K=K,
        sc=steps.c,
        si=steps.i,
        sj=steps.j,
        sk=steps.k,
        i0=i0,
        j0=j0,
        k0=k0,
        B=B,
        JB=tiles.JB,
        words=words.shape[1],
        OVERWRITE=overwrite,
        FRESH=fresh,
        WORK=kind,
        WIDE=any_wide(volume, *patches),
        BI=tiles.BI,
        **tiles.arguments(per_thread=8),
    )


def divide(volume: Tensor, i: Tensor, j: Tensor, k: Tensor) -> None:
    """Divide a volume, in place; see :data:`.patches.divide_by_product_`."""
    C, I, J, K = volume.shape
    tiles = PatchTiles.of(1, J, K)
    divide_kernel[tiles.grid(I, C)](
        volume=volume,
        si=i,
        sj=j,
        sk=k,
        J=J,
        K=K,
        WORK=accumulator(volume.dtype),
        **tiles.arguments(),
    )

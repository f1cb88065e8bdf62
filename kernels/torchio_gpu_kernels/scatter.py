"""Adding patches up to volumes, and dividing these by sums of weights.

Sums are deterministic: a program owns a tile of a volume, to which it adds patches in their order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import triton
import triton.language as tl
from torch import Tensor

from .patch_tiles import (
    PIECE,
    PatchTiles,
    counts_along,
    items,
    send,
    tile_at,
    wide,
    within_plane,
    work,
)
from .tiles import readable, strides

#: Patches in a word of a mask, which is an int64: its sign stays out of it.
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
    """Add patches to a tile of a volume, or put them there, one after another.

    Args:
        volume: Volumes, contiguous [B, C, I, J, K].
        like: Of the type of the patches.
        table: For each patch, int64 [N, 10]: the address of its voxel where the first one of the
            volume is, which may be outside; and along I, J, K, the voxel of the volume where it
            begins, the first one that counts and the one after the last.
        masks: Bits of the patches that touch each piece of each volume along I, and each piece
            along J and along K: [B IB + JB + KB, words].
        wi, wj, wk: Weights along each axis, where WEIGHTED.
        sc, si, sj, sk: Strides of the patches.
        i0, j0, k0: Where the tiles begin.
        OVERWRITE: Put patches there.
        FRESH: Nothing was written to the volume, which is 0 where there is no patch.
        WORK: What to add up in.
        WIDE: Whether offsets within a plane may not fit 32 bits.
    """
    piece, item = tl.program_id(1), tl.program_id(2)
    b, c = item // C, item % C
    tile, pieces = tl.program_id(0), tl.num_programs(1)
    touch_i = masks + (b * pieces + piece) * words
    touch_j = masks + (B * pieces + tile // KB) * words
    touch_k = masks + (B * pieces + JB + tile % KB) * words
    i = i0 + piece * BI + tl.arange(0, BI)
    j, k = tile_at(KB, BJ, BK)
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
        if (bits != 0) & (not read):  # a tile that no patch touches is left alone
            total = tl.load(target, mask=inside).to(WORK)
            read = True
        while bits != 0:
            lowest = bits & -bits
            bits = bits ^ lowest
            # the number of a bit is the exponent of its value
            n = word * _WORD + (lowest.to(tl.float32).to(tl.int32, bitcast=True) >> 23) - 127
            row = table + n * 10
            in_i, in_j = counts_along(row + 4, i, 0), counts_along(row + 4, j, 1)
            in_k = counts_along(row + 4, k, 2)
            counts = in_i[:, None, None] & (in_j[:, None] & in_k[None, :])[None]
            source = (tl.load(row).to(like.dtype) + plane)[:, None, None] + within
            x = tl.load(source, mask=counts, other=0).to(WORK)
            if OVERWRITE:
                total = tl.where(counts, x, total)
            elif WEIGHTED:
                along_i = tl.load(wi + i - tl.load(row + 1), mask=in_i, other=0)
                along_j = tl.load(wj + j - tl.load(row + 2), mask=in_j, other=0)
                along_k = tl.load(wk + k - tl.load(row + 3), mask=in_k, other=0)
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
    """Divide a tile of a contiguous volume [C, I, J, K] by products of sums; 0 of these count 1."""
    i, c = tl.program_id(1), tl.program_id(2)
    j, k = tile_at(KB, BJ, BK)
    inside = (j < J)[:, None] & (k < K)[None, :]
    plane = volume + (c.to(tl.int64) * tl.num_programs(1) + i) * J * K
    place = plane + (j.to(tl.int64) * K)[:, None] + k[None, :]
    along_j = _at_least(tl.load(sj + j, mask=j < J, other=1)).to(WORK)
    along_k = _at_least(tl.load(sk + k, mask=k < K, other=1)).to(WORK)
    sums = along_j[:, None] * along_k[None, :] * _at_least(tl.load(si + i)).to(WORK)
    x = tl.load(place, mask=inside)
    # exact, so that equal numbers have themselves as their mean
    tl.store(place, x / sums if tl.float64 == WORK else tl.div_rn(x, sums), mask=inside)


@triton.jit
def _at_least(sums):
    return tl.where(sums > 0, sums, 1)


def _words(touches: np.ndarray) -> np.ndarray:
    """Flags of patches, [pieces, N], as bits of words: int64 [pieces, words]."""
    pieces, n = touches.shape
    words = -(-n // _WORD.value)
    bits = np.zeros((pieces, words * _WORD.value), dtype=bool)
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
    """Add patches to contiguous volumes, or put them there; see :data:`.patches.scatter_patches_`.

    Args:
        fresh: Nothing was written to the volumes yet: they become 0 where there is no patch.
    """
    of = places.numpy()
    low, high = of[:, 4:7], of[:, 7:10]
    B, C, I, J, K = volume.shape
    # the box in which patches lie
    begin, end = np.zeros(3, dtype=np.int64), np.array([I, J, K])
    if not fresh:
        full = (low < high).all(1)
        if not full.any():
            return
        begin, end = low[full].min(0), high[full].max(0)
        begin[2] -= begin[2] % PIECE  # where a line of memory begins, if rows do
    tiles = PatchTiles.of(*(end - begin).tolist())
    touches = []
    for axis, step in enumerate(tiles[:3]):
        start = np.arange(begin[axis], end[axis], step)[:, None]
        touches.append((low[:, axis] < start + step) & (start < high[:, axis]))
    pieces = len(touches[0])
    own = of[:, 0] == np.arange(B)[:, None]  # [B, N]
    touches[0] = (touches[0] & own[:, None]).reshape(-1, len(of))
    words = _words(np.concatenate(touches))
    if len({(batch.dtype, *strides(batch)[1:]) for batch in patches}) > 1:
        patches = [batch.to(volume.dtype).contiguous() for batch in patches]
    rows = np.concatenate([items(batch) for batch in patches])
    step = patches[0].element_size()
    at = rows[:, :1] - (rows[:, 2:] * of[:, 1:4]).sum(1, keepdims=True) * step
    table, masks = send(volume.device, np.concatenate([at, of[:, 1:]], 1), words)
    target = readable(volume)
    # torch and Triton call types the same
    kind = getattr(tl, str(target.dtype)[6:]) if overwrite else work(volume.dtype)
    scatter_kernel[(tiles.JB * tiles.KB, pieces, B * C)](
        target,
        readable(patches[0]),
        table,
        masks,
        *(weights or (target,) * 3),
        C,
        I,
        J,
        K,
        *strides(patches[0])[1:],
        *begin.tolist(),
        B,
        tiles.JB,
        tiles.KB,
        words.shape[1],
        WEIGHTED=bool(weights),
        OVERWRITE=overwrite,
        FRESH=fresh,
        WIDE=wide(volume, *patches),
        BI=tiles.BI,
        **tiles.options(kind, per_thread=8),
    )


def divide(volume: Tensor, i: Tensor, j: Tensor, k: Tensor) -> None:
    """Divide a volume, in place; see :data:`.patches.divide_by_product_`."""
    C, I, J, K = volume.shape
    tiles = PatchTiles.of(1, J, K)
    divide_kernel[(tiles.JB * tiles.KB, I, C)](
        volume, i, j, k, J, K, tiles.KB, **tiles.options(work(volume.dtype))
    )

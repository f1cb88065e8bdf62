"""Cutting patches out of volumes, and adding them up: each is the other's gradient.

Both go by a table with a row for each patch: where in memory the voxels are that are read, those of
its volume or its own, and where the patch lies. So volumes may differ in shape, and batches of
patches in strides: one launch serves them all. Sums are deterministic: a program owns a tile of a
volume, to which it adds patches in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from .library import differentiate, register
from .tiles import OPTIONS, is_wide, readable, strides

#: Patches in a word of a mask, which is an int64: its sign stays out of it.
_WORD = tl.constexpr(32)
#: Voxels of a tile along K, along I, and in all: the larger a tile, the more patches does it touch
#: that hold little of it.
_PIECE, _PLANES, _VOXELS = 32, 4, 1024
#: Voxels of a thread: what it has to find out of a patch, it finds out once for all of them.
_PER_THREAD = 16
#: Programs along the last axis of a launch.
_ALONG_Z = 65535


@triton.jit
def _tile(KB, BJ: tl.constexpr, BK: tl.constexpr):
    """Rows and columns of a program's tile, [BJ] and [BK]."""
    tile = tl.program_id(0)
    return tile // KB * BJ + tl.arange(0, BJ), tile % KB * BK + tl.arange(0, BK)


@triton.jit
def _place(j, k, sj, sk, WIDE: tl.constexpr):
    """Offsets [BJ, BK] within a plane.

    Neighbouring threads take neighbouring voxels, one at a time: patches begin anywhere, and so
    reading several voxels at once would hardly ever do.
    """
    if WIDE:
        j, k = j.to(tl.int64), k.to(tl.int64)
    return tl.max_contiguous((j * sj)[:, None] + (k * sk)[None, :], [1, 1])


@triton.jit
def _counts(row, x, AXIS: tl.constexpr):
    """Whether voxels count along an axis: those between two numbers of three and three."""
    low, high = tl.load(row + AXIS).to(tl.int32), tl.load(row + 3 + AXIS).to(tl.int32)
    return (x >= low) & (x < high)


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
    j, k = _tile(KB, BJ, BK)
    row = table + n * 11
    sj, sk = tl.load(row + 3), tl.load(row + 4)
    if not WIDE:
        sj, sk = sj.to(tl.int32), sk.to(tl.int32)
    in_j = _counts(row + 5, i + tl.arange(0, 1), 0) & _counts(row + 5, j, 1)
    in_k = _counts(row + 5, k, 2)
    counts, inside = in_j[:, None] & in_k[None, :], (j < J)[:, None] & (k < K)[None, :]
    source = tl.load(row).to(like.dtype) + i * tl.load(row + 2) + _place(j, k, sj, sk, WIDE)
    target = out + (n.to(tl.int64) * C * I + i) * J * K + _place(j, k, K, 1, WIDE)
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
    j, k = _tile(KB, BJ, BK)
    j, k = j0 + j, k0 + k
    inside = (i < I)[:, None, None] & ((j < J)[:, None] & (k < K)[None, :])[None]
    planes = (item.to(tl.int64) * I + i) * J * K
    target = (volume + planes)[:, None, None] + _place(j, k, K, 1, WIDE)[None]
    within = _place(j, k, sj, sk, WIDE)[None]
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
            in_i, in_j = _counts(row + 4, i, 0), _counts(row + 4, j, 1)
            in_k = _counts(row + 4, k, 2)
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
    j, k = _tile(KB, BJ, BK)
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


def _items(batch: Tensor) -> np.ndarray:
    """Addresses and strides of what lies along the first axis, int64 [B, 5]."""
    first, *others = strides(batch)
    rows = np.empty((len(batch), 5), dtype=np.int64)
    rows[:, 0] = batch.data_ptr() + np.arange(len(batch)) * (first * batch.element_size())
    rows[:, 1:] = others
    return rows


def _words(touches: np.ndarray) -> np.ndarray:
    """Flags of patches, [pieces, N], as bits of words: int64 [pieces, words]."""
    pieces, n = touches.shape
    words = -(-n // _WORD.value)
    bits = np.zeros((pieces, words * _WORD.value), dtype=bool)
    bits[:, :n] = touches
    return np.packbits(bits, 1, bitorder="little").view("<u4").astype(np.int64)


def _send(device: torch.device, *arrays: np.ndarray) -> list[Tensor]:
    """Bring int64 arrays to a device in one copy, which is not waited for."""
    buffer = torch.from_numpy(np.concatenate([array.ravel() for array in arrays]))
    if device.type == "cuda":
        buffer = buffer.pin_memory()
    sizes = [array.size for array in arrays]
    return list(buffer.to(device, non_blocking=True).split(sizes))


class _Tiles(NamedTuple):
    """Tiles of a volume or of a patch; in a plane they count along K first."""

    BI: int
    BJ: int
    BK: int
    JB: int  # tiles along J
    KB: int  # tiles along K

    @staticmethod
    def of(I: int, J: int, K: int) -> _Tiles:
        BK = min(triton.next_power_of_2(K), _PIECE)
        BI = min(triton.next_power_of_2(I), _PLANES)
        BJ = min(triton.next_power_of_2(J), _VOXELS // (BI * BK))
        return _Tiles(BI, BJ, BK, -(-J // BJ), -(-K // BK))

    def options(self, work: Any) -> dict[str, Any]:
        """How to launch."""
        warps = max(1, self.BI * self.BJ * self.BK // (32 * _PER_THREAD))
        return {"BJ": self.BJ, "BK": self.BK, "WORK": work, "num_warps": warps, **OPTIONS}


def _work(dtype: torch.dtype) -> Any:
    """What to compute with."""
    return tl.float64 if dtype == torch.float64 else tl.float32


def _wide(*tensors: Tensor) -> bool:
    """Whether offsets within a plane may not fit 32 bits."""
    return any(is_wide(t.shape[3:], t.stride()[3:]) for t in tensors)


def _gather(
    volumes: Sequence[Tensor], places: Tensor, weights: Sequence[Tensor], size: Sequence[int]
) -> Tensor:
    out = _patches_like(volumes, places, weights, size)
    of = places.numpy()
    first, low, high = of[:, 1:4], of[:, 4:7], of[:, 7:10]
    rows = np.concatenate([_items(volume) for volume in volumes])[of[:, 0]]
    rows[:, 0] += (rows[:, 2:] * first).sum(1) * out.element_size()
    (table,) = _send(out.device, np.concatenate([rows, low - first, high - first], 1))
    N, C, I, J, K = out.shape
    tiles = _Tiles.of(1, J, K)
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
            WIDE=_wide(out, *volumes),
            **tiles.options(_work(out.dtype)),
        )
    return out


def _patches_like(
    volumes: Sequence[Tensor], places: Tensor, weights: Sequence[Tensor], size: Sequence[int]
) -> Tensor:
    first = volumes[0]
    shape = (places.shape[0], first.shape[1], *size)
    return torch.empty(shape, dtype=first.dtype, device=first.device)


def _add(
    volume: Tensor,
    patches: Sequence[Tensor],
    places: Tensor,
    weights: Sequence[Tensor],
    overwrite: bool,
    fresh: bool = False,
) -> None:
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
        begin[2] -= begin[2] % _PIECE  # where a line of memory begins, if rows do
    tiles = _Tiles.of(*(end - begin).tolist())
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
    rows = np.concatenate([_items(batch) for batch in patches])
    step = patches[0].element_size()
    at = rows[:, :1] - (rows[:, 2:] * of[:, 1:4]).sum(1, keepdims=True) * step
    table, masks = _send(volume.device, np.concatenate([at, of[:, 1:]], 1), words)
    target = readable(volume)
    # torch and Triton call types the same
    kind = getattr(tl, str(target.dtype)[6:]) if overwrite else _work(volume.dtype)
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
        WIDE=_wide(volume, *patches),
        BI=tiles.BI,
        **tiles.options(kind),
    )


def _scatter(
    patches: Sequence[Tensor],
    places: Tensor,
    weights: Sequence[Tensor],
    shape: Sequence[int],
    overwrite: bool,
    onto: Tensor | None,
) -> Tensor:
    out = _volume_like(patches, places, weights, shape, overwrite, onto)
    if onto is not None:
        out.copy_(onto)
    _add(out, patches, places, weights, overwrite, fresh=onto is None)
    return out


def _volume_like(
    patches: Sequence[Tensor],
    places: Tensor,
    weights: Sequence[Tensor],
    shape: Sequence[int],
    overwrite: bool,
    onto: Tensor | None,
) -> Tensor:
    like = patches[0] if onto is None else onto
    return torch.empty(shape, dtype=like.dtype, device=like.device)


def _divide(volume: Tensor, i: Tensor, j: Tensor, k: Tensor) -> None:
    C, I, J, K = volume.shape
    tiles = _Tiles.of(1, J, K)
    divide_kernel[(tiles.JB * tiles.KB, I, C)](
        volume, i, j, k, J, K, tiles.KB, **tiles.options(_work(volume.dtype))
    )


def _nothing(*_: Any) -> None:
    """What an operator returns that changes what it is given."""


#: Cut patches of a size out of volumes, (N, C, I, J, K); what is outside, or does not count, is 0.
#:
#: ``volumes`` are batches (B, C, I, J, K) of one type, whose shapes may differ along I, J, K.
#: ``places`` are ten whole numbers for each patch, int64 [N, 10] on the host: the volume it is of,
#: counted through all batches; where the patch begins, the first voxel that counts and the one
#: after the last, along I, J, K, in voxels of the volume. The latter two lie within both. By
#: ``weights`` along each axis, none or three, the voxels of patches are multiplied.
gather_patches = register(
    "gather_patches(Tensor[] volumes, Tensor places, Tensor[] weights, SymInt[] size) -> Tensor",
    _gather,
    _patches_like,
)

#: Add patches to volumes (B, C, I, J, K), or put them there, later ones in the place of others.
#:
#: ``patches`` are batches (N, C, i, j, k) of any strides; the rest as above. The volumes are new
#: ones of a ``shape``: copies of ``onto``, else zeros of the type of the patches.
scatter_patches = register(
    "scatter_patches(Tensor[] patches, Tensor places, Tensor[] weights, SymInt[] shape, "
    "bool overwrite, Tensor? onto) -> Tensor",
    _scatter,
    _volume_like,
)

#: The same, in place, to contiguous volumes.
scatter_patches_ = register(
    "scatter_patches_(Tensor(a!) volume, Tensor[] patches, Tensor places, Tensor[] weights, "
    "bool overwrite) -> ()",
    _add,
    _nothing,
)

#: Divide a contiguous volume (C, I, J, K), in place, by the product of three numbers for each
#: voxel, of which 0 counts as 1.
divide_by_product_ = register(
    "divide_by_product_(Tensor(a!) volume, Tensor i, Tensor j, Tensor k) -> ()", _divide, _nothing
)


def _remember_gather(ctx: Any, inputs: Any, output: Tensor) -> None:
    volumes, places, weights, _ = inputs
    ctx.save_for_backward(places, *weights)
    ctx.shapes = [volume.shape for volume in volumes]


def _gather_back(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    places, *weights = ctx.saved_tensors
    grads: list[Tensor | None] = []
    before = 0
    for shape, wanted in zip(ctx.shapes, ctx.needs_input_grad[0], strict=True):
        if not wanted:
            grads.append(None)
            before += shape[0]
            continue
        own = places.clone()
        own[:, 0] -= before
        others = (own[:, 0] < 0) | (own[:, 0] >= shape[0])
        own[others, 0] = 0
        own[others, 7:] = own[others, 4:7]  # nothing of them counts
        grads.append(scatter_patches([grad], own, weights, shape, False, None))
        before += shape[0]
    return grads, None, [None] * len(weights), None


def _remember_scatter(ctx: Any, inputs: Any, output: Tensor) -> None:
    patches, places, weights, _, ctx.overwrite, _ = inputs
    ctx.save_for_backward(places, *weights)
    ctx.patches = [(len(batch), batch.dtype) for batch in patches]
    ctx.size = patches[0].shape[2:]


def _scatter_back(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    places, *weights = ctx.saved_tensors
    part = gather_patches([grad], places, weights, ctx.size)
    if ctx.overwrite:  # only of the patch that came last
        n = torch.arange(1, len(places) + 1, dtype=torch.int32, device=grad.device)
        numbers = n.view(-1, 1, 1, 1, 1)
        one = numbers.expand(-1, 1, *ctx.size)
        shape = (grad.shape[0], 1, *grad.shape[2:])
        last = scatter_patches([one], places, [], shape, True, None)
        part = part.where(gather_patches([last], places, [], ctx.size) == numbers, 0)
    lengths, types = zip(*ctx.patches, strict=True)
    parts = part.split(lengths)
    grads = [
        each.to(dtype) if dtype.is_floating_point else None
        for each, dtype in zip(parts, types, strict=True)
    ]
    return grads, None, [None] * len(weights), None, None, None


differentiate("gather_patches", _remember_gather, _gather_back)
differentiate("scatter_patches", _remember_scatter, _scatter_back)

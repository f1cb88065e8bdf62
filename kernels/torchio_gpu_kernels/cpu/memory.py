"""Elements of tensors, read as float32 and written from it, and as they are."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload
from torch import Tensor

_HALF, _FLOAT, _WORD = ir.HalfType(), ir.FloatType(), ir.IntType(32)
#: Dtypes of numpy that hold voxels of dtypes that numba lacks: for float16, one that no volume has,
#: for bfloat16 a record of it.
_HELD = {
    torch.float16: np.dtype(np.uint16),
    torch.bfloat16: np.dtype([("bfloat16", np.uint16)]),
    torch.bool: np.dtype(np.uint8),
}
#: Dtypes that hold the bits of voxels that are moved and never computed with, by size in bytes.
_BITS = {1: torch.uint8, 2: torch.uint16, 4: torch.int32, 8: torch.int64}


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return an uninitialized tensor in memory of numpy, which asks Linux for large pages."""
    count = prod(shape)
    if count == 0:  # not even one element to view in another dtype
        return torch.empty(shape, dtype=dtype)
    return torch.from_numpy(np.empty(count * dtype.itemsize, np.uint8)).view(dtype).view(shape)


def voxels(x: Tensor) -> np.ndarray:
    """Return the memory of a volume as [N], from its first voxel to its last, for :func:`read`."""
    flat = _flat(x)
    return (
        flat.view(_BITS[x.element_size()]).numpy().view(_HELD[x.dtype])
        if x.dtype in _HELD
        else flat.numpy()
    )


def bits(x: Tensor) -> np.ndarray:
    """Return the memory of a volume as [N], from its first voxel to its last, for :func:`copy`."""
    return _flat(x).view(_BITS[x.element_size()]).numpy()


def layout(x: Tensor) -> tuple[int, int, int, tuple[Any, Any, Any]]:
    """Return channels, strides of samples and channels, and strides along I, J, K of a volume.

    The last three are int32 if that is enough for offsets between voxels, else int64. They are 0
    along axes of one voxel, so that the neighbour of a voxel lies within the volume.
    """
    steps = [0 if n == 1 else step for n, step in zip(x.shape, x.stride(), strict=True)]
    last = sum((n - 1) * step for n, step in zip(x.shape[2:], steps[2:], strict=True))
    i, j, k = map(np.int32 if last < 2**31 else np.int64, steps[2:])
    return x.shape[1], steps[0], steps[1], (i, j, k)


def _flat(x: Tensor) -> Tensor:
    last = sum((n - 1) * step for n, step in zip(x.shape, x.stride(), strict=True))
    return x.detach().as_strided((last + 1 if x.numel() else 0,), (1,))


def _pointer(context, builder, array, value, *indices):  # type: ignore[no-untyped-def]
    pointer = context.make_array(array)(context, builder, value).data
    for index in indices:
        pointer = builder.gep(pointer, [index], inbounds=True)
    return pointer


@intrinsic
def read(typingctx, array, base, index):  # type: ignore[no-untyped-def]
    """Return element ``base + index`` of a contiguous array as float32.

    Unlike indexing, it does not look for negative indices, and leaves ``index`` as narrow as it is,
    which vectorized loads profit from.
    """

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        pointer = _pointer(context, builder, array, *args)
        if isinstance(array.dtype, types.Record):  # bfloat16, the upper half of float32
            half = builder.load(builder.bitcast(pointer, ir.IntType(16).as_pointer()))
            wide = builder.shl(builder.zext(half, _WORD), ir.Constant(_WORD, 16))
            return builder.bitcast(wide, _FLOAT)
        value = builder.load(pointer)
        if array.dtype == types.float32:
            return value
        if array.dtype == types.uint16:  # float16
            return builder.fpext(builder.bitcast(value, _HALF), _FLOAT)
        convert = builder.sitofp if array.dtype.signed else builder.uitofp
        return convert(value, _FLOAT)

    return types.float32(array, base, index), generate


@intrinsic
def write(typingctx, array, base, index, value):  # type: ignore[no-untyped-def]
    """Write a float32 to element ``base + index`` of a contiguous array, rounded to its dtype."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        array_value, base_value, index_value, y = args
        pointer = _pointer(context, builder, array, array_value, base_value, index_value)
        if array.dtype == types.uint16:  # float16
            y = builder.bitcast(builder.fptrunc(y, _HALF), ir.IntType(16))
        elif isinstance(array.dtype, types.Record):  # bfloat16
            y = _to_bfloat16(builder, y)
            pointer = builder.bitcast(pointer, y.type.as_pointer())
        builder.store(y, pointer)
        return context.get_dummy_value()

    return types.void(array, base, index, types.float32), generate


def _to_bfloat16(builder, y):  # type: ignore[no-untyped-def]
    """Round a float32 to the nearest bfloat16, of two as near to the even one; keep NaN."""

    def word(n: int) -> ir.Constant:
        return ir.Constant(_WORD, n)

    whole = builder.bitcast(y, _WORD)
    odd = builder.and_(builder.lshr(whole, word(16)), word(1))
    rounded = builder.lshr(builder.add(whole, builder.add(odd, word(0x7FFF))), word(16))
    is_nan = builder.fcmp_unordered("uno", y, y)
    return builder.trunc(builder.select(is_nan, word(0x7FC0), rounded), ir.IntType(16))


@intrinsic
def copy(typingctx, array, base, index):  # type: ignore[no-untyped-def]
    """Return element ``base + index`` of a contiguous array as it is."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.load(_pointer(context, builder, array, *args))

    return array.dtype(array, base, index), generate


def width_of(offset, value):  # type: ignore[no-untyped-def]
    """Return a number as an integer of the type of ``offset``."""


@overload(width_of)
def _width_of(offset, value):  # type: ignore[no-untyped-def]
    integer = offset
    return lambda offset, value: integer(value)

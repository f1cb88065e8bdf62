"""Elements of tensors, read as float32 and written from it, and as they are."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from math import prod
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.extending import intrinsic, overload
from torch import Tensor

_FLOAT, _WORD, _HALF = ir.FloatType(), ir.IntType(32), ir.IntType(16)
#: Size in bytes from which numpy requests large pages.
_LARGE = 2**22
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
    """Return an uninitialized tensor, in memory of numpy if that asks Linux for large pages."""
    size = prod(shape) * dtype.itemsize
    if size < _LARGE:
        return torch.empty(shape, dtype=dtype, device="cpu")
    return torch.from_numpy(np.empty(size, np.uint8)).view(dtype).view(shape)


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
            half = builder.load(builder.bitcast(pointer, _HALF.as_pointer()))
            wide = builder.shl(builder.zext(half, _WORD), ir.Constant(_WORD, 16))
            return builder.bitcast(wide, _FLOAT)
        value = builder.load(pointer)
        if array.dtype == types.float32:
            return value
        if array.dtype == types.uint16:  # float16
            return _from_half(builder, value)
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
            y = _to_half(builder, y)
        elif isinstance(array.dtype, types.Record):  # bfloat16
            y = _to_bfloat16(builder, y)
            pointer = builder.bitcast(pointer, y.type.as_pointer())
        builder.store(y, pointer)
        return context.get_dummy_value()

    return types.void(array, base, index, types.float32), generate


def _cpu_converts_half() -> bool:
    """Return True if the CPU that code is compiled for is known to convert float16.

    For one that does not, LLVM calls functions that are not there.
    """
    settings: Any = numba.config  # whose names are made at import
    if settings.CPU_NAME or settings.CPU_FEATURES:  # another CPU is asked for
        return False
    x86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686", "x86")
    return not x86 or bool(get_host_cpu_features().get("f16c"))


_CPU_CONVERTS_HALF = _cpu_converts_half()


def _from_half(builder, half):  # type: ignore[no-untyped-def]
    """Return the float32 of the bits of a float16."""
    if _CPU_CONVERTS_HALF:
        return builder.fpext(builder.bitcast(half, ir.HalfType()), _FLOAT)
    bits = builder.zext(half, _WORD)
    sign = builder.shl(builder.and_(bits, _word(0x8000)), _word(16))
    magnitude = builder.shl(builder.and_(bits, _word(0x7FFF)), _word(13))
    # the exponent is 112 too small; a product corrects that of subnormal numbers, too
    scaled = builder.fmul(builder.bitcast(magnitude, _FLOAT), ir.Constant(_FLOAT, 2.0**112))
    special = builder.icmp_unsigned(">=", magnitude, _word(0x0F800000))  # infinity or NaN
    infinite = builder.or_(magnitude, _word(0x7F800000))
    whole = builder.select(special, infinite, builder.bitcast(scaled, _WORD))
    return builder.bitcast(builder.or_(whole, sign), _FLOAT)


def _to_half(builder, y):  # type: ignore[no-untyped-def]
    """Round a float32 to the bits of the nearest float16, of two as near of the even one."""
    if _CPU_CONVERTS_HALF:
        return builder.bitcast(builder.fptrunc(y, ir.HalfType()), _HALF)
    bits = builder.bitcast(y, _WORD)
    sign = builder.and_(builder.lshr(bits, _word(16)), _word(0x8000))
    magnitude = builder.and_(bits, _word(0x7FFFFFFF))
    # a sum with 1/2, whose last place is that of subnormal numbers, rounds to one of these
    sum_ = builder.fadd(builder.bitcast(magnitude, _FLOAT), ir.Constant(_FLOAT, 0.5))
    small = builder.sub(builder.bitcast(sum_, _WORD), _word(0x3F000000))
    odd = builder.and_(builder.lshr(magnitude, _word(13)), _word(1))
    rounded = builder.add(builder.add(magnitude, odd), _word(0xFFF))
    normal = builder.lshr(builder.sub(rounded, _word(112 << 23)), _word(13))
    is_small = builder.icmp_unsigned("<", magnitude, _word(0x38800000))
    is_large = builder.icmp_unsigned(">=", magnitude, _word(0x477FF000))  # rounds to infinity
    is_nan = builder.fcmp_unordered("uno", y, y)
    half = builder.select(is_small, small, normal)
    half = builder.select(is_large, _word(0x7C00), half)
    half = builder.select(is_nan, _word(0x7E00), half)
    return builder.trunc(builder.or_(half, sign), _HALF)


def _to_bfloat16(builder, y):  # type: ignore[no-untyped-def]
    """Round a float32 to the bits of the nearest bfloat16, of two as near of the even one."""
    bits = builder.bitcast(y, _WORD)
    odd = builder.and_(builder.lshr(bits, _word(16)), _word(1))
    rounded = builder.lshr(builder.add(bits, builder.add(odd, _word(0x7FFF))), _word(16))
    is_nan = builder.fcmp_unordered("uno", y, y)
    return builder.trunc(builder.select(is_nan, _word(0x7FC0), rounded), _HALF)


def _word(n: int) -> ir.Constant:
    return ir.Constant(_WORD, n)


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

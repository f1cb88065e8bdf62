"""Intrinsics of the kernels, each compared with its definition in float64 over its input range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor
from torchio_gpu_kernels import intrinsics


@dataclass(frozen=True)
class Check:
    """Intrinsic of one or two arguments.

    Args:
        exact: Definition, of tensors in float64.
        low, high: Range of the first argument.
        absolute, relative: Largest errors; either may be as large as it says.
        spread: Whether the range is covered evenly in the exponent.
        other: Range of the second argument, if there is one.
    """

    exact: Callable[..., Tensor]
    low: float
    high: float
    absolute: float = 0.0
    relative: float = 0.0
    spread: bool = False
    other: tuple[float, float] | None = None


#: By name. The errors are those of NVIDIA's PTX ISA, and half a unit in the last place of float32.
_HALF = 2.0**-24
CHECKS = {
    "log2": Check(torch.log2, 1e-37, 3e38, 2**-22 + _HALF, 2**-22 + _HALF, spread=True),
    "log2_of_magnitude": Check(
        lambda x: torch.log2(x.abs()), -3e38, -1e-37, 2**-22 + _HALF, 2**-22 + _HALF, spread=True
    ),
    "exp2": Check(torch.exp2, -125, 127, relative=2**-22 + _HALF),
    "sqrt": Check(torch.sqrt, 1e-37, 3e38, relative=2**-23 + _HALF, spread=True),
    "sin": Check(torch.sin, -np.pi, np.pi, 2**-20.9 + _HALF),
    "cos": Check(torch.cos, -np.pi, np.pi, 2**-20.9 + _HALF),
    "saturated_difference": Check(
        lambda x, y: (x - y).clamp(0, 1), -2, 3, relative=_HALF, other=(-2, 3)
    ),
    "with_sign": Check(torch.copysign, 0, 10, other=(-2, 3)),
}
#: Arguments for which results must be exact: special values, as kernels meet them.
_NAN, _INF = float("nan"), float("inf")
SPECIAL: dict[str, list[tuple[tuple[float, ...], float]]] = {
    "log2": [((1.0,), 0.0), ((_INF,), _INF), ((_NAN,), _NAN)],
    "log2_of_magnitude": [((0.0,), -_INF), ((-1e-40,), -_INF), ((-_INF,), _INF), ((_NAN,), _NAN)],
    "exp2": [((-_INF,), 0.0), ((_INF,), _INF), ((0.0,), 1.0), ((_NAN,), _NAN)],
    "sqrt": [((0.0,), 0.0), ((_INF,), _INF), ((_NAN,), _NAN)],
    "sin": [((0.0,), 0.0)],
    "cos": [((0.0,), 1.0)],
    "saturated_difference": [((_NAN, 0.0), 0.0), ((_INF, 0.0), 1.0), ((-_INF, 0.0), 0.0)],
    "with_sign": [((2.0, -0.0), -2.0), ((_INF, -1.0), -_INF), ((_NAN, 1.0), _NAN)],
}
_BLOCK = 256


@triton.jit
def _one_kernel(x, out, function: tl.constexpr, block: tl.constexpr):
    n = tl.program_id(0) * block + tl.arange(0, block)
    tl.store(out + n, function(tl.load(x + n)))


@triton.jit
def _two_kernel(x, y, out, function: tl.constexpr, block: tl.constexpr):
    n = tl.program_id(0) * block + tl.arange(0, block)
    tl.store(out + n, function(tl.load(x + n), tl.load(y + n)))


def call(name: str, device: str, *arguments: Tensor) -> Tensor:
    """Return the values of an intrinsic, for float32 tensors whose length divides by 256."""
    given = [x.to(device) for x in arguments]
    out = torch.full_like(given[0], _NAN)
    function = getattr(intrinsics, name)
    kernel: Any = _one_kernel if len(given) == 1 else _two_kernel
    kernel[(len(out) // _BLOCK,)](*given, out, function=function, block=_BLOCK)
    return out.cpu()


def inputs(name: str, count: int) -> list[Tensor]:
    """Return arguments over the range of an intrinsic, float32."""
    check = CHECKS[name]
    sign = -1.0 if check.low < 0 and check.spread else 1.0
    ends = sorted((abs(check.low), abs(check.high)))
    if check.spread:
        along = sign * np.geomspace(*ends, count)
    else:
        along = np.linspace(check.low, check.high, count)
    found = [torch.from_numpy(along.clip(min(check.low, check.high), max(check.low, check.high)))]
    if check.other is not None:  # in another order
        found.append(torch.linspace(*check.other, count, dtype=torch.float64).roll(count // 3))
    return [x.float() for x in found]


def error(name: str, device: str, count: int = 2**16) -> float:
    """Return the largest error of an intrinsic, over the one that is allowed: 1 or less is right.

    Raises:
        ValueError: A special value gives another result than it must.
    """
    for arguments, expected in SPECIAL[name]:
        given = [torch.full((_BLOCK,), value) for value in arguments]
        found = call(name, device, *given)[0].item()
        if not (found == expected or (np.isnan(found) and np.isnan(expected))):
            raise ValueError(f"{name}{arguments} must be {expected}, got {found}")
    check, given = CHECKS[name], inputs(name, count)
    exact = check.exact(*(x.double() for x in given))
    allowed = torch.maximum(torch.tensor(check.absolute), check.relative * exact.abs())
    apart = (call(name, device, *given).double() - exact).abs()
    return float((apart / allowed.clamp_min(1e-45)).max())

"""Intrinsics of the kernels against their definitions in float64, over their range of inputs.

In the interpreter, these are their twins; on a GPU, assembly.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torchio_gpu_kernels.intrinsics as intrinsics
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime.interpreter import InterpretedFunction
from triton.runtime.jit import JITFunction

NAN, INF = float("nan"), float("inf")
BLOCK = 256


class Check(NamedTuple):
    """Definition, arguments, and the error that is allowed: absolute or relative."""

    exact: Callable[..., Tensor]
    arguments: Any  # of each, a range [n]
    absolute: float = 0.0
    relative: float = 0.0
    special: Any = ()  # arguments, and the number that they must give


def evenly(low: float, high: float) -> np.ndarray:
    return np.linspace(low, high, 2**12)


#: Numbers up to the largest one, evenly in the exponent.
POSITIVE = np.geomspace(1e-37, 3e38, 2**12)
OTHER = np.roll(evenly(-2, 3), 1000)  # in another order
#: Errors are those of NVIDIA's PTX ISA, and half a unit in the last place of float32.
HALF = 2.0**-24
LOG, SINE = 2**-22 + HALF, 2**-20.9 + HALF
CHECKS = {
    "log2": Check(torch.log2, [POSITIVE], LOG, LOG, [(1, 0), (INF, INF), (NAN, NAN)]),
    "log2_of_magnitude": Check(
        *(lambda x: torch.log2(x.abs()), [-POSITIVE], LOG, LOG),
        [(0, -INF), (-1e-40, -INF), (-INF, INF), (NAN, NAN)],
    ),
    "exp2": Check(
        *(torch.exp2, [evenly(-125, 127)], 0, LOG), [(-INF, 0), (INF, INF), (0, 1), (NAN, NAN)]
    ),
    "sqrt": Check(*(torch.sqrt, [POSITIVE], 0, 2**-23 + HALF), [(0, 0), (INF, INF), (NAN, NAN)]),
    "sin": Check(torch.sin, [evenly(-np.pi, np.pi)], SINE, 0, [(0, 0)]),
    "cos": Check(torch.cos, [evenly(-np.pi, np.pi)], SINE, 0, [(0, 1)]),
    "saturated_difference": Check(
        *(lambda x, y: (x - y).clamp(0, 1), [evenly(-2, 3), OTHER], 0, HALF),
        [(NAN, 0, 0), (INF, 0, 1), (-INF, 0, 0)],
    ),
    "with_sign": Check(
        *(torch.copysign, [evenly(0, 10), OTHER], 0, 0),
        [(2, -0.0, -2), (INF, -1, -INF), (NAN, 1, NAN)],
    ),
}


@triton.jit
def one_kernel(x, out, function: tl.constexpr, block: tl.constexpr):
    n = tl.program_id(0) * block + tl.arange(0, block)
    tl.store(out + n, function(tl.load(x + n)))


@triton.jit
def two_kernel(x, y, out, function: tl.constexpr, block: tl.constexpr):
    n = tl.program_id(0) * block + tl.arange(0, block)
    tl.store(out + n, function(tl.load(x + n), tl.load(y + n)))


def call(name: str, device: torch.device, *arguments: Tensor) -> Tensor:
    """Return the values of an intrinsic, for float32 tensors whose length divides by 256."""
    given = [x.to(device) for x in arguments]
    out = torch.full_like(given[0], NAN)
    kernel: Any = one_kernel if len(given) == 1 else two_kernel
    kernel[(len(out) // BLOCK,)](*given, out, function=getattr(intrinsics, name), block=BLOCK)
    return out.cpu()


def test_all_are_checked():
    kinds = (InterpretedFunction, JITFunction)
    names = {name for name, each in vars(intrinsics).items() if isinstance(each, kinds)}
    assert names - {"_call", "is_zero"} == set(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_errors_are_those_stated(name, device):
    check = CHECKS[name]
    given = [torch.from_numpy(x).float() for x in check.arguments]
    exact = check.exact(*(x.double() for x in given))
    allowed = (check.relative * exact.abs()).clamp_min(check.absolute)
    assert ((call(name, device, *given).double() - exact).abs() <= allowed).all()


@pytest.mark.parametrize("name", CHECKS)
def test_special_values(name, device):
    for *arguments, expected in CHECKS[name].special:
        found = call(name, device, *(torch.full((BLOCK,), float(x)) for x in arguments))
        torch.testing.assert_close(found, torch.full_like(found, expected), equal_nan=True)


def test_assembly_is_in_one_file():
    files = Path(intrinsics.__file__).parent.rglob("*.py")
    holders = [path.name for path in files if "inline_asm" in path.read_text()]
    assert holders == ["intrinsics.py"]

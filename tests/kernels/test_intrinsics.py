"""Intrinsics of the kernels: their twins in the interpreter, and the assembly on a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torchio_gpu_kernels.intrinsics as intrinsics
from triton.runtime.interpreter import InterpretedFunction
from triton.runtime.jit import JITFunction

from benchmarks.gpu.intrinsics import CHECKS, SPECIAL, error


def test_all_are_checked():
    kinds = (InterpretedFunction, JITFunction)
    names = {name for name, each in vars(intrinsics).items() if isinstance(each, kinds)}
    assert names - {"_call", "is_zero"} == set(CHECKS) == set(SPECIAL)


@pytest.mark.parametrize("name", CHECKS)
def test_errors_are_those_stated(name, device):
    assert error(name, device.type, 2**12) <= 1


def test_assembly_is_in_one_file():
    files = Path(intrinsics.__file__).parent.rglob("*.py")
    holders = [path.name for path in files if "inline_asm" in path.read_text()]
    assert holders == ["intrinsics.py"]

"""Triton kernels for torchio_gpu: each computes what a reference in plain torch defines.

Loading them registers operators under ``torch.ops.torchio_gpu``. They run on NVIDIA GPUs, and on
CPUs in Triton's interpreter (``TRITON_INTERPRET=1``, set before triton is imported), which is slow
and meant for tests.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

#: Oldest supported Triton, the one that torch 2.11 pins; ``make static`` compiles with it.
OLDEST = (3, 6)
_MODULES = ("bands", "columns", "patches", "pointwise", "warp_operator")


def why_no_triton() -> str | None:
    """Return the reason why kernels cannot be loaded, or None if they can."""
    try:
        import triton
    except ImportError:
        return "triton is not installed"
    if tuple(map(int, triton.__version__.split(".")[:2])) < OLDEST:
        return f"triton must be {'.'.join(map(str, OLDEST))} or newer, got {triton.__version__}"
    return None


@lru_cache
def load() -> Any:
    """Return the operators of the kernels, which the first call registers."""
    for module in _MODULES:
        import_module(f"{__name__}.{module}")
    import torch

    return torch.ops.torchio_gpu


__all__ = ["load", "why_no_triton"]

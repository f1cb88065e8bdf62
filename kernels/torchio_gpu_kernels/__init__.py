"""Triton kernels for torchio_gpu: each is a claim about a reference written in plain torch.

Loading them registers operators under ``torch.ops.torchio_gpu``. They run on NVIDIA GPUs, and
anywhere in Triton's interpreter (``TRITON_INTERPRET=1``, set before triton is imported), which is
slow and meant for tests.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

#: The oldest Triton that kernels are compiled with and looked at: what torch 2.11 pins.
OLDEST = (3, 6)
_MODULES = ("bands", "columns", "patches", "pointwise", "warp_operator")


def obstacle() -> str | None:
    """Why kernels cannot be loaded; None if they can."""
    try:
        import triton
    except ImportError:
        return "triton is not installed"
    if tuple(map(int, triton.__version__.split(".")[:2])) < OLDEST:
        return f"triton must be {'.'.join(map(str, OLDEST))} or newer, got {triton.__version__}"
    return None


@lru_cache
def load() -> Any:
    """The operators of the kernels, registered when they are first asked for."""
    for module in _MODULES:
        import_module(f"{__name__}.{module}")
    import torch

    return torch.ops.torchio_gpu


__all__ = ["load", "obstacle"]

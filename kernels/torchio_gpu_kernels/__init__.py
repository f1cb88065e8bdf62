"""Kernels for torchio_gpu: each computes what a definition in plain torch says.

Those of Triton are operators under ``torch.ops.torchio_gpu``. They run on NVIDIA GPUs, and on CPUs
in Triton's interpreter (``TRITON_INTERPRET=1``, set before triton is imported), which is slow and
meant for tests. Those of numba, in :mod:`.cpu`, run on CPUs.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

#: Oldest supported Triton, the one that torch 2.11 pins; ``make static`` compiles with it.
OLDEST = (3, 6)
#: Oldest supported numba, the first for numpy 2.
OLDEST_NUMBA = (0, 60)
_MODULES = ("along", "columns", "normalization", "patches", "pointwise", "warp_operator")


def why_no_triton() -> str | None:
    """Return the reason why kernels cannot be loaded, or None if they can."""
    try:
        import triton
    except ImportError:
        return "triton is not installed: pip install triton"
    if tuple(map(int, triton.__version__.split(".")[:2])) < OLDEST:
        return f"triton must be {'.'.join(map(str, OLDEST))} or newer, got {triton.__version__}"
    return None


@lru_cache
def why_no_numba() -> str | None:
    """Return the reason why kernels of numba cannot be loaded, or None if they can."""
    try:
        import numba
    except ModuleNotFoundError:
        return "numba is not installed: pip install 'torchio-gpu[cpu]'"
    except Exception as error:  # it refuses versions of numpy, or a library of it cannot be loaded
        return f"numba cannot be imported: {error}"
    if tuple(map(int, numba.__version__.split(".")[:2])) < OLDEST_NUMBA:
        oldest = ".".join(map(str, OLDEST_NUMBA))
        return f"numba must be {oldest} or newer, got {numba.__version__}"
    if getattr(numba.config, "DISABLE_JIT", False):
        return "NUMBA_DISABLE_JIT is set"
    return None


@lru_cache
def load(backend: str = "triton") -> Any:
    """Return the kernels of a backend, 'triton' or 'numba', as functions by name.

    The first call registers those of Triton as operators, or imports numba.
    """
    if backend == "numba":
        return import_module(f"{__name__}.cpu")
    for module in _MODULES:
        import_module(f"{__name__}.{module}")
    import torch

    return torch.ops.torchio_gpu


__all__ = ["load", "why_no_numba", "why_no_triton"]

"""Which of two ways an operation is carried out: plain torch, or a Triton kernel."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from types import TracebackType

import torch
import torchio_gpu_kernels

BACKENDS = ("auto", "reference", "triton")
#: Kinds of device on which 'auto' launches kernels.
AUTOMATIC = ("cuda",)


class backend:  # noqa: N801 - used like a function, as torch.set_grad_enabled is
    """Choose how operations that have a Triton kernel are carried out, in the whole process.

    Called, it is a setting; in a ``with`` statement it holds for what is within.

    Args:
        name: 'reference' for plain torch, which defines what an operation means; 'triton' for the
            kernel; 'auto', the default, for the kernel on GPUs where it can do what is asked for,
            else plain torch; where Triton is missing or older than 3.6, a warning says so once.
            Operations without a kernel are not concerned.

    Raises:
        ValueError: There is no such backend.
        RuntimeError: With 'triton', at the call of an operation whose kernel cannot run: Triton is
            not installed, the voxels are not on a GPU (and ``TRITON_INTERPRET=1`` is not set), or
            the kernel does not know the dtype or mode. The message says which.

    >>> with backend("reference"):
    ...     backend.current()
    'reference'
    >>> backend.current()
    'auto'
    """

    _current = "auto"

    def __init__(self, name: str) -> None:
        if name not in BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {name!r}")
        self._before = backend._current
        backend._current = name

    def __enter__(self) -> backend:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        backend._current = self._before

    @staticmethod
    def current() -> str:
        """The name of the backend that is set."""
        return backend._current


def use_kernel(device: torch.device, why_not: str | None = None) -> bool:
    """Whether to launch a kernel.

    Args:
        device: Where the voxels are.
        why_not: Reason why the kernel cannot do what is asked for, if it cannot.

    Raises:
        RuntimeError: It was asked for by name and cannot run.
    """
    name, device = backend.current(), _rehearsed.get() or device
    if name == "reference" or (name == "auto" and device.type not in AUTOMATIC):
        return False
    missing = _missing(device.type)
    if missing is not None and name == "auto":
        _say_once(missing)
    why_not = missing or why_not
    if why_not is not None and name == "triton":
        raise RuntimeError(f"backend 'triton' cannot run: {why_not}")
    return why_not is None


_rehearsed: ContextVar[torch.device | None] = ContextVar("rehearsed", default=None)


@contextmanager
def rehearsing(device: torch.device) -> Iterator[None]:
    """Decide as for voxels on a device, wherever they are: for calls on ``meta``."""
    token = _rehearsed.set(device)
    try:
        yield
    finally:
        _rehearsed.reset(token)


@lru_cache
def _say_once(missing: str) -> None:
    """Warn that GPUs run operations in plain torch; say nothing at the next call."""
    message = f"operations run in plain torch, which is slower than kernels: {missing}"
    warnings.warn(message, RuntimeWarning, stacklevel=2)


@lru_cache
def _missing(device: str) -> str | None:
    """What keeps kernels from running on a kind of device, if anything does."""
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if device != ("cpu" if interpreted else "cuda") or torch.version.hip is not None:
        wish = "the CPU under TRITON_INTERPRET=1" if interpreted else "an NVIDIA GPU"
        return f"voxels must be on {wish}, got {device!r}"
    return torchio_gpu_kernels.obstacle()

"""Choice of the backend of an operation: plain torch, or a kernel of Triton or numba."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from types import TracebackType
from typing import Literal

import torch
import torchio_gpu_kernels
from torch import Tensor

BACKENDS = ("auto", "torch", "triton", "numba")
#: Older names of backends.
_ALIASES = {"reference": "torch"}
#: Kinds of device on which 'auto' launches kernels of Triton.
AUTOMATIC = ("cuda",)
#: Voxels of a sample of a result from which 'auto' runs kernels of numba: for fewer, plain torch is
#: as fast. Of a sample, so that its voxels are the same, to the bit, in a batch of any size.
WORTHWHILE = 2**15


class backend:  # noqa: N801 - used like a function, as torch.set_grad_enabled is
    """Choose how operations that have a kernel are executed.

    A call sets the backend of the whole process; a ``with`` statement that of its block, in this
    thread.

    Args:
        name: 'torch' for plain torch; 'triton' for kernels on NVIDIA GPUs; 'numba' for kernels on
            CPUs; 'auto', the default, for the kernel of the device where it supports the arguments,
            else plain torch. On GPUs where Triton is missing or older than 3.6, a warning says so
            once. On CPUs, kernels run where numba is installed (``torchio-gpu[cpu]``), no gradient
            is wanted, and samples of the result have 32768 voxels or more. Operations without a
            kernel always run in plain torch.

    Raises:
        ValueError: ``name`` is not the name of a backend.
        RuntimeError: With 'triton' or 'numba', at the call of an operation whose kernel cannot run:
            the package is not installed, the voxels are on another device (Triton runs on CPUs if
            ``TRITON_INTERPRET=1`` is set), or the kernel does not support the dtype, the mode or
            gradients. The message says which.

    >>> with backend("torch"):
    ...     backend.current()
    'torch'
    >>> backend.current()
    'auto'
    """

    _setting = "auto"

    def __init__(self, name: str) -> None:
        name = _ALIASES.get(name, name) if isinstance(name, str) else name
        if name not in BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {name!r}")
        self._name, self._before = name, backend._setting
        backend._setting = name

    def __enter__(self) -> backend:
        backend._setting = self._before
        self._token = _local.set(self._name)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _local.reset(self._token)

    @staticmethod
    def current() -> str:
        """Return the name of the backend in effect."""
        return _local.get() or backend._setting


_local: ContextVar[str | None] = ContextVar("backend", default=None)


def use_kernel(device: torch.device, why_not: Callable[[], str | None] = lambda: None) -> bool:
    """Return True if a kernel of Triton is to be launched.

    Args:
        device: Device of the voxels.
        why_not: Function that returns the reason why the kernel does not support the arguments, or
            None if it does; called only where a kernel may be launched.

    Raises:
        RuntimeError: The backend is 'triton', and the kernel cannot run.
    """
    name, device = backend.current(), _rehearsed.get() or device
    if name in ("torch", "numba") or (name == "auto" and device.type not in AUTOMATIC):
        return False
    missing = _why_no_triton(device.type)
    if missing is not None and name == "auto":
        _warn_once(missing)
    reason = missing or why_not()
    if reason is not None and name == "triton":
        raise RuntimeError(f"backend 'triton' cannot run: {reason}")
    return reason is None


def choose_kernels(
    x: Tensor, voxels: int | None, why_not: Callable[[str], str | None]
) -> Literal["triton", "numba"] | None:
    """Return the backend whose kernel is to run, or None for plain torch.

    Args:
        x: Voxels.
        voxels: Voxels of a sample of the result; None where plain torch is faster on a CPU.
        why_not: Function of a backend: the reason why its kernel does not support the arguments, or
            None if it does.

    Raises:
        RuntimeError: The backend is 'triton' or 'numba', and the kernel cannot run.
    """
    if use_kernel(x.device, lambda: why_not("triton")):
        return "triton"
    name, device = backend.current(), _rehearsed.get() or x.device
    on_cpu = device.type == "cpu" and voxels is not None and voxels >= WORTHWHILE
    # tensors on "meta" have shapes alone, which are the same in plain torch
    if x.is_meta or not (name == "numba" or (name == "auto" and on_cpu)):
        return None
    reason = _why_no_numba(device.type) or why_not("numba")
    if reason is not None and name == "numba":
        raise RuntimeError(f"backend 'numba' cannot run: {reason}")
    return "numba" if reason is None else None


_rehearsed: ContextVar[torch.device | None] = ContextVar("rehearsed", default=None)


@contextmanager
def rehearsing(device: torch.device) -> Iterator[None]:
    """Choose the backend as for voxels on ``device``: for calls on ``meta`` tensors."""
    token = _rehearsed.set(device)
    try:
        yield
    finally:
        _rehearsed.reset(token)


def kind_of(device: torch.device) -> str:
    """Return the kind of a device, or of the one that is rehearsed."""
    return (_rehearsed.get() or device).type


@lru_cache
def _warn_once(missing: str) -> None:
    """Warn, once, that operations run in plain torch on GPUs."""
    message = f"operations run in plain torch, which is slower than kernels: {missing}"
    warnings.warn(message, RuntimeWarning, stacklevel=2)


@lru_cache
def _why_no_triton(device: str) -> str | None:
    """Return the reason why kernels cannot run on a kind of device, or None if they can."""
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if device != ("cpu" if interpreted else "cuda") or torch.version.hip is not None:
        wish = "the CPU under TRITON_INTERPRET=1" if interpreted else "an NVIDIA GPU"
        return f"voxels must be on {wish}, got {device!r}"
    return torchio_gpu_kernels.why_no_triton()


def _why_no_numba(device: str) -> str | None:
    """Return the reason why numba's kernels cannot run on a kind of device, or None if they can."""
    if device != "cpu":
        return f"voxels must be on the CPU, got {device!r}"
    return torchio_gpu_kernels.why_no_numba()

"""Waits of the host for the GPU, which torch can refuse."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def refused() -> Iterator[None]:
    """Let torch raise where the host would wait for the GPU; without a GPU nothing waits."""
    if not torch.cuda.is_available():
        yield
        return
    _set("error")
    try:
        yield
    finally:
        _set("default")


def _set(mode: str) -> None:
    with warnings.catch_warnings():
        # torch says so the first time, and where warnings are errors the mode would stay as it is
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype feature")
        torch.cuda.set_sync_debug_mode(mode)

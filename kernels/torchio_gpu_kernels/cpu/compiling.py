"""Compilation by numba."""

from __future__ import annotations

from numba import njit

OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}


def inlined(f):
    return njit(**OPTIONS, forceinline=True)(f)


def kernel(f):
    return njit(**OPTIONS)(f)

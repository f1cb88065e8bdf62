"""Argument checks shared by the functions on volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import random
from ...arrays import Array, Number, host, on_host, per_sample
from ...shapes import Volume, check_volume


def per_item(value: Any, x: Volume, name: str, shape: tuple[int, ...] = ()) -> Array:
    """Return a parameter as [1 or B, \\*shape], given per sample or broadcasting to ``shape``.

    Raises:
        ValueError: It has neither the shape nor one entry for each sample of ``x``.
    """
    array = per_sample(value, shape, name)
    if len(array) not in (1, len(x)):
        raise ValueError(
            f"{name} must hold one value per sample: expected {[len(x), *shape]} on {x.device}, "
            f"got {list(array.shape)}"
        )
    return array


def at_least(array: Array, least: float, name: str) -> Array:
    """Return an array if its values are >= ``least``, or are on a device; raise otherwise."""
    if on_host(array) and not (host(array) >= least).all():
        raise ValueError(f"{name} must be >= {least:g}, got {host(array).tolist()}")
    return array


def positive(array: Array, name: str) -> Array:
    """Return an array if its values are > 0, or are on a device; raise otherwise."""
    if on_host(array) and not (host(array) > 0).all():
        raise ValueError(f"{name} must be > 0, got {host(array).tolist()}")
    return array


def within(array: Array, low: float, high: float, name: str) -> Array:
    """Return an array if its values lie in [low, high], or are on a device; raise otherwise."""
    if on_host(array) and not ((host(array) >= low) & (host(array) <= high)).all():
        raise ValueError(f"{name} must be between {low:g} and {high:g}, got {host(array).tolist()}")
    return array


def check_real(x: Volume) -> Volume:
    """Return ``x`` if it is a volume of real voxels; raise otherwise."""
    check_volume(x)
    if x.is_complex():
        raise ValueError(f"x must be real: for complex voxels this is undefined, got {x.dtype}")
    return x


def real(x: Volume) -> Volume:
    """Return a volume in the dtype to compute in: float64 stays float64, others become float32.

    Raises:
        ValueError: The volume is complex; its imaginary part would be lost.
    """
    check_real(x)
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def by_parts(function: Callable[[Volume], Volume], x: Volume) -> Volume:
    """Apply a linear function to complex voxels, as to real and imaginary channels.

    Args:
        function: Called with (B, 2 C, I, J, K), real parts before imaginary ones.
        x: Complex voxels.
    """
    parts = function(torch.cat([x.real, x.imag], 1))
    real_part, imaginary = parts.chunk(2, 1)
    return torch.complex(real_part.contiguous(), imaginary.contiguous())


def as_given(out: Volume, x: Volume) -> Volume:
    """Return ``out`` in the dtype of ``x`` if that is floating; unchanged otherwise."""
    return out.to(x.dtype) if x.is_floating_point() else out


def check_spacing(spacing: Number | Array, x: Volume) -> Array:
    """Return the distance of voxels along I, J, K, [1 or B, 3]; raise unless positive and finite.

    Args:
        spacing: In mm: a number, (3,) or (B, 3).
        x: Volume, (B, C, I, J, K).
    """
    size = per_item(spacing, x, "spacing", (3,))
    if on_host(size) and not ((host(size) > 0) & (host(size) < np.inf)).all():
        raise ValueError(f"spacing must be > 0, got {host(size).tolist()}")
    return size


def rounded(spacing: np.ndarray, batch: int) -> np.ndarray:
    """Return spacing, [1 or B, 3], in six digits for each sample, [B, 3].

    Affines have rounding errors, for which samples should not be computed one by one.

    >>> rounded(np.array([[0.1 + 0.2, 1, 2]]), 1)
    array([[0.3, 1. , 2. ]])
    """
    digits = [[float(f"{side:.6g}") for side in sample] for sample in spacing.tolist()]
    return np.broadcast_to(np.array(digits), (batch, 3))


def check_seeds(seeds: Array | None, x: Volume) -> Array:
    """Return seeds, [B] int64; by default drawn from torch's CPU generator. Raise if invalid."""
    batch = len(x)
    if seeds is None:
        return random.fresh_seeds(batch)
    if not isinstance(seeds, (np.ndarray, Tensor)):
        raise TypeError(f"seeds must be an array or tensor of int64, got {seeds!r}")
    if tuple(seeds.shape) != (batch,) or seeds.dtype not in (torch.int64, np.int64):
        raise ValueError(
            f"seeds must be int64 and hold one value per sample: expected [{batch}], "
            f"got {list(seeds.shape)} {seeds.dtype}"
        )
    return seeds


__all__ = [
    "as_given",
    "at_least",
    "by_parts",
    "check_real",
    "check_seeds",
    "check_spacing",
    "per_item",
    "positive",
    "real",
    "rounded",
    "within",
]

"""Names of tensor shapes, and checks of shapes.

Axes have one meaning everywhere: B samples, C channels, and I, J, K the three voxel axes. Their
directions in the world are defined in :mod:`torchio_gpu.geometry`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

Volume: TypeAlias = Tensor  # [B, C, I, J, K], voxels on any device
PerItem: TypeAlias = Tensor  # [B], one number per sample
Affine: TypeAlias = Tensor  # [B, 4, 4], homogeneous matrices
Grid: TypeAlias = Tensor  # [B, I, 3, J, K], the coordinates of each output voxel
ControlPoints: TypeAlias = Tensor  # [B, 3, N0, N1, N2], displacement vectors on a lattice
Triple: TypeAlias = tuple[int, int, int]  # (I, J, K)
#: Three whole numbers as they may be given: one stands for three.
TripleLike: TypeAlias = int | np.integer | Sequence[int] | np.ndarray | Tensor
#: An affine as it may be given, (4, 4).
AffineLike: TypeAlias = Sequence[Sequence[float] | np.ndarray | Tensor] | np.ndarray | Tensor

VOLUME = "(B, C, I, J, K)"
#: Largest number of voxels along an axis in arguments; larger ones are taken for mistakes.
LONGEST = 2**20


def check_volume(x: Tensor, name: str = "x") -> Tensor:
    """Return ``x`` if it is a five-dimensional tensor without empty axes; raise otherwise."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a tensor of shape {VOLUME}, got {type(x).__name__}")
    if x.ndim != 5 or 0 in x.shape:
        raise ValueError(
            f"{name} must have shape {VOLUME} with no empty axis, got {tuple(x.shape)}"
        )
    return x


def spatial_shape(x: Tensor) -> Triple:
    """Return the number of voxels along I, J and K, the last three axes."""
    i, j, k = x.shape[-3:]
    return i, j, k


def with_voxel_axes(values: Tensor) -> Tensor:
    """Return numbers [B], or [B, C], with axes of length 1 up to (B, C, I, J, K), as a view.

    >>> with_voxel_axes(torch.ones(2, 3)).shape
    torch.Size([2, 3, 1, 1, 1])
    """
    return values.view(*values.shape, *(1,) * (5 - values.ndim))


def brief(value: Any) -> str:
    """Return the repr of a value on one line of at most 80 characters, for error messages."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def rectangular(value: Any, name: str) -> np.ndarray:
    """Return ``value`` as an array; raise if it is a ragged sequence."""
    try:
        # arrays of traces are no arrays for asarray
        return value if isinstance(value, np.ndarray) else np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be numbers in an even shape, got {brief(value)}") from error


def check_triple(value: Any, name: str, least: int = 1) -> Triple:
    """Return three numbers of voxels, given one or three; raise if they are below ``least``."""
    numbers = rectangular(value, name)
    whole = numbers.shape in ((), (3,)) and np.issubdtype(numbers.dtype, np.integer)
    if not whole or not (numbers >= least).all():
        wish = "> 0" if least == 1 else f">= {least}"
        raise ValueError(f"{name} must be integers {wish}, one or three, got {value!r}")
    if (numbers > LONGEST).any():
        raise ValueError(f"{name} must be <= {LONGEST} voxels, got {value!r}")
    i, j, k = np.broadcast_to(numbers, (3,)).tolist()
    return i, j, k


def check_count(value: Any, name: str, least: int, most: int | None = None) -> int:
    """Return a whole number from ``least`` to ``most``; raise otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} must be a whole number >= {least}, got {value!r}")
    if most is not None and value > most:
        raise ValueError(f"{name} must be <= {most}, got {value!r}")
    return int(value)


def converted(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Return ``x.to(*args, **kwargs)``; raise if complex voxels would lose their imaginary part."""
    kinds = [getattr(each, "dtype", each) for each in (*args, *kwargs.values())]
    real = [kind for kind in kinds if isinstance(kind, torch.dtype) and not kind.is_complex]
    if x.is_complex() and real:
        raise ValueError(
            f"dtype must be complex for complex voxels, whose imaginary part {real[0]} cannot "
            "hold: take the magnitude with Lambda(torch.abs)"
        )
    return x.to(*args, **kwargs)

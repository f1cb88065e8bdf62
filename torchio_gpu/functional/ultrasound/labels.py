"""Parameters of labels, at the voxels of label maps (B, 1, I, J, K)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...shapes import Volume, check_volume, rectangular
from ..dispatch.launch import indices


def check_label_map(labels: Volume, x: Volume) -> None:
    """Raise unless a label map has one channel of real numbers on the grid of a volume."""
    check_volume(labels, "labels")
    wanted = (len(x), 1, *x.shape[2:])
    if tuple(labels.shape) != wanted or labels.is_complex():
        raise ValueError(
            f"labels must be whole numbers of shape {wanted}, on the grid of x, "
            f"got {labels.dtype} of shape {tuple(labels.shape)}"
        )


def check_values(values: Any, name: str = "values") -> np.ndarray:
    """Return labels, [L]; raise unless they are different whole numbers.

    Args:
        values: The labels.
        name: Name of the argument, for errors.
    """
    found = rectangular(values, name)
    whole = found.ndim == 1 and len(found) and np.issubdtype(found.dtype, np.integer)
    if not whole or len(np.unique(found)) != len(found):
        raise ValueError(f"{name} must be different whole numbers in a sequence, got {values!r}")
    return found.astype(np.int64)


def columns_of(labels: Volume, values: np.ndarray) -> Tensor:
    """Return the place of the label of each voxel in ``values``, L of others, (B, 1, I, J, K).

    >>> columns_of(torch.tensor([3, 0, 1, 2]).view(1, 1, 1, 1, 4), np.array([2, 0, 3])).flatten()
    tensor([2, 1, 3, 0])
    """
    order = np.argsort(values)
    place, known = indices(np.stack([order, values[order]]), labels.device)
    found = torch.bucketize(labels.long().contiguous(), known).clamp_(max=len(values) - 1)
    return torch.where(known[found] == labels, place[found], len(values))


def entries(table: Tensor, columns: Tensor) -> Tensor:
    """Return entries of the table of each sample, in the shape of their columns, (B, ...).

    Args:
        table: [1 or B, L].
        columns: (B, ...) int64.
    """
    flat = columns.flatten(1)
    return table.expand(len(flat), -1).gather(1, flat).view(columns.shape)


def sequence_of_values(values: Sequence[int] | None, count: int) -> np.ndarray:
    """Return the labels of ``count`` columns: those given, or 0, 1, ..."""
    found = np.arange(count) if values is None else check_values(values)
    if len(found) != count:
        raise ValueError(f"values must be {count} labels, one for each column, got {values!r}")
    return found


__all__ = ["check_label_map", "check_values", "columns_of", "entries", "sequence_of_values"]

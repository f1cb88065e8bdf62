"""Formulas of label maps: memberships, new labels, borders, components."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from ...shapes import Volume

Voxel = tuple[int, int, int]


def one_hot(x: Volume, num_classes: int) -> Volume:
    """1 in channel n where the label is n, else 0: [B, num_classes, I, J, K] of [B, 1, I, J, K]."""
    return torch.cat([(x == label).to(x.dtype) for label in range(num_classes)], 1)


def remap_labels(
    x: Volume, remapping: Sequence[Mapping[int, int]], mask: Tensor | None = None
) -> Volume:
    """New label for each old one, all at once.

    Args:
        x: [B, C, I, J, K].
        remapping: Of each sample, (B).
        mask: Where to do so, [B, 1 or C, I, J, K] bool.
    """
    out = x.clone()
    for b, table in enumerate(remapping):
        for old, new in table.items():
            where = x[b] == old
            out[b][where if mask is None else where & mask[b]] = new
    return out


def contour(x: Volume) -> Volume:
    """Labels of voxels that share a face with another label: ITK's BinaryContourImageFilter.

    Outside of the image [B, 1, I, J, K] there is no label.
    """
    out = torch.zeros_like(x)
    for b in range(len(x)):
        for voxel in every(x.shape[2:]):
            label = x[b, 0][voxel]
            if any(x[b, 0][other] != label for other in neighbours(voxel, x.shape[2:])):
                out[b, 0][voxel] = label
    return out


def connected_components(x: Volume) -> Tensor:
    """Number of each voxel's component, [B, 1, I, J, K], from 1 in C order, by flood fill.

    Voxels other than 0 that share faces make up a component.
    """
    out = torch.zeros_like(x, dtype=torch.int64)
    for b, number in enumerate([0] * len(x)):
        for first in every(x.shape[2:]):
            if not x[b, 0][first] or out[b, 0][first]:
                continue
            number, front = number + 1, [first]
            while front:
                voxel = front.pop()
                if x[b, 0][voxel] and not out[b, 0][voxel]:
                    out[b, 0][voxel] = number
                    front.extend(neighbours(voxel, x.shape[2:]))
    return out


def largest_component(x: Volume) -> Volume:
    """Labels of the largest component, 0 elsewhere; of equal ones, of that met first as ITK does.

    ITK goes along I first. [B, 1, I, J, K].
    """
    out = torch.zeros_like(x)
    for b, numbers in enumerate(connected_components(x)[:, 0]):
        met = [n for n in numbers.permute(2, 1, 0).flatten().tolist() if n]
        if met:
            largest = max(dict.fromkeys(met), key=met.count)  # the first of equal ones
            out[b, 0] = torch.where(numbers == largest, x[b, 0], out[b, 0])
    return out


def every(size: Sequence[int]) -> Iterator[Voxel]:
    """Voxels of a grid in C order."""
    i, j, k = size
    for n in range(i * j * k):
        yield n // (j * k), n // k % j, n % k


def neighbours(voxel: Voxel, size: Sequence[int]) -> Iterator[Voxel]:
    """Voxels of the image that share a face with a voxel."""
    for axis in range(3):
        for step in (-1, 1):
            i, j, k = (n + step * (axis == a) for a, n in enumerate(voxel))
            if 0 <= (i, j, k)[axis] < size[axis]:
                yield i, j, k

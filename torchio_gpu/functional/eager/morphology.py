"""Morphology of label maps by balls: squared distances, found along one axis after another.

Distances are whole numbers, in a unit that is a power of 2 of the smallest spacing, squared: sums
are exact, and so is the order of equal distances where spacings are multiples of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...shapes import Volume
from .slabs import join, slab_planes

#: Squared radius, in units, at most.
_UNITS = 2**21
#: Squared distance of what is too far away. Twice as much, and a byte below it, fit into int32.
_FAR = 2 * _UNITS - 1
#: Share of the squared radius by which rounding may exceed it.
_TOLERANCE = 1e-5


class Ball(NamedTuple):
    """Ball about a voxel.

    Args:
        steps: Squared distance of 0, 1, .. voxels along I, J, K, [1 or B, N] int64 each.
        reach: Squared radius, [1 or B] int64.
    """

    steps: list[np.ndarray]
    reach: np.ndarray


def ball(radius: np.ndarray, spacing: np.ndarray, size: Sequence[int]) -> Ball:
    """Return the ball of a radius in voxels of a spacing, in a volume of some size.

    Args:
        radius: In mm, [1 or B].
        spacing: In mm, [1 or B, 3].
        size: Voxels along I, J, K.
    """
    unit = spacing.min(1)
    ratio = spacing / unit[:, None]  # [1 or B, 3]
    diagonal = ((ratio * (np.array(size) - 1)) ** 2).sum(1)
    voxels = np.minimum((radius / unit) ** 2, diagonal)  # squared radius in voxels
    scale = 2.0 ** np.floor(np.log2(_UNITS / np.maximum(voxels, 1)))
    reach = np.floor(voxels * scale * (1 + _TOLERANCE)).astype(np.int64)
    steps = []
    for axis, n in enumerate(size):
        far = min(int((radius / spacing[:, axis]).max() * (1 + _TOLERANCE)), n - 1)
        squares = (ratio[:, axis, None] * np.arange(far + 1)) ** 2 * scale[:, None]
        steps.append(np.minimum(np.rint(squares), _FAR).astype(np.int64))
    return Ball(steps, reach)


def erode(x: Volume, steps: Sequence[Tensor], reach: Tensor) -> Tensor:
    """Return the mask of voxels from which no other label is within reach."""

    def change(part: Tensor, labels: Tensor, step: Tensor, axis: int) -> Tensor:
        out = part.clone()
        for d, here, there in _pairs(labels.shape[axis], step):
            one, other = (labels.narrow(axis, *each) for each in (here, there))
            # a voxel beside one of another label knows the distance 0 from there
            same = one == other
            for to, source in ((here, there), (there, here)):
                found = torch.where(same, part.narrow(axis, *source), 0).add_(_at(step, d))
                target = out.narrow(axis, *to)
                torch.minimum(target, found, out=target)
        return out

    start = torch.full(x.shape, _FAR, dtype=torch.int32, device=x.device)
    return _by_axes(start, x, steps, change) > _at(reach[:, None], 0)


def dilate(x: Volume, sources: Tensor, steps: Sequence[Tensor], reach: Tensor) -> Volume:
    """Return labels of the nearest sources, within reach, for voxels that are 0.

    A number holds a squared distance and, in its lowest bits, the label: the least number is the
    nearest source, and the smallest label of equally near ones.

    Args:
        x: Labels, whole numbers of up to 32 bits.
        sources: Mask of voxels that spread.
        steps, reach: As of :class:`Ball`, on the device.
    """
    small = x.dtype.itemsize == 1
    bits, dtype = (8, torch.int32) if small else (32, torch.int64)
    first = torch.iinfo(torch.int8 if x.dtype == torch.int8 else torch.int32).min
    first = 0 if x.dtype in (torch.uint8, torch.bool) else first
    key = (_FAR << bits) + (x.to(dtype) - first)
    key = torch.where(sources, x.to(dtype) - first, key)

    def change(part: Tensor, _: Tensor, step: Tensor, axis: int) -> Tensor:
        out = part.clone()
        for d, here, there in _pairs(part.shape[axis], step):
            for to, source in ((here, there), (there, here)):
                found = part.narrow(axis, *source) + (_at(step, d) << bits)
                target = out.narrow(axis, *to)
                torch.minimum(target, found, out=target)
        return out

    key = _by_axes(key, x, [step.to(dtype) for step in steps], change)
    near = (key >> bits) <= _at(reach[:, None], 0)
    labels = ((key & ((1 << bits) - 1)) + first).to(x.dtype)
    return torch.where(near & (x == 0), labels, x)


def _pairs(n: int, step: Tensor) -> Iterator[tuple[int, tuple[int, int], tuple[int, int]]]:
    """Return each distance along an axis of n voxels, and both ends of it as start and length."""
    for d in range(1, min(step.shape[1], n)):
        yield d, (0, n - d), (d, n - d)


def _at(step: Tensor, d: int) -> Tensor:
    """Return column d of [1 or B, N], with the axes of a volume."""
    return step[:, d].view(-1, 1, 1, 1, 1)


def _by_axes(
    start: Tensor,
    x: Volume,
    steps: Sequence[Tensor],
    change: Callable[[Tensor, Tensor, Tensor, int], Tensor],
) -> Tensor:
    """Change a volume along K, J and I, in slabs: of planes along I, and then along J.

    Args:
        start: Numbers to change.
        x: Labels.
        steps: As of :class:`Ball`, on the device.
        change: Function of a slab, its labels, the steps along an axis, and that dimension.
    """
    along_i, along_j, along_k = steps

    def within_planes(part: Tensor, labels: Tensor) -> Tensor:
        return change(change(part, labels, along_k, 4), labels, along_j, 3)

    def across(part: Tensor, labels: Tensor) -> Tensor:
        return change(part, labels, along_i, 3)

    for function in (within_planes, across):
        slab = slab_planes(x.shape[2], x[:, :, 0].numel(), x.device)
        starts = range(0, x.shape[2], slab)
        parts = ((start[:, :, n : n + slab], x[:, :, n : n + slab]) for n in starts)
        out = join((function(*part) for part in parts), x.shape[2])
        start, x = out.transpose(2, 3), x.transpose(2, 3)
    return start

"""Changes of the lines of k-space, in as few passes over a volume as its axes allow.

A change that depends on one frequency index alone is linear, and needs the Fourier transform along
that axis only. Such changes commute: those of one axis share a transform and its inverse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..arrays import Array, common
from ..shapes import Volume
from . import lines_by_products
from .dispatch.arguments import as_given, by_parts, real
from .dispatch.launch import to_device
from .eager import phase_encode as eager
from .eager.slabs import AxisOrders
from .line_operations import LineOperation, OneSided
from .samples import pick, samples_at, samples_by_axis, with_axes, with_axis_last


def change_lines(x: Volume, operations: Sequence[LineOperation]) -> Volume:
    """Change lines of k-space by several operations; only the last may be one-sided.

    Each sample takes one pass for each axis of its operations. A sample of which no line changes is
    left as it is, bit for bit, unless its magnitude is taken.

    Args:
        x: Volume, (B, C, I, J, K). Complex voxels stay complex: one-sided lines have no magnitude.
        operations: Operations, in order.

    Returns:
        A new volume; integers become float32.

    >>> from torchio_gpu.functional.line_operations import Undersampling
    >>> weights = Undersampling(np.full(1, 2.0), np.ones(1), np.zeros(1))
    >>> x = torch.tensor([1.0, 2, 3, 4]).view(1, 1, 1, 1, 4)
    >>> change_lines(x, [LineOperation(weights, axis=2)]).flatten().tolist()
    [2.0, 3.0, 2.0, 3.0]
    """
    if any(operation.ends_pass for operation in operations[:-1]):
        raise ValueError("operations must not be one-sided before the last one")
    if x.is_complex():
        return by_parts(lambda parts: _Changes(operations, len(x), _complex_parts)(parts), x)
    join = eager.magnitude if operations[-1].magnitude else None
    return as_given(_Changes(operations, len(x), join)(real(x)), x)


class _Pass(NamedTuple):
    """Samples that one pass changes, and the axis of each."""

    samples: list[int]
    axes: list[int]
    one_sided: bool


class _Changes:
    """Operations on the lines of a batch, and the passes that they take.

    Args:
        operations: Operations, of which the last may be one-sided.
        batch: Number of samples.
        join: Function of the real and the imaginary image of one-sided lines; None to take the
            real one.
    """

    def __init__(
        self,
        operations: Sequence[LineOperation],
        batch: int,
        join: Callable[[Volume, Volume], Volume] | None,
    ) -> None:
        self.operations, self.join = operations, join
        #: Axis of each sample that an operation changes.
        self.axes = [_axes(operation, batch) for operation in operations]

    def __call__(self, x: Volume) -> Volume:
        """Return the changed volume, in float32 or float64."""
        y = x
        for each in self.passes():
            if len(each.samples) == len(x):
                y = self._run(y, each)
                continue
            at = samples_at(each.samples, x.device)
            changed = self._run(y[at], each)
            y = y.clone()
            y[at] = changed
        return y.clone() if y is x else y

    def passes(self) -> Iterator[_Pass]:
        """Return passes, in the last of which each sample has the axis of its last operation."""
        order: dict[int, list[int]] = {}  # axes of each sample, in the order of their last use
        for axes in self.axes:
            for sample, axis in axes.items():
                order[sample] = [a for a in order.get(sample, []) if a != axis] + [axis]
        last = self.axes[-1] if self.operations[-1].ends_pass and self.join is not None else {}
        for back in range(3, 0, -1):
            for one_sided in (False, True):
                some = [n for n in sorted(order) if len(order[n]) >= back]
                some = [n for n in some if (back == 1 and n in last) == one_sided]
                if some:
                    yield _Pass(some, [order[n][-back] for n in some], one_sided)

    def _run(self, x: Volume, each: _Pass) -> Volume:
        axis_of = dict(zip(each.samples, each.axes, strict=True))
        join = self.join if each.one_sided else None

        def slabs(part: Volume, orders: AxisOrders, samples: np.ndarray) -> Volume:
            lines = part.shape[2 + orders[0][1][2]]
            weights = self._weights(samples.tolist(), axis_of, lines, each.one_sided)
            return eager.filter_lines(part, to_device(x.device, *weights), orders, join)

        def products(
            part: Volume, dims: list[int], axes: np.ndarray | None, samples: np.ndarray
        ) -> Volume:
            lines = part.shape[2 + dims[0]]
            weights = self._weights(samples.tolist(), axis_of, lines, each.one_sided)
            return lines_by_products.filter_lines(part, weights, dims, axes, join)

        along = np.array(each.axes)
        if lines_by_products.take_products(x):
            return with_axes(x, along, products, np.array(each.samples))
        return with_axis_last(x, along, slabs, np.array(each.samples))

    def _weights(
        self, samples: list[int], axis_of: dict[int, int], lines: int, one_sided: bool
    ) -> list[Array]:
        """Return the share missing of lines f and -f; and the asymmetry, if they are one-sided.

        [1 or B, F] each, for frequencies f from 0 up.
        """
        frequency = np.arange(lines // 2 + 1.0)
        missing: Array = np.zeros((1, len(frequency)))
        for operation, axes in zip(self.operations, self.axes, strict=True):
            changed = np.array([axes.get(n) == axis_of[n] for n in samples])
            if not changed.any():
                continue
            own = type(operation.weights)(*(pick(each, samples) for each in operation.weights))
            before, missing = missing, own.missing(frequency, lines)
            if not changed.all():
                _, missing, mask = common(missing, 1.0 * changed[:, None])
                missing = missing * mask
            _, before, missing = common(before, missing)
            if one_sided and isinstance(own, OneSided):
                _, before, asymmetry = common(before, own.asymmetry(frequency, lines))
                return [before + missing - before * missing, (1 - before) * asymmetry]
            missing = before + missing - before * missing
        return [missing]


def _axes(operation: LineOperation, batch: int) -> dict[int, int]:
    """Return the axis of each sample that an operation changes."""
    active = operation.active
    groups = samples_by_axis(operation.axis, batch).items()
    return {n: axis for axis, some in groups for n in some if active is None or active[n]}


def _complex_parts(real_image: Volume, imaginary: Volume) -> Volume:
    """Return ``a + i b`` of images a and b whose channels are real parts before imaginary ones."""
    (a, b), (c, d) = real_image.chunk(2, 1), imaginary.chunk(2, 1)
    return torch.cat([a - d, b + c], 1)


__all__ = ["change_lines"]

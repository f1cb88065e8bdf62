"""Ranges of random values: an interval, a choice among values, or a distribution.

Spellings follow TorchIO 1.x. A number d means U(-d, d), or U(1 - d, 1 + d) for scales, or U(0, d)
for quantities that are not negative; a pair (a, b) means U(a, b). For quantities with one value
per axis, three entries are one range per axis and six numbers are three pairs. Wherever a range
is taken, a :class:`torch.distributions.Distribution` or a :class:`Choice` may stand instead.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor
from torch.distributions import Distribution

from ...arrays import as_array, host
from ...signature import checked, is_number
from ...tracing import instruction
from .quantiles import Quantile

#: Largest number of float32.
_LARGEST = float(np.finfo(np.float32).max)
Part = Callable[[np.ndarray], np.ndarray]


class Choice:
    """Random choice among values.

    Args:
        values: The values to choose from.
        probabilities: Relative probability of each; equal by default. Need not sum to 1.

    Raises:
        ValueError: There are no values, or the probabilities do not fit them.

    >>> Choice([0, 90, 180])(np.array([0.1, 0.9])).tolist()
    [0.0, 180.0]
    """

    @checked
    def __init__(
        self, values: Sequence[float], probabilities: Sequence[float] | None = None
    ) -> None:
        self.values = tuple(host(as_array(values, "values")).ravel().tolist())
        if not self.values or not all(map(math.isfinite, self.values)):
            raise ValueError(f"values of a Choice must be finite numbers, got {list(values)}")
        if probabilities is None:
            probabilities = [1.0] * len(self.values)
        probabilities = host(as_array(probabilities, "probabilities")).ravel().tolist()
        total = math.fsum(probabilities)
        usable = len(probabilities) == len(self.values) and min(probabilities) >= 0
        if not usable or not 0 < total < math.inf:  # NaN neither
            raise ValueError(
                f"probabilities must be {len(self.values)} numbers >= 0 that do not sum to 0, "
                f"got {list(probabilities)}"
            )
        self._given = tuple(map(float, probabilities))
        self.probabilities = tuple(p / total for p in self._given)

    def arguments(self) -> dict[str, Any]:
        """Return the constructor arguments that differ from their defaults."""
        equal = len(set(self._given)) == 1
        return {"values": self.values} | ({} if equal else {"probabilities": self._given})

    def __call__(self, u: np.ndarray) -> np.ndarray:
        """Return values for uniform numbers in (0, 1), by the inverse cumulative distribution."""
        edges = np.cumsum(self.probabilities)[:-1]
        return np.array(self.values)[np.searchsorted(edges, u, side="right")]

    def __repr__(self) -> str:
        return f"Choice({list(self.values)}, probabilities={list(self.probabilities)})"


class Range:
    """Function from uniform numbers to values: one range, or one for each axis.

    Args:
        value: A spelling of a range; see the module.
        name: Name of the argument, for error messages.
        axes: 1, or 3 for one value per axis.
        around: Centre of the interval that a single number d stands for; ``None`` for one from
            the least value allowed to d.
        minimum: Least value allowed.
        exclusive: Forbid the least value itself.
        maximum: Greatest value allowed.
        whole: Draw whole numbers, both ends included.
    """

    def __init__(
        self,
        value: Any,
        name: str,
        *,
        axes: int = 1,
        around: float | None = 0.0,
        minimum: float | None = None,
        exclusive: bool = False,
        maximum: float | None = None,
        whole: bool = False,
    ) -> None:
        self.name, self.axes, self.around, self.whole = name, axes, around, whole
        self.minimum, self.exclusive, self.maximum = minimum, exclusive, maximum
        parts = self._split(value)
        self.parts: list[Part | None] = []
        low, high = [], []
        for part in parts:
            if isinstance(part, Distribution):
                part = Quantile(part)
            if isinstance(part, Choice):
                self._check(min(part.values), max(part.values), value)
            interval = self._interval(part, value) if not callable(part) else (0.0, 0.0)
            low.append(interval[0])
            high.append(interval[1])
            self.parts.append(part if callable(part) else None)
        self.low = np.array(low)
        self.span = np.array(high) - self.low
        # numpy multiplies by a number faster than by an array of one
        one = self.axes == 1
        self._scale: Any = float(self.span[0]) if one else self.span
        self._offset: Any = float(self.low[0]) if one else self.low
        self._drawn = [(axis, part) for axis, part in enumerate(self.parts) if part is not None]

    @staticmethod
    def side_by_side(*ranges: Range) -> Range:
        """Return the ranges of several quantities as one, whose axes are theirs one by one.

        numpy takes as long for one of them as for all. None may be of whole numbers.
        """
        new = copy.copy(ranges[0])
        new.name = " and ".join(each.name for each in ranges)
        new.minimum = new.maximum = None  # each checks its own
        new.parts = [part for each in ranges for part in each.parts]
        new.low = new._offset = np.concatenate([each.low for each in ranges])
        new.span = new._scale = np.concatenate([each.span for each in ranges])
        first = np.cumsum([0, *(len(each.parts) for each in ranges)])
        new._drawn = [
            (int(start) + axis, partial(each._draw, part))
            for start, each in zip(first, ranges, strict=False)
            for axis, part in each._drawn
        ]
        return new

    def _split(self, value: Any) -> list[Any]:
        """Return one range for each axis."""
        if isinstance(value, (np.ndarray, Tensor)):
            value = value.tolist()
        if is_number(value) or isinstance(value, (Choice, Distribution)):
            return [value] * self.axes
        if isinstance(value, Sequence) and not isinstance(value, str):
            if len(value) == 2:
                return [tuple(value)] * self.axes
            if self.axes == 3 and len(value) == 3:
                return list(value)
            if self.axes == 3 and len(value) == 6:
                return [tuple(value[n : n + 2]) for n in (0, 2, 4)]
        wish = "a number or a pair" if self.axes == 1 else "a number, 2, 3 or 6 numbers"
        raise ValueError(f"{self.name} must be {wish}, a Choice or a distribution, got {value!r}")

    def _interval(self, part: Any, value: Any) -> tuple[float, float]:
        if is_number(part):
            d = float(part)
            if self.around is None:
                part = (self.minimum or 0.0, d)
            elif d < 0:
                raise ValueError(f"{self.name} as a single number must be >= 0, got {value!r}")
            else:
                part = (self.around - d, self.around + d)
        usable = isinstance(part, Sequence) and len(part) == 2
        if not usable or not all(map(is_number, part)):
            raise ValueError(f"{self.name} must be made of pairs of numbers, got {value!r}")
        low, high = float(part[0]), float(part[1])
        if not (abs(low) <= _LARGEST and abs(high) <= _LARGEST):  # NaN neither
            raise ValueError(f"{self.name} must be finite, got {value!r}")
        self._check(low, high, value)
        if low > high:
            raise ValueError(f"{self.name} must be a range (a, b) with a <= b, got {value!r}")
        return low, high

    def _check(self, least: float, greatest: float, value: Any) -> None:
        if self.whole and (least % 1 or greatest % 1):
            raise ValueError(f"{self.name} must be made of whole numbers, got {value!r}")
        low, high = self.minimum, self.maximum
        if low is not None and (least < low or (self.exclusive and least == low)):
            sign = ">" if self.exclusive else ">="
            raise ValueError(f"{self.name} must be {sign} {low:g}, got {value!r}")
        if high is not None and greatest > high:
            raise ValueError(f"{self.name} must be <= {high:g}, got {value!r}")

    @property
    def is_common(self) -> bool:
        """True if all axes whose value varies have one range."""
        varying = [
            (part.distribution if isinstance(part, Quantile) else part, low, span)
            for part, low, span in zip(self.parts, self.low, self.span, strict=True)
            if part is not None or span
        ]
        return all(each == varying[0] for each in varying)

    @property
    def greatest(self) -> float:
        """Greatest value that can be drawn; infinite for distributions."""
        ends = [
            max(part.values) if isinstance(part, Choice) else math.inf if part else end
            for part, end in zip(self.parts, self.low + self.span, strict=True)
        ]
        return float(max(ends))

    def __call__(self, u: np.ndarray) -> np.ndarray:
        """Return values [..., axes] for uniform numbers [..., axes]."""
        values: np.ndarray = np.floor(u * (self._scale + 1)) if self.whole else u * self._scale
        values += self._offset
        for axis, part in self._drawn:
            values[..., axis] = self._draw(part, u[..., axis])
        return values

    @instruction
    def _draw(self, part: Part, u: np.ndarray) -> np.ndarray:
        """Return values of a choice or distribution, or raise if one is not allowed."""
        drawn = part(u)
        if not drawn.size:
            return drawn
        self._check(float(drawn.min()), float(drawn.max()), part)
        return drawn


def fixed_or_range(
    value: Any,
    name: str,
    exclusive: bool = False,
    maximum: float | None = None,
    minimum: float | None = 0,
) -> Range:
    """Return the range of a quantity >= 0, where a number stands for itself.

    Args:
        value, name, exclusive, maximum, minimum: See :class:`Range`.

    >>> fixed_or_range(3, "field_strength")(np.array([0.1, 0.9])).tolist()
    [3.0, 3.0]
    """
    pair = (value, value) if is_number(value) else value
    return Range(pair, name, minimum=minimum, exclusive=exclusive, maximum=maximum)

"""Changes of the lines of k-space as data: a weight per frequency index along one axis.

Each says what share it removes from a line, as a function of its frequency. Neighbours multiply:
see :func:`torchio_gpu.functional.lines.change_lines`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..arrays import Array, common

#: Lines: 0.29 of 200 lines are 58, though 0.29 as a float is less, and in float32 by more.
TIE = 1e-4


class Ghosts(NamedTuple):
    """Lines that ghosting weakens, for each sample: [1 or B] each.

    The share ``intensity`` is removed from every line whose frequency is a multiple of
    ``num_ghosts``, of none for 0, except in the share ``restore`` of lines about the centre, and
    never from the central one.
    """

    num_ghosts: Array
    intensity: Array
    restore: Array

    def missing(self, frequency: np.ndarray, lines: int) -> Any:
        """Return the share that is removed from lines of frequency [F] >= 0: [1 or B, F].

        Args:
            frequency: Frequencies in lines from the central one.
            lines: Number of lines of k-space.
        """
        xp, frequency, ghosts, intensity, restore = common(frequency, *self)
        period = xp.where(ghosts > 0, ghosts, 1)[:, None]
        comb = (xp.remainder(frequency, period) == 0) & (ghosts > 0)[:, None]
        return intensity[:, None] * (comb & _outside(xp, frequency, restore, lines))


class Truncation(NamedTuple):
    """Lines that are kept, for each sample: [1 or B] each.

    The share ``cutoff`` of all lines, about the central one, is kept; the central one always is.
    Over the share ``softness`` of these their weight falls to 0, unless all are kept.
    """

    cutoff: Array
    softness: Array

    def missing(self, frequency: np.ndarray, lines: int) -> Any:
        """Return the share that is removed from lines; see :meth:`Ghosts.missing`."""
        xp, frequency, cutoff, softness = common(frequency, *self)
        last = (cutoff * lines / 2)[:, None]  # [B, 1], the last frequency that is kept
        width = softness[:, None] * last
        soft = width > 0
        into = xp.clip((frequency - last + width) / xp.where(soft, width, 1.0), 0, 1)  # [B, F]
        falling = soft * (0.5 - 0.5 * xp.cos(math.pi * into))
        weaker = xp.where(frequency > last + TIE, 1.0, falling)
        return weaker * ((frequency > 0) & (cutoff < 1)[:, None])


class Undersampling(NamedTuple):
    """Lines that an accelerated acquisition leaves out, for each sample: [1 or B] each.

    The share ``intensity`` is removed from every line whose frequency is no multiple of
    ``acceleration``, except in the share ``restore`` of lines about the centre.
    """

    acceleration: Array
    intensity: Array
    restore: Array

    def missing(self, frequency: np.ndarray, lines: int) -> Any:
        """Return the share that is removed from lines; see :meth:`Ghosts.missing`."""
        xp, frequency, acceleration, intensity, restore = common(frequency, *self)
        left_out = xp.remainder(frequency, acceleration[:, None]) != 0
        return intensity[:, None] * (left_out & _outside(xp, frequency, restore, lines))


class OneSided(NamedTuple):
    """Lines of which those of the most negative frequencies are left out.

    For each sample, the share ``kept`` of the lines is acquired: [1 or B], at least 0.5.
    """

    kept: Array

    def missing(self, frequency: np.ndarray, lines: int) -> Any:
        """Return the share that is removed from lines f and -f; see :meth:`Ghosts.missing`."""
        plus, minus = self._left_out(frequency, lines)
        return (plus + minus) / 2

    def asymmetry(self, frequency: np.ndarray, lines: int) -> Any:
        """Return half the difference of the weights of lines f and -f, [1 or B, F].

        Times -i, they are the weights of the imaginary part of the image.
        """
        plus, minus = self._left_out(frequency, lines)
        return (minus - plus) / 2

    def _left_out(self, frequency: np.ndarray, lines: int) -> tuple[Any, Any]:
        """Return 1.0 where the lines f, and -f, are left out, [1 or B, F] each."""
        places = [(sign * frequency + lines // 2) % lines for sign in (1, -1)]
        xp, plus, minus, kept = common(*places, self.kept)
        first = (lines - xp.ceil(kept * lines - TIE))[:, None]  # first line that is acquired
        return 1.0 * (plus < first), 1.0 * (minus < first)


def _outside(xp: Any, frequency: Any, restore: Any, lines: int) -> Any:
    """Return True for lines outside the share that is kept about the centre, [B, F]."""
    return (frequency > 0) & (frequency > xp.floor(restore * lines / 2 + TIE)[:, None])


Weights: TypeAlias = Ghosts | Truncation | Undersampling | OneSided


@dataclass(frozen=True)
class LineOperation:
    """Change of lines along one axis of each sample.

    Args:
        weights: Weights of the lines.
        axis: Axis across the lines, 0, 1 or 2: of all samples, or one for each, (B) on the host.
        magnitude: Take the magnitude of the image of one-sided lines, not its real part.
        active: Samples to change, [B]; None for all.
    """

    weights: Weights
    axis: int | Sequence[int] | Array
    magnitude: bool = False
    active: np.ndarray | None = None

    @property
    def ends_pass(self) -> bool:
        """True if the image is not real afterwards, so that no operation may follow."""
        return isinstance(self.weights, OneSided)


__all__ = ["TIE", "Ghosts", "LineOperation", "OneSided", "Truncation", "Undersampling", "Weights"]

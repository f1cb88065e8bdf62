"""Choosing voxels at random with given weights, by the inverse of their cumulative sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ... import random
from ...arrays import send
from ...functional.eager.slabs import slab_planes

#: Weights of some voxels, in float64.
WeightFunction = Callable[[Tensor], Tensor]

_LAYOUT = random.Layout(((0, 0, 2),))


class Weights(NamedTuple):
    """Weights of the voxels in a box of a volume, summed up along K.

    Only sums over rows are kept; the row of a voxel that is drawn is weighed again.

    Args:
        rows: Sums of all rows up to each, [I J] float64, on the device of the volume.
        box: The box, as slices.
        weigh: What weighs voxels.
    """

    rows: Tensor
    box: tuple[slice, slice, slice]
    weigh: WeightFunction

    @classmethod
    def of(
        cls,
        voxels: Tensor,
        first: np.ndarray,
        last: np.ndarray,
        weight_function: Callable[[Tensor], WeightFunction],
        what: str,
    ) -> Weights:
        """WeightFunction the voxels of a volume [I, J, K] between two of them, both included.

        Args:
            voxels: The volume.
            first, last: The two voxels, [3] each.
            weight_function: Makes what weighs voxels, given all that may be drawn.
            what: What the weights are of, for errors.

        Raises:
            ValueError: A weight is negative or not finite, or all of them are 0.
        """
        i, j, k = (slice(a, b + 1) for a, b in zip(first.tolist(), last.tolist(), strict=True))
        seen = voxels[i, j, k]
        slab = slab_planes(len(seen), seen[0].numel(), voxels.device)
        weigh, sums, least = weight_function(seen), [], []
        for n in range(0, len(seen), slab):
            weights = weigh(seen[n : n + slab])
            sums.append(weights.sum(2))
            least.append(weights.amin())
        total = torch.cat(sums).flatten().cumsum(0)
        low, high = torch.stack([torch.stack(least).amin(), total[-1]]).tolist()
        if not (low >= 0 and np.isfinite(high)):
            raise ValueError(f"{what} must hold finite weights >= 0, got {low:g} as the smallest")
        if not high > 0:
            raise ValueError(
                f"{what} must have a weight above 0 among the {tuple(seen.shape)} voxels around "
                "which a patch fits, all are 0"
            )
        return cls(total, (i, j, k), weigh)

    def draw(self, voxels: Tensor, seeds: np.ndarray) -> np.ndarray:
        """Voxels of the volume, [N, 3], one for each seed."""
        u = random.uniforms(seeds, _LAYOUT)[:, :2]
        words = np.floor(u * 2.0**32)
        share = send(torch.from_numpy((words[:, 0] + u[:, 1]) * 2.0**-32), self.rows.device)
        seen = voxels[self.box]
        at = (share * self.rows[-1]).clamp(max=_below(self.rows[-1]))
        row = torch.searchsorted(self.rows, at, right=True)  # [N], one whose sum is above 0
        before = torch.where(row > 0, self.rows[(row - 1).clamp(min=0)], 0.0)
        columns = seen.shape[1]
        line = self.weight_function(seen[row // columns, row % columns])  # [N, K]
        total = line.cumsum(1)
        rest = (at - before).clamp(min=0)[:, None].minimum(_below(total[:, -1:]))
        k = torch.searchsorted(total, rest, right=True)[:, 0]
        found = torch.stack([row // columns, row % columns, k], 1).cpu().numpy()
        return found + np.array([s.start for s in self.box])


def _below(x: Tensor) -> Tensor:
    """Return the next smaller number."""
    return torch.nextafter(x, torch.zeros_like(x))


__all__ = ["Weights"]

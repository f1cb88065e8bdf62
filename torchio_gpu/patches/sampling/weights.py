"""Random choice of voxels with given weights, by inversion of their cumulative sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ... import random
from ...arrays import send
from ...functional.eager.slabs import slab_planes

#: Function from voxels to weights, in float64.
WeightFunction = Callable[[Tensor], Tensor]

_LAYOUT = random.Layout(((0, 0, 2),))


class Weights(NamedTuple):
    """Weights of the voxels in a box of a volume, summed along K.

    Only sums over rows along K are kept; weights in the row of a drawn voxel are computed again.

    Args:
        rows: Cumulative sum over rows, [I J] float64, on the device of the volume.
        box: The box, as slices.
        weight_function: Function from voxels to weights.
    """

    rows: Tensor
    box: tuple[slice, slice, slice]
    weight_function: WeightFunction

    @classmethod
    def of(
        cls,
        voxels: Tensor,
        first: np.ndarray,
        last: np.ndarray,
        make_function: Callable[[Tensor], WeightFunction],
        name: str,
    ) -> Weights:
        """Compute the weights of a volume [I, J, K] between two of its voxels, both included.

        Args:
            voxels: The volume.
            first, last: The two voxels, [3] each.
            make_function: Returns the weight function, given all voxels that may be drawn.
            name: Name of the map, for errors.

        Raises:
            ValueError: A weight is negative or not finite, or all of them are 0.
        """
        i, j, k = (slice(a, b + 1) for a, b in zip(first.tolist(), last.tolist(), strict=True))
        candidates = voxels[i, j, k]
        slab = slab_planes(len(candidates), candidates[0].numel(), voxels.device)
        weight_function, sums, least = make_function(candidates), [], []
        for n in range(0, len(candidates), slab):
            weights = weight_function(candidates[n : n + slab])
            sums.append(weights.sum(2))
            least.append(weights.amin())
        total = torch.cat(sums).flatten().cumsum(0)
        low, high = torch.stack([torch.stack(least).amin(), total[-1]]).tolist()
        if not (low >= 0 and np.isfinite(high)):
            raise ValueError(f"{name} must hold finite weights >= 0, got {low:g} as the smallest")
        if not high > 0:
            raise ValueError(
                f"{name} must have a weight above 0 among the {tuple(candidates.shape)} voxels "
                "around which a patch fits, all are 0"
            )
        return cls(total, (i, j, k), weight_function)

    def draw(self, voxels: Tensor, seeds: np.ndarray) -> np.ndarray:
        """Draw voxels of the volume, [N, 3], one for each seed."""
        u = random.uniforms(seeds, _LAYOUT)[:, :2]
        words = np.floor(u * 2.0**32)
        share = send(torch.from_numpy((words[:, 0] + u[:, 1]) * 2.0**-32), self.rows.device)
        candidates = voxels[self.box]
        at = (share * self.rows[-1]).clamp(max=_below(self.rows[-1]))
        row = torch.searchsorted(self.rows, at, right=True)  # [N], one whose sum is above 0
        before = torch.where(row > 0, self.rows[(row - 1).clamp(min=0)], 0.0)
        count = candidates.shape[1]  # rows of a plane
        i, j = row // count, row % count
        total = self.weight_function(candidates[i, j]).cumsum(1)  # [N, K]
        rest = (at - before).clamp(min=0)[:, None].minimum(_below(total[:, -1:]))
        k = torch.searchsorted(total, rest, right=True)[:, 0]
        found = torch.stack([i, j, k], 1).cpu().numpy()
        return found + np.array([s.start for s in self.box])


def _below(x: Tensor) -> Tensor:
    """Return the next smaller number."""
    return torch.nextafter(x, torch.zeros_like(x))


__all__ = ["Weights"]

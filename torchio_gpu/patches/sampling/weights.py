"""Random choice of voxels with given weights, by inversion of their cumulative sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ... import random
from ...functional.eager.slabs import slab_planes

#: Function from voxels to weights, in float64.
WeightFunction = Callable[[Tensor], Tensor]

_LAYOUT = random.Layout(((0, 0, 2),))


class Rows(Protocol):
    """Voxels [I, J, K] of which rows along K are looked up."""

    def __getitem__(self, at: tuple[int, int, slice], /) -> Tensor: ...


class Weights(NamedTuple):
    """Weights of the voxels in a box of a volume, summed along K.

    Only sums over rows along K are kept; weights in the row of a drawn voxel are computed again.

    Args:
        rows: Cumulative sum over rows, [I J] float64, on the host.
        box: The box, as slices.
        weight_function: Function from voxels to weights.
    """

    rows: np.ndarray
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
        *_, low = known = torch.cat([total, torch.stack(least).amin()[None]]).cpu().numpy()
        rows = known[:-1]
        high = rows[-1]
        if not (low >= 0 and np.isfinite(high)):
            raise ValueError(f"{name} must hold finite weights >= 0, got {low:g} as the smallest")
        if not high > 0:
            raise ValueError(
                f"{name} must have a weight above 0 among the {tuple(candidates.shape)} voxels "
                "around which a patch fits, all are 0"
            )
        return cls(rows, (i, j, k), weight_function)


def draw(each: Sequence[Weights], volumes: Sequence[Rows], seeds: np.ndarray) -> np.ndarray:
    """Draw a voxel for each seed, [N, 3].

    Args:
        each: The weights that it is drawn with.
        volumes: The volume [I, J, K] of these weights. If there are volumes on a GPU, drawing waits
            for it, once.
        seeds: The seeds, [N].
    """
    u = random.uniforms(seeds, _LAYOUT)[:, :2]
    words = np.floor(u * 2.0**32)
    share = (words[:, 0] + u[:, 1]) * 2.0**-32
    found, rest, sums = np.empty((len(seeds), 3), np.int64), np.empty(len(seeds)), []
    for n, (weights, voxels) in enumerate(zip(each, volumes, strict=True)):
        rows, (i, j, k) = weights.rows, weights.box
        at = min(share[n] * rows[-1], np.nextafter(rows[-1], 0.0))
        row = int(np.searchsorted(rows, at, side="right"))  # one whose sum is above 0
        rest[n] = max(at - (rows[row - 1] if row else 0.0), 0.0)
        a, b = divmod(row, j.stop - j.start)
        found[n] = i.start + a, j.start + b, k.start
        sums.append(weights.weight_function(voxels[i.start + a, j.start + b, k]).cumsum(0))
    if any(total.device.type != "cpu" for total in sums):
        ends = np.cumsum([len(total) for total in sums])
        sums = [torch.from_numpy(s) for s in np.split(torch.cat(sums).cpu().numpy(), ends[:-1])]
    for n, total in enumerate(sums):
        along_k = total.numpy()
        place = min(rest[n], np.nextafter(along_k[-1], 0.0))
        found[n, 2] += np.searchsorted(along_k, place, side="right")
    return found


__all__ = ["Weights", "draw"]

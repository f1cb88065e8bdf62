"""Location of a patch in its volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...shapes import Triple


@dataclass(frozen=True)
class PatchLocation:
    """First voxel and size of a patch, in voxels of the volume it is cut from.

    Args:
        index: First voxel; negative where the patch begins outside the volume.
        size: Voxels along I, J, K.
        subject_index: Number of the subject, where there are several.

    >>> location = PatchLocation((2, 0, 4), (8, 8, 4))
    >>> location.index_fin, torch.zeros(10, 10, 10)[location.to_slices()].shape
    ((10, 8, 8), torch.Size([8, 8, 4]))
    """

    index: Triple
    size: Triple
    subject_index: int | None = None

    @property
    def index_ini(self) -> Triple:
        """First voxel."""
        return self.index

    @property
    def index_fin(self) -> Triple:
        """Voxel after the last one along each axis."""
        i, j, k = (first + n for first, n in zip(self.index, self.size, strict=True))
        return i, j, k

    def to_slices(self) -> tuple[slice, slice, slice]:
        """Return slices that index the three spatial axes of a volume.

        Raises:
            ValueError: The patch begins outside the volume, as it may where patches are padded.
        """
        if min(self.index) < 0:
            raise ValueError(f"index must be >= 0 to slice a volume, got {self}")
        i, j, k = (slice(*ends) for ends in zip(self.index, self.index_fin, strict=True))
        return i, j, k

    def scaled(self, factor: float | Sequence[float]) -> PatchLocation:
        """Return the location of the patch in a volume of another size.

        Args:
            factor: Scale of the volume, one number or three.

        Ends are rounded to whole voxels, so that adjacent patches stay adjacent.

        >>> PatchLocation((8, 0, 4), (8, 8, 4)).scaled(0.5)
        PatchLocation(index=(4, 0, 2), size=(4, 4, 2), subject_index=None)
        """
        factors = np.broadcast_to(np.asarray(factor, dtype=np.float64), (3,))
        first = np.rint(np.array(self.index) * factors).astype(int)
        last = np.rint(np.array(self.index_fin) * factors).astype(int)
        (a, b, c), (i, j, k) = first.tolist(), (last - first).tolist()
        return PatchLocation((a, b, c), (i, j, k), self.subject_index)

    def to_tensor(self) -> Tensor:
        """Return (6,) int64: first voxel, and the voxel after the last, as in TorchIO 1.x."""
        return torch.tensor([*self.index, *self.index_fin])

    @classmethod
    def from_tensor(cls, location: Any) -> PatchLocation:
        """Create a location from six whole numbers: first voxel, and the voxel after the last."""
        try:
            given = [float(n) for n in location]
        except (TypeError, ValueError) as error:
            raise TypeError(f"location must be six numbers, got {location!r}") from error
        ends = [int(n) if math.isfinite(n) else 0 for n in given]
        empty = any(a >= b for a, b in zip(ends[:3], ends[3:], strict=False))
        if len(ends) != 6 or empty or ends != given:
            raise ValueError(
                "location must be six numbers, the first voxel and the one after the last, "
                f"got {given}"
            )
        a, b, c, d, e, f = ends
        return cls((a, b, c), (d - a, e - b, f - c))


def check_locations(locations: Any) -> list[PatchLocation]:
    """Return the locations of a batch of patches as a list; raise if they are invalid.

    Args:
        locations: A :class:`PatchLocation` or a sequence of them; or a tensor or array (B, 6) or
            (6,), or a sequence of (6,); on a GPU, reading it waits for the device.
    """
    if isinstance(locations, PatchLocation):
        return [locations]
    if isinstance(locations, Tensor):
        locations = locations.detach().cpu().numpy()
    if isinstance(locations, np.ndarray):
        if locations.ndim not in (1, 2) or locations.shape[-1] != 6:
            raise ValueError(f"locations must have shape (B, 6), got {locations.shape}")
        locations = locations.reshape(-1, 6)
    if not isinstance(locations, (Sequence, np.ndarray)):
        raise TypeError(
            f"locations must be PatchLocations or a (B, 6) tensor, got {type(locations).__name__}"
        )
    return [
        each if isinstance(each, PatchLocation) else PatchLocation.from_tensor(each)
        for each in locations
    ]


__all__ = ["PatchLocation", "check_locations"]

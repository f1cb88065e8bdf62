"""What all contenders are given: sizes, number of steps, and the heads to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

#: Of an image's label map: background and three tissues.
CLASSES = 4
#: How bright they are, about.
LEVELS = (0.0, 0.4, 0.7, 1.0)
#: Between two of them lies such a value of a smooth field in [0, 1].
BORDERS = (0.38, 0.5, 0.62)


@dataclass(frozen=True)
class Setup:
    """One training, fit for JSON.

    Args:
        device: 'cpu' or 'cuda'.
        threads: Cores; as many workers load for those who have workers.
        shape: Voxels of a head, of 1 mm.
        patch: Voxels along a side of a patch.
        batch: Patches of a batch.
        subjects: How many heads there are, each other than all others.
        per_volume: Patches that are cut out of a volume once it is prepared.
        width: Channels of the first level of the network.
        levels: How often its resolution is halved, and one.
        warmup: Steps that are not measured.
        steps: Steps that are, at most, but for the rest of a round.
        seconds: No round begins after so many.
    """

    device: str = "cpu"
    threads: int = 1
    shape: tuple[int, int, int] = (193, 229, 193)
    patch: int = 96
    batch: int = 2
    subjects: int = 4
    per_volume: int = 4
    width: int = 8
    levels: int = 4
    warmup: int = 4
    steps: int = 30
    seconds: float = 45.0


#: Sizes for tests.
QUICK: dict[str, Any] = {
    "threads": 1,
    "shape": (48, 56, 48),
    "patch": 32,
    "width": 4,
    "levels": 2,
    "steps": 4,
    "seconds": 1.0,
}


def heads(setup: Setup) -> list[tuple[Tensor, Tensor]]:
    """Images, (1, I, J, K) float32, and their label maps, (1, I, J, K) uint8.

    Tissues are regions of a smooth random field within an ellipsoid, of a brightness that varies a
    little and smoothly: no head is like its mirror image or like another, so that labels fit the
    image that they belong to and no other.
    """
    random = torch.Generator().manual_seed(0)
    along = (torch.linspace(-1.1, 1.1, n).square() for n in setup.shape)
    i, j, k = along
    inside = i[:, None, None] + j[:, None] + k <= 1
    knots = [max(3, n // 16) for n in setup.shape]
    found = []
    for _ in range(setup.subjects):
        fields = torch.rand(1, 2, *knots, generator=random)
        field, shade = interpolate(fields, setup.shape, mode="trilinear", align_corners=True)[0]
        label = torch.bucketize(field, torch.tensor(BORDERS)) * inside
        image = torch.tensor(LEVELS)[label] * (0.9 + 0.2 * shade)
        found.append((image[None], label[None].byte()))
    return found

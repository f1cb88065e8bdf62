"""Inputs of operations, made of the batch or by themselves; the same for all contenders."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .workloads import LABELS, RAW_SHAPE, patch_and_overlap


def inputs(given: str, x: Tensor) -> tuple[Tensor, ...]:
    """Return the tensors that an operation is called with, on the device of the batch.

    Args:
        given: One of :data:`MADE`.
        x: The batch.
    """
    made = MADE[given](x)
    # where patches lie is known on the host, as it is where a loader brings them
    return made if given == "patches" else tuple(tensor.to(x.device) for tensor in made)


def labels_of(x: Tensor) -> Tensor:
    """Return a label map of a batch of numbers in [0, 1): (B, 1, I, J, K) uint8."""
    return (x[:, :1] * LABELS).byte()


def grid_patches(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return all patches of a grid over the first sample, (N, C, i, j, k), and places, (N, 6)."""
    size, overlap = patch_and_overlap(x.shape[2:])
    along = [
        [*range(0, n - p, p - o), n - p] for n, p, o in zip(x.shape[2:], size, overlap, strict=True)
    ]
    first = torch.cartesian_prod(*map(torch.tensor, along))  # [N, 3]
    locations = torch.cat([first, first + torch.tensor(size)], 1)
    cut = [x[0, :, a:d, b:e, c:f] for a, b, c, d, e, f in locations.tolist()]
    return torch.stack(cut), locations


def mask() -> Tensor:
    """Fifty ellipsoids that do not touch, (1, 1, 128, 128, 128) uint8.

    Each has one of 4³ cells of 32³ voxels for itself.
    """
    random = torch.Generator().manual_seed(0)
    centre = 6 * torch.rand(64, 3, 1, generator=random) - 3  # from the middle of its cell, voxels
    radius = 4 + 8 * torch.rand(64, 3, 1, generator=random)  # centre and radius: under 15.5
    i, j, k = ((torch.arange(32) - 15.5 - centre) / radius).square().unbind(1)
    cells = i[:, :, None, None] + j[:, None, :, None] + k[:, None, None, :] <= 1
    cells[torch.randperm(64, generator=random)[50:]] = False
    blocks = cells.view(4, 4, 4, 32, 32, 32).permute(0, 3, 1, 4, 2, 5)
    return blocks.reshape(1, 1, 128, 128, 128).byte()


def _seeded(draw: Callable[..., Tensor], *size: int) -> Tensor:
    return draw(size, generator=torch.Generator().manual_seed(0))


def _smooth(channels: int, size: tuple[int, ...]) -> Tensor:
    """Return a smooth image between 0 and 1, (1, C, I, J, K)."""
    knots = _seeded(torch.rand, 1, channels, 9, 9, 9)
    return interpolate(knots, size, mode="trilinear", align_corners=True)


def subject(size: tuple[int, int, int] = RAW_SHAPE) -> tuple[Tensor, Tensor]:
    """Return a smooth image, (1, I, J, K) float32, and its label map, (1, I, J, K) uint8.

    Both are 0 outside of an ellipsoid that fills three quarters of each axis.
    """
    image = _smooth(1, size)[0]
    i, j, k = (torch.linspace(-4 / 3, 4 / 3, n).square() for n in size)
    inside = i[:, None, None] + j[:, None] + k <= 1
    labels = (1 + (image * (LABELS - 1)).byte()) * inside
    return (100 + 900 * image) * inside, labels


#: How each is made of the batch: 'volume' is the first sample, (1, I, J, K), with its label map,
#: 'grid' the batch that patches are cut out of, 'field' a batch with a displacement of 5 voxels at
#: most, 'cloud' an image (1, I, J, K) with points (N, 3).
MADE: dict[str, Callable[[Tensor], tuple[Tensor, ...]]] = {
    **dict.fromkeys(("batch", "grid"), lambda x: (x,)),
    "labels": lambda x: (labels_of(x),),
    "pair": lambda x: (x, labels_of(x)),
    "volume": lambda x: (x[0, :1], labels_of(x)[0]),
    "patches": grid_patches,
    "mask": lambda x: (mask(),),
    "normals": lambda x: (_seeded(torch.randn, 1, 1, 300, 300, 300),),
    "subject": lambda x: subject(),
    "field": lambda x: (
        x,
        (10 * _smooth(3, tuple(x.shape[2:])) - 5).expand(len(x), -1, -1, -1, -1),
    ),
    "cloud": lambda x: (_seeded(torch.rand, 1, 64, 64, 64), 63 * _seeded(torch.rand, 100_000, 3)),
}

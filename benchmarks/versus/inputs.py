"""What operations are given, made of the batch or by themselves; the same for all contenders."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .workloads import LABELS, OWN, patch_and_overlap


def inputs(given: str, x: Tensor) -> tuple[Tensor, ...]:
    """The tensors that an operation is called with, on the device of the batch.

    Args:
        given: See :class:`benchmarks.workloads.Work`.
        x: The batch.
    """
    made = MADE[given](x)
    return tuple(tensor.to(x.device) for tensor in made) if given in OWN else made


def labels_of(x: Tensor) -> Tensor:
    """A label map of a batch of numbers in [0, 1): (B, 1, I, J, K) uint8."""
    return (x[:, :1] * LABELS).byte()


def patches(x: Tensor) -> tuple[Tensor, Tensor]:
    """All patches of a grid over the first sample, (N, C, i, j, k), and where they lie, (N, 6).

    Where they lie is known on the host, as it is where a loader brings them.
    """
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
    along = ((torch.arange(32) - 15.5 - centre) / radius).square()  # [64, 3, 32]
    i, j, k = along.unbind(1)
    cells = i[:, :, None, None] + j[:, None, :, None] + k[:, None, None, :] <= 1
    cells[torch.randperm(64, generator=random)[50:]] = False
    blocks = cells.view(4, 4, 4, 32, 32, 32).permute(0, 3, 1, 4, 2, 5)
    return blocks.reshape(1, 1, 128, 128, 128).byte()


def normals(size: int = 300) -> Tensor:
    """Normal numbers, (1, 1, N, N, N) float32."""
    return torch.randn(1, 1, size, size, size, generator=torch.Generator().manual_seed(0))


def subject(size: tuple[int, int, int] = (256, 256, 170)) -> tuple[Tensor, Tensor]:
    """A smooth image, (1, I, J, K) float32, and its label map, (1, I, J, K) uint8.

    Both are 0 outside of an ellipsoid that fills three quarters of each axis.
    """
    knots = torch.rand(1, 1, 9, 9, 9, generator=torch.Generator().manual_seed(0))
    image = interpolate(knots, size, mode="trilinear", align_corners=True)[0]
    i, j, k = (torch.linspace(-4 / 3, 4 / 3, n).square() for n in size)
    inside = i[:, None, None] + j[:, None] + k <= 1
    labels = (1 + (image * (LABELS - 1)).byte()) * inside
    return (100 + 900 * image) * inside, labels


#: How each is made of the batch.
MADE: dict[str, Callable[[Tensor], tuple[Tensor, ...]]] = {
    "batch": lambda x: (x,),
    "labels": lambda x: (labels_of(x),),
    "pair": lambda x: (x, labels_of(x)),
    "volume": lambda x: (x[0, :1], labels_of(x)[0]),
    "patches": patches,
    "mask": lambda x: (mask(),),
    "normals": lambda x: (normals(),),
    "subject": lambda x: subject(),
}

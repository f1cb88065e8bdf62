"""The network that is trained: a 3D U-Net in plain torch."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .setup import CLASSES, Setup


class UNet(nn.Module):
    """Twice the channels at each level that is coarser; levels are joined by sums.

    Small enough for a CPU: one convolution at the first level and one at each on the way up, two
    elsewhere.

    Args:
        width: Channels of the first level.
        levels: How often the resolution is halved, and one.
    """

    def __init__(self, width: int, levels: int, classes: int = CLASSES) -> None:
        super().__init__()
        widths = [width * 2**n for n in range(levels)]
        below = list(pairwise(widths))
        down = [_block(1, width), *(_block(fine, coarse, coarse) for fine, coarse in below)]
        self.down = nn.ModuleList(down)
        self.narrow = nn.ModuleList(nn.Conv3d(coarse, fine, 1) for fine, coarse in below[::-1])
        self.up = nn.ModuleList(_block(fine, fine) for fine, _ in below[::-1])
        self.head = nn.Conv3d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, classes, I, J, K] of images [B, 1, I, J, K]."""
        passed: list[Tensor] = []
        for block in self.down:
            x = block(F.max_pool3d(x, 2) if passed else x)
            passed.append(x)
        passed.pop()
        for narrow, block in zip(self.narrow, self.up, strict=True):
            x = block(F.interpolate(narrow(x), scale_factor=2) + passed.pop())
        logits: Tensor = self.head(x)
        return logits


def _block(*widths: int) -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv3d(before, after, 3, padding=1), nn.GroupNorm(4, after), nn.ReLU()]
    return nn.Sequential(*layers)


class Trainer:
    """A network and its optimizer, the same for all contenders."""

    def __init__(self, setup: Setup) -> None:
        torch.manual_seed(0)
        layout = torch.channels_last_3d  # of the weights, and so of all but the input: faster
        model = UNet(setup.width, setup.levels)
        self.model = model.to(setup.device, memory_format=layout)  # type: ignore[call-overload]
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=3e-3)

    def step(self, image: Tensor, label: Tensor) -> Tensor:
        """Learn from a batch and return its loss, which stays on the device."""
        loss = F.cross_entropy(self.model(image), label[:, 0].long())
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()

"""Network that learns to undo a motion, compiled: ``python examples/spatial_transformer.py``.

A spatial transformer (Jaderberg et al. 2015, arXiv:1506.02025) looks at a volume, decides how to
move it, and moves it: gradients reach the motion through the voxels. Here it sees shapes that were
rotated and shifted at random, and is trained to put them back, without being told the motion.
"""

import argparse

import torch
from torch import Tensor, nn

import torchio_gpu as tio


class SpatialTransformer(nn.Module):
    """Layer that rotates and moves volumes [B, 1, N, N, N] as a small network decides.

    Args:
        size: Voxels along each axis.
        degrees, translation: About the largest angle, and the largest motion in voxels.
    """

    def __init__(self, size: int, degrees: float, translation: float) -> None:
        super().__init__()
        self.degrees, self.translation = degrees, translation
        self.localise = nn.Sequential(
            nn.AvgPool3d(2),
            nn.Conv3d(1, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(8 * ((size // 2 + 1) // 2) ** 3, 64),
            nn.ReLU(),
            nn.Linear(64, 6),
        )
        nn.init.zeros_(self.localise[-1].weight)  # at first, nothing moves
        nn.init.zeros_(self.localise[-1].bias)

    def forward(self, x: Tensor) -> Tensor:
        degrees, translation = self.localise(x).chunk(2, 1)  # [B, 3] each
        motion = tio.Affine(
            degrees=self.degrees * degrees, translation=self.translation * translation
        )
        return motion(x)


def shapes(size: int) -> Tensor:
    """Return three blobs that look different from all sides, [1, N, N, N]."""
    axis = torch.linspace(-1, 1, size)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))  # [3, N, N, N]
    volume = torch.zeros(size, size, size)
    for centre, widths in (
        ((-0.3, -0.2, 0.0), (0.25, 0.15, 0.15)),
        ((0.3, 0.1, 0.2), (0.12, 0.3, 0.12)),
        ((0.0, 0.3, -0.3), (0.12, 0.12, 0.2)),
    ):
        distance = (points.movedim(0, -1) - torch.tensor(centre)) / torch.tensor(widths)
        volume += torch.exp(-distance.square().sum(-1) / 2)
    return volume[None]


def main(
    steps: int = 300, size: int = 24, batch: int = 16, backend: str = "inductor"
) -> list[float]:
    """Train the layer, and return the loss of each step.

    Args:
        steps: Number of steps.
        size: Voxels along each axis.
        batch: Volumes of a step.
        backend: Backend of the compiler; 'inductor' needs a compiler of C++.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    degrees, translation = 20.0, size / 8
    moved = tio.RandomAffine(scales=0, degrees=degrees, translation=translation)
    target = shapes(size).to(device).expand(batch, 1, size, size, size)
    layer = SpatialTransformer(size, degrees, translation).to(device)
    aligned = torch.compile(layer, fullgraph=True, backend=backend)
    optimizer = torch.optim.Adam(layer.parameters(), lr=5e-3)
    losses = []
    for step in range(steps):
        given = moved(target)  # another motion of each volume, in each step
        loss = (aligned(given) - target).square().mean() / target.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 20 == 19:
            print(f"step {step + 1:4}: loss {sum(losses[-20:]) / 20:.3f}")
    return losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--size", type=int, default=24)
    parser.add_argument("--backend", default="inductor")
    arguments = parser.parse_args()
    main(arguments.steps, arguments.size, backend=arguments.backend)

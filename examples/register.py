"""Registration of two brains by gradient: ``python examples/register.py``.

The moving brain is the MNI152 average under a random affine map, a random diffeomorphism and
another contrast. An affine map is found first, then the velocity field of a diffeomorphism
(Ashburner 2007, doi:10.1016/j.neuroimage.2007.07.007, has this parametrisation), both by the
gradient of the difference of the images, which flows through one sampling. The map that was found
moves label maps and points as well, and never folds.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

import torchio_gpu as tio
from torchio_gpu.datasets import mni152


def brains(spacing: float, seed: int) -> tuple[tio.Subject, tio.Subject]:
    """Return the fixed and the moving brain, images ``t1`` and labels ``seg``."""
    fixed = tio.Compose([tio.Resample(spacing), tio.RescaleIntensity()])(mni152())
    fixed = tio.Subject(t1=fixed.t1, seg=fixed.seg)
    torch.manual_seed(seed)
    motion = tio.Compose(
        [
            tio.RandomAffine(scales=0.1, degrees=12, translation=8),
            tio.RandomDiffeomorphism(amplitude=(8, 8), smoothness=25),
            tio.RandomGamma((0.1, 0.2)),
        ]
    )
    return fixed, motion(fixed)


def minimise(
    loss: Callable[[], Tensor], optimiser: torch.optim.Optimizer, steps: int
) -> list[float]:
    """Minimise a loss, and return its value at each step."""
    values = []
    for _ in range(steps):
        optimiser.zero_grad()
        value = loss()
        value.backward()
        optimiser.step()
        values.append(float(value.detach()))
    return values


def register(
    fixed: tio.ScalarImage, moving: tio.ScalarImage, affine_steps: int, velocity_steps: int
) -> tuple[tio.Compose, list[float]]:
    """Return the transform that brings the moving image to the fixed one, and the losses."""
    scales, motion = torch.ones(3, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    shape = [-(-n // 2) for n in fixed.spatial_shape]  # a velocity for every other voxel
    velocity = torch.zeros(3, *shape, requires_grad=True)  # mm
    every_other = fixed.affine @ np.diag((2.0, 2, 2, 1))

    def affine() -> tio.Affine:
        return tio.Affine(scales, *motion, default_pad_value=0)  # degrees, and translation in mm

    def both() -> tio.Compose:
        bend = tio.Diffeomorphism(velocity, every_other, default_pad_value=0)
        return tio.Compose([affine(), bend])  # one map, one sampling

    def difference(transform: tio.Transform) -> Tensor:
        return (transform(moving).data - fixed.data).square().mean()

    def roughness() -> Tensor:
        """Return the mean square of the differences of neighbouring velocities."""
        return torch.stack(torch.gradient(velocity, dim=(1, 2, 3))).square().mean()

    groups = [{"params": [scales], "lr": 0.01}, {"params": [motion], "lr": 1.0}]
    losses = minimise(lambda: difference(affine()), torch.optim.Adam(groups), affine_steps)
    optimiser = torch.optim.Adam([velocity], lr=0.5)
    losses += minimise(lambda: difference(both()) + 1e-3 * roughness(), optimiser, velocity_steps)
    return both(), losses


def dice(one: tio.LabelMap, other: tio.LabelMap) -> float:
    """Return the overlap of grey matter in two label maps."""
    a, b = one.data == 1, other.data == 1
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def main(
    spacing: float = 4.0,
    affine_steps: int = 60,
    velocity_steps: int = 100,
    seed: int = 0,
    picture: str | None = "registration.png",
) -> dict[str, float]:
    """Register, and return the losses and overlaps before and after each stage.

    Args:
        spacing: Side of a voxel, mm.
        affine_steps, velocity_steps: Steps of the optimiser in each stage.
        seed: Seed of the deformation that is to be found.
        picture: File for a picture of the brains; None for none.
    """
    fixed, moving = brains(spacing, seed)
    transform, losses = register(fixed.t1, moving.t1, affine_steps, velocity_steps)
    with torch.no_grad():
        found = transform(moving)  # labels too
    folds = found.applied_map("t1").fold_report(fixed.t1)
    report = {
        "loss at first": losses[0],
        "loss with the affine map": losses[affine_steps],
        "loss in the end": losses[-1],
        "overlap at first": dice(fixed.seg, moving.seg),
        "overlap in the end": dice(fixed.seg, found.seg),
        "smallest determinant": folds["smallest_determinant"],
    }
    for name, value in report.items():
        print(f"{name}: {value:.4f}")
    if picture is not None:
        brain = tio.Subject(fixed=fixed.t1, moving=moving.t1, registered=found.t1, seg=fixed.seg)
        brain.plot().savefig(picture)
        print(f"{picture}: contours are tissues of the fixed brain")
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spacing", type=float, default=4.0, help="side of a voxel, mm")
    parser.add_argument("--picture", default="registration.png", help="file for the picture")
    arguments = parser.parse_args()
    main(spacing=arguments.spacing, picture=arguments.picture)

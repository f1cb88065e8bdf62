"""Landmarks found by a network: ``python examples/keypoints.py``.

Volumes and their landmarks are augmented together, as a batch on the device, within the training
loop. A small network makes a heat map for each landmark, which learns from a Gaussian at its place;
the mean of the voxels, weighted by the map, is what was found (soft-argmax, Sun et al. 2018,
arXiv:1711.08229). The volumes are synthetic: a wide, a bright and a dark blob at random places.
"""

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

import torchio_gpu as tio

#: Height of each blob, and its standard deviation in voxels.
BLOBS = {"wide": (1.0, 3.0), "bright": (2.0, 1.5), "dark": (-1.0, 2.0)}
AFFINE = np.diag([1.5, 1.5, 2.0, 1.0])  # voxels of 1.5 x 1.5 x 2 mm


def sample(size: int) -> tio.Subject:
    """Return a volume with a blob at each landmark, at least a quarter of its side apart."""
    places = torch.zeros(len(BLOBS), 3)
    while torch.pdist(places).min() < size / 4:
        places = (0.25 + 0.5 * torch.rand(len(BLOBS), 3)) * (size - 1)
    voxels = torch.stack(torch.meshgrid(*[torch.arange(size)] * 3, indexing="ij"), -1)
    scan = torch.zeros(size, size, size)
    for place, (height, std) in zip(places, BLOBS.values(), strict=True):
        scan += height * torch.exp(-(voxels - place).square().sum(-1) / (2 * std**2))
    landmarks = tio.Points(places, axes="IJK", affine=AFFINE, labels=[*BLOBS])
    return tio.Subject(scan=tio.ScalarImage(scan[None], affine=AFFINE), landmarks=landmarks)


def augmentation() -> tio.Compose:
    """Return the transform of a batch: images and landmarks move together, images get noise."""
    return tio.Compose(
        [
            tio.RandomAffine(scales=0.1, degrees=20, translation=3, default_pad_value=0),
            tio.RandomElasticDeformation(6, max_displacement=2, default_pad_value=0),
            tio.RandomNoise(std=(0, 0.05)),
        ]
    )


def network(landmarks: int, width: int = 12) -> nn.Module:
    """Return convolutions that make a heat map for each landmark, at half resolution."""
    return nn.Sequential(
        nn.Conv3d(1, width, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv3d(width, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv3d(width, landmarks, 3, padding=1),
    )


def cells(heat: Tensor) -> Tensor:
    """Return the voxels at the centres of the cells of heat maps [B, N, I, J, K], [I J K, 3]."""
    along = [2 * torch.arange(n, device=heat.device) for n in heat.shape[2:]]
    return torch.stack(torch.meshgrid(*along, indexing="ij"), -1).view(-1, 3).to(heat.dtype)


def loss_of(heat: Tensor, batch: tio.SubjectsBatch) -> Tensor:
    """Return the cross-entropy of heat maps and Gaussians at the landmarks of a batch."""
    # landmarks on the grid of the scan were moved to its voxels
    true = torch.stack([points.data for points in batch.landmarks])  # [B, N, 3]
    near = (true[:, :, None] - cells(heat)).square().sum(-1).div(-2 * 1.5**2).softmax(-1)
    return nn.functional.cross_entropy(heat.flatten(2).flatten(0, 1), near.flatten(0, 1))


def errors(heat: Tensor, batch: tio.SubjectsBatch) -> Tensor:
    """Return the distance of each found landmark from the true one, in mm, [B, N]."""
    found = heat.flatten(2).softmax(-1) @ cells(heat)  # [B, N, 3]
    distances = []
    for voxels, affine, true in zip(found, batch.scan.affine, batch.landmarks, strict=True):
        points = tio.Points(voxels, axes="IJK", affine=affine)
        distances.append((points.world() - true.world()).norm(dim=-1))
    return torch.stack(distances)


def batches(subjects: list[tio.Subject], device: str) -> Iterator[tio.SubjectsBatch]:
    """Yield augmented batches for ever."""
    augment = augmentation()
    loader = tio.SubjectsLoader(tio.SubjectsDataset(subjects), batch_size=4, shuffle=True)
    while True:
        for batch in loader:
            yield augment(batch.to(device))


def main(steps: int = 200, size: int = 32, seed: int = 0) -> tuple[float, float]:
    """Train, and return the mean error in mm on augmented new volumes, before and after."""
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = network(len(BLOBS)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    new = batches([sample(size) for _ in range(16)], device)
    test = [next(new) for _ in range(4)]
    training = batches([sample(size) for _ in range(32)], device)
    with torch.no_grad():
        before = torch.cat([errors(model(b.scan.data), b) for b in test]).mean().item()
    for step in range(steps):
        batch = next(training)
        loss = loss_of(model(batch.scan.data), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % max(1, steps // 10) == 0:
            print(f"step {step:4d}: loss {loss.item():.2f}")
    with torch.no_grad():
        each = torch.cat([errors(model(b.scan.data), b) for b in test]).mean(0).tolist()
    after = sum(each) / len(each)
    names = ", ".join(f"{name} {mm:.2f}" for name, mm in zip(BLOBS, each, strict=True))
    print(f"new volumes: {before:.2f} mm before training, {after:.2f} mm after ({names})")
    return before, after


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Learn to find landmarks in synthetic volumes.")
    parser.add_argument("--steps", type=int, default=200, help="batches to learn from")
    parser.add_argument("--size", type=int, default=32, help="voxels along each axis")
    arguments = parser.parse_args()
    main(arguments.steps, arguments.size)

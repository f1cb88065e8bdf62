"""Kernels on volumes of many tiles, against their definitions in float64: the first look at a GPU.

New memory holds NaN, so a voxel that is not written is detected.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from tests.kernels import cases
from tests.kernels.cases import Target, run
from torchio_gpu import functional as F
from torchio_gpu.functional import operations as p

RANDOM = np.random.default_rng(0)
MATRIX = np.eye(4)[None].repeat(2, 0)
MATRIX[:, :3] += RANDOM.uniform(-0.1, 0.1, (2, 3, 4))
POINTS = RANDOM.uniform(-5, 5, (2, 3, 7, 7, 7))
BIAS = p.BiasField(RANDOM.uniform(-0.5, 0.5, (2, 20)), 3)
GAMMA = p.Gamma(np.array([-0.3, 0.2]))
NOISE, RICIAN = (p.Noise(np.zeros(2), np.full(2, 0.2), np.arange(2), r) for r in (False, True))


def patches(x, add):
    """Cut out eight patches that overlap; or add them again, each with another factor."""
    size = tuple(2 * n // 3 for n in x.shape[2:])
    along = [torch.tensor([0, n - s]) for n, s in zip(x.shape[2:], size, strict=True)]
    first = torch.cartesian_prod(*along)
    cut = F.extract_patches(x[:1], first, size)
    factors = torch.arange(1, 9).to(cut).view(8, 1, 1, 1, 1)
    return F.aggregate_patches(cut * factors, first, tuple(x.shape[2:])) if add else cut


#: Calls, and the largest error of each in norm. Coordinates of a hundred voxels are rounded by
#: 4e-6 of a voxel each time, and neighbours of random voxels differ by as much as the volume.
WARPED, ROUNDED = 1e-4, 1e-5
CALLS = {
    "affine": (lambda x: F.warp(x, MATRIX), WARPED),
    "affine and elastic": (lambda x: F.warp(x, MATRIX, POINTS), WARPED),
    "with labels": (lambda x: F.warp_pair(x, (x * 5).byte(), MATRIX, POINTS)[0], WARPED),
    "bias, gamma, noise": (lambda x: F.pointwise(x, [BIAS, GAMMA, NOISE]), ROUNDED),
    "Rician noise": (lambda x: F.pointwise(x, [RICIAN]), ROUNDED),
    "patches cut out": (lambda x: patches(x, add=False), 0),
    "patches added": (lambda x: patches(x, add=True), ROUNDED),
    "products along axes": (lambda x: F.blur(x, (1.0, 2.0, 0.5)), ROUNDED),
    "lines of k-space": (lambda x: F.ghosting(x, 3, 0.7, axis=1), ROUNDED),
    "landmarks": (lambda x: F.match_landmarks(x, np.arange(13.0) ** 2), ROUNDED),
}


def volume(device):
    shape = (2, 1, 61, 72, 88) if device.type == "cuda" else (2, 1, 3, 4, 5)
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def error(out, exact):
    """Return the error in norm; NaN if a number is NaN."""
    return ((out.double() - exact.double()).norm() / exact.double().norm()).item()


@pytest.mark.parametrize("name", CALLS)
def test_values(name, device):
    call, most = CALLS[name]
    (exact,) = run(call, volume(device), dtype=torch.float64)
    (out,) = run(call, volume(device), target=Target("triton", device))
    assert error(out, exact) <= most


@pytest.mark.parametrize("mode", ["nearest", "label", "with an image"])
def test_labels(mode, device):
    def call(x):
        if mode == "with an image":
            return F.warp_pair(x.float(), x, MATRIX, POINTS)[1]
        return F.warp(x, MATRIX, POINTS, mode=mode)

    labels = (volume(device) * 5).byte()
    (exact,), (out,) = run(call, labels), run(call, labels, target=Target("triton", device))
    # those within rounding of a tie may differ
    assert (out != exact).double().mean() <= 1e-3


def test_gradients(device):
    # smooth: where voxels are random, so is the slope to the other side of a rounded coordinate
    knots = torch.rand(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    x = interpolate(knots, volume(device).shape[2:], mode="trilinear", align_corners=True)
    given = [each.requires_grad_() for each in (x, *map(torch.from_numpy, (MATRIX, POINTS)))]
    weights = volume(device).double()
    exact = run(cases.warp, *given, dtype=torch.float64, cotangent=weights)
    out = run(cases.warp, *given, target=Target("triton", device), cotangent=weights)
    assert len(out) == 4
    assert all(error(*pair) <= 1e-3 for pair in zip(out, exact, strict=True))

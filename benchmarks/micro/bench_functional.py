"""Functions on tensors, of 2 x 64³ voxels where it does not say otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from torchio_gpu import functional as F

X = torch.rand(2, 1, 64, 64, 64)
SMALL = torch.rand(8, 1, 8, 8, 8)
TURN = np.eye(4)[None].repeat(8, 0)
TURN[:, :2, :2] = [[0.9, 0.2], [-0.2, 0.9]]
POINTS = torch.rand(8, 3, 7, 7, 7)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def bench_affine_warp(benchmark, mode):
    benchmark(F.warp, X, TURN[:2], mode=mode)


def bench_affine_and_elastic_warp(benchmark):
    benchmark(F.warp, X, TURN[:2], POINTS[:2])


def bench_warp_of_tiny_volumes(benchmark):
    """What a call costs the host."""
    benchmark(F.warp, SMALL, TURN, POINTS)


def bench_gradient_of_a_warp(benchmark):
    matrix = torch.tensor(TURN[:2], dtype=torch.float32).requires_grad_()
    x = X.clone().requires_grad_()

    def both():
        F.warp(x, matrix).sum().backward()

    benchmark(both)


def bench_bias_field(benchmark):
    benchmark(F.bias_field, X, torch.full((2, 20), 0.1))


def bench_gamma(benchmark):
    benchmark(F.gamma, X, torch.full((2, 1), 0.1))


def bench_noise(benchmark):
    benchmark(F.noise, X, seeds=np.arange(2))


def bench_blur(benchmark):
    benchmark(F.blur, X, torch.ones(2, 3))


def bench_percentile(benchmark):
    benchmark(F.percentile, X, (1.0, 99.0))

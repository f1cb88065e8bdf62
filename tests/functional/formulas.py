"""Volumes and comparisons of the tests that hold functions to their definitions."""

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.close import assert_close
from torchio_gpu import random

SHAPES = [(2, 1, 5, 6, 7), (1, 2, 4, 1, 9), (3, 2, 1, 5, 4), (2, 1, 3, 8, 2)]

every_shape = pytest.mark.parametrize("shape", SHAPES)


@pytest.fixture(autouse=True)
def plain_torch():
    """Run without kernels; in modules that import it."""
    with tio.backend("torch"):
        yield


def agree(actual, expected, reason="rounding of float64 sums", share=1e-10):
    assert_close(actual, expected, share=share, reason=reason)


def volume(shape):
    return torch.randn(shape, dtype=torch.float64)


def rand(*shape, low=0.0, high=1.0):
    return low + (high - low) * torch.rand(shape, dtype=torch.float64)


def label_map(shape, count=5, dtype=torch.int16):
    return torch.randint(0, count, shape, dtype=dtype)


def mixed_axes(batch, start=0):
    return [(start + b) % 3 for b in range(batch)]


def numbers_of_voxels(seeds, shape, part=0):
    """Normal numbers by voxel, [B, C, I, J, K]: lanes of a counter are four rows along J."""
    _, channels, planes, rows, columns = shape
    quads = -(-rows // 4)
    count = planes * channels * quads * columns  # counters
    stream = random.normals(seeds, 4 * count, start=4 * part * count).double().view(-1, count, 4)
    c, i, j, k = np.ogrid[:channels, :planes, :rows, :columns]
    return stream[:, ((i * channels + c) * quads + j // 4) * columns + k, j % 4]

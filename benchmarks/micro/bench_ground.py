"""Random numbers and matrices: what is done on the host for each call."""

from __future__ import annotations

import numpy as np
import torch

from torchio_gpu import random
from torchio_gpu.random import normals

SEEDS = np.arange(8)


def bench_uniforms_of_a_pipeline(benchmark):
    """Six transforms, eight samples."""
    layout = random.Layout(tuple((position, 0, 8) for position in range(6)))
    assert benchmark(random.uniforms, SEEDS, layout).shape == (8, 48)


def bench_seeds_of_a_batch(benchmark):
    assert len(benchmark(random.fresh_seeds, 8)) == 8


def bench_normals_of_small_volumes(benchmark):
    assert benchmark(normals, SEEDS, 512).shape == (8, 512)


def bench_normals_of_a_volume(benchmark):
    """Two samples of 64³."""
    assert benchmark(normals, SEEDS[:2], 64**3).shape == (2, 64**3)


def bench_torchs_own_normals_of_a_volume(benchmark):
    assert benchmark(torch.randn, 2, 64**3).shape == (2, 64**3)

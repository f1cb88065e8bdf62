"""Patches: where they lie, cutting them out, putting them together."""

from __future__ import annotations

import torch

import torchio_gpu as tio

VOLUME = torch.rand(1, 64, 64, 64)
SUBJECT = tio.Subject(t1=tio.ScalarImage(VOLUME))
PATCHES = torch.rand(8, 1, 32, 32, 32)


def bench_grid_of_patches(benchmark):
    benchmark(tio.GridSampler, SUBJECT, 32, 8)


def bench_random_patch(benchmark):
    benchmark(tio.UniformSampler(32), SUBJECT)


def bench_hann_aggregation(benchmark):
    grid = tio.GridSampler(SUBJECT, 32, 8)
    locations = [grid[n].location for n in range(8)]

    def stitch():
        aggregator = tio.PatchAggregator((64, 64, 64), overlap_mode="hann")
        aggregator.add_batch(PATCHES, locations)
        return aggregator.get_output()

    benchmark(stitch)

"""Normal numbers: distribution, independence, and which counter each comes from."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from torchio_gpu import random
from torchio_gpu.random import gaussian, normal_groups, normals
from torchio_gpu.random.philox import keys_of_rounds, philox_run

#: Numbers of a block.
BLOCK = 4 * gaussian._BLOCK


def test_moments_and_correlations_are_those_of_normal_numbers():
    n = normals(np.arange(4), 250_000).double()
    assert abs(n.mean()) < 4 / 1e3  # four standard errors of a million numbers
    assert abs(n.std() - 1) < 4 / 1.4e3
    assert abs((n**3).mean()) < 4 * 15**0.5 / 1e3
    assert abs((n**4).mean() - 3) < 4 * 96**0.5 / 1e3
    corr = torch.corrcoef(n)
    assert (corr - torch.eye(4)).abs().max() < 0.01
    for lag in (1, 2, 3, 4, 64, 128, 256):
        assert abs((n[:, lag:] * n[:, :-lag]).mean()) < 4 / 1e3
        assert abs((n[:, lag:] ** 2 * n[:, :-lag] ** 2).mean() - 1) < 4 * 8**0.5 / 1e3


def test_tails_are_those_of_a_normal_distribution():
    n = normals(np.array([3, 2**40]), 4_000_000)
    above = int((n.abs() > 4).sum())  # expected: 8e6 times 6.33e-5
    assert abs(above - 507) < 4 * 507**0.5
    assert n.abs().max() > 4.8


@pytest.mark.parametrize("count", [1, 3, 4, 5, 257, BLOCK, BLOCK + 1, 2 * BLOCK + 7])
def test_a_number_does_not_depend_on_the_count_and_other_seeds(count):
    seeds = np.array([5, -9])
    whole = normals(seeds, count)
    assert whole.shape == (2, count)
    assert torch.equal(normals(seeds[1:], count)[0], whole[1])
    assert torch.equal(normals(torch.from_numpy(seeds), count), whole)
    assert torch.equal(normals(seeds, 2 * count + 1)[:, :count], whole)
    assert len(set(whole[0].tolist())) > 0.99 * count  # float32 has so many values


@pytest.mark.parametrize("start", [0, 1, 3, 4, 7, 300, BLOCK - 2, BLOCK, BLOCK + 5])
def test_normals_can_start_at_any_position(start):
    seeds = np.array([5, -9])
    whole = normals(seeds, start + 11)
    assert torch.equal(normals(seeds, 9, start=start), whole[:, start : start + 9])


def test_all_bits_of_a_seed_are_used():
    seeds = np.array([0, 1, -1, 2**32, -(2**63), 2**63 - 1], dtype=np.int64)
    assert len({tuple(row) for row in normals(seeds, 2).tolist()}) == len(seeds)


def test_there_may_be_no_numbers():
    assert normals(np.array([1, 2]), 0).shape == (2, 0)
    assert normals(np.zeros(0, dtype=np.int64), 3).shape == (0, 3)


@pytest.mark.parametrize("first", [0, 3, 2**32 - 5, 2**32 - 1, 2**32, 2**40 - 3, 2**62])
def test_runs_of_counters_give_the_words_of_philox(first):
    seeds = np.array([0, -1, 77, -(2**63), 2**63 - 1])
    n, zero = first + np.arange(9)[None], np.zeros((1, 1), dtype=np.int64)
    counter = n & random.MASK, n >> 32, zero, zero
    work = np.empty((3, 2, len(seeds), 9), dtype=np.uint64)
    found = philox_run(first, keys_of_rounds(seeds), work)
    for stack, expected in zip(found, random.philox_pairs(counter, seeds[:, None]), strict=False):
        assert ((stack & np.uint64(random.MASK)) == expected).all()


@pytest.mark.parametrize("seed", [77, -77, -(2**63)])
@pytest.mark.parametrize("first", [0, 3, 2**32 - 2])
def test_lanes_are_box_muller_pairs_of_philox(seed, first):
    """Lanes 0 and 1 are Box and Muller's pair from the first two words, 2 and 3 from the others."""
    zero = np.zeros(1, dtype=np.int64)
    expected = np.zeros((4, 4))
    for n in range(4):
        low, high = (first + n) & random.MASK, (first + n) >> 32
        words = random.philox((zero + low, zero + high, zero, zero), np.array([seed]))
        a, b, c, d = (word.item() for word in words)
        for pair, (one, two) in enumerate(((a, b), (c, d))):
            radius = math.sqrt(-2 * math.log((one + 0.5) / 2**32))
            angle = 2 * math.pi * two / 2**32
            lanes = radius * math.cos(angle), radius * math.sin(angle)
            expected[2 * pair : 2 * pair + 2, n] = lanes
    found = normals(np.array([seed]), 16, start=4 * first)[0].view(4, 4).T
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=5e-6)


#: Samples, groups, counters of a group, first group: blocks of several samples and of a part of
#: one, and a group that is larger than a block.
GROUPS = [(2, 50, 7, 9), (8, 128, 1, 0), (5, 9000, 3, 1), (1, 2, 20_001, 2), (2, 100, 70, 61356626)]


@pytest.mark.parametrize(("batch", "groups", "size", "first"), GROUPS)
def test_groups_are_parts_of_the_stream_with_lanes_first(batch, groups, size, first):
    seeds = np.arange(batch) * 2**40 - 3
    out = normal_groups(seeds, groups, size, first=first)
    assert out.shape == (batch, groups, 4, size)
    flat = normals(seeds, 4 * groups * size, start=4 * first * size)
    assert torch.equal(out, flat.view(batch, groups, size, 4).transpose(2, 3))


@pytest.mark.parametrize(("batch", "groups", "size", "first"), GROUPS)
def test_other_devices_compute_the_same_numbers_in_torch(batch, groups, size, first):
    seeds = torch.arange(batch) * 2**40 - 3
    out = torch.empty(2, batch, groups, 2, size)
    gaussian._at_once(seeds, first, out)
    expected = normal_groups(seeds, groups, size, first=first)
    found = out.movedim(0, 2).reshape(expected.shape)
    assert (found - expected).abs().max() < 5e-6  # rounding of angle and logarithm


def test_runs_on_the_meta_device():
    assert normals(np.array([1]), 10, "meta").shape == (1, 10)

"""Normal numbers: of torch's generator on a CPU, of the kernels' elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from torchio_gpu import random
from torchio_gpu.random import gaussian, normals


@pytest.fixture(params=["torch", "kernels"])
def backend_of_noise(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Generator of the numbers; on a CPU, the second one gives the numbers of a GPU."""
    if request.param == "kernels":
        monkeypatch.setattr(gaussian, "HOST", ())
    return request.param


@pytest.mark.usefixtures("backend_of_noise")
def test_moments_and_correlations_are_those_of_normal_numbers():
    n = normals(np.arange(4), 250_000).double()
    assert abs(n.mean()) < 4 / 1e3  # four standard errors of a million numbers
    assert abs(n.std() - 1) < 4 / 1.4e3
    assert abs((n**3).mean()) < 4 * 15**0.5 / 1e3
    assert abs((n**4).mean() - 3) < 4 * 96**0.5 / 1e3
    corr = torch.corrcoef(n)
    assert (corr - torch.eye(4)).abs().max() < 0.01
    for lag in (1, 2, 4, 64, 128, 256):
        assert abs((n[:, lag:] * n[:, :-lag]).mean()) < 4 / 1e3
        assert abs((n[:, lag:] ** 2 * n[:, :-lag] ** 2).mean() - 1) < 4 * 8**0.5 / 1e3


@pytest.mark.usefixtures("backend_of_noise")
def test_tails_are_those_of_a_normal_distribution():
    n = normals(np.array([3, 2**40]), 4_000_000)
    above = int((n.abs() > 4).sum())  # expected: 8e6 times 6.33e-5
    assert abs(above - 507) < 4 * 507**0.5
    assert n.abs().max() > 4.8


@pytest.mark.usefixtures("backend_of_noise")
@pytest.mark.parametrize("count", [1, 3, 4, 5, 15, 16, 17, 257, 32_768, 32_769, 70_000])
def test_a_number_does_not_depend_on_the_count_and_other_seeds(count):
    seeds = np.array([5, -9])
    whole = normals(seeds, count)
    assert whole.shape == (2, count)
    assert torch.equal(normals(seeds[1:], count)[0], whole[1])
    assert torch.equal(normals(seeds, 2 * count + 1)[:, :count], whole)
    assert len(set(whole[0].tolist())) > 0.999 * count


@pytest.mark.usefixtures("backend_of_noise")
@pytest.mark.parametrize("start", [0, 1, 3, 4, 7, 16, 300, 32_760, 32_767, 32_768, 66_000])
def test_normals_can_start_at_any_position(start):
    seeds = np.array([5, -9])
    whole = normals(seeds, start + 11)
    assert torch.equal(normals(seeds, 9, start=start), whole[:, start : start + 9])


@pytest.mark.usefixtures("backend_of_noise")
def test_all_bits_of_a_seed_are_used():
    seeds = np.array([0, 1, -1, 2**32, -(2**63), 2**63 - 1], dtype=np.int64)
    assert len({tuple(row) for row in normals(seeds, 2).tolist()}) == len(seeds)


def test_cpu_blocks_are_those_of_torch_generators():
    seed, size = np.array([-77]), gaussian._BLOCK
    zero = np.zeros(1, dtype=np.int64)
    found = normals(seed, 3 * size)[0]
    for block in range(3):
        key = random.philox((zero + block, zero, zero, zero + 2), seed)[0].item()
        expected = torch.randn(size, generator=torch.Generator().manual_seed(key))
        assert torch.equal(found[block * size : (block + 1) * size], expected)


def test_kernel_numbers_are_box_muller_pairs_of_philox(monkeypatch):
    """Lanes 0 and 1 are Box and Muller's pair from the first two words, 2 and 3 from the others."""
    monkeypatch.setattr(gaussian, "HOST", ())
    seed = np.array([77])
    zero = np.zeros(1, dtype=np.int64)
    a, b, c, d = (w.item() for w in random.philox((zero + 3, zero, zero, zero), seed))
    expected = []
    for first, second in ((a, b), (c, d)):
        radius = np.sqrt(-2 * np.log((first + 0.5) / 2**32))
        angle = 2 * np.pi * second / 2**32
        expected += [radius * np.cos(angle), radius * np.sin(angle)]
    found = normals(seed, 16)[0, 12:].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_runs_on_the_meta_device():
    assert normals(np.array([1]), 10, "meta").shape == (1, 10)

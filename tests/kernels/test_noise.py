"""Noise: which number a voxel gets, and that the numbers are normal.

Philox is written here once more, in plain Python integers, and checked against the vectors that its
authors publish: neither the kernel nor :mod:`torchio_gpu.random` is its own judge.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from torchio_gpu_kernels import noise as kernel_noise

import torchio_gpu as tio
from torchio_gpu import functional as F
from torchio_gpu import random
from torchio_gpu.random import normals

#: Counter, key and result of philox4x32-10 among the known answers of Random123 1.14,
#: tests/kat_vectors.
KNOWN = [
    ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (
        (0xFFFFFFFF,) * 4,
        (0xFFFFFFFF,) * 2,
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
KEYS = [0, -1, 5, -(2**62) - 7, 2**63 - 1, -(2**63), 0x299F31D0A4093822]
COUNTERS = [0, 1, 2**31, 2**32 - 1, 2**32, 3 * 2**32 + 17, 2**40 - 3, 2**62]


def philox(counter, key):
    """Philox4x32-10 of Salmon et al. 2011, fig. 2, in Python's integers."""
    a, b, c, d = counter
    low, high = key
    for _ in range(10):
        one, two = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (
            (two >> 32) ^ b ^ low,
            two & 0xFFFFFFFF,
            (one >> 32) ^ d ^ high,
            one & 0xFFFFFFFF,
        )
        low, high = (low + 0x9E3779B9) & 0xFFFFFFFF, (high + 0xBB67AE85) & 0xFFFFFFFF
    return a, b, c, d


def words(key: int, counter: int) -> tuple[int, int, int, int]:
    """Words of a 64-bit counter under a signed 64-bit key, low halves first."""
    return philox(
        (counter & 0xFFFFFFFF, counter >> 32, 0, 0),
        (key & 0xFFFFFFFF, key >> 32 & 0xFFFFFFFF),
    )


def normal(key: int, number: int) -> float:
    """Number of a stream, by Box and Muller in float64."""
    block = words(key, number // 4)
    radial, angular = block[number % 4 // 2 * 2], block[number % 4 // 2 * 2 + 1]
    radius = math.sqrt(-2 * math.log((radial + 0.5) / 2**32))
    angle = 2 * math.pi * angular / 2**32
    return radius * (math.sin(angle) if number % 2 else math.cos(angle))


@triton.jit
def words_kernel(keys, counters, out, count: tl.constexpr):
    n = tl.arange(0, count)
    counter = tl.load(counters + n)
    low = (counter & 0xFFFFFFFF).to(tl.uint32)
    high = (counter >> 32).to(tl.uint32)
    key = tl.load(keys + tl.program_id(0))
    a, b, c, d = tl.philox(key, low, high, low * 0, low * 0)
    at = out + (tl.program_id(0) * count + n) * 4
    tl.store(at, a.to(tl.int64))
    tl.store(at + 1, b.to(tl.int64))
    tl.store(at + 2, c.to(tl.int64))
    tl.store(at + 3, d.to(tl.int64))


@triton.jit
def normals_kernel(keys, counters, out, count: tl.constexpr):
    n = tl.arange(0, count)
    key = tl.load(keys + tl.program_id(0))
    a, b, c, d = kernel_noise.normals(key, tl.load(counters + n))
    at = out + (tl.program_id(0) * count + n) * 4
    tl.store(at, a)
    tl.store(at + 1, b)
    tl.store(at + 2, c)
    tl.store(at + 3, d)


@triton.jit
def pair_kernel(words, out, count: tl.constexpr):
    n = tl.arange(0, count)
    radial, angular = tl.load(words + n), tl.load(words + count + n)
    one, two = kernel_noise.box_muller(radial.to(tl.uint32), angular.to(tl.uint32))
    tl.store(out + n, one)
    tl.store(out + count + n, two)


def each(kernel, dtype, device):
    keys, counters = (torch.tensor(n, device=device) for n in (KEYS, COUNTERS))
    out = torch.zeros(len(KEYS), len(COUNTERS), 4, dtype=dtype, device=device)
    kernel[(len(KEYS),)](keys, counters, out, count=len(COUNTERS))
    return out.cpu()


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_published_vectors(counter, key, expected):
    assert philox(counter, key) == expected
    both = np.array([key[0] | key[1] << 32], dtype=np.uint64).astype(np.int64)
    arrays = tuple(np.array([word]) for word in counter)
    assert [word.item() for word in random.philox(arrays, both)] == list(expected)


def test_words_of_the_kernel(device):
    expected = [[words(key, counter) for counter in COUNTERS] for key in KEYS]
    assert each(words_kernel, torch.int64, device).tolist() == [
        [list(block) for block in row] for row in expected
    ]


def test_normal_numbers_of_the_kernel(device):
    out = each(normals_kernel, torch.float32, device).double()
    expected = torch.tensor(
        [[[normal(k, 4 * n + lane) for lane in range(4)] for n in COUNTERS] for k in KEYS],
        dtype=torch.float64,
    )
    # lg2.approx is off by 2**-22, which a root magnifies where the radius is small; 2e-6 in all
    assert (out - expected).abs().max() < 5e-6
    plain = torch.stack(
        [normals(np.array(KEYS), 4, start=4 * n) for n in COUNTERS[:-1]], 1
    ).double()
    assert (out[:, :-1] - plain).abs().max() < 5e-6


def test_extreme_words_give_finite_numbers(device):
    top = 2**32
    radial = [0, 1, top - 1, top - 2, top - 127, top - 128, top - 129, top - 257]
    radial += [top - 2**n for n in range(9, 17)]
    angular = [n * top // 8 + d for n in range(8) for d in (0, -1)]
    angular = [a % top for a in angular]
    pairs = torch.tensor([radial, angular], device=device)
    out = torch.zeros(2, 16, device=device)
    pair_kernel[(1,)](pairs, out, count=16)
    assert torch.isfinite(out).all()
    radius = [math.sqrt(-2 * math.log((r + 0.5) / top)) for r in radial]
    angle = [2 * math.pi * a / top for a in angular]
    expected = torch.tensor(
        [
            [r * math.cos(a) for r, a in zip(radius, angle, strict=True)],
            [r * math.sin(a) for r, a in zip(radius, angle, strict=True)],
        ]
    )
    # where the radial word is all but 2**32, float32 holds it to 1 part in 2**24 only, and the
    # radius is the root of that
    rough = torch.tensor(radial) > top - 2**16
    error = (out.cpu() - expected).abs().amax(0)
    assert error[~rough].max() < 5e-6
    assert error[rough].max() < 2 * math.sqrt(2**-22)
    assert out[:, 2].abs().max() < 1e-3  # the smallest radius there is
    assert out[:, 0].norm() == pytest.approx(6.7638, abs=1e-3)  # the largest


#: Tiles with and without rows outside, one and several; along K, one and several.
SHAPES = [
    *[(2, 3, 2, 3, 13), (1, 2, 1, 9, 4), (1, 1, 2, 1, 1), (1, 1, 1, 1, 129), (1, 1, 1, 33, 2)],
    *[(1, 2, 2, 1, 3), (1, 2, 2, 2, 3), (2, 1, 2, 3, 1), (1, 2, 2, 5, 3), (1, 1, 2, 2, 131)],
]


@pytest.mark.parametrize("shape", SHAPES)
def test_each_voxel_gets_the_number_of_its_place(shape, target):
    batch, channels, planes, rows, columns = shape
    seeds = np.array([5, -(2**62) - 7])[:batch]
    quads = -(-rows // 4)
    with tio.backend(target.name):
        out = F.noise(torch.zeros(shape, device=target.device), seeds=seeds).cpu()
        both = F.rician_noise(torch.zeros(shape, device=target.device), seeds=seeds).cpu()
    for b, c, i, j, k in np.ndindex(*shape):
        counter = ((i * channels + c) * quads + j // 4) * columns + k
        second = counter + planes * channels * quads * columns
        one, two = (normal(int(seeds[b]), 4 * n + j % 4) for n in (counter, second))
        assert out[b, c, i, j, k].item() == pytest.approx(one, abs=5e-6)
        assert both[b, c, i, j, k].item() == pytest.approx(math.hypot(one, two), abs=1e-5)


@pytest.mark.parametrize("shape", [*SHAPES, (2, 2, 3, 16, 64)])
def test_plain_torch_on_a_cpu_gives_the_same_noise(shape, target):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator)
    seeds = np.array([2**63 - 1, -5])[: shape[0]]
    mean, std = torch.tensor([0.0, 2.0])[: shape[0]], torch.tensor([1.0, 0.1])[: shape[0]]
    for operation in (F.noise, F.rician_noise):
        values = {"mean": mean, "std": std, "seeds": seeds}
        with tio.backend(target.name):
            out = operation(x.to(target.device), **values).cpu()
        with tio.backend("torch"):
            expected = operation(x, **values)
        assert (out - expected).abs().max() < 1e-5


def test_seeds_may_be_tensors(target):
    seeds = torch.tensor([5, -(2**62) - 7], device=target.device)
    x = torch.zeros(2, 1, 1, 2, 6, device=target.device)
    with tio.backend(target.name):
        out, expected = F.noise(x, seeds=seeds), F.noise(x, seeds=seeds.cpu().numpy())
    assert torch.equal(out, expected)


def test_a_sample_alone_gets_the_noise_that_it_gets_in_a_batch(target):
    seeds = np.array([3, -4, 3])
    x = torch.zeros(3, 2, 2, 3, 6, device=target.device)
    with tio.backend(target.name):
        out = F.noise(x, seeds=seeds)
        alone = F.noise(x[1:2], seeds=seeds[1:2])
    assert torch.equal(out[0], out[2])
    assert torch.equal(out[1:2], alone)
    assert not torch.isclose(out[0], out[1]).any()


@pytest.fixture
def sample(device):
    """Many numbers: two samples, two channels, two planes, [2, 2, 2, 32, 64]."""
    with tio.backend("triton"):
        x = torch.zeros(2, 2, 2, 32, 64, device=device)
        return F.noise(x, seeds=np.array([11, 12])).cpu().double()


def test_numbers_are_normal_and_independent(sample):
    count = sample.numel()
    # bounds are 4 standard errors, or a probability of 1e-4: seeds are fixed, so that nothing here
    # is left to chance
    assert abs(sample.mean().item()) < 4 / math.sqrt(count)
    assert abs(sample.std().item() - 1) < 4 / math.sqrt(2 * count)
    assert abs((sample**3).mean().item()) < 4 * math.sqrt(15 / count)
    assert abs((sample**4).mean().item() - 3) < 4 * math.sqrt(96 / count)
    # Kolmogorov and Smirnov
    ordered = torch.special.ndtr(sample.flatten()).sort().values
    steps = torch.arange(count + 1, dtype=torch.float64) / count
    distance = max((steps[1:] - ordered).max().item(), (ordered - steps[:-1]).max().item())
    assert distance < 2.22 / math.sqrt(count)
    # chi-square over 64 bins of equal probability: mean 63, variance 126
    bins = (ordered * 64).long().clamp(max=63).bincount(minlength=64).double()
    expected = count / 64
    assert ((bins - expected) ** 2 / expected).sum().item() < 63 + 4 * math.sqrt(126)
    for axis in range(5):  # neighbours along each axis, samples and channels among them
        n = sample.shape[axis]
        one, two = sample.narrow(axis, 0, n - 1), sample.narrow(axis, 1, n - 1)
        assert abs((one * two).mean().item()) < 4 / math.sqrt(one.numel()), axis
        # nor do squares go together, as those of a pair would if its radius were used twice
        squares = ((one**2 - 1) * (two**2 - 1)).mean().item()
        assert abs(squares) < 4 * 2 / math.sqrt(one.numel()), axis
    assert sample.unique().numel() > 0.99 * count  # float32 has so many values


def test_mean_and_deviation_are_each_samples_own(target):
    x = torch.zeros(2, 1, 1, 32, 128, device=target.device)
    mean, std = torch.tensor([0.0, 5.0]), torch.tensor([1.0, 0.1])
    with tio.backend(target.name):
        out = F.noise(x, mean, std, np.array([1, 2])).cpu().flatten(1)
    for b in range(2):
        error = std[b].item() / 64
        assert abs(out[b].mean().item() - mean[b].item()) < 4 * error
        assert abs(out[b].std().item() - std[b].item()) < 4 * error / math.sqrt(2)

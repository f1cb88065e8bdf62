"""Random numbers: the published generator, and independence of everything but the seed."""

import numpy as np
import pytest
import torch

from torchio_gpu import random

# Known answers of the authors' Random123 library, file kat_vectors, philox4x32 10.
VECTORS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def _words(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_published_vectors(counter, key, expected, library):
    low, high = _words(key)
    seed = np.array([low | high << 32], dtype=np.uint64).astype(np.int64)
    words = [np.array([word], dtype=np.int64) for word in _words(counter)]
    if library == "torch":
        words, seed = [torch.from_numpy(w) for w in words], torch.from_numpy(seed)
    out = random.philox(tuple(words), seed)
    assert [word.item() for word in out] == _words(expected)


def test_numpy_and_torch_give_the_same_bits_for_whole_arrays():
    generator = np.random.default_rng(0)
    counter = [generator.integers(0, 2**32, (1, 100)) for _ in range(4)]
    seeds = generator.integers(-(2**63), 2**63 - 1, (5, 1))
    by_numpy = random.philox(tuple(counter), seeds)
    by_torch = random.philox(tuple(map(torch.from_numpy, counter)), torch.from_numpy(seeds))
    for a, b in zip(by_numpy, by_torch, strict=True):
        np.testing.assert_array_equal(a, b.numpy())


def test_uniforms_depend_on_seed_position_and_stream_alone():
    layout = random.Layout(((0, 1, 5), (1, 1, 3), (1, 2, 3)))
    seeds = np.array([7, -3, 7])
    u = random.uniforms(seeds, layout)
    first, second, third = (u[:, columns] for columns in layout.columns)
    assert first.shape == (3, 5)
    np.testing.assert_array_equal(u[0], u[2])
    assert not np.isin(u[1], u[0]).any()
    assert not np.isin(second, third).any()
    alone = random.uniforms(seeds[1:2], random.Layout(((0, 2, 3),)), position=1)
    np.testing.assert_array_equal(alone[:, :3], third[1:2])
    assert ((u > 0) & (u < 1)).all()


def test_uniforms_are_uniform():
    u = random.uniforms(np.arange(200), random.Layout(((0, 0, 1000),)))
    counts, _ = np.histogram(u, bins=20, range=(0, 1))
    expected = u.size / 20
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 43.8  # 99.9 % point of 19 degrees of freedom
    assert abs(np.corrcoef(u[:, :-1].ravel(), u[:, 1:].ravel())[0, 1]) < 0.01


def test_sample_seeds_differ_by_base_epoch_and_index():
    seeds = [
        random.sample_seeds(base, epoch, [index]).item()
        for base in (0, 1, -1) for epoch in (0, 1) for index in (0, 1, 2**33)
    ]  # fmt: skip
    assert len(set(seeds)) == len(seeds)
    together = random.sample_seeds(0, 0, [0, 1, 2**33]).tolist()
    assert together == seeds[:3]


def test_new_seeds_follow_torch_manual_seed():
    torch.manual_seed(3)
    first = random.fresh_seeds(4)
    torch.manual_seed(3)
    np.testing.assert_array_equal(first, random.fresh_seeds(4))
    assert not np.array_equal(first, random.fresh_seeds(4))

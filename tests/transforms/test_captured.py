"""Transforms in CUDA graphs: the packed copies hold all numbers that change between replays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.devices import interpreted, needs_gpu
from torchio_gpu.functional.dispatch.launch import PackedCopies
from torchio_gpu.transforms.captured import concatenated, rehearse
from torchio_gpu.transforms.pipeline.executor import run as run_plan


def _pipeline(p: float = 1.0) -> tio.Compose:
    return tio.Compose(
        [
            tio.RandomAffine(p=p),
            tio.RandomElasticDeformation(max_displacement=0.5, p=p),
            tio.RandomFlip(axes=(0, 1, 2), p=p),
            tio.RandomBiasField(p=p),
            tio.RandomGamma(p=p),
            tio.RandomNoise(p=p),
        ]
    )


def _batch(seed: int, size: int = 2, device: str = "cpu", dtype=torch.float32) -> tio.SubjectsBatch:
    generator = torch.Generator().manual_seed(7)
    t1 = torch.rand(size, 1, 5, 6, 7, generator=generator)
    labels = torch.randint(0, 3, (size, 1, 5, 6, 7), generator=generator, dtype=torch.uint8)
    images = {
        "t1": tio.ImagesBatch(t1.to(device, dtype)),
        "seg": tio.ImagesBatch(labels.to(device), kind="label"),
    }
    batch = tio.SubjectsBatch(images)
    batch.streams = tio.random.Streams(np.arange(seed, seed + size))
    return batch


def _same(one: tio.SubjectsBatch, other: tio.SubjectsBatch) -> bool:
    return all(torch.equal(one[name].data, other[name].data) for name in ("t1", "seg"))


@interpreted
@pytest.mark.parametrize("p", [1.0, 0.5])
def test_rehearsal_packs_the_copies_of_the_call(p):
    augment = _pipeline(p)
    with tio.backend("triton"):
        _, numbers, out = rehearse(augment, _batch(1))
        copies = PackedCopies()
        with copies.running():
            run = run_plan(augment.plan(), _batch(1))
    assert len(numbers) == len(copies.buffers) > 0
    assert all(map(torch.equal, numbers, copies.buffers))
    assert len(out.records) == len(run.records)
    assert {name: i.data.shape for name, i in out.images.items()} == {
        name: i.data.shape for name, i in run.images.items()
    }


@interpreted
def test_replay_with_other_numbers_gives_the_other_augmentation():
    """A replay repeats the launches of one call with the numbers of another."""
    augment = _pipeline()
    with tio.backend("triton"):
        key, numbers, _ = rehearse(augment, _batch(1))
        keys = {seed: rehearse(augment, _batch(seed))[0] for seed in range(2, 12)}
        alike = [seed for seed, other in keys.items() if other == key]
        assert alike, "no two calls launched the same"
        expected = augment(_batch(1))
        assert not _same(augment(_batch(alike[0])), expected)
        # as a graph reads them: parts of one tensor, here behind others
        sizes = [16, *map(len, numbers)]
        parts = torch.split(torch.cat([torch.ones(16, dtype=torch.uint8), *numbers]), sizes)[1:]
        with PackedCopies(parts).running():
            replayed = run_plan(augment.plan(), _batch(alike[0]))
    assert _same(replayed, expected)


@interpreted
def test_different_decisions_give_different_graphs():
    augment = _pipeline(p=0.5)
    with tio.backend("triton"):
        keys = {rehearse(augment, _batch(seed, size=1))[0] for seed in range(8)}
    assert len(keys) > 1


@interpreted
def test_rehearsal_advances_the_random_streams():
    batch = _batch(1)
    with tio.backend("triton"):
        rehearse(_pipeline(), batch)
    assert (batch.streams.used > 0).all()


def test_copies_outside_the_packed_ones_are_refused():
    # plain torch brings the seeds of noise to the device by itself
    with pytest.raises(RuntimeError, match="cannot be captured"):
        rehearse(tio.RandomNoise(), _batch(1, dtype=torch.float64))


def test_host_numbers_in_a_launch_are_part_of_the_key():
    crop = tio.OneOf([tio.Crop((1, 0, 0, 0, 0, 0)), tio.Crop((0, 1, 0, 0, 0, 0))])
    keys = {rehearse(crop, _batch(seed, size=1))[0] for seed in range(6)}
    assert len(keys) == 2


def test_images_without_launches_are_part_of_the_key():
    unchanged = tio.RandomFlip(p=0)
    key, numbers, _ = rehearse(unchanged, _batch(1))
    assert key == rehearse(unchanged, _batch(2))[0]
    assert concatenated(numbers).shape == (0,)
    other, renamed = _batch(1), _batch(1)
    other.images["seg"] = tio.ImagesBatch(torch.zeros(2, 2, 5, 6, 7, dtype=torch.uint8))
    renamed.images["t2"] = renamed.images.pop("t1")
    assert len({key, rehearse(unchanged, other)[0], rehearse(unchanged, renamed)[0]}) == 3


def test_voxels_on_the_host_are_refused():
    with pytest.raises(ValueError, match="CUDA device"):
        tio.Captured(tio.RandomFlip())(torch.rand(1, 1, 4, 4, 4))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("p", [1.0, 0.5])
def test_replays_equal_calls(p):
    augment = _pipeline(p)
    captured = tio.Captured(augment)
    for seed in range(12):
        got = captured(_batch(seed, 4, "cuda"))
        expected = augment(_batch(seed, 4, "cuda"))
        assert _same(got, expected)
        assert len(got.records) == len(expected.records)

"""Grids parallel to that of the volume, by the kernel of the warp, against plain torch."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.close import assert_close
from torchio_gpu import functional as F

#: Mirrors, scales and shifts, another one for each sample: from SOURCE to SIZE, they leave the
#: volume at both ends along I, in two tiles of rows.
SOURCE, SIZE = (2, 5, 6), (3, 5, 7)
MAPS = np.stack([np.diag([1.3, 0.7, 1, 1]), np.diag([2, -1, 0.5, 1])])
MAPS[:, :3, 3] = [[-0.2, 0.3, 2], [-3, 5, 1]]


def _both(x, target, size, matrix=None, **how):
    with tio.backend(target.name):
        got = F.resample(x.to(target.device), size, matrix, **how)
    exact = x.double() if x.is_floating_point() else x
    return got.cpu(), F.resample(exact, size, matrix, **how)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("fill", [0.0, torch.tensor([3.0, -2.0])], ids=["zero", "own"])
def test_maps_of_each_sample(target, mode, fill):
    got, wish = _both(torch.rand(2, 2, *SOURCE), target, SIZE, MAPS, mode=mode, fill=fill)
    reason = "coordinates are rounded to float32, some ten voxels times its epsilon"
    assert_close(got, wish, share=1e-6, reason=reason)


@pytest.mark.parametrize("short", [0.0, 5e-7])
@pytest.mark.parametrize("scale", [1, 2])
def test_halfway_between_voxels_is_the_second_of_two(target, scale, short):
    """However the position is rounded: not one voxel may be the first."""
    x = torch.arange(4 * 10 * 14, dtype=torch.float32).view(1, 1, 4, 10, 14)
    matrix = np.diag([scale, scale, scale, 1.0])[None]
    matrix[:, :3, 3] = 0.5 - short
    got, wish = _both(x, target, (2, 5, 7), matrix, mode="nearest")
    assert torch.equal(got.double(), wish)
    assert wish.flatten()[0] == x[0, 0, 1, 1, 1]


@pytest.mark.parametrize(("mode", "dtype"), [("linear", torch.float32), ("nearest", torch.int16)])
def test_whole_numbers(target, mode, dtype):
    x = torch.randint(-900, 900, (2, 1, *SOURCE), dtype=torch.int16)
    got, wish = _both(x, target, SIZE, MAPS, mode=mode, fill=-7)
    assert got.dtype == wish.dtype == dtype
    assert_close(got, wish, share=1e-6, reason="coordinates are rounded to float32")


def test_samples_that_are_only_moved_are_copied(target):
    x = torch.rand(2, 1, *SOURCE) * 1000
    maps = MAPS.copy()
    maps[0] = np.diag([1, -1, 1, 1])
    maps[0, 1, 3] = 4
    got, _ = _both(x, target, SOURCE, maps, fill=-1000.0)
    assert torch.equal(got[0], x[0].flip(2))


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # numpy, in the interpreter
def test_what_is_not_finite_spreads_only_where_voxels_are_blended(target):
    x = torch.rand(2, 1, 5, 6, 7)
    x[:, 0, 2, 2, 2], x[:, 0, 1, 4, 1] = float("nan"), float("inf")
    maps = np.eye(4)[None].repeat(2, 0)
    maps[1, 0, 3] = 0.3
    with tio.backend(target.name):
        got = F.warp(x.to(target.device), maps).cpu()
    torch.testing.assert_close(got[0], x[0], rtol=0, atol=0, equal_nan=True)
    # a voxel is read for the places less than one voxel away along each axis
    assert 2 < (~got[1].isfinite()).sum() <= 2 * 3**3


def test_gradient(device):
    x = torch.rand(2, 1, *SOURCE)
    weight = torch.randn(2, 1, *SIZE)
    grads = []
    for name, where, dtype in (
        ("triton", device, torch.float32),
        ("reference", "cpu", torch.float64),
    ):
        leaf = x.to(where, dtype, copy=True).requires_grad_()
        with tio.backend(name):
            (F.resample(leaf, SIZE, MAPS) * weight.to(leaf)).sum().backward()
        grads.append(leaf.grad.cpu())
    assert_close(*grads, share=2e-6, reason="sums of up to 32 shares in float32")


def test_images_that_bend_alike_share_their_columns(target, monkeypatch):
    from torchio_gpu.functional.dispatch import kernels

    real, made = kernels.load(target.name), []

    def columns(**arguments):
        made.append(arguments)
        return real.columns(**arguments)

    counting = SimpleNamespace(columns=columns, warp=real.warp)
    monkeypatch.setattr(kernels, "load", lambda backend: counting)
    images = {
        name: tio.ImagesBatch(torch.rand(2, 1, 2, 4, 5).to(target.device)) for name in ("t1", "t2")
    }
    bend = tio.RandomElasticDeformation((4, 5, 6), max_displacement=0.5, locked_borders=1)
    with tio.backend(target.name):
        torch.manual_seed(0)
        both = bend(tio.SubjectsBatch(images))
        assert len(made) == 1
        torch.manual_seed(0)
        alone = bend(tio.SubjectsBatch({"t2": images["t2"]}))
    assert torch.equal(both["t2"].data, alone["t2"].data)
    assert kernels._shared.get() is None

"""An image and its label map, read in one pass where that can be."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.close import assert_close
from torchio_gpu import functional as F
from torchio_gpu.functional.dispatch import kernels
from torchio_gpu.functional.maps import Reading, check_maps
from torchio_gpu.functional.operations import Gamma
from torchio_gpu.functional.warping import warp_volume, warp_volumes

#: Two planes; five rows, which are two tiles.
SHAPE = (2, 2, 2, 5, 6)


def _matrices() -> np.ndarray:
    generator = np.random.default_rng(0)
    matrices = np.eye(4)[None].repeat(2, 0)
    matrices[:, :3] += generator.normal(0, 0.1, (2, 3, 4))
    return matrices


def _points() -> np.ndarray:
    return np.random.default_rng(1).normal(0, 0.5, (2, 3, 4, 5, 4))


def _images(device) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(SHAPE, generator=generator)
    labels = torch.randint(0, 5, (2, 1, *SHAPE[2:]), generator=generator, dtype=torch.uint8)
    return x.to(device), labels.to(device)


@pytest.fixture
def launched(target, monkeypatch) -> list[str]:
    """Names of the kernels that are called."""
    real, names = kernels.load(target.name), []

    def watch(name):
        def call(**arguments):
            names.append(name)
            return getattr(real, name)(**arguments)

        return call

    watched = {name: watch(name) for name in ("warp", "warp_pair", "columns", "pointwise")}
    monkeypatch.setattr(kernels, "load", lambda backend: SimpleNamespace(**watched))
    return names


@pytest.mark.parametrize(
    ("dtype", "points"),
    [
        (torch.uint8, _points()),
        (torch.float32, _points()),
        (torch.int64, None),
        (torch.bool, None),
    ],
)
def test_the_same_as_one_after_the_other(target, launched, points, dtype):
    x, labels = _images(target.device)
    labels = labels.to(dtype)
    how = {"size": (2, 6, 7), "fill": torch.tensor([3.0, -2.0])}
    program = [Gamma(np.array([0.3, -0.2]))]
    with tio.backend(target.name):
        readings = Reading(x, fill=how["fill"], operations=program), Reading(labels, "nearest", 1)
        pair = warp_volumes(readings, check_maps(x, _matrices(), points, size=how["size"]))
        assert launched[-1] == "warp_pair"
        one = warp_volume(x, _matrices(), points, operations=program, **how)
        two = F.warp(labels, _matrices(), points, size=how["size"], mode="nearest", fill=1)
    assert pair[1].dtype == dtype
    assert torch.equal(pair[0], one)
    assert torch.equal(pair[1], two)


def test_labels_of_several_channels_and_any_strides(target):
    x, labels = _images(target.device)
    many = torch.stack((labels, labels * 0 + 7, 4 - labels), -1)[:, 0].permute(0, 4, 1, 2, 3)
    assert not many.is_contiguous()
    with tio.backend(target.name):
        _, got = F.warp_pair(x.half(), many, _matrices())
    wish = F.warp(many.cpu(), _matrices(), mode="nearest")
    assert torch.equal(got.cpu(), wish)


def test_plain_torch_where_that_is_asked_for():
    x, labels = _images("cpu")
    with tio.backend("reference"):
        one, two = F.warp_pair(x, labels, _matrices(), _points())
    assert torch.equal(one, F.warp(x, _matrices(), _points()))
    assert torch.equal(two, F.warp(labels, _matrices(), _points(), mode="nearest"))


def test_gradients_come_from_two_passes(target, launched):
    x, labels = _images(target.device)
    leaf = x.clone().requires_grad_()
    with tio.backend(target.name):
        if not target.differentiable:
            with pytest.raises(RuntimeError, match="have no gradient, and one is wanted"):
                F.warp_pair(leaf, labels, _matrices())
            return
        F.warp_pair(leaf, labels, _matrices())[0].square().sum().backward()
    assert launched == ["warp", "warp"]
    exact = x.cpu().double().requires_grad_()
    F.warp(exact, _matrices()).square().sum().backward()
    assert_close(leaf.grad.cpu(), exact.grad, share=1e-5, reason="sums of products in float32")


def test_samples_that_are_only_moved_are_copied(target, launched):
    x, labels = _images(target.device)
    matrices = _matrices()
    matrices[0] = np.eye(4)
    with tio.backend(target.name):
        one, two = F.warp_pair(x, labels, matrices)
    assert launched == ["warp", "warp"]
    assert torch.equal(one[0], x[0])
    assert torch.equal(two[0], labels[0])


def test_grids_that_differ_are_refused(target):
    x, labels = _images(target.device)
    with pytest.raises(ValueError, match="labels must be on the grid of x"):
        F.warp_pair(x, labels[..., :-1])
    with pytest.raises(ValueError, match="labels must be on the grid of x"):
        F.warp_pair(x, labels[:1])


def _subjects(device, **more) -> tio.SubjectsBatch:
    x, labels = _images(device)
    images = {"t1": tio.ImagesBatch(x), "seg": tio.ImagesBatch(labels, kind="label")}
    batch = tio.SubjectsBatch({**images, **more})
    batch.streams = tio.random.Streams(np.array([5, 6]))
    return batch


def _augment() -> tio.Compose:
    return tio.Compose(
        [
            tio.RandomAffine(),
            tio.RandomElasticDeformation((4, 5, 6), max_displacement=0.5, locked_borders=1),
            tio.RandomBiasField(),
            tio.RandomNoise(),
        ]
    )


def test_a_pipeline_reads_an_image_and_its_labels_at_once(target, launched):
    augment = _augment()
    with tio.backend(target.name):
        got = augment(_subjects(target.device))
    assert launched == ["columns", "warp_pair"]
    wish = augment(_subjects("cpu"))
    assert_close(got["t1"].data.cpu(), wish["t1"].data, share=2e-5, reason="rounding to float32")
    flips = (got["seg"].data.cpu() != wish["seg"].data).float().mean()
    assert flips < 0.01  # where a place is as near to two voxels
    assert list(got.images) == ["t1", "seg"]
    assert (got["seg"].affine == wish["seg"].affine).all()


def test_a_second_image_is_read_by_itself(target, launched):
    more = tio.ImagesBatch(_images(target.device)[0] * 2)
    with tio.backend(target.name):
        out = _augment()(_subjects(target.device, t2=more))
    assert launched == ["columns", "warp_pair", "warp"]
    assert list(out.images) == ["t1", "seg", "t2"]


def test_labels_on_another_grid_are_read_by_themselves(target, launched):
    coarse = torch.ones(2, 1, 1, 3, 3, dtype=torch.uint8, device=target.device)
    affine = np.diag([2.0, 2, 2, 1])[None].repeat(2, 0)
    batch = _subjects(target.device)
    batch.images["seg"] = tio.ImagesBatch(coarse, affine, kind="label")
    with tio.backend(target.name):
        _augment()(batch)
    assert "warp_pair" not in launched
    assert launched.count("warp") == 2


def test_it_is_said_what_is_read_together(target):
    with tio.backend(target.name):
        told = _augment().explain(_subjects(target.device))
    assert "seg: together with t1" in told


def test_the_operator_is_well_formed(triton):
    x, labels = _images(triton.device)
    rows = torch.from_numpy(_matrices()[:, :3].astype(np.float32)).to(triton.device)
    fill = torch.zeros(2, 2, device=triton.device)
    labels_fill = torch.zeros(2, 1, dtype=torch.int64, device=triton.device)
    tensors = x, labels, rows, None, None, None, fill, labels_fill, None, None
    operator = kernels.load().warp_pair.default
    torch.library.opcheck(operator, (*tensors, list(SHAPE[2:]), [], torch.float32))


def test_there_is_no_gradient_to_ask_the_operator_for(triton):
    x, labels = _images(triton.device)
    rows = torch.from_numpy(_matrices()[:, :3].astype(np.float32)).to(triton.device)
    fill = torch.zeros(2, 2, device=triton.device)
    labels_fill = torch.zeros(2, 1, dtype=torch.int64, device=triton.device)
    tensors = x.requires_grad_(), labels, rows, None, None, None, fill, labels_fill, None, None
    out, _ = kernels.load().warp_pair(*tensors, list(SHAPE[2:]), [], torch.float32)
    with pytest.raises(RuntimeError, match="no gradient flows"):
        out.sum().backward()

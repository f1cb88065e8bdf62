"""Test-time augmentation: predictions of moved views, brought back by their histories, averaged."""

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.transforms.test_points import AFFINES, SPATIAL
from tests.volumes import batch_of, smooth

SHAPE = (24, 28, 22)
VIEWS = {
    "affine": lambda: tio.RandomAffine(0.1, 20, 3),
    "elastic": lambda: SPATIAL["elastic"](),
    "affine, elastic, flip": lambda: tio.Compose(
        [tio.RandomAffine(0.1, 15), SPATIAL["elastic"](), tio.RandomFlip((0, 1, 2)),
         tio.RandomNoise(std=0.01)]
    ),
    "other grids": lambda: tio.Compose(
        [tio.ToCanonical(), tio.RandomAffine(0.05, 10), tio.Resample(1.1),
         SPATIAL["elastic"](), tio.CropOrPad((30, 30, 30))]
    ),
}  # fmt: skip


def scan(affine, seed=0):
    """Return a subject with a smooth image, 0 to 1, and points well inside."""
    x = smooth((1, 1, *SHAPE), seed)[0]
    x = (x - x.min()) / (x.max() - x.min())
    inner = np.random.default_rng(seed).uniform(0.3, 0.7, (6, 3)) * SHAPE
    return tio.Subject(
        t1=tio.ScalarImage(x, affine=affine), tips=tio.Points(inner, axes="IJK", affine=affine)
    )


def brought_back(view):
    """Return a view with the predictions of a model that is always right, after its inverse."""
    own = view.t1.affine
    view["image"] = tio.ScalarImage(view.t1.data.clone(), affine=own)
    view["seen"] = tio.LabelMap(torch.ones(1, *view.spatial_shape), affine=own)
    view["found"] = tio.Points(view.tips.to_axes("IJK", own).data, axes="IJK", affine=own)
    view["world"] = tio.Points(view.tips.world())
    return view.apply_inverse_transform(warn=False)


@pytest.mark.parametrize("grid", AFFINES)
@pytest.mark.parametrize("name", VIEWS)
def test_averages_of_a_model_that_is_right_are_the_originals(name, grid):
    before = scan(AFFINES[grid])
    torch.manual_seed(0)
    back = [brought_back(VIEWS[name]()(before)) for _ in range(4)]
    to_voxel = np.linalg.inv(before.t1.affine)
    for points in ("found", "world", "tips"):
        mean = torch.stack([each[points].world() for each in back]).mean(0).numpy()
        voxels = tio.geometry.apply_affine(to_voxel, mean)
        # the inverse of an elastic map is iterated to rounding
        np.testing.assert_allclose(voxels, before.tips.data, atol=1e-6)
        assert not any(each[points].folded.any() for each in back)
    for each in back:
        assert each.image.spatial_shape == SHAPE
        np.testing.assert_allclose(each.image.affine, before.t1.affine, atol=1e-9)
    seen = torch.stack([each.seen.data for each in back]).sum(0)
    total = torch.stack([each.image.data * each.seen.data for each in back]).sum(0)
    inner = (slice(None), *[slice(6, -6)] * 3)
    assert (seen[inner] > 0).double().mean() > 0.9
    error = abs(total / seen.clamp(min=1) - before.t1.data)[inner][seen[inner] > 0]
    assert error.mean() < 0.03  # interpolated linearly there and back, and noise
    assert error.max() < 0.2


def test_views_of_a_batch():
    """A batch of copies holds the views, and each has a history of its own."""
    before = scan(AFFINES["oblique"])
    views = VIEWS["affine, elastic, flip"]()(batch_of([before] * 4, [1, 2, 3, 4]))
    places = [view.tips.data for view in views.unbatch()]
    assert not torch.allclose(places[0], places[1], atol=0.1)
    back = [brought_back(view) for view in views.unbatch()]
    mean = torch.stack([each.found.world() for each in back]).mean(0)
    np.testing.assert_allclose(mean, before.tips.world(), atol=1e-6)
    whole = views.apply_inverse_transform(warn=False)
    for tips in whole.tips:
        np.testing.assert_allclose(tips.world(), before.tips.world(), atol=1e-6)

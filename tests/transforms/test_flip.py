"""Flips are exact and along the right axis, also in a fused pipeline."""

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.volumes import oblique_affine, subject
from torchio_gpu.functional.eager import spatial


@pytest.mark.parametrize("axes", [0, 1, 2, (0, 2), (0, 1, 2)])
def test_flip_is_exact(axes):
    s = subject()
    out = tio.Flip(axes)(s)
    dims = [1 + axis for axis in ([axes] if isinstance(axes, int) else axes)]
    assert torch.equal(out.t1.data, s.t1.data.flip(dims))
    assert torch.equal(out.seg.data, s.seg.data.flip(dims))
    assert out.seg.data.dtype == torch.uint8
    np.testing.assert_array_equal(out.t1.affine, s.t1.affine)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)])
def test_anatomical_names_hold_on_any_orientation(order, signs):
    affine = np.eye(4)
    affine[:3, :3] = np.diag(signs) @ np.eye(3)[list(order)]
    s = subject(affine=affine)
    world_x = int(np.abs(affine[0, :3]).argmax())
    for name in ("LR", "Left", "r"):
        assert torch.equal(tio.Flip(name)(s).t1.data, s.t1.data.flip(1 + world_x))


def test_samples_of_other_orientation_flip_along_their_own_axis():
    a = subject(shape=(8, 8, 8), affine=np.eye(4))
    b = subject(shape=(8, 8, 8), affine=np.eye(4)[[1, 0, 2, 3]])
    batch = tio.SubjectsBatch.from_subjects([a, b])
    out = tio.Flip("LR")(batch)
    assert torch.equal(out.t1.data[0], a.t1.data.flip(1))
    assert torch.equal(out.t1.data[1], b.t1.data.flip(2))


def test_probability_is_that_of_each_axis():
    transform = tio.RandomFlip((0, 2), flip_probability=0.25)
    batch = tio.SubjectsBatch({"t1": tio.ImagesBatch(torch.zeros(2000, 1, 2, 2, 2))})
    axes = transform.sample_params(batch).axes
    assert not axes[:, 1].any()
    assert axes[:, 0].mean() == pytest.approx(0.25, abs=0.04)  # four standard errors
    assert axes[:, 2].mean() == pytest.approx(0.25, abs=0.04)
    assert (axes[:, 0] & axes[:, 2]).mean() == pytest.approx(0.0625, abs=0.025)


def test_flip_is_exact_if_other_fused_steps_skip_the_sample():
    s = subject()
    pipeline = tio.Compose([tio.RandomAffine(p=0), tio.Flip((0, 1)), tio.Affine()])
    assert len(pipeline.plan().stages) == 1
    assert torch.equal(pipeline(s).t1.data, s.t1.data.flip((1, 2)))


def test_fine_and_coarse_image_are_mirrored_in_the_same_plane():
    fine = oblique_affine((1, 1, 1))
    coarse = fine.copy()
    coarse[:3, :3] *= 2
    coarse[:3, 3] += fine[:3, :3] @ [0.5, 0.5, 0.5]  # voxels of 2 x 2 x 2, cell by cell
    x = torch.rand(1, 12, 12, 12)
    pooled = torch.nn.functional.avg_pool3d(x, 2)
    s = tio.Subject(a=tio.ScalarImage(x, affine=fine), b=tio.ScalarImage(pooled, affine=coarse))
    out = tio.Flip((0, 2))(s)
    assert torch.equal(out.a.data, x.flip((1, 3)))
    assert torch.equal(out.b.data, pooled.flip((1, 3)))


@pytest.mark.parametrize("axes", [3, -1, (0, 5), "X", 1.5, None])
def test_bad_axes_are_named(axes):
    with pytest.raises((ValueError, TypeError)):
        tio.RandomFlip(axes)


def test_bad_probability_is_named():
    with pytest.raises(ValueError, match=r"flip_probability must be in \[0, 1\], got 2"):
        tio.RandomFlip(flip_probability=2)


def test_flip_moves_integers_without_computing():
    x = torch.full((1, 3, 2, 2), 2**24 + 1, dtype=torch.int32)
    x[0, 0] = 7
    out = tio.Flip(0)(x)
    assert out.dtype == torch.int32
    assert torch.equal(out, x.flip(1))


@pytest.mark.parametrize("slab", [1, 3, 100])
def test_large_volumes_flip_slab_by_slab(slab, monkeypatch):
    """As whole ones do, in value and gradient, whatever axes are mirrored."""
    monkeypatch.setattr(spatial, "_FRESH", 0)
    monkeypatch.setattr(spatial, "slab_planes", lambda *_: slab)
    x = torch.rand(2, 3, 7, 5, 4, dtype=torch.float64)
    weight = torch.rand(x.shape, dtype=torch.float64)
    for axes in [(0,), (1,), (2,), (0, 2), (0, 1, 2)]:
        dims = [2 + axis for axis in axes]
        given = x.clone().requires_grad_()
        for out in (tio.Flip(axes)(x), tio.Flip(axes)(given)):
            assert torch.equal(out, x.flip(dims))
        (out * weight).sum().backward()
        assert torch.equal(given.grad, weight.flip(dims))


def test_flipped_field_of_view_is_filled_with_the_minimum():
    """An image with a smaller field of view is mirrored in the plane of the first."""
    ct = torch.full((1, 8, 4, 4), -1000.0)
    part = np.eye(4)
    part[0, 3] = 1
    s = tio.Subject(a=tio.ScalarImage(ct), b=tio.ScalarImage(ct[:, :5], affine=part))
    for transform in (tio.Flip(0), tio.Compose([tio.Flip(0), tio.Affine()], fuse=False)):
        assert transform(s).b.data.unique().tolist() == [-1000]


def test_inverse_mirrors_in_the_same_plane_also_alone():
    wide, narrow = torch.rand(1, 10, 2, 2), torch.rand(1, 5, 2, 2)
    shifted = np.eye(4)
    shifted[0, 3] = 3
    s = tio.Subject(a=tio.ScalarImage(wide), b=tio.ScalarImage(narrow, affine=shifted))
    out = tio.Flip(0)(s)
    back = out.get_inverse_transform()(tio.Subject(b=out.b))
    assert torch.equal(back.b.data[:, :4], narrow[:, :4])  # the fifth left the view

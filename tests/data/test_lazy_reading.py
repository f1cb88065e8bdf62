"""Lazy reading: files that change after a header was read, and readers that cache voxels."""

import copy

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import torchio_gpu as tio
from tests.volumes import oblique_affine

AFFINE = np.diag([1.0, 2, 3, 1])
OTHER = np.diag([-2.0, -4, 6, 1])
ACCESSES = {
    "nothing": lambda image: None,
    "spacing": lambda image: image.spacing,
    "shape": lambda image: image.shape,
    "copy": lambda image: copy.copy(image).affine,
    "dtype": lambda image: image.dtype,
}


@pytest.fixture
def path(tmp_path):
    tio.ScalarImage(torch.rand(1, 8, 9, 10), affine=AFFINE).save(tmp_path / "x.nii.gz")
    return tmp_path / "x.nii.gz"


def overwrite(path, shape=(2, 4, 5, 6), affine=OTHER):
    new = tio.ScalarImage(torch.rand(shape), affine=affine)
    new.save(path)
    return new


@pytest.mark.parametrize("access", ACCESSES)
@pytest.mark.parametrize("reader", [False, True])
def test_voxels_and_affine_come_from_the_same_read(path, access, reader):
    def read(path):
        image = tio.ScalarImage(path)
        return image.data, image.affine

    image = tio.ScalarImage(path, reader=read) if reader and access == "nothing" else None
    image = image or tio.ScalarImage(path)
    ACCESSES[access](image)
    new = overwrite(path)
    for each in (copy.copy(image), tio.ScalarImage(image), image):
        assert torch.equal(each.data, new.data)
        np.testing.assert_allclose(each.affine, OTHER, atol=1e-6)
        assert each.spacing == pytest.approx((2, 4, 6))
        assert each.orientation_str == "LPS"


@pytest.mark.parametrize("shape", [(1, 8, 9, 10), (1, 9, 10, 11)])
def test_a_region_and_its_affine_come_from_the_same_read(path, shape):
    image = tio.ScalarImage(path)
    assert image.spacing == pytest.approx((1, 2, 3))
    new = overwrite(path, shape)
    for item in ((slice(1, 3), 2), (slice(-3, None), slice(None), -1)):
        part, expected = image[item], new[item]
        assert torch.equal(part.data, expected.data)
        np.testing.assert_allclose(part.affine, expected.affine, atol=1e-5)


@pytest.mark.parametrize("transform", [tio.Resample(2), tio.ToOrientation("LPS")])
def test_an_image_may_be_saved_to_its_own_path(path, transform):
    image = tio.ScalarImage(path)
    assert image.spacing == pytest.approx((1, 2, 3))
    out = transform(image)
    out.save(image.path)
    assert torch.equal(image.data, out.data)
    np.testing.assert_allclose(image.affine, out.affine, atol=1e-6)


@pytest.mark.parametrize("how", ["given", "set", "item"])
def test_an_affine_set_by_the_user_is_kept(path, how):
    user_affine = oblique_affine()
    image = tio.ScalarImage(path, affine=user_affine if how == "given" else None)
    assert image.shape == (1, 8, 9, 10)
    if how == "set":
        image.affine = user_affine
    elif how == "item":
        image["affine"] = user_affine
    overwrite(path, (1, 8, 9, 10))
    np.testing.assert_array_equal(image[2:].affine[:3, 3], (user_affine @ [2, 0, 0, 1])[:3])
    image.load()
    np.testing.assert_array_equal(image.affine, user_affine)
    np.testing.assert_array_equal(tio.ScalarImage(image).affine, user_affine)


class InPlace:
    def __call__(self, subject):
        subject.t1.data.mul_(2)
        return subject


READER_CACHES = {
    "array": lambda: np.ones((1, 4, 4, 4), np.float32),
    "tensor": lambda: torch.ones(1, 4, 4, 4),
    "uint16": lambda: np.ones((1, 4, 4, 4), np.uint16),
    "view": lambda: torch.ones(1, 8, 4, 4)[:, ::2],
    "Fortran": lambda: np.asfortranarray(np.ones((1, 4, 4, 4))),
}


@pytest.mark.parametrize("cache", READER_CACHES)
def test_voxels_cached_by_a_reader_are_not_modified(path, cache):
    kept = READER_CACHES[cache]()
    image = tio.ScalarImage(path, reader=lambda _: (kept, None))
    dataset = tio.SubjectsDataset([tio.Subject(t1=image)], InPlace())
    assert [float(dataset[0].t1.data.float().mean()) for _ in range(3)] == [2, 2, 2]
    plain = tio.SubjectsDataset([tio.Subject(t1=image)])
    for get in (
        lambda: plain[0].t1.data,
        lambda: next(iter(DataLoader(plain))).t1.data,
        lambda: next(iter(tio.SubjectsLoader(plain))).t1.data,
        lambda: copy.copy(image).data,
        lambda: image[1:3].data,
        lambda: image[:].data,
        lambda: image.data,
    ):
        get().fill_(7)
        assert (kept == 1).all()


def test_a_reader_may_return_a_read_only_array(path):
    frozen = np.ones((1, 4, 4, 4))
    frozen.flags.writeable = False
    image = tio.ScalarImage(path, reader=lambda _: (frozen, None))
    image.data.fill_(3)
    assert image.data.mean() == 3

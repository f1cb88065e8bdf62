"""Reference grids of images, pairs and MetaTensors, and sizes that are too large."""

import json

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

import torchio_gpu as tio
from tests.volumes import oblique_affine

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
KINDS = (tio.Resample, tio.ToReferenceSpace)
GRID = (8, 9, 10), oblique_affine()


def image(shape=(1, 6, 7, 8)):
    return tio.ScalarImage(torch.rand(shape))


def references():
    x = torch.rand(1, *GRID[0])
    meta = MetaTensor(x, affine=torch.from_numpy(GRID[1]))
    return {
        "image": tio.ScalarImage(x, affine=GRID[1]),
        "label map": tio.LabelMap(x > 0.5, affine=GRID[1]),
        "pair": GRID,
        "lists": [list(GRID[0]), GRID[1].tolist()],
        "MetaTensor": meta,
        "batch of one": MetaTensor(x[None], affine=torch.from_numpy(GRID[1])[None]),
    }


@pytest.mark.parametrize("reference", references())
@pytest.mark.parametrize("cls", KINDS)
def test_references_of_any_type_give_the_same_grid(cls, reference):
    x = image()
    out = cls(references()[reference])(x)
    expected = cls(references()["image"])(x)
    assert torch.equal(out.data, expected.data)
    np.testing.assert_allclose(out.affine, expected.affine)


@pytest.mark.parametrize("reference", references())
@pytest.mark.parametrize("cls", KINDS)
def test_histories_record_the_reference_grid(cls, reference):
    s = cls(references()[reference])(tio.Subject(t1=(x := image())))
    record = tio.from_dict(json.loads(json.dumps(s.history[0].to_dict())))
    again = record(tio.Subject(t1=x)).t1
    assert torch.equal(again.data, s.t1.data)
    np.testing.assert_array_equal(again.affine, s.t1.affine)
    back = record.inverse()(s).t1
    np.testing.assert_allclose(back.affine, x.affine, atol=1e-6)


@pytest.mark.parametrize("cls", KINDS)
@pytest.mark.parametrize(
    "value",
    [
        torch.rand(1, 30, 30, 30),
        np.random.rand(1, 30, 30, 30),
        (GRID[0], np.full((4, 4), np.nan)),
        ((8, 9), np.eye(4)),
        ((8, 9, 0), np.eye(4)),
        ((8, 9, 10.5), np.eye(4)),
        ((torch.rand(40, 40), 9, 10), np.eye(4)),
    ],
)
def test_invalid_references_raise_one_short_sentence(cls, value):
    name = "target" if cls is tio.Resample else "reference"
    with pytest.raises((ValueError, TypeError), match=name) as error:
        cls(value)
    assert len(str(error.value)) < 300
    assert "\n" not in str(error.value)


TOO_LARGE = {
    "target": [
        lambda: tio.Resample(1e-6),
        lambda: tio.Resample(1e-3),
        lambda: tio.Resample((1, 1, 1e-9)),
        lambda: tio.Resample(1e-320),
        lambda: tio.Resample(([2**20] * 3, np.eye(4))),
    ],
    "target_shape": [
        lambda: tio.Resize(2**20),
        lambda: tio.CropOrPad(2**20),
        lambda: tio.CropOrPad(10**6, units="cm"),
    ],
    "padding": [lambda: tio.Pad(1_000_000), lambda: tio.Pad(1_000_000, padding_mode="mean")],
    "target_multiple": [lambda: tio.EnsureShapeMultiple(2**20)],
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("name", "make"), [(n, m) for n, makes in TOO_LARGE.items() for m in makes]
)
def test_too_large_sizes_are_refused_by_the_name_of_the_argument(name, make):
    x = image((1, 600, 7, 600))
    message = rf"^{name} must give images of <= 1048576 voxels along an axis"
    for transform in (make(), tio.Compose([make(), tio.RandomAffine(), tio.RandomNoise()])):
        with pytest.raises(ValueError, match=message):
            transform(x)


def test_large_arguments_that_give_small_images_are_allowed():
    assert tio.CropOrPad(2**20, only_crop=True)(image()).spatial_shape == (6, 7, 8)
    assert tio.EnsureShapeMultiple(2**20, method="crop")(image()).spatial_shape == (1, 1, 1)
    assert tio.Resample((1e-9, 1, 1))(image((1, 1, 7, 8))).spatial_shape == (1, 7, 8)


def test_meta_tensors_become_plain_tensors_in_an_image():
    affine = oblique_affine()
    x = tio.ScalarImage(torch.rand(1, 6, 7, 8), affine=affine)
    here = MetaTensor(torch.rand(2, 6, 7, 8), affine=torch.from_numpy(affine))
    for put in (x.set_data, lambda v: setattr(x, "data", v), lambda v: x.__setitem__("data", v)):
        put(here)
        assert type(x.data) is torch.Tensor
        assert torch.equal(x.data, here.as_tensor())
        np.testing.assert_array_equal(x.affine, affine)
    elsewhere = MetaTensor(torch.rand(2, 6, 7, 8), affine=torch.eye(4))
    with pytest.raises(ValueError, match=r"^data must lie where the image does, .* MetaTensor at"):
        x.set_data(elsewhere)
    assert torch.equal(x.data, here.as_tensor())


def test_a_reader_may_return_a_meta_tensor(tmp_path):
    (tmp_path / "x").touch()
    meta = MetaTensor(torch.rand(1, 3, 4, 5), affine=torch.from_numpy(oblique_affine()))
    x = tio.ScalarImage(tmp_path / "x", reader=lambda _: (meta, None))
    assert type(x.data) is torch.Tensor
    np.testing.assert_array_equal(x.affine, oblique_affine())

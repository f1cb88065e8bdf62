"""MONAI's MetaTensors: affines are read and updated, and MONAI inverts nothing wrongly."""

import numpy as np
import pytest
import torch
from monai import transforms as mt
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch, list_data_collate

import torchio_gpu as tio
from tests.volumes import oblique_affine

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
AFFINE = np.diag([-2.0, 2, 2, 1])


def meta(affine=AFFINE, shape=(1, 12, 13, 14), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return MetaTensor(torch.rand(shape, generator=generator), affine=torch.from_numpy(affine))


def as_scalar_image(x):
    return tio.ScalarImage(x.as_tensor(), affine=x.affine.numpy())


GEOMETRY = {
    "Crop": lambda: tio.Crop(2),
    "Pad": lambda: tio.Pad((1, 2, 3)),
    "Resample": lambda: tio.Resample(1),
    "ToCanonical": lambda: tio.ToCanonical(),
    "Resize": lambda: tio.Resize(8),
    "CropOrPad": lambda: tio.CropOrPad((8, 20, 9)),
    "Affine": lambda: tio.Affine(degrees=(5, 10, 15), translation=(1, 2, 3)),
    "Blur": lambda: tio.Blur((1, 2, 3)),
    "Compose": lambda: tio.Compose([tio.ToCanonical(), tio.Resample(1.5), tio.Flip("LR")]),
}


@pytest.mark.parametrize("affine", [AFFINE, oblique_affine()], ids=["diagonal", "oblique"])
@pytest.mark.parametrize("name", GEOMETRY)
def test_affines_are_read_and_updated(name, affine):
    """Results equal those of a ScalarImage: alone, in a dict, in a batch, in a dict of batches."""
    x = meta(affine)
    expected = GEOMETRY[name]()(as_scalar_image(x))
    together = list_data_collate([{"x": x}, {"x": x}])["x"]
    assert tuple(together.affine.shape) == (2, 4, 4)
    outs = [GEOMETRY[name]()(x), GEOMETRY[name]()({"x": x})["x"]]
    for batch in (GEOMETRY[name]()(together), GEOMETRY[name]()({"x": together})["x"]):
        assert type(batch) is MetaTensor
        assert tuple(batch.affine.shape) == (2, 4, 4)
        outs += decollate_batch(batch)
    for out in outs:
        assert type(out) is MetaTensor
        assert out.dtype == x.dtype
        torch.testing.assert_close(out.as_tensor(), expected.data, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(out.affine.numpy(), expected.affine, atol=1e-9)
    np.testing.assert_array_equal(x.affine.numpy(), affine)


def test_crop_resample_and_batches_use_the_affine():
    x = meta(shape=(1, 12, 12, 12))
    out = tio.Crop(2)(x)
    assert out.affine[:3, 3].tolist() == [-4, 4, 4]
    assert tio.Resample(1)(x).shape == (1, 24, 24, 24)
    assert tio.ScalarImage(x).spacing == (2, 2, 2)
    images = tio.ImagesBatch(list_data_collate([{"x": x}] * 2)["x"])
    assert images.space.affine[:, 0, 0].tolist() == [-2, -2]
    assert type(tio.ScalarImage(x).data) is torch.Tensor


def test_metadata_are_kept():
    x = meta()
    x.meta["patient"] = "P1"
    assert tio.RandomNoise()(x).meta["patient"] == "P1"


def test_pipelines_with_transforms_of_monai():
    """Transforms of both libraries in MONAI's Compose and in its loader."""
    chain = mt.Compose(
        [mt.Spacingd("x", (1, 1, 1)), tio.Crop(2), mt.ScaleIntensityd("x"), mt.Flipd("x", 0)]
    )
    out = chain({"x": meta()})["x"]
    assert out.shape == (1, 19, 21, 23)
    expected = tio.Crop(2)(mt.Spacing((1, 1, 1))(meta()))
    flipped = mt.Flip(0)(expected)
    np.testing.assert_allclose(out.affine.numpy(), flipped.affine.numpy(), atol=1e-9)
    dataset = Dataset([{"x": meta(seed=n)} for n in range(4)], tio.RandomAffine())
    for batch in DataLoader(dataset, batch_size=2):
        assert batch["x"].shape == (2, 1, 12, 13, 14)
        assert tio.Resample(1)(batch)["x"].affine[0].diagonal().tolist() == [-1, 1, 1, 1]


GEOMETRY_CHANGES = {
    **{name: GEOMETRY[name] for name in ("Crop", "Resample", "Affine", "Compose")},
    "Lambda": lambda: tio.Lambda(lambda x: x.flip(1)),
}


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("name", GEOMETRY_CHANGES)
def test_monai_refuses_to_invert_geometry_that_changed(name, batched):
    spacing = mt.Spacingd("x", (1, 1, 1))
    given = spacing({"x": meta()})
    if batched:
        given = list_data_collate([given, given])
    out = GEOMETRY_CHANGES[name]()(given)
    undone = mt.Invertd("x", mt.Compose([spacing]), "x", nearest_interp=False)
    items = decollate_batch(out) if batched else [out]
    for item in items:
        with pytest.raises(RuntimeError) as refused:
            mt.Compose([spacing]).inverse(item)
        assert "torchio_gpu" in str(refused.value.__cause__)
        with pytest.raises(RuntimeError):
            undone(item)


@pytest.mark.parametrize("name", ["RandomNoise", "Blur", "ZNormalization", "RandomBiasField"])
def test_monai_inverts_its_own_transforms_if_only_intensities_changed(name):
    spacing = mt.Spacingd("x", (1, 1, 1))
    make = {"Blur": GEOMETRY["Blur"]}.get(name, lambda: getattr(tio, name)())
    out = make()(spacing({"x": meta()}))
    back = mt.Compose([spacing]).inverse(out)["x"]
    assert back.shape == (1, 12, 13, 14)
    np.testing.assert_allclose(back.affine.numpy(), AFFINE, atol=1e-6)


def test_pending_operations_are_refused():
    x = mt.Spacing((1, 1, 1), lazy=True)(meta())
    assert x.pending_operations
    with pytest.raises(ValueError, match="no pending operations"):
        tio.Crop(2)(x)


def test_gradients_reach_the_voxels():
    x = meta().requires_grad_()
    tio.Blur(1.0)(x).sum().backward()
    assert torch.isfinite(x.grad).all()

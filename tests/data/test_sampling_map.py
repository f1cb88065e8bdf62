"""Maps of weights for sampling: moved like scalar images, left alone by intensity transforms."""

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.volumes import oblique_affine, smooth

VOXELS = smooth((1, 1, 12, 14, 16))[0].float().abs()


def subject():
    return tio.Subject(
        t1=tio.ScalarImage(VOXELS.clone(), affine=oblique_affine()),
        weights=tio.Image(VOXELS.clone(), tio.SAMPLING_MAP, affine=oblique_affine()),
    )


SPATIAL = {
    "affine": lambda: tio.Affine(scales=1.1, degrees=(5, 10, 15), translation=(1, 2, 3)),
    "elastic": lambda: tio.RandomElasticDeformation(num_control_points=6, max_displacement=2),
    "resample": lambda: tio.Resample(1.5),
    "crop": lambda: tio.Crop(2),
    "pad": lambda: tio.Pad(2, padding_mode="mean"),
    "orientation": lambda: tio.ToOrientation("PIR"),
    "crop or pad": lambda: tio.CropOrPad((10, 20, 9)),
    "flip": lambda: tio.Flip("LR"),
    "anisotropy": lambda: tio.RandomAnisotropy(scalars_only=False),
    "lambda": lambda: tio.Lambda(lambda x: 2 * x),
}
INTENSITY = {
    "noise": lambda: tio.RandomNoise(),
    "gamma": lambda: tio.RandomGamma(),
    "blur": lambda: tio.RandomBlur(),
    "motion": lambda: tio.RandomMotion(),
    "bias": lambda: tio.RandomBiasField(),
    "z": lambda: tio.ZNormalization(),
    "anisotropy": lambda: tio.RandomAnisotropy(),
    "lambda": lambda: tio.Lambda(lambda x: 2 * x, types_to_apply=[tio.INTENSITY]),
}


@pytest.mark.parametrize("name", SPATIAL)
@pytest.mark.filterwarnings("ignore:.*max_displacement")
def test_spatial_transforms_treat_it_as_a_scalar_image(name):
    out = SPATIAL[name]()(subject())
    assert out.t1.shape != VOXELS.shape or not torch.equal(out.t1.data, VOXELS)
    assert torch.equal(out.weights.data, out.t1.data)
    np.testing.assert_array_equal(out.weights.affine, out.t1.affine)
    assert out.weights.type == tio.SAMPLING_MAP


@pytest.mark.parametrize("name", INTENSITY)
def test_intensity_transforms_leave_it_alone(name):
    out = INTENSITY[name]()(subject())
    assert not torch.equal(out.t1.data, VOXELS)
    assert torch.equal(out.weights.data, VOXELS)


def test_a_sampler_and_a_loader_use_it():
    weights = torch.zeros_like(VOXELS)
    weights[0, 6, 7, 8] = 1
    s = subject()
    s.weights.set_data(weights)
    assert list(s.get_images_dict()) == ["t1"]
    patch = tio.WeightedSampler((3, 3, 3), "weights")(s)
    assert patch["location"][:3].tolist() == [5, 6, 7]
    (batch,) = tio.SubjectsLoader(tio.SubjectsDataset([s, s]), batch_size=2)
    assert batch.weights.type == tio.SAMPLING_MAP
    assert torch.equal(batch.weights.data[1], weights)
    assert type(batch.unbatch()[0].weights) is type(s.weights)


def test_it_has_its_own_row_in_plots():
    pytest.importorskip("matplotlib")
    figure = subject().plot()
    assert [text.get_text() for text in figure.texts] == ["t1", "weights"]
    assert not any(axes.collections for axes in figure.axes)

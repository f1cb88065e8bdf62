"""Single steps of nnU-Net, with equal parameters, give equal results here."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import torchio_gpu as tio
from tests.integrations.nnunet_pairs import NnUNetTrainer, seed
from torchio_gpu.adapters.nnunet import BatchAugmentation, deep_supervision_targets

batchgeneratorsv2 = pytest.importorskip("batchgeneratorsv2.transforms")


def theirs(place: str, name: str, **arguments):
    module = pytest.importorskip(f"batchgeneratorsv2.transforms.{place}")
    return getattr(module, name)(**arguments)


@pytest.fixture
def image() -> Tensor:
    """Two channels, of intensities on both sides of 0."""
    return torch.randn(2, 12, 14, 16) * torch.tensor([1, 3])[:, None, None, None] + 1


def of_theirs(transform, image: Tensor) -> Tensor:
    return transform(image=image.clone())["image"]


@pytest.mark.parametrize("factor", [0.75, 1.2])
def test_brightness(image, factor):
    other = theirs(
        "intensity.brightness",
        "MultiplicativeBrightnessTransform",
        multiplier_range=factor,
        synchronize_channels=False,
    )
    torch.testing.assert_close(tio.Brightness(factor)(image), of_theirs(other, image))


@pytest.mark.parametrize("preserve_range", [True, False])
@pytest.mark.parametrize("factor", [0.75, 1.2])
def test_contrast(image, factor, preserve_range):
    other = theirs(
        "intensity.contrast",
        "ContrastTransform",
        contrast_range=factor,
        preserve_range=preserve_range,
        synchronize_channels=False,
    )
    mine = tio.Contrast(factor, preserve_range=preserve_range)(image)
    torch.testing.assert_close(mine, of_theirs(other, image), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("retain_stats", [True, False])
@pytest.mark.parametrize("invert", [True, False])
@pytest.mark.parametrize("gamma", [0.7, 1.5])
def test_gamma(image, gamma, invert, retain_stats):
    other = theirs(
        "intensity.gamma",
        "GammaTransform",
        gamma=gamma,
        p_invert_image=float(invert),
        synchronize_channels=False,
        p_per_channel=1,
        p_retain_stats=float(retain_stats),
    )
    mine = tio.Gamma(gamma, rescale=True, invert_image=invert, retain_stats=retain_stats)(image)
    torch.testing.assert_close(mine, of_theirs(other, image), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("zoom", [0.5, 0.61, 0.87, 1])
def test_low_resolution(image, zoom):
    """Theirs takes the second of two equally near voxels where an even number is halved."""
    image = image[:, :11, :13, :15]
    other = theirs(
        "spatial.low_resolution",
        "SimulateLowResolutionTransform",
        scale=zoom,
        synchronize_channels=False,
        synchronize_axes=True,
        ignore_axes=None,
    )
    mine = tio.LowResolution(zoom)(image)
    torch.testing.assert_close(mine, of_theirs(other, image), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.5, 0.75, 1.0])
def test_blur(image, sigma):
    """Theirs ends the Gaussian after two or three standard deviations, and reflects the image."""
    other = theirs("noise.gaussian_blur", "GaussianBlurTransform", blur_sigma=sigma)
    inside = (..., slice(4, -4), slice(4, -4), slice(4, -4))
    mine, reference = tio.Blur(sigma)(image)[inside], of_theirs(other, image)[inside]
    # weights beyond two standard deviations are 4.6 % along an axis
    error = (mine - reference).flatten(1).std(1) / image.flatten(1).std(1)
    assert (error < 0.03).all(), error


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rotation_and_scale(axis):
    """Linear interpolation of images, and of memberships of labels, about the middle."""
    angle, scale, patch = 0.3, 1.2, (12, 14, 16)
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 24, 26, 28, generator=generator)
    labels = tio.Blur(1.5)(image)
    labels = (torch.bucketize(labels, labels.flatten().quantile(torch.tensor([0.3, 0.7])))).short()
    other = theirs(
        "spatial.spatial",
        "SpatialTransform",
        patch_size=patch,
        patch_center_dist_from_border=0,
        random_crop=False,
        p_rotation=1,
        rotation=lambda image, dim: angle if dim == axis else 0.0,
        p_scaling=1,
        scaling=(scale, scale),
        p_synchronize_scaling_across_axes=1,
        border_mode_seg="constant",
        padding_value_seg=-1,
    )
    expected = other(image=image.clone(), segmentation=labels.clone())
    degrees = np.zeros(3)
    degrees[axis] = -math.degrees(angle)  # theirs says where voxels are read, ours where they go
    outside = {"default_pad_value": 0, "default_pad_label": -1, "label_interpolation": "label"}
    move = tio.Compose(
        [
            tio.Affine(scales=1, degrees=degrees, **outside),
            tio.Affine(scales=1 / scale, **outside),
            tio.CropOrPad(patch, only_crop=True),
        ]
    )
    mine = move(tio.Subject(image=tio.ScalarImage(image), labels=tio.LabelMap(labels)))
    torch.testing.assert_close(mine.image.data, expected["image"], rtol=0, atol=2e-4)
    # where labels differ, two have the same membership: theirs rounds it to 1/2000
    members = move(torch.cat([labels == label for label in range(3)]).float())
    chosen, other = (
        members.gather(0, each.long()) for each in (mine.labels.data, expected["segmentation"])
    )
    torch.testing.assert_close(chosen, other, rtol=0, atol=1e-3)
    assert (mine.labels.data != expected["segmentation"]).float().mean() < 0.01


SEGMENTATIONS = torch.randint(-1, 4, (3, 2, 8, 12, 16), generator=torch.Generator().manual_seed(1))
SCALES = [[1.0, 1.0, 1.0], [1.0, 0.5, 0.5], [0.5, 0.25, 0.25]]
#: What nnU-Net passes on to its transforms, for data sets of each kind.
KINDS = {
    "plain": {},
    "masked": {"use_mask_for_norm": [False, True]},
    "regions": {"regions": [(1, 2, 3), (2, 3), 3]},
    "regions and ignored": {"regions": [(1, 2), 2], "ignore_label": 3},
    "cascade": {"is_cascaded": True, "foreground_labels": [1, 2, 3]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_targets(kind):
    """Steps after the augmentation, of cut patches, sample by sample in nnU-Net."""
    given = KINDS[kind]
    cascade = kind == "cascade"
    made = NnUNetTrainer.get_training_transforms((8, 12, 16), 0, SCALES, (), False, **given)
    names = [type(step).__name__ for step in made.transforms]
    start = names.index("MaskImageTransform" if kind == "masked" else "RemoveLabelTransform")
    data, target = torch.rand(3, 2, 8, 12, 16), SEGMENTATIONS[:, : 1 + cascade].short()

    regions = given.get("regions")
    if "ignore_label" in given:
        regions = (*regions, given["ignore_label"])
    augmentation = BatchAugmentation(
        tio.Compose([tio.CropOrPad((8, 12, 16))]),
        masked_channels=(1,) if kind == "masked" else (),
        previous_labels=tuple(given.get("foreground_labels", ())),
        regions=regions,
        scales=SCALES,
    )
    seed()
    expected = []
    for image, segmentation in zip(data.clone(), target.clone(), strict=True):
        done = {"image": image, "segmentation": segmentation}
        for step in made.transforms[start:]:
            done = step(**done)
        expected.append(done)
    seed()
    mine, targets = augmentation(data.clone(), target.clone(), np.arange(3))
    torch.testing.assert_close(mine, torch.stack([each["image"] for each in expected]))
    assert mine.shape[1] == (5 if cascade else 2)
    for n, found in enumerate(targets):
        reference = torch.stack([each["segmentation"][n] for each in expected])
        assert found.dtype == reference.dtype
        assert torch.equal(found, reference)


@pytest.mark.parametrize("dtype", [torch.int16, torch.uint8, torch.bool])
def test_deep_supervision_of_odd_sizes(dtype):
    target = torch.randint(0, 2, (2, 3, 7, 9, 11)).to(dtype)
    scales = [[1, 1, 1], [0.5, 0.5, 0.5], [0.25, 0.5, 1]]
    other = theirs(
        "utils.deep_supervision_downsampling", "DownsampleSegForDSTransform", ds_scales=scales
    )
    mine = deep_supervision_targets(target, scales)
    for sample in range(2):
        expected = other(segmentation=target[sample])["segmentation"]
        for found, reference in zip(mine, expected, strict=True):
            assert torch.equal(found[sample], reference)
            assert found.dtype == reference.dtype

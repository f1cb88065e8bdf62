"""Draws of nnU-Net's default augmentation, measured on results: ours and theirs have one law.

Both draw 500 times, from fixed seeds. Two samples of one law have a Kolmogorov-Smirnov p-value
below 0.001 in one of a thousand comparisons; that is the bound. Shares of what is drawn may differ
from the probability by four standard errors, sqrt(p (1 - p) / n).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import torchio_gpu as tio
from tests.integrations.nnunet_pairs import (
    DRAWS,
    always,
    draw_ours,
    draw_theirs,
    ours,
    seed,
    their,
    theirs,
    to_both,
)
from torchio_gpu.adapters.nnunet import AroundOne, default_augmentation

stats = pytest.importorskip("scipy.stats")
pytestmark = pytest.mark.usefixtures("_both_seeds")


@pytest.fixture
def _both_seeds() -> None:
    seed()


def assert_same_law(ours: Tensor, theirs: Tensor, bounded: bool = True) -> None:
    """Compare two samples, and their ends.

    Args:
        ours, theirs: The samples.
        bounded: Values have bounds, at which the density is about that elsewhere.
    """
    mine, other = (np.asarray(each, dtype=np.float64).ravel() for each in (ours, theirs))
    assert np.isfinite(mine).all()
    ends = [np.quantile(each, [0, 0.25, 0.5, 0.75, 1]) for each in (mine, other)]
    assert stats.ks_2samp(mine, other).pvalue > 1e-3, ends
    if bounded:  # of n uniform values, none is beyond 1 - 10 / n in e**10 cases
        gap = 10 / min(len(mine), len(other)) * np.ptp(other)
        np.testing.assert_allclose(ends[0][[0, -1]], ends[1][[0, -1]], rtol=0, atol=gap)


def assert_same_share(ours: Tensor, theirs: Tensor, expected: float) -> None:
    """Compare how often something is done with each other, and with what it should be."""
    for share, n in ((ours.float().mean(), ours.numel()), (theirs.float().mean(), theirs.numel())):
        error = (expected * (1 - expected) / n) ** 0.5
        assert abs(share - expected) < 4 * error, (share, expected)


@pytest.mark.parametrize(
    ("name", "their_name"),
    [
        ("RandomNoise", "GaussianNoiseTransform"),
        ("RandomBlur", "GaussianBlurTransform"),
        ("RandomBrightness", "MultiplicativeBrightnessTransform"),
        ("RandomContrast", "ContrastTransform"),
        ("RandomLowResolution", "SimulateLowResolutionTransform"),
        ("RandomGamma", "GammaTransform"),
    ],
)
def test_probabilities(name, their_name):
    mine, other = ours(name), their(their_name)
    assert [step.p for step in mine] == [step.apply_probability for step in other]
    for step, reference in zip(mine, other, strict=True):
        channels = reference.transform.p_per_channel
        assert getattr(step, "channel_p", 1) == channels
    image = torch.rand(2, 6, 6, 6)
    changed = (draw_ours(mine[0], image) != image).flatten(2).any(2)
    also = (draw_theirs(other[0], image) != image).flatten(2).any(2)
    assert_same_share(changed, also, mine[0].p * getattr(mine[0], "channel_p", 1))


def test_steps_and_their_order():
    """Find each of their steps here, in their order, but for mirroring, which comes first."""
    found = [getattr(step, "transform", step) for step in theirs()]
    names = [type(step).__name__ for step in found]
    assert names == [
        "SpatialTransform",
        "GaussianNoiseTransform",
        "GaussianBlurTransform",
        "MultiplicativeBrightnessTransform",
        "ContrastTransform",
        "SimulateLowResolutionTransform",
        "GammaTransform",
        "GammaTransform",
        "MirrorTransform",
        "RemoveLabelTransform",
    ]
    assert [step.name for step in default_augmentation((8, 8, 8))] == [
        "RandomFlip",
        "RandomAffine",
        "RandomAffine",
        "CropOrPad",
        "RandomNoise",
        "RandomBlur",
        "RandomBrightness",
        "RandomContrast",
        "RandomLowResolution",
        "RandomGamma",
        "RandomGamma",
    ]


def test_noise():
    mine, other = to_both("RandomNoise", "GaussianNoiseTransform", torch.zeros(2, 12, 12, 12))
    assert_same_law(mine.flatten(1).std(1), other.flatten(1).std(1))
    for each in (mine, other):  # one width for all channels, and noise of its own in each
        ratio = each[:, 0].flatten(1).std(1) / each[:, 1].flatten(1).std(1)
        # standard error of the ratio of two deviations of 12**3 normal numbers each
        assert (ratio - 1).square().mean().sqrt() < 2 / 12**1.5
        assert not torch.equal(each[:, 0], each[:, 1])


def test_blur():
    """Widths of impulses along each axis."""
    image = torch.zeros(2, 15, 15, 15)
    image[:, 7, 7, 7] = 1
    mine, other = to_both("RandomBlur", "GaussianBlurTransform", image)
    place = torch.arange(15.0) - 7

    def widths(blurred: Tensor) -> Tensor:
        peaks = blurred.flatten(0, 1)
        peaks = peaks[peaks[:, 7, 7, 7] < 1]  # of channels that were changed
        along = [peaks.sum(axes) for axes in ((2, 3), (1, 3), (1, 2))]
        return torch.stack([(each * place**2).sum(1).sqrt() for each in along], 1)

    mine, other = widths(mine), widths(other)
    for axis in range(3):
        assert_same_law(mine[:, axis], other[:, axis])
    for each in (mine, other):  # axes and channels are drawn one by one
        correlation = np.corrcoef(each.T.numpy())[np.triu_indices(3, 1)]
        assert (abs(correlation) < 4 / len(each) ** 0.5).all()


def test_brightness():
    mine, other = to_both(
        "RandomBrightness", "MultiplicativeBrightnessTransform", torch.ones(2, 2, 2, 2)
    )
    mine, other = mine[..., 0, 0, 0], other[..., 0, 0, 0]
    assert_same_law(mine, other)
    assert (mine[:, 0] != mine[:, 1]).all()
    assert_same_share(mine < 1, other < 1, 0.5)


def test_contrast():
    """Mean 0, and ends far enough away that the range does not bound what is looked at."""
    image = torch.ones(2, 2, 2, 2)
    image[:, 0] = -1
    image[:, 0, 0, 0], image[:, 1, 1, 1] = -9, 9
    mine, other = to_both("RandomContrast", "ContrastTransform", image)
    assert_same_law(mine[:, :, 1, 0, 0], other[:, :, 1, 0, 0])
    for each in (mine, other):
        assert each.abs().max() == 9
        assert (each[:, 0, 1, 0, 0] != each[:, 1, 1, 0, 0]).all()


@pytest.mark.parametrize("index", [0, 1])
def test_gamma(index):
    """Exponents, from the share of the range at which the middle of a ramp ends up."""
    image = torch.linspace(2, 4, 125).view(1, 5, 5, 5).repeat(2, 1, 1, 1)
    mine, other = to_both("RandomGamma", "GammaTransform", image, index)

    def exponents(x: Tensor) -> Tensor:
        low, middle, high = (x[..., n, n, n] for n in (0, 2, 4))
        base = high if index == 0 else low  # the first one inverts the image
        return -torch.log2((middle - base).abs() / (high - low))

    assert_same_law(exponents(mine), exponents(other))
    for each in (mine, other):
        torch.testing.assert_close(each.mean((2, 3, 4)), torch.full((DRAWS, 2), 3.0))
        spread = image[0].std().expand(DRAWS, 2)
        torch.testing.assert_close(each.flatten(2).std(2), spread, rtol=1e-4, atol=0)


@pytest.mark.parametrize("in_plane", [False, True])
def test_low_resolution(in_plane):
    image = torch.rand(2, 12, 14, 16)
    transform = always(ours("RandomLowResolution", in_plane=in_plane)[0])
    batch = tio.SubjectsBatch({"data": tio.ImagesBatch(image.repeat(DRAWS, 1, 1, 1, 1))})
    mine = torch.as_tensor(transform.sample_params(batch).zoom)[:, 0]  # (B, C, 3)
    other = their("SimulateLowResolutionTransform", in_plane=in_plane)[0].transform
    drawn = [other.get_parameters(image=image)["scales"] for _ in range(DRAWS)]
    found = torch.cat([each for each in drawn if len(each)])
    changed = mine[..., 2] < 1
    assert_same_law(mine[changed][:, 2], found[:, 2])
    counts = torch.tensor([len(each) for each in drawn])
    assert_same_share(changed, torch.arange(2) < counts[:, None], 0.5)
    assert torch.equal(mine[..., 1], mine[..., 2])
    both = changed.all(1)
    assert (mine[both][:, 0, 2] != mine[both][:, 1, 2]).all()
    assert (found[:, 1] == found[:, 2]).all()
    for each in (mine[changed], found):
        assert torch.equal(each[:, 0], torch.ones(len(each)) if in_plane else each[:, 2])


def matrices(sampled: Tensor) -> np.ndarray:
    """Return maps from sampled voxels to source voxels, [B, 3, 3], from images of coordinates.

    Args:
        sampled: Images of the coordinates i, j, k, (B, 3, 8, 8, 8).
    """
    middle = sampled[:, :, 3:5, 3:5, 3:5].double()
    steps = [middle.diff(dim=axis).mean((2, 3, 4)) for axis in (2, 3, 4)]
    return torch.stack(steps, 2).numpy()


def coordinates(size: int = 20) -> Tensor:
    return torch.stack(torch.meshgrid(*[torch.arange(float(size))] * 3, indexing="ij"))


@pytest.mark.parametrize("in_plane", [False, True])
def test_rotation_and_scale(in_plane):
    """Both with their coins: matrices are measured on sampled images of coordinates."""
    image, draws = coordinates(), 4 * DRAWS  # of which a fifth each are turned and scaled
    spatial = default_augmentation((8, 8, 8), 180 if in_plane else 30, in_plane, ())[:3]
    mine = matrices(draw_ours(tio.Compose(spatial), image, draws))
    steps = theirs((8, 8, 8), in_plane)[: 3 if in_plane else 1]

    def run(image: Tensor) -> dict[str, Tensor]:
        done = {"image": image}
        for step in steps:
            done = step(**done)
        return done

    other = matrices(draw_theirs(lambda image: run(image), image, draws))
    for each in (mine, other):
        if in_plane:
            np.testing.assert_allclose(each[:, 0], np.eye(3)[[0] * draws], atol=1e-4)
            np.testing.assert_allclose(each[:, :, 0], np.eye(3)[[0] * draws], atol=1e-4)
    power = 1 / 2 if in_plane else 1 / 3
    scales = [np.linalg.det(each) ** power for each in (mine, other)]
    scaled = [abs(each - 1) > 1e-4 for each in scales]
    assert_same_share(*map(torch.as_tensor, scaled), 0.2)
    assert_same_law(scales[0][scaled[0]], scales[1][scaled[1]])
    turns = []
    for matrix, scale in zip((mine, other), scales, strict=True):
        share = np.array([1 if in_plane else 0, 0, 0]) + scale[:, None] * [not in_plane, 1, 1]
        rotation = matrix / share[:, None]
        products = rotation @ rotation.transpose(0, 2, 1)
        np.testing.assert_allclose(products, identities(draws), atol=1e-3)
        turns.append(rotation)
    angles = [np.arccos(np.clip((np.trace(r, axis1=1, axis2=2) - 1) / 2, -1, 1)) for r in turns]
    turned = [angle > 1e-3 for angle in angles]
    assert_same_share(*map(torch.as_tensor, turned), 0.2)
    assert_same_law(angles[0][turned[0]], angles[1][turned[1]], bounded=in_plane)
    if in_plane:
        signed = [np.arctan2(r[:, 2, 1], r[:, 1, 1]) for r in turns]
        assert_same_law(signed[0][turned[0]], signed[1][turned[1]])
        return
    # ours pulls back by Ry^T Rx^T Rz^T, theirs by Rz Ry Rx: each by the angles of its own order
    first = np.stack(euler(turns[0][turned[0]].transpose(0, 2, 1), "yxz"), 1)
    second = np.stack(euler(turns[1][turned[1]], "xyz"), 1)
    assert abs(np.concatenate((first, second))).max() < 30 + 1e-2
    for axis in range(3):
        assert_same_law(first[:, axis], second[:, axis])


def identities(count: int) -> np.ndarray:
    return np.eye(3)[None].repeat(count, 0)


def euler(rotation: np.ndarray, order: str) -> np.ndarray:
    """Return angles about fixed axes in degrees, the one that is applied first first, [3, B]."""
    found = pytest.importorskip("scipy.spatial.transform").Rotation.from_matrix(rotation)
    return found.as_euler(order, degrees=True).T


def test_mirroring():
    image = coordinates(6)
    axes = (0, 1, 2)
    mine = draw_ours(ours("RandomFlip")[0], image)
    other = draw_theirs(their("MirrorTransform")[0], image)
    for axis in axes:
        assert_same_share(mine[:, axis, 0, 0, 0] > 0, other[:, axis, 0, 0, 0] > 0, 0.5)
    both = [each[:, 0, 0, 0, 0] * each[:, 1, 0, 0, 0] > 0 for each in (mine, other)]
    assert_same_share(*both, 0.25)


def test_planes_are_turned_in_plane_and_keep_their_axes():
    """Planes: rotation, scale, low resolution and mirroring along the two axes that there are."""
    augment = default_augmentation((8, 10), 180, mirror_axes=(0, 1))
    assert augment(torch.rand(3, 1, 1, 20, 22)).shape == (3, 1, 1, 8, 10)
    assert list(augment[0].axes) == [1, 2]
    assert augment[0].p == 1


def test_around_one_is_their_range():
    drawn = their("ContrastTransform")[0].transform.contrast_range
    assert_same_law(
        AroundOne(0.75, 1.25).sample((2000,)), torch.tensor([drawn() for _ in range(2000)])
    )

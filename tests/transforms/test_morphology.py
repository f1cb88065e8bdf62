"""Erosion, dilation and smoothing of label maps by lengths in mm."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage

import torchio_gpu as tio
from tests.transforms.test_synchronization import synchronizations
from tests.volumes import batch_of, oblique_affine, subject
from torchio_gpu import functional as F

GRIDS = [
    ((13, 12, 11), (1.0, 1.0, 1.0)),
    ((9, 14, 7), (0.7, 1.3, 3.1)),
    ((15, 1, 12), (1.0, 5.0, 2.0)),
    ((1, 1, 20), (2.0, 2.0, 0.5)),
]
grids = pytest.mark.parametrize(("size", "spacing"), GRIDS)
RANDOM = [
    tio.RandomErodeLabels((1, 3)),
    tio.RandomDilateLabels((1, 3)),
    tio.RandomSmoothLabels((1, 3)),
]
random_ones = pytest.mark.parametrize("transform", RANDOM, ids=lambda t: t.name)


def blobs(size, threshold=0.5, seed=0, width=1.5):
    """Return a mask of smooth regions, some of which leave the image."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=size), width)
    return noise > np.quantile(noise, threshold)


def ball_of(radius, spacing):
    """Return a structuring element of voxels within a radius, and its half width."""
    half = [int(radius / step + 1e-6) for step in spacing]
    axes = (np.arange(-n, n + 1) * step for n, step in zip(half, spacing, strict=True))
    squares = sum(each**2 for each in np.meshgrid(*axes, indexing="ij"))
    return squares <= radius**2 * (1 + 1e-9)


def tensor(array):
    return torch.from_numpy(array.astype(np.uint8))[None, None]


def affine_of(spacing):
    return oblique_affine(spacing)


@grids
@pytest.mark.parametrize("radius", [0.6, 1.0, 2.1, 3.0, 6.2])
def test_masks_are_those_of_scipy(size, spacing, radius):
    mask, ball = blobs(size), ball_of(radius, spacing)
    image = tio.LabelMap(tensor(mask)[0], affine=affine_of(spacing))
    eroded = tio.ErodeLabels(radius)(image).data[0].numpy()
    expected = ndimage.binary_erosion(mask, ball, border_value=1)
    np.testing.assert_array_equal(eroded, expected)
    dilated = tio.DilateLabels(radius)(image).data[0].numpy()
    np.testing.assert_array_equal(dilated, ndimage.binary_dilation(mask, ball))


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_masks_are_those_of_itk(radius):
    """ITK's ball of a radius is larger than that of scipy: compare with a cross of radius 1."""
    mask = blobs((13, 12, 11))
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    x, out = tensor(mask), image
    for _ in range(radius):
        out = sitk.BinaryErode(out, [1] * 3, sitk.sitkCross)
        x = F.erode_labels(x, 1.0)
    np.testing.assert_array_equal(x[0, 0].numpy(), sitk.GetArrayFromImage(out))
    x, out = tensor(mask), image
    for _ in range(radius):
        out = sitk.BinaryDilate(out, [1] * 3, sitk.sitkCross)
        x = F.dilate_labels(x, 1.0)
    np.testing.assert_array_equal(x[0, 0].numpy(), sitk.GetArrayFromImage(out))


@grids
def test_distances_are_exact(size, spacing):
    """Grow and shrink by many radii, and compare with distances of scipy."""
    mask = blobs(size, 0.97 if 1 not in size else 0.8)
    inside = ndimage.distance_transform_edt(mask, spacing)
    outside = ndimage.distance_transform_edt(~mask, spacing)
    for radius in np.linspace(0.5, 9, 12):
        out = F.dilate_labels(tensor(mask), radius, spacing)[0, 0].numpy()
        np.testing.assert_array_equal(out, outside <= radius)
        out = F.erode_labels(tensor(mask), radius, spacing)[0, 0].numpy()
        np.testing.assert_array_equal(out, inside > radius)


def test_each_label_is_eroded_as_a_mask():
    labels = tensor(blobs((12, 13, 11)) + 2 * blobs((12, 13, 11), seed=1))
    out = F.erode_labels(labels, 1.5)
    for label in (1, 2, 3):
        alone = F.erode_labels((labels == label).byte(), 1.5)
        assert torch.equal(out == label, alone.bool())
    some = F.erode_labels(labels, 1.5, labels=[2])
    assert torch.equal(some, torch.where(labels == 2, out, labels))
    assert not torch.equal(some, labels)


def test_labels_grow_to_the_middle_between_them_and_do_not_cover_each_other():
    x = torch.zeros(1, 1, 1, 1, 12, dtype=torch.int16)
    x[..., 1], x[..., 6], x[..., 7], x[..., 11] = 5, -3, 4, 5
    out = F.dilate_labels(x, 2.0, labels=[5, -3])
    assert out.flatten().tolist() == [5, 5, 5, 5, -3, -3, -3, 4, -3, 5, 5, 5]
    out = F.dilate_labels(x, 100.0)
    assert out.flatten().tolist() == [5, 5, 5, 5, -3, -3, -3, 4, 4, 4, 5, 5]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.01, 1.37, 2.19)])
def test_nearest_labels_are_those_of_scipy(spacing):
    chance = np.random.default_rng(0)
    labels = (chance.random((9, 10, 8)) < 0.02) * chance.integers(1, 250, (9, 10, 8))
    out = F.dilate_labels(tensor(labels), 1000.0, spacing)[0, 0].numpy()
    nearest = ndimage.distance_transform_edt(labels == 0, spacing)
    smaller = np.zeros_like(labels, dtype=bool)
    for label in sorted(set(labels.ravel().tolist()) - {0}):
        distance = ndimage.distance_transform_edt(labels != label, spacing)
        first = (distance <= nearest * (1 + 1e-9)) & ~smaller
        np.testing.assert_array_equal(out == label, first)
        smaller |= first


def test_axes_are_treated_alike():
    """Flips and permutations commute with all three, ties included."""
    labels = tensor(blobs((8, 9, 10), 0.8) + 2 * blobs((8, 9, 10), 0.8, 1))
    for function, length in ((F.erode_labels, 1.5), (F.dilate_labels, 3.0)):
        out = function(labels, length, (1, 2, 3))
        for order in itertools.permutations(range(3)):
            voxel_axes = [0, 1, *(2 + axis for axis in order)]
            spacing = np.array([1, 2, 3])[list(order)]
            turned = function(labels.permute(voxel_axes), length, spacing)
            assert torch.equal(turned, out.permute(voxel_axes))
        assert torch.equal(function(labels.flip((2, 4)), length, (1, 2, 3)), out.flip((2, 4)))


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int64, torch.float32]
)
@pytest.mark.parametrize("function", [F.erode_labels, F.dilate_labels, F.smooth_labels])
def test_dtypes(function, dtype):
    mask = tensor(blobs((8, 9, 10)))
    out = function(mask.to(dtype), 1.7)
    assert out.dtype == dtype
    assert torch.equal(out.byte(), function(mask, 1.7))


def test_large_and_negative_labels_are_kept():
    x = torch.zeros(1, 1, 1, 1, 5, dtype=torch.int64)
    x[..., 0], x[..., 4] = -(2**31), 2**31 - 1
    assert F.dilate_labels(x, 1.0).flatten()[[1, 3]].tolist() == [-(2**31), 2**31 - 1]
    small = torch.tensor([-128, 0, 0, 127], dtype=torch.int8).view(1, 1, 1, 1, 4)
    assert F.dilate_labels(small, 1.0).flatten().tolist() == [-128, -128, 127, 127]


def test_slabs_make_no_difference(monkeypatch):
    from torchio_gpu.functional.eager import slabs

    labels = tensor(blobs((9, 10, 8), 0.7) + 2 * blobs((9, 10, 8), 0.7, 1))
    whole = [f(labels, 2.3) for f in (F.erode_labels, F.dilate_labels)]
    monkeypatch.setattr(slabs, "VOXELS", 100)
    for one, f in zip(whole, (F.erode_labels, F.dilate_labels), strict=True):
        assert torch.equal(f(labels, 2.3), one)


def test_smoothing_is_a_vote():
    """Corners are rounded, single voxels removed, small holes filled, and planes kept."""
    x = torch.zeros(1, 1, 16, 16, 16, dtype=torch.uint8)
    x[..., :8], x[..., 8:] = 1, 2
    x[0, 0, 4, 4, 3], x[0, 0, 8, 8, 12] = 2, 0
    expected = torch.ones_like(x)
    expected[..., 8:] = 2
    assert torch.equal(F.smooth_labels(x, 2.0), expected)
    cube = torch.zeros(1, 1, 15, 15, 15, dtype=torch.uint8)
    cube[:, :, 4:11, 4:11, 4:11] = 1
    out = F.smooth_labels(cube, 1.5)
    assert out[0, 0, 4, 4, 4] == 0
    assert out[0, 0, 7, 7, 4] == 1


def test_the_smallest_of_equal_votes_wins():
    x = torch.tensor([4, 4, 5, 3, 3], dtype=torch.uint8).view(1, 1, 1, 1, 5)
    for each in (x, x.flip(4)):
        assert F.smooth_labels(each, 2.0)[..., 2].item() == 3


def test_only_given_labels_vote_and_change():
    x = torch.tensor([1, 1, 2, 1, 1, 3, 1, 1, 0, 1, 1], dtype=torch.uint8).view(1, 1, 1, 1, 11)
    out = F.smooth_labels(x, (1.0,), labels=[1, 2])
    assert out.flatten().tolist() == [1, 1, 1, 1, 1, 3, 1, 1, 1, 1, 1]
    assert F.smooth_labels(x, 1.0).unique().tolist() == [1]


@pytest.mark.parametrize(
    "make", [tio.ErodeLabels, tio.DilateLabels, tio.SmoothLabels], ids=lambda t: t.__name__
)
def test_each_sample_has_its_length_and_spacing_and_0_changes_nothing(make):
    labels = torch.cat([tensor(blobs((9, 8, 10), seed=n)) for n in range(3)])
    affines = np.stack([np.diag([*s, 1.0]) for s in ((1, 1, 1), (1, 2, 1.5), (3, 0.8, 1))])
    batch = tio.ImagesBatch(labels, affines, kind="label")
    out = make((2.0, 0.0, 3.0))(batch).data
    assert torch.equal(out[1], labels[1])
    for n, length in enumerate((2.0, 0.0, 3.0)):
        alone = make(length)(tio.LabelMap(labels[n], affine=affines[n])).data
        assert torch.equal(out[n], alone)
    assert not torch.equal(out[0], labels[0])
    assert not torch.equal(out[2], labels[2])


@random_ones
def test_the_same_seed_gives_the_same_sample(transform):
    subjects = [subject(seed=n) for n in range(3)]
    together = transform(batch_of(subjects, [5, -6, 7]))
    assert all(torch.equal(together.t1.data[n], subjects[n].t1.data) for n in range(3))
    for n, seed in enumerate((5, -6, 7)):
        alone = transform(batch_of(subjects[n : n + 1], [seed]))
        assert torch.equal(alone.seg.data[0], together.seg.data[n])
        assert not torch.equal(alone.seg.data[0], subjects[n].seg.data)
    lengths = next(iter(vars(together.records[-1].params).values())).ravel()
    assert len(set(lengths.tolist())) == 3
    assert (lengths.min() >= 1) & (lengths.max() <= 3)


@random_ones
def test_history_replays(transform):
    s = subject()
    out = transform(s)
    again = out.get_composed_history()(s)
    assert torch.equal(again.seg.data, out.seg.data)


@random_ones
def test_p_leaves_samples_out(transform):
    batch = batch_of([subject()] * 30)
    out = type(transform)((2, 2), p=0.5)(batch).seg.data
    same = (out == batch.seg.data).flatten(1).all(1)
    assert 5 < same.sum() < 25


@random_ones
def test_meta_device(transform):
    labels = torch.zeros(2, 1, 6, 7, 8, dtype=torch.uint8, device="meta")
    out = transform(tio.ImagesBatch(labels, kind="label")).data
    assert (out.shape, out.dtype, out.device.type) == (labels.shape, torch.uint8, "meta")


@pytest.mark.parametrize(
    "transform",
    [tio.RandomErodeLabels(), tio.RandomDilateLabels(2, [1]), tio.SmoothLabels(2, [1, 2])],
    ids=lambda t: t.name,
)
def test_the_host_does_not_wait_for_the_device(transform, monkeypatch):
    assert synchronizations(transform, monkeypatch, kernels=True) == []


def test_channels_are_label_maps_of_their_own():
    masks = torch.cat([tensor(blobs((8, 9, 7), seed=n)) for n in range(2)], 1)
    for function in (F.erode_labels, F.dilate_labels, F.smooth_labels):
        out = function(masks, 1.5)
        for n in range(2):
            assert torch.equal(out[:, n : n + 1], function(masks[:, n : n + 1], 1.5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tio.ErodeLabels(-1), "radius must be >= 0"),
        (lambda: tio.DilateLabels(1, labels=[0.5]), "labels must be whole numbers"),
        (lambda: tio.RandomErodeLabels((-1, 1)), "radius must be >= 0"),
        (lambda: tio.SmoothLabels(-1), "std must be >= 0"),
        (lambda: F.erode_labels(torch.zeros(1, 1, 2, 2, 2), 1, 0), "spacing must be > 0"),
        (lambda: F.erode_labels(torch.zeros(1, 1, 2, 2, 2), [1, 2]), "radius must hold one value"),
        (
            lambda: F.dilate_labels(torch.zeros(1, 1, 2, 2, 2, dtype=torch.complex64), 1),
            "x must be real",
        ),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()

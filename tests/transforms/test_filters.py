"""Blur, anisotropy and swap as transforms: units, affected images and drawn parameters."""

import numpy as np
import pytest
import scipy.ndimage
import torch

import torchio_gpu as tio
from tests.close import assert_close
from tests.volumes import ASR_AFFINE, oblique_affine, random_batch, smooth, subject
from torchio_gpu import functional as F


def test_blur_is_in_millimetres_of_each_image():
    x = smooth((1, 1, 9, 10, 11))[0].float()
    s = tio.Subject(
        fine=tio.ScalarImage(x, affine=oblique_affine((1, 1, 1))),
        coarse=tio.ScalarImage(x, affine=oblique_affine((1, 2, 5))),
    )
    out = tio.Blur((1.5, 2, 3))(s)
    for name, spacing in (("fine", (1, 1, 1)), ("coarse", (1, 2, 5))):
        expected = scipy.ndimage.gaussian_filter(x[0].numpy(), np.array((1.5, 2, 3)) / spacing)
        assert_close(out[name].data[0], torch.from_numpy(expected), share=2e-6, reason="float32")


def test_forms_of_the_std_argument():
    batch = random_batch(2000)
    std = tio.RandomBlur((1, 3)).sample_params(batch).std
    assert std.shape == (2000, 1, 1, 3)  # samples, images, channels, axes
    assert 1 <= std.min() < 1.01 < 2.99 < std.max() <= 3
    assert np.abs(np.corrcoef(std[:, 0, 0].T) - np.eye(3)).max() < 0.1  # axes apart
    assert 0 <= tio.RandomBlur(2).sample_params(batch).std.min() < 0.01
    three = tio.RandomBlur((1, 2, 3)).sample_params(batch).std.max((0, 1, 2))
    np.testing.assert_allclose(three, (1, 2, 3), rtol=0.01)
    six = tio.RandomBlur((0, 1, 1, 2, 5, 5)).sample_params(batch).std
    np.testing.assert_allclose(six.min((0, 1, 2)), (0, 1, 5), atol=0.01)


def test_anisotropy_is_shared_by_images_and_leaves_label_maps_by_default():
    s = subject()
    s = tio.Subject(t1=s.t1, t2=tio.ScalarImage(s.t1.data, affine=s.t1.affine), seg=s.seg)
    out = tio.RandomAnisotropy()(s)
    assert torch.equal(out.t1.data, out.t2.data)
    assert torch.equal(out.seg.data, s.seg.data)
    (record,) = out.history
    assert record.params.axis.shape == record.params.downsampling.shape == (1, 2)
    assert len(np.unique(record.params.downsampling)) == 1
    every = tio.Anisotropy(1, 3, scalars_only=False)(s)
    expected = F.anisotropy(s.seg.data[None], 3, 1, mode="nearest")[0]
    assert torch.equal(every.seg.data, expected)
    assert every.seg.data.dtype == torch.uint8


def test_anatomical_axes_of_anisotropy_are_those_of_each_image():
    x = smooth((1, 1, 8, 8, 8))[0].float()
    s = tio.Subject(a=tio.ScalarImage(x), b=tio.ScalarImage(x, affine=ASR_AFFINE))
    for transform in (tio.RandomAnisotropy(axes=("LR",)), tio.Anisotropy("LR", 3)):
        (record,) = transform(s).history
        assert record.params.axis.tolist() == [[0, 2]]


def test_integers_stay_integers_where_voxels_are_only_moved():
    x = torch.randint(0, 99, (1, 8, 8, 8), dtype=torch.int16)
    assert tio.RandomAnisotropy(image_interpolation="nearest")(x).dtype == torch.int16
    assert tio.RandomSwap(patch_size=2)(x).dtype == torch.int16
    assert tio.RandomBlur()(x).dtype == torch.float32


def test_drawn_downsampling():
    drawn = tio.RandomAnisotropy(axes=("IS", 0), downsampling=3).sample_params(random_batch(2000))
    assert set(np.unique(drawn.axis)) == {0, 2}
    assert 1 <= drawn.downsampling.min() < 1.01 < 2.99 < drawn.downsampling.max() <= 3


@pytest.mark.parametrize(
    ("shape", "patch"), [((12, 9, 10), 3), ((6, 5, 1), (2, 2, 1)), ((4, 3, 3), 2), ((2, 1, 1), 1)]
)
def test_swapped_patches_lie_inside_and_do_not_overlap(shape, patch):
    transform = tio.RandomSwap(patch, num_iterations=50)
    places = transform.sample_params(random_batch(200, shape=shape)).locations
    size = np.broadcast_to(patch, 3)
    assert places.shape == (200, 1, 50, 2, 3)
    assert places.min() >= 0
    assert (places <= np.array(shape) - size).all()
    first, second = places[..., 0, :], places[..., 1, :]
    assert (np.abs(first - second) >= size).any(-1).all()


def test_all_positions_of_the_second_patch_are_equally_likely():
    shape, patch = (7, 5, 4), 2
    places = (
        tio.RandomSwap(patch, num_iterations=500)
        .sample_params(random_batch(400, shape=shape))
        .locations
    )
    pairs = places.reshape(-1, 2, 3)
    one = pairs[(pairs[:, 0] == (2, 1, 1)).all(1)][:, 1]
    every = np.stack(np.meshgrid(*(range(n - 1) for n in shape), indexing="ij"), -1).reshape(-1, 3)
    allowed = every[(np.abs(every - (2, 1, 1)) >= patch).any(1)]
    found, counts = np.unique(one, axis=0, return_counts=True)
    np.testing.assert_array_equal(found, allowed)
    expected = len(one) / len(allowed)
    chi = ((counts - expected) ** 2 / expected).sum()
    assert chi < scipy.stats.chi2.ppf(0.9999, len(allowed) - 1)


def test_swap_keeps_the_values_and_can_be_inverted():
    s = subject()
    out = tio.RandomSwap(patch_size=3, num_iterations=20)(s)
    assert not torch.equal(out.t1.data, s.t1.data)
    assert torch.equal(out.t1.data.flatten().sort()[0], s.t1.data.flatten().sort()[0])
    assert torch.equal(out.seg.data, s.seg.data)
    assert torch.equal(out.apply_inverse_transform().t1.data, s.t1.data)


def test_gradients_reach_the_parameters():
    x = smooth((2, 1, 4, 5, 4))
    std = torch.tensor([[1.0, 0.5, 2], [0.3, 1, 1]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: tio.Blur(s)(x), std)
    factor = torch.tensor([1.7, 2.2], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: tio.Anisotropy(1, f)(x), factor)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tio.RandomBlur(-1), "std must be"),
        (lambda: tio.RandomBlur((-1, 1)), "std must be >= 0"),
        (lambda: tio.Blur(-1), "std must be >= 0"),
        (lambda: tio.Blur((1, 2)), r"std must have shape \(3,\)"),
        (lambda: tio.RandomAnisotropy(downsampling=0.5), "downsampling must be"),
        (lambda: tio.RandomAnisotropy(downsampling=(0.5, 2)), "downsampling must be >= 1"),
        (lambda: tio.RandomAnisotropy(axes=5), "axes must be 0, 1, 2 or anatomical names"),
        (lambda: tio.RandomAnisotropy(image_interpolation="x"), "image_interpolation must be one"),
        (lambda: tio.Anisotropy(0, 2, "nearest", antialias=True), "antialias must be False"),
        (lambda: tio.Anisotropy(0, 0.9), "downsampling must be >= 1"),
        (lambda: tio.RandomSwap(0), "patch_size must be integers > 0, one or three"),
        (lambda: tio.RandomSwap(num_iterations=-1), "num_iterations must be a whole number >= 0"),
        (lambda: tio.RandomSwap(9)(torch.zeros(1, 8, 8, 8)), "patch_size must leave room for two"),
        (lambda: tio.RandomSwap(5)(torch.zeros(1, 8, 8, 8)), "patch_size must leave room for two"),
        (lambda: tio.Swap(2, [(0, 0, 0)]), r"locations must have shape \(T, 2, 3\)"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()

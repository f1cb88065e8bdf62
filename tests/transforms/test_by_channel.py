"""Brightness, contrast, low resolution, and parameters that are drawn for each channel."""

import math

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.close import assert_close
from tests.volumes import random_batch
from torchio_gpu import functional as F
from torchio_gpu.functional.definitions import intensity as D


def channels(batch=3, count=2, size=6):
    data = torch.rand(batch, count, size, size, size)
    return tio.SubjectsBatch({"image": tio.ImagesBatch(data)})


def test_brightness_and_contrast_of_one_image():
    x = torch.tensor([0.0, 1, 5]).view(1, 1, 1, 3)
    assert tio.Brightness(2, 1)(x).flatten().tolist() == [1, 3, 11]
    assert tio.Contrast(0.5)(x).flatten().tolist() == [1, 1.5, 3.5]
    assert tio.Contrast(2, preserve_range=False)(x).flatten().tolist() == [-2, 0, 8]
    assert tio.Contrast(2)(x).flatten().tolist() == [0, 0, 5]


def test_values_per_sample_and_per_channel():
    x = torch.ones(2, 3, 2, 2, 2)
    per_sample = tio.Brightness(torch.tensor([[2.0], [3.0]]))(x)
    assert per_sample[:, :, 0, 0, 0].tolist() == [[2, 2, 2], [3, 3, 3]]
    per_channel = tio.Brightness((2, 3, 4), offset=1)(x)
    assert per_channel[:, :, 0, 0, 0].tolist() == [[3, 4, 5], [3, 4, 5]]
    std = tio.Noise(0, torch.tensor([[0.0, 1, 0], [2, 0, 0]]), seed=1)(x).std((2, 3, 4))
    assert (std > 0).tolist() == [[False, True, False], [True, False, False]]


TRANSFORMS = {
    "brightness": (lambda **k: tio.RandomBrightness((0.5, 2), 1, **k), "factor", 1.0),
    "contrast": (lambda **k: tio.RandomContrast((0.5, 2), **k), "factor", 1.0),
    "gamma": (lambda **k: tio.RandomGamma((0.1, 0.5), **k), "log_gamma", 0.0),
    "rescaled gamma": (
        lambda **k: tio.RandomGamma((0.1, 0.5), rescale=True, retain_stats=True, **k),
        "log_gamma",
        0.0,
    ),
    "noise": (lambda **k: tio.RandomNoise(1, (0.1, 1), **k), "std", 0.0),
    "rician noise": (lambda **k: tio.RandomNoise(1, (0.1, 1), rician=True, **k), "std", 0.0),
    "blur": (lambda **k: tio.RandomBlur((1, 2), **k), "std", 0.0),
    "histogram shift": (lambda **k: tio.RandomHistogramShift(5, (0.1, 0.4), **k), "shift", 0.0),
    "sigmoid contrast": (lambda **k: tio.RandomSigmoidContrast((2, 9), **k), "gain", 0.0),
    "low resolution": (lambda **k: tio.RandomLowResolution((0.2, 0.6), **k), "zoom", 1.0),
}
each = pytest.mark.parametrize(("make", "name", "neutral"), TRANSFORMS.values(), ids=TRANSFORMS)


@each
def test_parameters_are_shared_by_channels_or_their_own(make, name, neutral):
    batch = channels(count=3)
    shared = getattr(make().sample_params(batch), name)
    assert shared.shape[:3] == (3, 1, 1)
    own = getattr(make(by_channel=True).sample_params(batch), name)
    assert own.shape[:3] == (3, 1, 3)
    assert len(np.unique(own[..., 0] if own.ndim == 4 else own)) == 9
    spread = getattr(make(channel_p=0.999999).sample_params(batch), name)
    assert (spread == spread[:, :, :1]).all()


@each
def test_channels_that_are_left_out_keep_every_bit(make, name, neutral):
    batch = channels(batch=40, count=2)
    batch.images["image"].data[:] -= 0.5  # magnitudes differ from these
    for transform in (make(channel_p=0.5), make(by_channel=True, channel_p=0.5)):
        torch.manual_seed(0)
        out = transform(batch)
        values = getattr(out.records[0].params, name)[:, 0]
        left = (values == neutral).reshape(40, 2, -1).all(-1)
        # of 80 coins: 5 standard deviations
        assert abs(left.mean() - 0.5) < 5 * 0.5 / math.sqrt(80)
        same = (out.image.data == batch.image.data).flatten(2).all(-1).numpy()
        np.testing.assert_array_equal(same, left)


@each
def test_a_batch_gives_what_single_samples_give(make, name, neutral):
    subjects = [tio.Subject(t1=tio.ScalarImage(torch.rand(2, 6, 5, 4))) for _ in range(3)]
    transform = tio.Compose([tio.RandomFlip((0, 1)), make(by_channel=True, channel_p=0.7)])
    batch = tio.SubjectsBatch.from_subjects(subjects)
    torch.manual_seed(2)
    together = transform(batch)
    reason = "sums over a batch may be rounded in another order"
    torch.manual_seed(2)
    seeds = tio.random.fresh_seeds(3)
    for n, subject in enumerate(subjects):
        with tio.random.use_seed(int(seeds[n])):
            alone = transform(subject).t1.data
        assert_close(alone, together.t1.data[n], share=1e-6, reason=reason)


@each
def test_history_repeats_channels(make, name, neutral):
    subject = tio.Subject(t1=tio.ScalarImage(torch.rand(3, 5, 5, 5)))
    out = make(by_channel=True, channel_p=0.6)(subject)
    for again in (
        out.get_composed_history()(subject),
        tio.from_dict(out.history[0].to_dict())(subject),
    ):
        assert torch.equal(again.t1.data, out.t1.data)


@each
def test_images_may_have_other_numbers_of_channels(make, name, neutral):
    t1, dwi = torch.rand(1, 4, 5, 6), torch.rand(3, 4, 5, 6)
    both = tio.Subject(t1=tio.ScalarImage(t1), dwi=tio.ScalarImage(dwi))
    transform = make(by_channel=True)
    with tio.random.use_seed(3):
        together = transform(both)
    with tio.random.use_seed(3):
        alone = transform(tio.Subject(t1=tio.ScalarImage(t1)))
    assert torch.equal(together.t1.data, alone.t1.data)
    assert not torch.equal(together.dwi.data, dwi)
    again = tio.from_dict(together.history[0].to_dict())(both)
    assert torch.equal(again.dwi.data, together.dwi.data)


def test_values_of_images_with_other_numbers_of_channels():
    three, one, two = (tio.ScalarImage(torch.ones(n, 2, 2, 2)) for n in (3, 1, 2))
    subject = tio.Subject(a=three, b=one, c=two)
    out = tio.Brightness({"a": [1.0, 2, 3], "b": 4, "c": [5.0, 6]})(subject)
    assert out.a.data[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert out.b.data.unique().tolist() == [4]
    assert out.c.data[:, 0, 0, 0].tolist() == [5, 6]
    std = {"a": np.ones((1, 3, 3)), "b": 2, "c": 0}
    assert_close(tio.Blur(std)(subject).a.data, three.data, share=1e-6, reason="a constant image")
    with pytest.raises(
        ValueError, match=r"factor must be one value, or one for each channel of 'c"
    ):
        tio.Brightness([1.0, 2, 3], include=["c"])(subject)


def test_what_does_not_look_at_the_volume_can_be_undone():
    subject = tio.Subject(t1=tio.ScalarImage(torch.rand(2, 6, 6, 6) + 0.1))
    brighter = tio.RandomBrightness((0.5, 2), 3, by_channel=True)
    for transform in (brighter, tio.RandomGamma(by_channel=True)):
        back = tio.Compose([transform, tio.CropOrPad(4)])(subject).apply_inverse_transform()
        inside = (slice(None), *[slice(1, 5)] * 3)
        assert_close(back.t1.data[inside], subject.t1.data[inside], share=1e-5, reason="float32")
    for transform in (
        tio.RandomContrast(preserve_range=False),
        tio.RandomGamma(rescale=True),
        tio.RandomGamma(retain_stats=True),
    ):
        with pytest.warns(RuntimeWarning, match="cannot be undone"):
            transform(subject).get_inverse_transform()


NEUTRAL = {
    "brightness": (
        lambda x, p: F.brightness(x, p, 0.0),
        lambda x, p: D.brightness(x, p, torch.zeros(1).double()),
        1.0,
    ),
    "contrast": (lambda x, p: F.contrast(x, p, False), lambda x, p: D.contrast(x, p, False), 1.0),
    "rescaled gamma": (
        lambda x, p: F.gamma(x, p, rescale=True),
        lambda x, p: D.gamma(x, p, rescale=True),
        0.0,
    ),
}


@pytest.mark.parametrize("name", NEUTRAL)
def test_gradients_where_nothing_changes(name):
    ours, definition, neutral = NEUTRAL[name]
    x = torch.linspace(0, 1, 8, dtype=torch.float64).view(1, 1, 2, 2, 2)  # minimum 0, maximum 1
    weights = torch.arange(8.0, dtype=torch.float64).view_as(x)
    for value in (neutral, 0.3 if neutral == 0 else 0.7):
        grads = []
        for f in (ours, definition):
            given = x.clone().requires_grad_(), torch.tensor([value]).double().requires_grad_()
            (f(*given) * weights).sum().backward()
            grads.append(given[1].grad)
        assert_close(*grads, share=1e-9, reason="float64")
        assert grads[1].abs() > 0


def test_channels_left_out_keep_voxels_that_are_not_finite():
    x = torch.rand(4, 6, 4, 4, 4)
    x[:, :, 0, 0, 0] = torch.nan
    x[:, :, 0, 0, 1] = torch.inf
    batch = tio.SubjectsBatch({"image": tio.ImagesBatch(x)})
    for transform in (
        tio.RandomContrast((1.2, 2), by_channel=True, channel_p=0.5),
        tio.RandomGamma((0.2, 0.5), rescale=True, by_channel=True, channel_p=0.5),
    ):
        out = transform(batch)
        (params,) = (record.params for record in out.records)
        values = params.factor if hasattr(params, "factor") else params.log_gamma + 1
        left = torch.from_numpy(values[:, 0] == 1)
        assert 0 < left.sum() < left.numel()
        same = torch.eq(out.image.data, x) | (out.image.data.isnan() & x.isnan())
        assert same.flatten(2).all(-1)[left].all()


def test_gamma_with_statistics_is_a_pass_of_its_own():
    plan = tio.Compose([tio.RandomNoise(), tio.RandomGamma(), tio.RandomBrightness()]).explain()
    assert plan.splitlines()[0].startswith("pointwise: RandomNoise -> RandomGamma -> RandomBright")
    plan = tio.Compose([tio.RandomNoise(), tio.RandomGamma(retain_stats=True)]).explain()
    assert plan.splitlines()[1].startswith("volume: RandomGamma")


def test_retained_statistics_and_range():
    x = torch.rand(2, 3, 8, 8, 8) * 50 - 20
    kept = tio.RandomGamma((0.3, 0.5), retain_stats=True, rescale=True)(x)
    assert_close(kept.mean((2, 3, 4)), x.mean((2, 3, 4)), share=1e-5, reason="sums of float32")
    assert_close(kept.std((2, 3, 4)), x.std((2, 3, 4)), share=1e-5, reason="sums of float32")
    rescaled = tio.RandomGamma((0.3, 0.5), rescale=True)(x)
    assert_close(rescaled.amin((2, 3, 4)), x.amin((2, 3, 4)), share=1e-5, reason="float32")
    assert_close(rescaled.amax((2, 3, 4)), x.amax((2, 3, 4)), share=1e-5, reason="float32")
    # gamma above 1 darkens, and brightens where it is applied to the inverted image
    assert (rescaled.mean((2, 3, 4)) < x.mean((2, 3, 4))).all()
    inverted = tio.RandomGamma((0.3, 0.5), rescale=True, invert_image=True)(x)
    assert (inverted.mean((2, 3, 4)) > x.mean((2, 3, 4))).all()


def test_a_constant_image_stays_as_it_is():
    x = torch.full((1, 2, 3, 3, 3), 7.0)
    for transform in (
        tio.Contrast(2),
        tio.Gamma(2, rescale=True),
        tio.Gamma(2, rescale=True, invert_image=True, retain_stats=True),
        tio.LowResolution(0.4),
    ):
        assert_close(transform(x), x, share=1e-6, reason="float32")


def test_low_resolution_loses_what_is_finer_than_its_voxels():
    wave = torch.arange(32.0).mul(math.pi).cos().view(1, 1, 1, 32)  # the finest there is
    x = wave.expand(1, 4, 4, 32).contiguous()
    assert tio.LowResolution((1, 1, 0.5), antialias=True)(x)[..., 4:-4].abs().max() < 0.2
    assert torch.equal(tio.LowResolution((0.5, 0.5, 1))(x), x)  # constant along I and J
    params = tio.RandomLowResolution((0.3, 0.6), axes=(0, "IS")).sample_params(random_batch(50))
    assert (params.zoom[..., 1] == 1).all()
    np.testing.assert_array_equal(params.zoom[..., 0], params.zoom[..., 2])


def test_a_pointwise_transform_that_looks_at_voxels_sees_what_is_pending():
    seen = []

    class Look(tio.RandomGamma):
        def draw(self, context, u):
            seen.append(context.images["default_image_name"].data.clone())
            return super().draw(context, u)

    x = torch.rand(1, 4, 4, 4)
    out = tio.Compose([tio.Flip(0), tio.Brightness(2), Look((0, 0)), tio.Brightness(3)])(x)
    assert torch.equal(seen[0][0], x.flip(1) * 2)
    assert_close(out, x.flip(1) * 6, share=1e-6, reason="float32")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tio.RandomBrightness((0, 1)), "factor must be > 0"),
        (lambda: tio.Brightness(-1), "factor must be > 0, got -1"),
        (lambda: tio.RandomContrast((-1, 1)), "factor must be > 0"),
        (lambda: tio.RandomLowResolution((0.5, 1.5)), "zoom must be <= 1"),
        (lambda: tio.RandomLowResolution(0.0), "zoom must be > 0"),
        (lambda: tio.LowResolution(2), "zoom must be > 0 and <= 1"),
        (lambda: tio.RandomLowResolution(image_interpolation="nearest", antialias=True), "antial"),
        (lambda: tio.RandomNoise(channel_p=0), "channel_p must be > 0 and <= 1, got 0"),
        (lambda: tio.RandomGamma(invert_image=True), "invert_image must come with rescale=True"),
    ],
)
def test_invalid_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()

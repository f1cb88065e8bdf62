"""Low field: the signal-to-noise ratio, contrast and blur as stated."""

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.close import assert_close
from tests.volumes import batch_of, subject
from torchio_gpu import functional as F

SEED = np.array([3])
SIDE = 96
PLAIN = {"contrast_exponent": 0.0, "seeds": SEED}


def volume(shape, dtype=torch.float64):
    return torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(0)) + 0.1


def snr_of(x):
    return (x.double().mean() / x.double().std()).item()


@pytest.mark.parametrize(("field", "from_field"), [(1.5, 3), (0.5, 3), (0.55, 1.5), (0.3, 3)])
@pytest.mark.parametrize("exponent", [1.0, 0.75])
@pytest.mark.parametrize("contrast", [0.0, 0.1, 0.4])
def test_the_ratio_of_signal_to_noise_is_as_stated(field, from_field, exponent, contrast):
    """For an image with noise of its own, from which its signal-to-noise ratio is known."""
    chance = torch.Generator().manual_seed(1)
    own = 1 + torch.randn(1, 1, SIDE, SIDE, SIDE, generator=chance) / 200
    x = 80 * own
    out = F.low_field(
        x, field, from_field, exponent=exponent, snr=200, contrast_exponent=contrast, seeds=SEED
    )
    expected = (field / from_field) ** exponent
    # 0.08 % each for the two measurements; at a ratio of 20 Rician noise is 0.2 % from Gaussian
    assert abs(snr_of(out) / snr_of(x) / expected - 1) < 0.01
    assert abs(out.mean() / x.mean() - 1) < 0.002


def test_noise_of_air_is_that_of_magnitudes():
    """Rayleigh noise, whose mean is 1.253 times the standard deviation of a part."""
    x = torch.zeros(1, 1, 64, 64, 64)
    x[..., :8] = 50
    out = F.low_field(x, 0.3, 3, snr=200, **PLAIN)
    std = 50 / 200 * (10**2 - 1) ** 0.5
    air = out[..., 8:].double()
    assert abs(air.mean() / (std * (np.pi / 2) ** 0.5) - 1) < 0.005
    assert abs(air.square().mean() / (2 * std**2) - 1) < 0.01


def test_contrast_is_a_power_of_the_ratio_of_signals():
    x = torch.tensor([0.0, 0, 20, 40, 80, 0]).double().view(1, 1, 1, 1, 6)
    out = F.low_field(x, 0.3, 3, snr=1e12, contrast_exponent=0.2, seeds=SEED).flatten()
    power = 0.1**0.2
    # the mean is 23.3, so that those above 11.7 are the signal
    signal = (20 + 40 + 80) / 3
    expected = signal * (x.flatten() / signal) ** power
    assert_close(out, expected, share=1e-9, reason="noise of 1e-12, tenfold")
    assert abs(out[4] / out[3] - 2**power) < 1e-9
    assert out[0] < 1e-8


def test_blur_is_in_millimetres_and_comes_first():
    x = volume((2, 1, 9, 10, 11))
    spacing = np.array([[1.0, 2, 3], [0.5, 1, 1]])
    blur = np.array([[1.0, 0, 2], [0, 0, 0]])
    seeds = np.array([1, 2])
    out = F.low_field(x, 0.5, blur=blur, spacing=spacing, seeds=seeds)
    before = F.low_field(F.blur(x, blur, spacing), 0.5, seeds=seeds)
    assert torch.equal(out, before)
    assert torch.equal(out[1:], F.low_field(x[1:], 0.5, seeds=seeds[1:]))
    assert not torch.equal(out[:1], F.low_field(x[:1], 0.5, seeds=seeds[:1]))


def test_the_own_field_keeps_the_bits():
    x = volume((2, 2, 5, 6, 7), torch.float32) - 0.4
    x[0, 0, 2, 2, 2] = torch.nan
    seeds = np.array([1, 2])
    out = F.low_field(x, np.array([1.5, 0.5]), 1.5, seeds=seeds)
    assert torch.equal(out[0].nan_to_num(7), x[0].nan_to_num(7))
    assert not torch.equal(out[1], x[1])
    assert torch.equal(tio.LowField(3)(x[1]), x[1])


def test_channels_without_a_signal_are_left():
    x = volume((1, 4, 5, 6, 7), torch.float32)
    x[:, 0] = 0
    x[:, 1] *= -1
    x[:, 2, 0, 0, 0] = torch.inf
    out = F.low_field(x, 0.5, seeds=SEED)
    assert torch.equal(out[:, :3], x[:, :3])
    assert not torch.equal(out[:, 3], x[:, 3])


def test_samples_are_the_same_alone_and_in_a_batch():
    x, seeds = volume((3, 2, 6, 7, 8), torch.float32), np.array([4, 5, 4])
    field, snr = np.array([0.5, 1, 0.1]), np.array([20, 50, 100.0])
    out = F.low_field(x, field, snr=snr, seeds=seeds)
    for n in range(3):
        alone = F.low_field(x[n : n + 1], field[n], snr=snr[n], seeds=seeds[n : n + 1])
        assert torch.equal(out[n : n + 1], alone)
    assert not torch.equal(out, F.low_field(x, field, snr=snr, seeds=seeds + 1))


def test_integers_and_half_precision():
    x = (volume((1, 1, 4, 5, 6)) * 200).to(torch.int16)
    expected = F.low_field(x.double(), 0.5, seeds=SEED)
    assert F.low_field(x, 0.5, seeds=SEED).dtype == torch.float32
    assert_close(F.low_field(x, 0.5, seeds=SEED), expected, share=1e-6, reason="float32")
    assert F.low_field(x.half(), 0.5, seeds=SEED).dtype == torch.float16


def test_gradients_reach_voxels_and_parameters():
    x = volume((2, 1, 3, 4, 5)).requires_grad_()
    field, snr, blur = (
        torch.tensor(v, dtype=torch.float64, requires_grad=True)
        for v in ([0.5, 1.0], [20.0, 40], [0.5, 0.7, 0.3])
    )
    assert torch.autograd.gradcheck(
        lambda x, f, s, w: F.low_field(x, f, snr=s, blur=w, seeds=np.array([1, 2])),
        (x, field, snr, blur),
    )
    same = torch.tensor(3.0, requires_grad=True)
    (grad,) = torch.autograd.grad(F.low_field(x.detach(), same).sum(), same)
    assert grad.isfinite()


# Transforms


def test_transform_is_the_function():
    s = subject()  # of spacing 1, 2, 3 mm
    out = tio.LowField(0.3, 1.5, 1.2, 50, (0.5, 0, 1), 0.2, seed=5)(s)
    expected = F.low_field(
        s.t1.data[None], 0.3, 1.5, exponent=1.2, snr=50, blur=(0.5, 0, 1), contrast_exponent=0.2,
        spacing=(1, 2, 3), seeds=np.array([5]),
    )  # fmt: skip
    assert_close(out.t1.data, expected[0], share=1e-6, reason="spacing of an oblique affine")
    assert torch.equal(out.seg.data, s.seg.data)


def test_parameters_are_drawn_and_replayed():
    transform = tio.RandomLowField((0.1, 0.4), 1.5, snr=(20, 30), blur=(0, 0, 1, 2, 0, 0))
    out = transform(batch_of([subject(seed=n) for n in range(8)]))
    for n in range(8):
        params = out.history[n][0].params
        assert 0.1 < params.field_strength.item() < 0.4
        assert 20 < params.snr.item() < 30
        assert 1 < params.blur[0, 0, 1] < 2
        assert params.blur[0, 0, 0] == params.blur[0, 0, 2] == 0
    assert len({out.history[n][0].params.seed.item() for n in range(8)}) == 8
    fixed = tio.RandomLowField(0.2, snr=40)(batch_of([subject()])).history[0][0].params
    assert (fixed.field_strength.item(), fixed.snr.item()) == (0.2, 40)
    s = subject()
    out = tio.RandomLowField()(s)
    assert torch.equal(out.get_composed_history()(s).t1.data, out.t1.data)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: F.low_field(x, 0), "field_strength must be > 0 and at most from_field"),
        (lambda x: F.low_field(x, 4), "field_strength must be > 0 and at most from_field"),
        (lambda x: F.low_field(x, 1, exponent=-1), "exponent must be >= 0"),
        (lambda x: F.low_field(x, 1, contrast_exponent=-1), "contrast_exponent must be >= 0"),
        (lambda x: F.low_field(x, 1, snr=0), "snr must be > 0"),
        (lambda x: F.low_field(x, 1, blur=-1), "blur must be >= 0"),
        (lambda x: F.low_field(x, 1, blur=1, spacing=0), "spacing must be > 0"),
        (lambda x: F.low_field(x + 0j, 1), "x must be real"),
        (lambda x: tio.LowField(4), "field_strength must be > 0 and at most"),
        (lambda x: tio.LowField(1, snr=0), "snr must be > 0"),
        (lambda x: tio.LowField(1, blur=-1), "blur must be >= 0"),
        (lambda x: tio.LowField(1, exponent=-1), "exponent must be a number >= 0"),
        (lambda x: tio.RandomLowField((0.1, 4)), "field_strength must be <= 3"),
        (lambda x: tio.RandomLowField(0), "field_strength must be > 0"),
        (lambda x: tio.RandomLowField(snr=(0, 1)), "snr must be > 0"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(volume((1, 1, 4, 4, 4)))


def test_channels_with_infinite_voxels_are_left_alone():
    x = torch.ones(1, 3, 4, 4, 4)
    for channel, value in enumerate((-torch.inf, torch.inf, torch.nan)):
        x[0, channel, 0, 0, 0] = value
    out = F.low_field(x, 0.3, seeds=np.array([1]))
    torch.testing.assert_close(out, x, rtol=0, atol=0, equal_nan=True)

"""Noise of several coils: moments of the noncentral chi distribution, sensitivities, arguments."""

import math

import numpy as np
import pytest
import scipy.special
import torch

import torchio_gpu as tio
from tests.close import assert_close
from tests.volumes import batch_of, oblique_affine, subject
from torchio_gpu import functional as F
from torchio_gpu.functional.coil_noise import sensitivities

SEED = np.array([3])
SIDE = 64


def volume(shape, dtype=torch.float64):
    return torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(0)) + 0.1


def mean_of_chi(coils, signal, std=1.0):
    """Mean of the noncentral chi distribution of 2 L degrees of freedom; see Constantinides."""
    at_zero = std * math.sqrt(2) * math.gamma(coils + 0.5) / math.gamma(coils)
    return at_zero * scipy.special.hyp1f1(-0.5, coils, -(signal**2) / (2 * std**2))


@pytest.mark.parametrize("coils", [1, 2, 8])
@pytest.mark.parametrize("signal", [0.0, 0.5, 2.0, 10.0])
def test_mean_and_variance_are_those_of_noncentral_chi(coils, signal):
    """Whatever the sensitivities are, if the sum of their squares is 1."""
    x = torch.full((1, 1, SIDE, SIDE, SIDE), signal)
    out = F.coil_noise(x, 1.0, coils, SEED).double()
    mean, square = mean_of_chi(coils, signal), signal**2 + 2 * coils
    voxels, variance = x.numel(), square - mean**2
    assert abs(out.mean() - mean) < 5 * math.sqrt(variance / voxels)
    spread_of_squares = math.sqrt((4 * coils + 4 * signal**2) / voxels)  # of noncentral chi squared
    assert abs(out.square().mean() - square) < 5 * spread_of_squares
    assert abs(out.var() - variance) < 5 * math.sqrt(2 / voxels) * variance


def test_the_background_of_many_coils_is_no_longer_near_zero():
    x = torch.zeros(1, 1, 16, 16, 16)
    assert F.coil_noise(x, 1.0, 32, SEED).min() > 4  # the mean is 7.9, the deviation 0.7
    assert F.coil_noise(x, 1.0, 1, SEED).min() < 0.1


@pytest.mark.parametrize("size", [(9, 8, 7), (1, 6, 5), (5, 6, 1)])
def test_one_coil_is_rician_by_voxels(size):
    x, std, seeds = volume((2, 2, *size)), np.array([0.2, 1]), np.array([-4, 9])
    expected = F.rician_noise(x, std, seeds)
    for axis in (0, 1, 2):
        assert_close(F.coil_noise(x, std, 1, seeds, axis), expected, share=1e-14, reason="float64")


def test_without_noise_the_magnitude_is_left():
    x = volume((2, 1, 9, 8, 7)) - 0.5
    for coils in (1, 2, 7, 32):
        out = F.coil_noise(x, 0, coils, axis=np.array([0, 2]))
        assert_close(out, x.abs(), share=1e-14, reason="float64")


def test_sensitivities_are_1_in_the_middle_and_grow_towards_the_coils():
    x = torch.ones(1, 1, 9, 11, 13, dtype=torch.float64)
    for axis in (0, 1, 2):
        out = F.coil_noise(x, 0, 8, axis=axis, width=0.6, uniform=False)[0, 0]
        assert abs(out[4, 5, 6] - 1) < 1e-14
        plane = out.select(axis, 0)
        assert (out - plane.unsqueeze(axis)).abs().max() == 0
        assert plane[plane.shape[0] // 2, -1] > 1.5
        assert_close(plane.flip(0), plane, share=1e-13, reason="float64")  # even numbers of coils
        maps = sensitivities(x, 8, axis, 0.6, uniform=False)[:, 0, 0].squeeze(1 + axis)
        turn = 2 * math.pi / 8
        for coil, each in enumerate(maps):  # the coil lies in the direction in which it hears most
            i, j = np.unravel_index(each.numpy().argmax(), each.shape)
            at = i / (each.shape[0] - 1) * 2 - 1, j / (each.shape[1] - 1) * 2 - 1
            assert np.sign(np.round(at, 1)).tolist() == pytest.approx(
                np.sign(np.round([math.cos(coil * turn), math.sin(coil * turn)], 1)).tolist()
            )


def test_noise_differs_between_coils_and_samples_not_between_batches():
    x = torch.zeros(3, 2, 8, 8, 8)
    seeds = np.array([1, 2, 1])
    axis = np.array([0, 1, 0])
    out = F.coil_noise(x, 1.0, 3, seeds, axis)
    assert torch.equal(out[0], out[2])
    one, two = out[0].flatten() - out[0].mean(), out[1].flatten() - out[1].mean()
    assert abs((one * two).mean() / (one.std() * two.std())) < 0.15  # 5 deviations, 1024 voxels
    for n in range(3):
        alone = F.coil_noise(x[n : n + 1], 1.0, 3, seeds[n : n + 1], int(axis[n]))
        assert torch.equal(out[n : n + 1], alone)
    tensor = F.coil_noise(x, 1.0, 3, torch.from_numpy(seeds), axis)
    assert torch.equal(tensor, out)


def test_integers_and_half_precision():
    x = (volume((1, 1, 4, 5, 6)) * 20).to(torch.int16)
    expected = F.coil_noise(x.double(), 2, 3, SEED)
    assert F.coil_noise(x, 2, 3, SEED).dtype == torch.float32
    assert_close(F.coil_noise(x, 2, 3, SEED), expected, share=1e-6, reason="float32")
    assert F.coil_noise(x.half(), 2, 3, SEED).dtype == torch.float16


@pytest.mark.parametrize("uniform", [True, False])
def test_gradients_reach_voxels_and_deviations(uniform):
    x = volume((2, 1, 3, 4, 5)).requires_grad_()
    std = torch.tensor([0.3, 0.6], dtype=torch.float64, requires_grad=True)
    seeds, axis = np.array([1, 2]), np.array([0, 2])
    assert torch.autograd.gradcheck(
        lambda x, s: F.coil_noise(x, s, 3, seeds, axis, 0.7, uniform), (x, std)
    )


# Transforms


def test_without_noise_voxels_keep_their_bits():
    x = volume((1, 6, 6, 6), torch.float32) - 0.5
    assert torch.equal(tio.CoilNoise(0)(x), x)
    assert torch.equal(tio.RandomCoilNoise((0, 0))(x), x)
    std = np.array([0, 0.1])
    batch = tio.CoilNoise(std)(tio.ImagesBatch(torch.stack([x, x]))).data
    assert torch.equal(batch[0], x)
    assert (batch[1] >= 0).all()
    assert not torch.equal(tio.CoilNoise(0, uniform=False)(x), x)


def test_transform_is_the_function():
    s = subject(affine=oblique_affine()[:, [1, 2, 0, 3]])  # voxel axes A, S, R
    out = tio.CoilNoise(0.2, 4, "IS", 0.6, uniform=False, seed=5)(s)
    expected = F.coil_noise(s.t1.data[None], 0.2, 4, np.array([5]), 1, 0.6, uniform=False)
    assert torch.equal(out.t1.data, expected[0])
    assert torch.equal(out.seg.data, s.seg.data)


def test_history_is_replayed():
    out = tio.RandomCoilNoise((0.1, 0.3), 4)(batch_of([subject(seed=n) for n in range(6)]))
    for n in range(6):
        params = out.history[n][0].params
        assert 0.1 < params.std.item() < 0.3
        assert params.axis.item() == 2
    s = subject()
    out = tio.RandomCoilNoise(uniform=False)(s)
    assert torch.equal(out.get_composed_history()(s).t1.data, out.t1.data)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: F.coil_noise(x, -0.1), "std must be >= 0"),
        (lambda x: F.coil_noise(x, 1, 0), "num_coils must be"),
        (lambda x: F.coil_noise(x, 1, 129), "num_coils must be"),
        (lambda x: F.coil_noise(x, 1, width=0.1), "width must be between 0.3 and 100"),
        (lambda x: F.coil_noise(x, 1, width=torch.nan), "width must be"),
        (lambda x: F.coil_noise(x, 1, axis=3), "axis must be 0, 1 or 2"),
        (lambda x: F.coil_noise(x + 0j), "x must be real"),
        (lambda x: tio.CoilNoise(-1), "std must be >= 0"),
        (lambda x: tio.CoilNoise(1, 0), "num_coils must be"),
        (lambda x: tio.CoilNoise(1, axis="up"), "axis must be"),
        (lambda x: tio.RandomCoilNoise((-1, 1)), "std must be >= 0"),
        (lambda x: tio.RandomCoilNoise(width=torch.inf), "width must be a number from 0.3 to 100"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(volume((1, 1, 4, 4, 4)))

"""Non-finite voxels stay local in every operation that interpolates or filters."""

import numpy as np
import pytest
import scipy.ndimage
import torch

import torchio_gpu as tio
from torchio_gpu import functional as F

NAN, INF = float("nan"), float("inf")
SHAPE = (44, 40, 36)
AT = (20, 19, 17)


def volume(value, dtype=torch.float32):
    x = torch.rand(2, 1, *SHAPE, generator=torch.Generator().manual_seed(0)).to(dtype)
    x[(1, 0, *AT)] = value
    return x


def shift(offset):
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return matrix


#: Operations, and how far a voxel may reach along each axis of the result, in its voxels.
OPERATIONS = {
    "warp": (lambda x: F.warp(x, shift((0.3, 0.2, 0.1))), 1),
    "warp, elastic": (lambda x: F.warp(x, shift((0.3, 0.2, 0.1)), torch.zeros(3, 4, 4, 4)), 1),
    "warp, nearest": (lambda x: F.warp(x, shift((0.3, 0.2, 0.1)), mode="nearest"), 1),
    "resample": (lambda x: F.resample(x, (22, 20, 18)), 1),
    "resample up": (lambda x: F.resample(x, (88, 40, 36)), 2),
    "resample, B-spline": (lambda x: F.resample(x, (40, 40, 36), mode="bspline"), 20),
    "resample, Lanczos": (lambda x: F.resample(x, (40, 40, 36), mode="lanczos"), 5),
    "resample, Gaussian": (lambda x: F.resample(x, (40, 38, 35), mode="gaussian"), 4),
    "blur": (lambda x: F.blur(x, (1.0, 0.5, 0.3)), 4),
    "blur, wide": (lambda x: F.blur(x, 2.0), 8),
    "anisotropy": (lambda x: F.anisotropy(x, 3.0, 1), 4),
    "anisotropy, antialias": (lambda x: F.anisotropy(x, 3.0, 1, antialias=True), 30),
    "Resample": (lambda x: tio.Resample(2)(x), 1),
    "Resample, antialias": (lambda x: tio.Resample(2.5, antialias=True)(x), 3),
    "Resize": (lambda x: tio.Resize(40)(x), 2),
    "RandomBlur": (lambda x: tio.RandomBlur((1, 1))(x), 4),
    "Affine": (lambda x: tio.Affine(degrees=(5, 10, 15))(x), 3),
    "bias field": (lambda x: tio.BiasField([0.1] * 20)(x), 0),
    "gamma": (lambda x: tio.Gamma(1.2)(x), 0),
    "noise": (lambda x: tio.Noise(0.0, 1.0, seed=1)(x), 0),
    "clamp and flip": (lambda x: tio.Compose([tio.Flip(0), tio.Noise(0.0, 0.1, seed=1)])(x), 0),
    "fused pipeline": (
        lambda x: tio.Compose(
            [tio.Affine(degrees=(5, 10, 15)), tio.BiasField([0.1] * 20), tio.Noise(0, 0.1, seed=1)]
        )(x),
        3,
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("name", OPERATIONS)
def test_non_finite_voxels_spread_no_farther_than_the_support(name, value, dtype):
    run, reach = OPERATIONS[name]
    torch.manual_seed(0)
    out = run(volume(value, dtype))
    assert out[0].isfinite().all()
    bad = (~out[1, 0].isfinite()).nonzero()
    assert len(bad) > 0 or name == "anisotropy"
    if len(bad):
        assert (bad.amax(0) - bad.amin(0)).max() <= 2 * reach
    # and all else is what it would have been
    torch.manual_seed(0)
    plain = run(volume(0.5, dtype))
    there = out.isfinite()
    torch.testing.assert_close(out[there][:1000], plain[there][:1000], rtol=1e-3, atol=1e-3)


def test_a_nan_voxel_spreads_as_in_scipy():
    x = torch.rand(1, 64, 60, 50)
    x[0, 30, 30, 25] = NAN
    assert 1 <= (~tio.Resample(2)(x).isfinite()).sum() <= 8
    assert 1 <= (~tio.Resize(40)(x).isfinite()).sum() <= 8
    blurred = tio.RandomBlur(std=(1, 1))(x)
    theirs = scipy.ndimage.gaussian_filter(x[0].double().numpy(), 1, truncate=4)
    np.testing.assert_array_equal(~blurred[0].isfinite().numpy(), np.isnan(theirs))
    inside = ~np.isnan(theirs)
    np.testing.assert_allclose(blurred[0].numpy()[inside], theirs[inside], atol=1e-5)


def test_nan_outside_of_a_head_does_not_spread_into_it():
    """NaN outside of the brain is common in PET and fMRI volumes."""
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in (40, 44, 36)), indexing="ij")
    inside = sum(a**2 for a in axes) < 0.6
    x = torch.where(inside, 100.0, NAN)[None]
    rotation = tio.Affine(degrees=10, default_pad_value=NAN)
    for transform in (tio.Resample(1.5), tio.Resize(30), tio.Blur(1.0), rotation):
        out = transform(x)
        share = out.isfinite().double().mean() / inside.double().mean()
        assert 0.1 < share < 1.05  # a Gaussian reaches four voxels into a head of fifteen
        torch.testing.assert_close(
            out[out.isfinite()].mean(), torch.tensor(100.0), rtol=1e-4, atol=0
        )


def test_infinities_keep_their_sign_and_sum_to_nan():
    x = torch.zeros(1, 1, 1, 1, 9)
    x[..., 2], x[..., 6] = INF, -INF
    out = F.blur(x, (0, 0, 0.5)).flatten()  # which reaches two voxels
    assert out.tolist()[:4] == [INF] * 4
    assert out[4].isnan()
    assert out.tolist()[5:] == [-INF] * 4


def test_gradients_of_finite_voxels_are_finite():
    x = volume(NAN, torch.float64)[:, :, 16:24, 15:23, 13:21].clone().requires_grad_()
    out = F.blur(x, 0.4)
    (grad,) = torch.autograd.grad(out[out.isfinite()].sum(), x)
    assert grad.isfinite().all()
    assert grad[0].abs().sum() > 0


FILTERS = {
    "blur": lambda x: F.blur(x, 1.0),
    "anisotropy": lambda x: F.anisotropy(x, 2.0),
    "resample": lambda x: F.resample(x, (4, 4, 4)),
}


@pytest.mark.parametrize("name", FILTERS)
def test_filters_run_under_vmap_and_export(name):
    """Under vmap and export, voxels cannot be tested for finiteness."""
    x = torch.rand(2, 1, 8, 8, 8)
    expected = FILTERS[name](x)
    out = torch.vmap(lambda v: FILTERS[name](v[None])[0])(x)
    torch.testing.assert_close(out, expected)

    class Module(torch.nn.Module):
        def forward(self, v):
            return FILTERS[name](v)

    exported = torch.export.export(Module(), (x,)).module()
    torch.testing.assert_close(exported(x), expected)

"""Windowed sinc and Gaussian interpolation along the axes, against SimpleITK."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from tests.close import assert_close
from tests.functional.test_resample import axis_parallel_matrix, by_sitk
from torchio_gpu import functional as F
from torchio_gpu.functional.maps import WINDOWED

INTERPOLATORS = {
    "lanczos": sitk.sitkLanczosWindowedSinc,
    "hamming": sitk.sitkHammingWindowedSinc,
    "cosine": sitk.sitkCosineWindowedSinc,
    "welch": sitk.sitkWelchWindowedSinc,
    "blackman": sitk.sitkBlackmanWindowedSinc,
    "gaussian": sitk.sitkGaussian,
}
every_mode = pytest.mark.parametrize("mode", INTERPOLATORS)
#: Scales and offsets of maps. None of the positions is an odd multiple of 0.1 such as 0.3 or 0.7,
#: where a voxel touches the end of the Gaussian, and rounding decides in ITK.
MAPS = {
    "shift": ((1, 1, 1), (0.31, -0.4, 0.2)),
    "up": ((0.41, 0.73, 0.29), (-0.49, -0.31, -0.47)),
    "down": ((2.37, 1.73, 3.11), (0.2, -0.31, 0.45)),
    "mirrored": ((-0.9, 1.1, -1.3), (-0.13, 0.4, 0.17)),
    "one axis": ((1, 1, 1.5), (0, 0, 0.25)),
    "third voxels": ((3, 3, 3), (0, 0, 1)),
}


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 1, *shape, generator=generator, dtype=torch.float64)


def test_each_mode_has_an_oracle():
    assert set(INTERPOLATORS) == set(WINDOWED)


@every_mode
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("shape", [(13, 9, 16), (7, 1, 11), (1, 3, 2)])
def test_agrees_with_simpleitk_up_to_the_borders(mode, name, shape):
    x = noise(*shape)
    scales, offset = MAPS[name]
    size = [max(1, round(n / abs(s))) + 1 for n, s in zip(shape, scales, strict=True)]
    ends = [(n - 1) * (s < 0) for n, s in zip(shape, scales, strict=True)]
    matrix = axis_parallel_matrix(scales=scales, offset=np.add(offset, ends))
    out = F.resample(x, tuple(size), matrix, mode=mode, fill=-70.0)
    expected = by_sitk(x, matrix, size, INTERPOLATORS[mode], -70.0)
    inside = expected != -70
    assert torch.equal(inside, out != -70)
    assert inside.any()
    assert not inside.all()
    assert torch.equal(out[~inside], expected[~inside])
    # of voxels of size 1, for the few digits of ITK's erf
    torch.testing.assert_close(out[inside], expected[inside], rtol=0, atol=1e-7)


@every_mode
def test_axes_may_change_places(mode):
    x = noise(8, 9, 10)
    matrix = axis_parallel_matrix((2, 0, 1), (0.71, 1.2, -0.9), (0.11, -0.35, 8.23))
    out = F.resample(x, (9, 8, 7), matrix, mode=mode, fill=-70.0)
    expected = by_sitk(x, matrix, (9, 8, 7), INTERPOLATORS[mode], -70.0)
    assert_close(out, expected, share=1e-7, reason="ITK's erf")


@every_mode
def test_samples_that_stay_on_their_voxels_are_copied(mode):
    x = torch.cat([noise(6, 7, 8, seed=n) for n in range(3)]).float()
    maps = np.stack([np.eye(4), axis_parallel_matrix(scales=(1.1, 0.9, 1), offset=(0, 0.2, 0))] * 2)
    maps[2, 0, 3] = 2
    out = F.resample(x, (5, 5, 5), maps[:3], mode=mode)
    assert torch.equal(out[0], x[0, :, :5, :5, :5])
    assert torch.equal(out[2, :, :4], x[2, :, 2:, :5, :5])
    for n in range(3):
        alone = F.resample(x[n : n + 1], (5, 5, 5), maps[n], mode=mode)
        assert_close(out[n : n + 1], alone, share=1e-6, reason="sums in another order")


@pytest.mark.parametrize("mode", sorted(set(INTERPOLATORS) - {"gaussian"}))
def test_a_voxel_counts_for_nothing_at_the_centres_of_others(mode):
    x = noise(9, 6, 12)
    x[0, 0, 4, 1, 7] = torch.nan
    matrix = axis_parallel_matrix(scales=(3, 3, 3), offset=(0, 0, 1))
    out = F.resample(x, (3, 2, 4), matrix, mode=mode)
    assert_close(out, x[..., ::3, ::3, 1::3], share=1e-15, reason="rounding")


@every_mode
def test_gradients(mode):
    x = torch.rand(2, 1, 4, 5, 3, dtype=torch.float64, requires_grad=True)
    maps = np.stack([axis_parallel_matrix(offset=(0, 0, 3.0)), np.eye(4)])
    assert torch.autograd.gradcheck(
        lambda x: F.resample(x, (3, 4, 5), maps, mode=mode, fill=0.5), x, fast_mode=True
    )


@every_mode
def test_dtypes(mode):
    x = noise(8, 9, 10) * 100
    wanted = F.resample(x.round(), (5, 12, 7), mode=mode)
    for dtype, share in ((torch.int16, 1e-6), (torch.float32, 1e-6), (torch.float16, 1e-3)):
        out = F.resample(x.round().to(dtype), (5, 12, 7), mode=mode)
        assert out.dtype == (dtype if dtype.is_floating_point else torch.float32)
        assert_close(out, wanted, share=share, reason="rounding")
    copied = F.resample(x.round().short(), (8, 9, 10), mode=mode)
    assert copied.dtype == torch.float32
    assert torch.equal(copied.double(), x.round())
    z = torch.complex(x, x.flip(2))
    parts = [F.resample(part.contiguous(), (5, 12, 7), mode=mode) for part in (z.real, z.imag)]
    out = F.resample(z, (5, 12, 7), mode=mode)
    assert_close(torch.view_as_real(out), torch.stack(parts, -1), share=1e-12, reason="rounding")


@every_mode
def test_maps_that_may_rotate_are_refused(mode):
    x = noise(4, 4, 4)
    wish = f"mode must be one of linear, nearest, bspline, label for maps .* got '{mode}'"
    for call in (F.affine_warp, F.warp):
        with pytest.raises(ValueError, match=wish):
            call(x, np.eye(4) + 0.01, mode=mode)
    with pytest.raises(ValueError, match=wish):
        F.displacement_warp(x, torch.zeros(1, 3, 4, 4, 4), mode=mode)
    matrix = np.eye(4)
    matrix[0, 1] = 0.1
    with pytest.raises(ValueError, match="matrix must keep axes parallel"):
        F.resample(x, (4, 4, 4), matrix, mode=mode)

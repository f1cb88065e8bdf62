"""Cutting patches and putting them together, against loops over voxels."""

import itertools

import numpy as np
import pytest
import torch
from scipy.signal import windows
from torch.autograd import gradcheck, gradgradcheck

from torchio_gpu.functional import aggregate_patches, extract_patches
from torchio_gpu.functional.eager.patches import profile

VOLUME, SIZE = (5, 6, 4), (3, 4, 2)
#: Within, over every end, the whole of an axis outside, twice the same place.
FIRST = np.array([
    (0, 0, 0), (2, 2, 2), (1, 2, 1), (-1, -2, -1), (3, 4, 3), (4, -3, 1), (2, 2, 2), (1, 1, 0),
])  # fmt: skip
OUTSIDE = np.array([(9, 0, 0), (0, -7, 0), (0, 0, 4)])
#: Places that all lie in the volume with their middle, and leave one end of it empty.
PLACES = np.array([(0, 0, 0), (-1, 2, 1), (1, 2, 2), (1, 2, 2), (2, 3, 0), (1, -2, 1)])
MEANS = {
    "average": np.ones,
    "hann": lambda n: np.hanning(n + 2)[1:-1],
    "gaussian": lambda n: windows.gaussian(n, n / 8),
}
DTYPES = (
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.int64,
    torch.bool, torch.complex64,
)  # fmt: skip


def voxels(shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-90, 91, shape, generator=generator).abs().to(dtype)


def real(shape, seed=0, **kwargs):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64, **kwargs)


def within(voxel, shape):
    return all(0 <= v < n for v, n in zip(voxel, shape, strict=True))


def overlap_with_volume(first, size, shape):
    """Yield the indices of voxels in the patch and in the volume, where both exist."""
    for inner in itertools.product(*map(range, size)):
        outer = tuple(int(a) + b for a, b in zip(first, inner, strict=True))
        if within(outer, shape):
            yield inner, outer


def cut(x, first, size, sample):
    out = torch.zeros((len(first), x.shape[1], *size), dtype=x.dtype)
    for n, corner in enumerate(first):
        for (i, j, k), (a, b, c) in overlap_with_volume(corner, size, x.shape[2:]):
            out[n, :, i, j, k] = x[sample[n], :, a, b, c]
    return out


def weighted_mean(patches, first, shape, mode):
    """Compute the weighted mean of the patches at each voxel in float64; 0 without patches."""
    i, j, k = (MEANS[mode](n) for n in patches.shape[2:])
    weights = i[:, None, None] * j[:, None] * k
    total, weight = np.zeros((patches.shape[1], *shape)), np.zeros(shape)
    for patch, corner in zip(patches.double().numpy(), first, strict=True):
        for inner, outer in overlap_with_volume(corner, patches.shape[2:], shape):
            total[(slice(None), *outer)] += patch[(slice(None), *inner)] * weights[inner]
            weight[outer] += weights[inner]
    return torch.from_numpy(total / np.where(weight > 0, weight, 1))[None]


def last_patch_cropped(patches, first, shape, overlap):
    """Write the middle of each patch, up to the ends of the volume; later patches overwrite."""
    out = torch.zeros((1, patches.shape[1], *shape), dtype=patches.dtype)
    size = patches.shape[2:]
    for patch, corner in zip(patches, first, strict=True):
        for (i, j, k), (a, b, c) in overlap_with_volume(corner, size, shape):
            kept = True
            for n, at, f, s, o in zip((i, j, k), corner, size, shape, overlap, strict=True):
                before, after = o // 2, o - o // 2
                kept &= (n >= before or at <= 0) and (n < f - after or at + f >= s)
            if kept:
                out[0, :, a, b, c] = patch[:, i, j, k]
    return out


class TestExtract:
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_agrees_with_a_loop(self, dtype):
        x = voxels((2, 3, *VOLUME), dtype)
        first = np.concatenate([FIRST, OUTSIDE])
        sample = [n % 2 for n in range(len(first))]
        out = extract_patches(x, first, SIZE, sample=sample)
        assert out.dtype == dtype
        assert torch.equal(out, cut(x, first, SIZE, sample))

    def test_patches_of_one_sample_or_of_several(self):
        x = voxels((3, 2, *VOLUME))
        assert torch.equal(extract_patches(x[:1], FIRST, SIZE), cut(x, FIRST, SIZE, [0] * 8))
        assert torch.equal(extract_patches(x, FIRST[:3], SIZE), cut(x, FIRST[:3], SIZE, range(3)))

    @pytest.mark.parametrize("form", ["tensor", "floats", "list"])
    def test_first_in_any_type(self, form):
        forms = {"tensor": torch.from_numpy(FIRST), "floats": FIRST * 1.0, "list": FIRST.tolist()}
        x = voxels((1, 1, *VOLUME))
        assert torch.equal(extract_patches(x, forms[form], SIZE), cut(x, FIRST, SIZE, [0] * 8))

    def test_any_strides(self):
        wide = voxels((4, 6, 2, 3, 10))
        x = wide.movedim(2, 0).movedim(3, 1)[..., ::2].flip(2)  # [2, 3, 4, 6, 5]
        assert not x.is_contiguous()
        sample = [n % 2 for n in range(len(FIRST))]
        out = extract_patches(x, FIRST, SIZE, sample=sample)
        assert torch.equal(out, cut(x, FIRST, SIZE, sample))

    def test_result_is_a_copy(self):
        x = voxels((1, 1, *VOLUME))
        extract_patches(x, [(0, 0, 0)], VOLUME).zero_()
        assert x.any()

    def test_gradients(self):
        x = real((2, 1, 2, 4, 3), requires_grad=True)
        first, sample = [(0, 0, 0), (-1, 2, 1), (0, 1, 2), (0, 1, 2), (0, 2, -1)], [0, 0, 0, 1, 0]

        def patches(x):
            return extract_patches(x, first, (2, 3, 2), sample=sample)

        assert gradcheck(patches, (x,))
        assert gradgradcheck(patches, (x,))

    def test_gradient_of_a_voxel_is_the_number_of_its_patches(self):
        x = torch.zeros(1, 1, *VOLUME, requires_grad=True)
        extract_patches(x, FIRST, SIZE).sum().backward()
        expected = torch.zeros(VOLUME)
        for corner in FIRST:
            for _, outer in overlap_with_volume(corner, SIZE, VOLUME):
                expected[outer] += 1
        assert torch.equal(x.grad[0, 0], expected)

    @pytest.mark.parametrize(
        ("first", "sample", "error"),
        [
            (np.zeros((2, 2)), None, r"first must be whole numbers \(N, 3\), got shape \(2, 2\)"),
            (np.zeros(3), None, "first must be whole numbers"),
            (np.zeros((0, 3)), None, "first must be whole numbers"),
            ([(0, 0.5, 0)], None, "first must be whole numbers"),
            ([(0, np.nan, 0)], None, "first must be whole numbers"),
            ([(0, np.inf, 0)], None, "first must be whole numbers"),
            (np.zeros((3, 3)), None, "sample must be given for 3 patches of 2 samples, got None"),
            (np.zeros((3, 3)), [0, 1], "sample must hold one of 2 samples for each of 3 patches"),
            (np.zeros((1, 3)), [2], r"sample must hold one of 2 samples .*, got \[2\]"),
            (np.zeros((1, 3)), [-1], r"sample must hold one of 2 samples .*, got \[-1\]"),
        ],
    )
    def test_errors(self, first, sample, error):
        with pytest.raises(ValueError, match=error):
            extract_patches(torch.zeros(2, 1, *VOLUME), first, SIZE, sample=sample)

    def test_errors_of_shapes(self):
        with pytest.raises(ValueError, match="x must have shape"):
            extract_patches(torch.zeros(1, *VOLUME), FIRST, SIZE)
        with pytest.raises(ValueError, match="size must be three positive integers"):
            extract_patches(torch.zeros(1, 1, *VOLUME), FIRST, (3, 4, 0))


class TestAggregate:
    @pytest.mark.parametrize("mode", MEANS)
    @pytest.mark.parametrize("grid", [False, True])
    def test_is_a_weighted_mean(self, mode, grid):
        first = PLACES
        if grid:  # one end is outside, and no patch covers the last row
            first = np.array(list(itertools.product([-1, 1], [0, 2], [-1, 0, 2])))
        patches = real((len(first), 2, *SIZE))
        out = aggregate_patches(patches, first, VOLUME, mode=mode)
        expected = weighted_mean(patches, first, VOLUME, mode)
        assert (expected == 0).any()
        # float64 rounds sums of up to twelve terms, and a quotient
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-14)

    @pytest.mark.parametrize("overlap", [(0, 0, 0), (2, 2, 0), (1, 3, 1), (2, 1, 1)])
    def test_crop_takes_the_middle_of_the_last_patch(self, overlap):
        patches = real((len(PLACES), 2, *SIZE))
        out = aggregate_patches(patches, PLACES, VOLUME, mode="crop", overlap=overlap)
        assert torch.equal(out, last_patch_cropped(patches, PLACES, VOLUME, overlap))

    def test_any_strides(self):
        wide = real((*SIZE, 2, len(PLACES) * 2))
        patches = wide.permute(4, 3, 0, 1, 2)[::2].flip(3)
        assert not patches.is_contiguous()
        for mode in ("average", "crop"):
            out = aggregate_patches(patches, PLACES, VOLUME, mode=mode)
            assert torch.equal(
                out, aggregate_patches(patches.contiguous(), PLACES, VOLUME, mode=mode)
            )

    @pytest.mark.parametrize("mode", ["gaussian", "hann"])
    @pytest.mark.parametrize("size", [1, 2, 3, 8, 13, 64])
    def test_windows(self, mode, size):
        window = profile(mode, size)
        assert np.array_equal(window, window[::-1])
        assert (window > 0).all()
        # both sides take a square or a cosine of numbers of order 1
        np.testing.assert_allclose(window, MEANS[mode](size), rtol=0, atol=1e-15)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_types(self, dtype):
        patches = voxels((len(PLACES), 1, *SIZE), dtype)
        whole = not (dtype.is_floating_point or dtype.is_complex)
        crop = aggregate_patches(patches, PLACES, VOLUME, mode="crop")
        assert crop.dtype == dtype
        assert torch.equal(crop, last_patch_cropped(patches, PLACES, VOLUME, (0, 0, 0)))
        out = aggregate_patches(patches, PLACES, VOLUME, mode="average")
        assert out.dtype == (torch.float32 if whole else dtype)
        expected = weighted_mean(
            patches.real if dtype.is_complex else patches, PLACES, VOLUME, "average"
        )
        # added up in float32 or better, the result is rounded once
        atol = 90 * max(torch.finfo(out.dtype).eps, 2e-16)
        torch.testing.assert_close(out, expected.to(out.dtype), rtol=0, atol=atol)

    def test_complex_gaps_are_zero(self):
        patches = torch.ones(1, 1, 2, 2, 2, dtype=torch.complex64)
        out = aggregate_patches(patches, [(0, 0, 0)], (4, 2, 2), mode="average")
        assert torch.equal(out[0, 0, :, 0, 0], torch.tensor([1, 1, 0, 0], dtype=torch.complex64))

    @pytest.mark.parametrize("mode", [*MEANS, "crop"])
    @pytest.mark.parametrize("grid", [False, True])
    def test_gradients(self, mode, grid):
        first = np.array(list(itertools.product([0, 1], [0, 2], [0, 2]))) if grid else PLACES
        patches = real((len(first), 1, *SIZE), requires_grad=True)

        def volume(patches):
            return aggregate_patches(patches, first, VOLUME, mode=mode, overlap=(2, 1, 1))

        assert gradcheck(volume, (patches,))

    @pytest.mark.parametrize("mode", ["average", "crop"])
    def test_gradients_of_gradients(self, mode):
        first = [(0, 0, 0), (1, 0, 1), (0, 1, 0)]
        patches = real((3, 1, 2, 3, 2), requires_grad=True)

        def volume(patches):
            return aggregate_patches(patches**2, first, (3, 4, 3), mode=mode)

        assert gradgradcheck(volume, (patches,))

    def test_overwritten_voxels_have_no_gradient(self):
        patches = torch.ones(2, 1, 4, 1, 1, requires_grad=True)
        out = aggregate_patches(patches, [(0, 0, 0), (1, 0, 0)], (5, 1, 1), mode="crop")
        (out.flatten() * torch.arange(1.0, 6)).sum().backward()
        assert patches.grad.flatten(1).tolist() == [[1, 0, 0, 0], [2, 3, 4, 5]]

    def test_half_precision_has_gradients_of_its_own_type(self):
        patches = torch.ones(2, 1, 2, 1, 1, dtype=torch.float16, requires_grad=True)
        out = aggregate_patches(patches, [(0, 0, 0), (1, 0, 0)], (3, 1, 1), mode="average")
        assert out.dtype == torch.float16
        out.float().sum().backward()
        assert patches.grad.dtype == torch.float16
        assert patches.grad.flatten().tolist() == [1, 0.5, 0.5, 1]

    def test_aggregating_extracted_patches_gives_the_volume(self):
        x = real((1, 2, *VOLUME))
        first = np.array(list(itertools.product([0, 2], [0, 1, 2], [0, 1, 2])))
        patches = extract_patches(x, first, SIZE)
        assert torch.equal(aggregate_patches(patches, first, VOLUME, mode="crop"), x)
        for mode in MEANS:
            out = aggregate_patches(patches, first, VOLUME, mode=mode)
            torch.testing.assert_close(out, x, rtol=0, atol=1e-14)  # sums of equal numbers

    @pytest.mark.parametrize(
        ("kwargs", "error"),
        [
            ({"first": PLACES[:2]}, "first must hold 6 voxels, one per patch, got 2"),
            ({"first": PLACES + 0.5}, "first must be whole numbers"),
            ({"first": PLACES + (9, 0, 0)}, r"must lie in the volume of shape \(5, 6, 4\)"),
            ({"first": PLACES - (0, 4, 0)}, r"patch 0 .* begins at \[0, -4, 0\]"),
            ({"mode": "max"}, "mode must be one of crop, average, hann, gaussian, got 'max'"),
            ({"mode": "crop", "overlap": (3, 0, 0)}, "overlap must be >= 0 and smaller than"),
            ({"mode": "crop", "overlap": (0, -1, 0)}, "overlap must be >= 0 and smaller than"),
            ({"size": (5, 6)}, "size must be three integers"),
            ({"patches": torch.zeros(6, *SIZE)}, "patches must have shape"),
        ],
    )
    def test_errors(self, kwargs, error):
        arguments = {"patches": torch.zeros(6, 1, *SIZE), "first": PLACES, "size": VOLUME, **kwargs}
        with pytest.raises((TypeError, ValueError), match=error):
            aggregate_patches(**arguments)


@pytest.mark.parametrize("mode", [*MEANS, "crop"])
def test_runs_on_the_meta_device(mode):
    """On ``meta``, reading a voxel raises."""
    x = torch.zeros(1, 2, *VOLUME, device="meta", requires_grad=True)
    patches = extract_patches(x, PLACES, SIZE)
    out = aggregate_patches(patches, PLACES, VOLUME, mode=mode)
    assert out.shape == (1, 2, *VOLUME)
    out.sum().backward()
    assert x.grad.shape == x.shape

"""Gibbs ringing: against its definition, and the overshoot that Wilbraham found."""

import math

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.close import assert_close
from tests.volumes import ASR_AFFINE, oblique_affine, smooth, subject
from torchio_gpu import functional as F
from torchio_gpu.functional.eager import slabs

#: (Si(pi) / pi) - 1/2: share of the jump by which all partial Fourier sums overshoot.
WILBRAHAM = 0.0894898722
SHAPES = [(3, 2, 12, 9, 7), (3, 1, 8, 8, 8), (3, 1, 1, 6, 5), (3, 1, 2, 1, 4)]


def volume(shape, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


def line_weights(lines, cutoff, softness):
    """Weight of each line of centred k-space: the definition, line by line."""
    out = np.zeros(lines)
    last = cutoff * lines / 2
    for n in range(lines):
        f = abs(n - lines // 2)
        begin = (1 - softness) * last
        if f == 0 or cutoff == 1 or f <= begin:
            out[n] = 1
        elif f <= last and softness > 0:
            out[n] = (1 + math.cos(math.pi * (f - begin) / (last - begin))) / 2
    return out


def by_definition(x, cutoff, axis, softness=0.0):
    """Filter one sample (C, I, J, K) by numpy's Fourier transform of all axes."""
    shape = [1, 1, 1, 1]
    shape[1 + axis] = x.shape[1 + axis]
    mask = line_weights(x.shape[1 + axis], cutoff, softness).reshape(shape)
    axes = (1, 2, 3)
    spectrum = np.fft.fftshift(np.fft.fftn(x.numpy(), axes=axes), axes=axes) * mask
    out = np.fft.ifftn(np.fft.ifftshift(spectrum, axes=axes), axes=axes)
    if not x.is_complex():
        assert np.abs(out.imag).max() < 1e-14
        out = out.real
    return torch.from_numpy(np.ascontiguousarray(out))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("softness", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(("dtype", "share"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_agrees_with_the_definition_each_sample_by_its_own_cutoff(
    shape, axis, softness, dtype, share
):
    x = volume(shape, dtype)
    cutoff = np.array([0.3, 0.62, 0.95])
    out = F.gibbs(x, cutoff, axis, softness)
    assert out.dtype == dtype
    for n in range(3):
        expected = by_definition(x[n].double(), cutoff[n], axis, softness)
        reason = "sums of as many terms as a line has, in the volume's dtype; x varies more"
        assert_close(out[n], expected, share=4 * share, reason=reason)


def test_softness_and_axis_differ_by_sample_too():
    for size in ((6, 7, 8), (7, 7, 7)):
        x = volume((3, 2, *size))
        cutoff, axis, soft = np.array([0.5, 0.7, 0.9]), np.array([2, 0, 1]), np.array([0, 0.5, 1])
        out = F.gibbs(x, cutoff, axis, soft)
        for n in range(3):
            expected = by_definition(x[n], cutoff[n], axis[n], soft[n])
            torch.testing.assert_close(out[n], expected, atol=1e-14, rtol=0)


@pytest.mark.parametrize("lines", [4096, 4097])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("cutoff", [1 / 16, 1 / 32])
def test_a_step_overshoots_by_the_constant_of_wilbraham_and_gibbs(lines, axis, cutoff):
    low, high = -2.0, 5.0
    line = torch.full((lines,), low, dtype=torch.float64)
    line[lines // 2 :] = high
    shape = [1, 1, 1, 1, 1]
    shape[2 + axis] = lines
    out = F.gibbs(line.view(shape), cutoff, axis).flatten()
    beside = out[lines // 4 : lines - lines // 4]  # the other edge is where the ends meet
    for over in (beside.max() - high, low - beside.min()):
        # 64 or 128 harmonics, and at least 32 voxels to a lobe: each is wrong by less than 1e-3
        assert abs(over.item() / (high - low) - WILBRAHAM) < 1e-3


def test_a_soft_edge_rings_less():
    line = (torch.arange(1024) >= 512).double().view(1, 1, 1, 1, -1)
    over = [(F.gibbs(line, 0.1, 2, s).max() - 1).item() for s in (0.0, 0.25, 0.5, 1.0)]
    assert over == sorted(over, reverse=True)
    assert over[0] > 0.08
    assert 0 < over[-1] < 0.02


@pytest.mark.parametrize("softness", [0.0, 0.5])
@pytest.mark.parametrize("lines", [7, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.complex64])
def test_keeping_all_lines_returns_the_volume(softness, lines, dtype):
    x = volume((2, 1, 5, 6, lines), torch.complex64 if dtype.is_complex else dtype)
    assert torch.equal(F.gibbs(x, 1.0, 2, softness), x)
    some = F.gibbs(x, np.array([0.5, 1.0]), 2, softness)
    assert torch.equal(some[1], x[1])
    assert not torch.equal(some[0], x[0])


def test_keeping_all_lines_keeps_non_finite_voxels():
    x = volume((1, 1, 4, 5, 6))
    x[0, 0, 1, 2, 3], x[0, 0, 2, 2, 2] = float("nan"), float("inf")
    torch.testing.assert_close(F.gibbs(x, 1.0), x, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("softness", [0.0, 1.0])
def test_the_central_line_is_always_kept(softness):
    x = volume((2, 1, 5, 6, 7))
    out = F.gibbs(x, 0.0, 1, softness)
    torch.testing.assert_close(out, x.mean(3, keepdim=True).expand_as(x), atol=1e-14, rtol=0)
    cut = F.gibbs(x, 0.4, 0, softness)
    torch.testing.assert_close(cut.mean((2, 3, 4)), x.mean((2, 3, 4)), atol=1e-14, rtol=0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_number_of_lines_is_robust_to_rounding_of_the_cutoff(dtype):
    """0.29 of 200 lines reach up to frequency 29, although 0.29 * 200 / 2 < 29."""
    x = torch.cos(2 * math.pi * 29 / 200 * torch.arange(200).double()).view(1, 1, 1, 1, 200)
    out = F.gibbs(x, torch.from_numpy(np.array([0.29], dtype=dtype)))
    torch.testing.assert_close(out, x, atol=1e-12, rtol=0)
    assert F.gibbs(x, 0.28).abs().max() < 1e-12


@pytest.mark.parametrize("lines", [7, 8])
@pytest.mark.parametrize("softness", [0.0, 0.5])
def test_complex_voxels_are_filtered(lines, softness):
    x = torch.complex(*volume((2, 2, 2, 5, 6, lines)))
    out = F.gibbs(x, 0.6, 2, softness)
    assert out.dtype == torch.complex128
    for n in range(2):
        expected = by_definition(x[n], 0.6, 2, softness)
        torch.testing.assert_close(out[n], expected, atol=1e-14, rtol=0)


def test_an_axis_of_one_voxel_is_not_changed():
    x = volume((1, 1, 6, 7, 1), torch.float32)
    assert torch.equal(F.gibbs(x, 0.1, 2), x)
    assert torch.equal(tio.Gibbs(0.1, 2)(x), x)
    batch = tio.SubjectsBatch({"t1": tio.ImagesBatch(x.expand(200, -1, -1, -1, -1))})
    assert set(np.unique(tio.RandomGibbs().sample_params(batch).axis)) == {0, 1}


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_result_does_not_depend_on_slabs(axis, monkeypatch):
    x = volume((2, 2, 9, 7, 8))
    whole = F.gibbs(x, np.array([0.4, 0.7]), axis, 0.2)
    monkeypatch.setattr(slabs, "VOXELS", 300)
    parts = F.gibbs(x, np.array([0.4, 0.7]), axis, 0.2)
    assert_close(parts, whole, share=1e-14, reason="transforms may round by size")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.uint8, torch.int16])
def test_dtypes(dtype):
    x = (smooth((1, 1, 7, 8, 9)) * 10 + 60).to(dtype)
    out = F.gibbs(x, 0.6)
    assert out.dtype == (dtype if dtype.is_floating_point else torch.float32)
    share = torch.finfo(dtype).eps if dtype.is_floating_point else 1e-6
    reason = "rounded to the volume's dtype at the end, relative to about twice its range"
    assert_close(out, F.gibbs(x.double(), 0.6), share=3 * share, reason=reason)


def test_gradients_reach_the_voxels():
    x = volume((3, 1, 4, 3, 2)).requires_grad_()
    cutoff = np.array([0.4, 0.8, 1.0])
    for axis in (0, 1, [2, 0, 1]):
        for softness in (0.0, 0.6):
            run = lambda x, a=axis, s=softness: F.gibbs(x, cutoff, a, s)  # noqa: E731
            assert torch.autograd.gradcheck(run, x)
    z = torch.complex(volume((1, 1, 2, 5, 3)), volume((1, 1, 2, 5, 3))).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: F.gibbs(z, 0.5, 1, 0.3), z)


def test_no_gradient_flows_to_the_cutoff():
    """The cutoff selects lines and has no gradient, with a soft edge too."""
    cutoff = torch.tensor([0.5, 0.7], dtype=torch.float64, requires_grad=True)
    x = volume((2, 1, 4, 5, 6))
    assert not F.gibbs(x, cutoff, 2, cutoff).requires_grad
    out = tio.Gibbs(cutoff, 2, 0.5)(x)
    assert not out.requires_grad
    assert torch.equal(out, F.gibbs(x, np.array([0.5, 0.7]), 2, 0.5))


# Transforms


def test_label_maps_are_left_alone():
    s = subject()
    for transform in (tio.RandomGibbs(), tio.Gibbs(0.5, 0)):
        out = transform(s)
        assert torch.equal(out.seg.data, s.seg.data)
        assert not torch.equal(out.t1.data, s.t1.data)


def test_drawn_parameters_lie_in_their_ranges_and_can_be_read_back():
    batch = tio.SubjectsBatch({"t1": tio.ImagesBatch(torch.rand(3000, 1, 4, 5, 6))})
    params = tio.RandomGibbs((0.3, 0.9), axes=(0, 2), softness=0.4).sample_params(batch)
    assert 0.3 <= params.cutoff.min() < 0.31 < 0.89 < params.cutoff.max() <= 0.9
    assert 0 <= params.softness.min() < 0.01 < 0.39 < params.softness.max() <= 0.4
    found, counts = np.unique(params.axis, return_counts=True)
    assert found.tolist() == [0, 2]
    assert counts.min() > 1300
    assert (tio.RandomGibbs().sample_params(batch).softness == 0).all()
    (record,) = tio.RandomGibbs()(subject()).history
    assert 0.5 <= record.params.cutoff.item() <= 0.75
    assert record.params.axis.shape == (1, 1)


def test_parameters_by_sample_and_by_name():
    x = smooth((2, 1, 8, 9, 10)).float()
    out = tio.Gibbs([0.4, 0.7], [0, 2], [0.2, 0.5])(x)
    expected = F.gibbs(x, np.array([0.4, 0.7]), np.array([0, 2]), np.array([0.2, 0.5]))
    assert torch.equal(out, expected)
    s = tio.Subject(a=tio.ScalarImage(x[0]), b=tio.ScalarImage(x[0]))
    out = tio.Gibbs({"a": 0.4, "b": 0.7}, 1)(s)
    for name, cutoff in (("a", 0.4), ("b", 0.7)):
        assert torch.equal(out[name].data, F.gibbs(x[:1], cutoff, 1)[0])
    with pytest.raises(ValueError, match=r"cutoff must have an entry for each.*'b'"):
        tio.Gibbs({"a": 0.4}, 1)(s)


def test_anatomical_axes_are_resolved_in_each_image():
    x = smooth((1, 1, 8, 9, 10))[0].float()
    images = {"a": tio.ScalarImage(x), "b": tio.ScalarImage(x, affine=ASR_AFFINE)}
    s = tio.Subject(**images, c=tio.ScalarImage(x, affine=oblique_affine()))
    out = tio.Gibbs(0.5, "Anterior")(s)
    for name, axis in (("a", 1), ("b", 0), ("c", 1)):
        assert torch.equal(out[name].data, F.gibbs(x[None], 0.5, axis)[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: F.gibbs(x, 1.2), "cutoff must be between 0 and 1, got"),
        (lambda x: F.gibbs(x, -0.1), "cutoff must be between 0 and 1, got"),
        (lambda x: F.gibbs(x, float("nan")), "cutoff must be finite"),
        (lambda x: F.gibbs(x, torch.tensor(1.5, requires_grad=True)), "cutoff must be between"),
        (lambda x: F.gibbs(x, 0.5, 3), "axis must be 0, 1 or 2, or one of them per sample"),
        (lambda x: F.gibbs(x, 0.5, 2, 2), "softness must be between 0 and 1"),
        (lambda x: F.gibbs(x, np.full(3, 0.5)), "cutoff must hold one value per sample"),
        (lambda x: F.gibbs(x + 1j, 1.2), "cutoff must be between 0 and 1, got"),
        (lambda x: F.gibbs(x + 1j, np.full(3, 0.5)), "cutoff must hold one value per sample"),
        (lambda x: tio.Gibbs(1.2, 0), "cutoff must be between 0 and 1"),
        (lambda x: tio.Gibbs(float("nan"), 0), "cutoff must be"),
        (lambda x: tio.Gibbs(0.5, 0, -1), "softness must be between 0 and 1"),
        (lambda x: tio.Gibbs(0.5, "X"), "ax[ei]s must be 0, 1, 2 or anatomical names"),
        (lambda x: tio.Gibbs("half", 0), "cutoff must be made of numbers"),
        (lambda x: tio.RandomGibbs((0.5, 1.2)), "cutoff must be <= 1"),
        (lambda x: tio.RandomGibbs((0.9, 0.5)), "cutoff must be a range"),
        (lambda x: tio.RandomGibbs(-0.5), "cutoff must be"),
        (lambda x: tio.RandomGibbs(softness=2), "softness must be <= 1"),
        (lambda x: tio.RandomGibbs(axes=3), "axes must be 0, 1, 2 or anatomical names"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make(torch.rand(2, 1, 4, 4, 4))

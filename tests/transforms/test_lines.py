"""Lines of k-space: closed forms, and changes that share a pass."""

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.close import assert_close
from tests.volumes import smooth
from torchio_gpu import functional as F
from torchio_gpu.functional.eager import phase_encode
from torchio_gpu.functional.kspace_lines import ghosting_lines, partial_fourier_lines
from torchio_gpu.functional.lines import change_lines

REASON = "sums of as many float64 terms as a line has"


def volume(shape, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def passes(monkeypatch):
    """Numbers of samples of each pass over lines of k-space."""
    seen = []
    plain = phase_encode.filter_lines

    def filter_lines(x, *arguments):
        seen.append(len(x))
        return plain(x, *arguments)

    monkeypatch.setattr(phase_encode, "filter_lines", filter_lines)
    return seen


# Wrap-around


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("acceleration", [1, 2, 3, 4])
def test_content_folds_over_by_the_field_of_view(axis, acceleration):
    """Every n-th line gives the mean of n copies, each N / n voxels from the next."""
    x = volume((2, 2, 12, 24, 36))
    n = x.shape[2 + axis]
    copies = [x.roll(n // acceleration * m, 2 + axis) for m in range(acceleration)]
    expected = torch.stack(copies).mean(0)
    assert_close(F.wrap(x, acceleration, axis=axis), expected, share=1e-13, reason=REASON)


@pytest.mark.parametrize("lines", [7, 9, 10])
def test_the_mean_is_kept_where_the_lines_are_no_multiple(lines):
    x = volume((1, 1, 3, lines, 4))
    out = F.wrap(x, 3, axis=1)
    assert_close(out.mean(3), x.mean(3), share=1e-13, reason=REASON)
    assert_close(F.wrap(out, 3, axis=1), out, share=1e-13, reason=REASON)  # a projection


def test_calibration_lines_keep_smooth_content():
    x = torch.cos(2 * torch.pi * torch.arange(32, dtype=torch.float64) / 32 * 3).view(
        1, 1, 1, 32, 1
    )
    assert_close(F.wrap(x, 2, restore=0.2, axis=1), x, share=1e-13, reason=REASON)
    assert F.wrap(x, 2, restore=0.18, axis=1).abs().max() < 1e-13  # line 3 is left out


@pytest.mark.parametrize("share", [0.29, 0.2900001])
def test_a_share_of_lines_is_not_one_less_by_rounding(share):
    """0.29 of 200 lines are 58, and 0.29 * 200 / 2 is less than 29 in float64."""
    x = volume((1, 1, 1, 1, 200))
    for out in (F.wrap(x, 2, 1.0, share), F.ghosting(x, 29, 1.0, share)):
        assert torch.fft.fft(out).flatten()[29].abs() > 0.1


# Partial Fourier


def test_all_lines_keep_the_rest_of_a_line_beside_nan():
    x = torch.ones(2, 1, 1, 1, 6)
    x[..., 2] = torch.nan
    for output in ("real", "magnitude"):
        out = F.partial_fourier(x, torch.tensor([1.0, 0.6]), output=output)
        assert out[0].isnan().sum() == 1
        assert out[1].isnan().all()


@pytest.mark.parametrize("lines", [8, 9, 13, 16])
@pytest.mark.parametrize("share", [0.5, 0.55, 0.625, 0.75, 0.9])
def test_a_wave_keeps_half_of_a_pair_of_lines(lines, share):
    """A cosine without its negative line is exp(i k x) / 2, of magnitude 1/2."""
    kept = int(np.ceil(share * lines - 1e-9))
    phase = 2 * torch.pi * torch.arange(lines, dtype=torch.float64) / lines
    for frequency in range(1, (lines + 1) // 2):
        x = torch.cos(frequency * phase).view(1, 1, 1, 1, lines)
        acquired = -frequency + lines // 2 >= lines - kept
        real = x if acquired else x / 2
        magnitude = x.abs() if acquired else torch.full_like(x, 0.5)
        assert_close(F.partial_fourier(x, share, output="real"), real, share=1e-13, reason=REASON)
        assert_close(F.partial_fourier(x, share), magnitude, share=1e-13, reason=REASON)


def test_conjugate_synthesis_recovers_images_of_constant_phase_only():
    x = smooth((2, 1, 6, 16, 9)).double()
    assert torch.equal(F.partial_fourier(x, 0.6, 1, "conjugate"), x)
    constant = x * torch.exp(torch.tensor(0j))
    recovered = F.partial_fourier(constant, 0.6, 1, "conjugate")
    assert_close(recovered.real, x, share=1e-13, reason=REASON)
    turned = x * torch.exp(1j * torch.linspace(0, 3, 16, dtype=torch.float64))[:, None]
    recovered = F.partial_fourier(turned, 0.6, 1, "conjugate")
    assert (recovered.abs() - x.abs()).abs().max() > 0.05 * x.abs().max()
    conjugate = tio.PartialFourier(0.6, 1, reconstruction="conjugate")
    assert torch.equal(conjugate(x), x)
    assert torch.equal(conjugate(turned), recovered)


# Passes


TRANSFORMS = (
    lambda axes: tio.RandomGhosting((2, 4), axes=axes, p=0.6),
    lambda axes: tio.RandomGibbs(axes=axes, p=0.6),
    lambda axes: tio.RandomWrap(axes=axes, p=0.6),
    lambda axes: tio.RandomPartialFourier(axes=axes, p=0.6),
)


@pytest.mark.parametrize("axes", [(1,), (0, 1, 2), ("AP", "IS")])
@pytest.mark.parametrize("size", [(8, 8, 8), (9, 6, 7)])
def test_neighbours_are_those_one_after_another(axes, size):
    x = volume((8, 2, *size))
    for picks in ((0, 1), (0, 1, 2), (2, 0, 3), (1, 1, 0, 2, 3)):
        steps = [TRANSFORMS[n](axes) for n in picks]
        torch.manual_seed(3)
        together = tio.Compose(steps)(x)
        torch.manual_seed(3)
        alone = tio.Compose(steps, fuse=False)(x)
        assert_close(together, alone, share=1e-12, reason=REASON)
        assert not torch.equal(together, x)


def test_changes_along_one_axis_take_one_pass(passes):
    x = volume((4, 1, 8, 9, 10))
    steps = [tio.Ghosting(3, 1, 0.7), tio.Gibbs(0.6, 1), tio.PartialFourier(0.7, 1)]
    tio.Compose(steps)(x)
    assert passes == [4]
    passes.clear()
    tio.Compose([*steps, tio.Gibbs(0.5, 1)])(x)  # after a magnitude
    assert passes == [4, 4]
    passes.clear()
    tio.Compose([tio.Gibbs(0.6, 0), tio.Gibbs(0.6, 1), tio.Ghosting(2, 0, 0.5)])(x)
    assert passes == [4, 4]
    passes.clear()
    tio.Compose(steps, fuse=False)(x)
    assert passes == [4, 4, 4]


def test_the_plan_says_which_changes_share_a_pass():
    x = torch.rand(2, 1, 8, 8, 8)
    lines = tio.Compose([tio.RandomWrap(), tio.RandomPartialFourier(), tio.RandomGibbs()])
    first, passed, second, alone = lines.explain(x).splitlines()
    assert first.startswith("volume: RandomWrap -> RandomPartialFourier  (ends: RandomPartialF")
    assert "2 changes of k-space, together" in passed
    assert second.startswith("volume: RandomGibbs  (ends: end of the pipeline)")
    assert "the whole volume" in alone


def test_samples_that_are_left_out_keep_their_bits():
    x = volume((6, 1, 8, 8, 8), torch.float32)
    x[::2, :, 2, 2, 2] = torch.nan
    active = np.array([False, True] * 3)
    operations = [
        ghosting_lines(np.full(1, 2.0), np.ones(1), np.zeros(1), 0),
        partial_fourier_lines(np.full(1, 0.6), np.array([0, 1, 2] * 2), "magnitude"),
    ]
    out = change_lines(x, [type(each)(each.weights, each.axis, each.magnitude, active)
                           for each in operations])  # fmt: skip
    assert torch.equal(out[::2].nan_to_num(7), x[::2].nan_to_num(7))
    assert bool(((out != x)[1::2]).any(-1).any(-1).any(-1).all())
    for neutral in (
        F.ghosting(x, 0), F.ghosting(x, 2, 0), F.gibbs(x, 1), F.wrap(x, 1), F.wrap(x, 2, 0),
        F.partial_fourier(x, 1, output="real"),
    ):  # fmt: skip
        assert torch.equal(neutral.nan_to_num(7), x.nan_to_num(7))


def test_a_magnitude_is_of_its_own_samples_alone():
    """Samples that the last operation leaves out stay real, and may be negative."""
    x = volume((8, 1, 9, 8, 7))
    torch.manual_seed(0)
    steps = tio.Compose([tio.RandomGhosting((2, 2), p=0.5), tio.RandomPartialFourier(p=0.5)])
    out = steps(tio.SubjectsBatch({"t1": tio.ImagesBatch(x)}))
    for n, subject in enumerate(out.unbatch()):
        names = [step.name for step in subject.get_composed_history()]
        assert ("RandomPartialFourier" in names) == bool((out.t1.data[n] >= 0).all())
    assert {bool((out.t1.data[n] >= 0).all()) for n in range(8)} == {True, False}


def test_only_the_last_operation_may_be_one_sided():
    one_sided = partial_fourier_lines(np.full(1, 0.6), 0, "real")
    with pytest.raises(ValueError, match="must not be one-sided before the last"):
        change_lines(volume((1, 1, 4, 4, 4)), [one_sided, one_sided])


# Gradients, arguments


def test_gradients_reach_voxels_and_intensities():
    x = (volume((2, 1, 5, 4, 6)) + 3).requires_grad_()
    strength = torch.tensor([0.3, 0.6], dtype=torch.float64, requires_grad=True)
    axes = np.array([0, 2])
    assert torch.autograd.gradcheck(lambda x, s: F.wrap(x, 2, s, 0.1, axes), (x, strength))
    assert torch.autograd.gradcheck(lambda x: F.partial_fourier(x, 0.6, axes), (x,))
    share = torch.tensor([0.6, 0.7], requires_grad=True)
    assert not F.partial_fourier(x.detach(), share).requires_grad
    history = tio.Wrap(2, 1, strength)(x.detach())
    assert torch.autograd.grad(history.sum(), strength, allow_unused=False)[0] is not None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: F.wrap(x, 0), "acceleration must be >= 1, got"),
        (lambda x: F.wrap(x, 1.5), r"acceleration must be whole numbers, got \[1.5\]"),
        (lambda x: F.wrap(x, 2, 1.2), "intensity must be between 0 and 1"),
        (lambda x: F.wrap(x, 2, restore=-0.1), "restore must be between 0 and 1"),
        (lambda x: F.partial_fourier(x, 0.49), "share must be between 0.5 and 1"),
        (lambda x: F.partial_fourier(x, 1.1), "share must be between"),
        (lambda x: F.partial_fourier(x, 0.7, reconstruction="pocs"), "reconstruction must be"),
        (lambda x: F.partial_fourier(x, 0.7, output="phase"), "output must be one of"),
        (lambda x: tio.Wrap(2.5, 1), "acceleration must be whole"),
        (lambda x: tio.RandomWrap((0, 3)), "acceleration"),
        (lambda x: tio.RandomWrap(intensity=2), "intensity"),
        (lambda x: tio.PartialFourier(0.4, 1), "share must be between 0.5 and 1"),
        (lambda x: tio.RandomPartialFourier((0.3, 0.8)), "share"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(volume((1, 1, 4, 4, 4)))

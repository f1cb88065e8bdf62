"""Zipper artifact: Parseval's theorem, the plane, arguments and gradients."""

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.close import assert_close
from tests.volumes import batch_of, subject
from torchio_gpu import functional as F

REASON = "sums of as many float64 terms as a line has"
SEEDS = np.array([5, 6])


def volume(shape, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("axis", "phase_axis"), [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)])
@pytest.mark.parametrize("size", [(7, 6, 9), (8, 8, 8), (1, 6, 5), (5, 1, 1)])
def test_noise_has_its_mean_square_along_each_line(axis, phase_axis, size):
    x = torch.complex(volume((2, 2, *size)), volume((2, 2, *size)).roll(1, 0))
    out = F.zipper(x, np.array([0.3, 0.7]), 0.6, axis, phase_axis, SEEDS)
    n = int(0.6 * size[axis])
    change = (out - x).select(2 + axis, n).unsqueeze(2 + axis)
    found = change.abs().square().mean(2 + phase_axis, keepdim=True)
    height = torch.tensor([[0.3], [0.7]], dtype=torch.float64) * x.abs().amax((2, 3, 4))
    expected = (height**2)[..., None, None, None].expand_as(found)
    assert_close(found, expected, share=1e-12, reason=REASON)
    same = (out == x).movedim(2 + axis, 0)
    assert same[torch.arange(size[axis]) != n].all()


def test_lines_are_tones_of_one_frequency_and_any_phase():
    """In k-space along the phase-encode axis the magnitude is that of one tone at each line."""
    x = torch.zeros(1, 1, 64, 65, 9, dtype=torch.complex128)
    x[..., 0, 0, 0] = 1
    plane = F.zipper(x, 0.5, 0.9, 1, 0, SEEDS[:1])[0, 0, :, 58]
    tones = torch.fft.ifft(plane, dim=0, norm="ortho")
    assert (tones.abs() - 0.5).abs().max() < 1e-14
    phase = tones.angle().flatten()
    assert abs(torch.exp(1j * phase).mean()) < 0.1  # uniform: 576 phases, 2.4 standard deviations
    assert abs(torch.exp(2j * phase).mean()) < 0.1


def test_magnitude_and_real_part():
    x = volume((2, 1, 6, 7, 8))
    sums = F.zipper(torch.complex(x, torch.zeros_like(x)), 0.4, 0.5, 2, 0, SEEDS)
    plane = np.index_exp[..., 4]
    real = F.zipper(x, 0.4, 0.5, 2, 0, SEEDS, "real")
    magnitude = F.zipper(x, 0.4, 0.5, 2, 0, SEEDS)
    assert_close(real, sums.real, share=1e-14, reason="one rounding")
    assert_close(magnitude[plane], sums.abs()[plane], share=1e-14, reason="one rounding")
    assert (magnitude[plane] >= 0).all()
    assert (magnitude < 0).any()


def test_samples_have_their_own_planes_whatever_the_batch():
    x = volume((4, 2, 6, 6, 6), torch.float32)
    axis, phase, seeds = np.array([0, 1, 2, 0]), np.array([1, 2, 0, 2]), np.array([3, 4, 5, 3])
    where = np.array([0.0, 0.3, 1, 0.5])
    out = F.zipper(x, 0.3, where, axis, phase, seeds)
    for n, index in enumerate((0, 1, 5, 3)):
        one = slice(n, n + 1)
        alone = F.zipper(x[one], 0.3, where[n], int(axis[n]), int(phase[n]), seeds[one])
        assert torch.equal(out[one], alone)
        changed = (out[n] != x[n]).movedim(1 + axis[n], 0).flatten(1).any(1)
        assert changed.nonzero().flatten().tolist() == [index]
    again = F.zipper(x, 0.3, where, axis, phase, seeds + 1)
    assert not torch.equal(again, out)


def test_intensity_0_keeps_the_bits():
    x = volume((2, 1, 5, 6, 7), torch.float32)
    x[0, :, 2, 2, 2] = torch.nan
    out = F.zipper(x, np.array([0.0, 0.1]), 0.5, 0, 1, SEEDS)
    assert torch.equal(out[0].nan_to_num(7), x[0].nan_to_num(7))
    assert not torch.equal(out[1], x[1])
    assert torch.equal(tio.Zipper(0, 0.5, 0, 1)(x[1]), x[1])


def test_integers_and_half_precision():
    x = (volume((2, 1, 4, 5, 6)) * 20).to(torch.int16)
    out = F.zipper(x, 0.3, 0.5, 2, 1, SEEDS)
    assert out.dtype == torch.float32
    expected = F.zipper(x.double(), 0.3, 0.5, 2, 1, SEEDS)
    assert_close(out, expected, share=1e-6, reason="float32")
    assert F.zipper(x.half(), 0.3, 0.5, 2, 1, SEEDS).dtype == torch.float16


@pytest.mark.parametrize("output", ["magnitude", "real"])
def test_gradients_reach_voxels_and_intensities(output):
    x = volume((2, 1, 3, 4, 5)).requires_grad_()
    strength = torch.tensor([0.3, 0.6], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, s: F.zipper(x, s, 0.5, np.array([0, 2]), 1, SEEDS, output), (x, strength)
    )
    place = torch.tensor([0.3, 0.5], requires_grad=True)
    assert not F.zipper(x.detach(), 0.2, place).requires_grad


# Transforms


def test_axes_are_drawn_with_a_phase_encode_axis_beside_them():
    out = tio.RandomZipper()(batch_of([subject(seed=n) for n in range(60)]))
    params = [out.history[n][0].params for n in range(60)]
    pairs = {(each.axis.item(), each.phase_axis.item()) for each in params}
    assert pairs == {(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)}
    flat = tio.RandomZipper(0.5)(tio.ImagesBatch(torch.rand(40, 1, 9, 8, 1)))
    pairs = {(r.params.axis.item(), r.params.phase_axis.item()) for r in flat_records(flat)}
    assert pairs <= {(0, 1), (1, 0)}
    positions = [each.position.item() for each in params]
    assert min(positions) < 0.2
    assert max(positions) > 0.8


def flat_records(images):
    batch = tio.RandomZipper(0.5)(tio.SubjectsBatch({"image": images}))
    return [batch.history[n][0] for n in range(len(images))]


def test_history_is_replayed():
    s = subject()
    out = tio.RandomZipper((0.2, 0.3), axes=("AP", "LR"))(s)
    assert torch.equal(out.get_composed_history()(s).t1.data, out.t1.data)
    assert torch.equal(out.seg.data, s.seg.data)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: F.zipper(x, -0.1), "intensity must be >= 0"),
        (lambda x: F.zipper(x, 0.1, 1.1), "position must be between 0 and 1"),
        (lambda x: F.zipper(x, 0.1, 0.5, 1, 1), "phase_axis must differ from axis, .* got 1"),
        (lambda x: F.zipper(x, 0.1, 0.5, 1, 3), "phase_axis must be 0, 1 or 2"),
        (lambda x: F.zipper(x, 0.1, 0.5, 3, 1), "axis must be 0, 1 or 2"),
        (lambda x: F.zipper(x, 0.1, output="phase"), "output must be one of"),
        (lambda x: F.zipper(x, 0.1, seeds=SEEDS), "seeds must be int64 and hold one"),
        (lambda x: tio.Zipper(0.1, 2, 0, 1), "position must be between 0 and 1"),
        (lambda x: tio.Zipper(0.1, 0.5, 0, "up"), "phase_axis must be"),
        (lambda x: tio.Zipper(0.1, 0.5, 0, (1, 2))(x), "phase_axis must be one, or one per sample"),
        (lambda x: tio.Zipper(0.1, 0.5, "AP", "AP")(x), "phase_axis must differ from axis"),
        (lambda x: tio.RandomZipper((-1, 1)), "intensity must be >= 0"),
        (lambda x: tio.RandomZipper(position=(0, 2)), "position must be <= 1"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(volume((1, 1, 4, 4, 4)))

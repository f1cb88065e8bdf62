"""Chemical shift of fat: closed forms, arguments and gradients."""

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.close import assert_close
from tests.volumes import batch_of, oblique_affine, subject
from torchio_gpu import functional as F

REASON = "sums of as many float64 terms as a line has"


def volume(shape, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shift", [-7, -1, 1, 2, 5])
@pytest.mark.parametrize("size", [(5, 8, 9), (6, 6, 6)])
def test_whole_voxels_are_rolled(axis, shift, size):
    x = volume((2, 2, *size))
    fat = torch.rand((2, 1, *size), dtype=torch.float64)
    expected = (1 - fat) * x + (fat * x).roll(shift, 2 + axis)
    assert_close(F.chemical_shift(x, fat, shift, axis), expected, share=1e-13, reason=REASON)


@pytest.mark.parametrize("lines", [8, 9])
@pytest.mark.parametrize("shift", [-2.4, 0.5, 1.75])
def test_a_wave_is_moved_by_its_phase(lines, shift):
    at = torch.arange(lines, dtype=torch.float64)
    for frequency in range(lines // 2 + 1):
        turn = 2 * torch.pi * frequency / lines
        x = torch.cos(turn * at + 0.3).view(1, 1, 1, lines, 1)
        moved = torch.cos(turn * (at - shift) + 0.3)
        if 2 * frequency == lines:  # cos(pi s) of the alternating wave, whose phase is not seen
            moved = torch.cos(turn * at + 0.3) * np.cos(np.pi * shift)
        out = F.chemical_shift(x, torch.ones_like(x), shift, axis=1)
        assert (out.flatten() - moved).abs().max() < 1e-14


def test_each_sample_has_its_shift_and_its_axis():
    x, fat = volume((4, 1, 6, 6, 6)), torch.rand(4, 1, 6, 6, 6, dtype=torch.float64)
    shift, axis = np.array([1.5, 0, -2, 3]), np.array([2, 1, 0, 2])
    together = F.chemical_shift(x, fat, shift, axis)
    for n in range(4):
        alone = F.chemical_shift(x[n : n + 1], fat[n : n + 1], shift[n], int(axis[n]))
        assert torch.equal(together[n : n + 1], alone)
    shared = F.chemical_shift(x, fat[:1], shift, axis)
    assert torch.equal(shared, F.chemical_shift(x, fat[:1].expand(4, -1, -1, -1, -1), shift, axis))


def test_bits_are_kept_without_fat_or_shift():
    x = volume((3, 1, 5, 6, 7), torch.float32)
    x[0, :, 2, 2, 2] = torch.nan
    x[1, :, 2, 2, 2] = torch.inf
    fat = torch.rand(x.shape)
    fat[1] = 0
    out = F.chemical_shift(x, fat, np.array([0.0, 2, 2]), axis=np.array([0, 1, 2]))
    assert torch.equal(out[:2].nan_to_num(7), x[:2].nan_to_num(7))
    assert not torch.equal(out[2], x[2])
    fat[2, :, :, 3:] = 0
    out = F.chemical_shift(x, fat, 1.5, axis=2)
    assert torch.equal(out[2, :, :, 3:], x[2, :, :, 3:])
    flat = volume((1, 1, 4, 5, 1))
    assert torch.equal(F.chemical_shift(flat, torch.ones_like(flat), 3, axis=2), flat)


def test_integers_and_half_precision():
    x = (volume((1, 1, 4, 5, 6)) * 20).to(torch.int16)
    expected = F.chemical_shift(x.double(), x > 5, 2)
    assert F.chemical_shift(x, x > 5, 2).dtype == torch.float32
    assert_close(F.chemical_shift(x, x > 5, 2), expected, share=1e-6, reason="float32")
    assert F.chemical_shift(x.half(), x > 5, 2).dtype == torch.float16


def test_gradients_reach_voxels_fat_and_shift():
    x = volume((2, 2, 3, 4, 5)).requires_grad_()
    fat = torch.rand(2, 1, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    for values in ([0.7, -1.2], [0.0, 2.0]):
        shift = torch.tensor(values, dtype=torch.float64, requires_grad=True)
        for axis in (1, np.array([2, 0])):

            def call(x, f, s, axis=axis):
                return F.chemical_shift(x, f.clamp(0, 1), s, axis)

            assert torch.autograd.gradcheck(call, (x, fat, shift))
    shift = torch.tensor(1.5, requires_grad=True)
    out = tio.ChemicalShift(shift, 1)(volume((1, 6, 6, 6)))
    assert torch.autograd.grad(out.sum(), shift)[0] is not None


# Transforms


def test_fat_is_a_label_a_function_or_what_is_brightest():
    s = subject()
    x = s.t1.data
    for fat, labels, mask in (
        ("seg", None, s.seg.data != 0), ("seg", (2,), s.seg.data == 2),
        (lambda x: x > 1, None, x > 1), (None, None, x > x.flatten().quantile(0.9)),
    ):  # fmt: skip
        out = tio.ChemicalShift(3, 1, fat, labels, brightest=0.1)(s)
        moved = torch.where(mask, x, 0.0)
        assert_close(
            out.t1.data, x - moved + moved.roll(3, 2), share=2e-6, reason="float32 transforms"
        )
        assert torch.equal(out.seg.data, s.seg.data)


def test_shifts_follow_field_strength_and_bandwidth():
    transform = tio.RandomChemicalShift(100, field_strength=1.5, axes=(1,), brightest=0.2)
    out = transform(batch_of([subject(seed=n) for n in range(30)]))
    shifts = [out.history[n][0].params.shift.item() for n in range(30)]
    # 217 Hz at 1.5 T
    np.testing.assert_allclose(np.abs(shifts), 3.4 * 42.577 * 1.5 / 100, rtol=1e-12)
    assert 5 < sum(shift > 0 for shift in shifts) < 25
    ranged = tio.RandomChemicalShift((50, 200), (1.5, 3), axes=(1,), brightest=0.2)
    out = ranged(batch_of([subject(seed=n) for n in range(30)]))
    sizes = [abs(out.history[n][0].params.shift.item()) for n in range(30)]
    assert 217 / 200 < min(sizes) < 2
    assert 5 < max(sizes) < 435 / 50


def test_anatomical_axes_follow_the_orientation():
    s = subject(affine=oblique_affine()[:, [1, 2, 0, 3]])  # voxel axes A, S, R
    for name, axis in (("AP", 0), ("IS", 1), ("LR", 2)):
        out, expected = tio.ChemicalShift(2, name)(s), tio.ChemicalShift(2, axis)(s)
        assert torch.equal(out.t1.data, expected.t1.data)


def test_history_is_replayed():
    s = subject()
    out = tio.RandomChemicalShift(fat="seg", labels=(1,))(s)
    assert torch.equal(out.get_composed_history()(s).t1.data, out.t1.data)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: F.chemical_shift(x, x[:, :, :2] > 0), "fat must have shape"),
        (lambda x: F.chemical_shift(x, x * 2 + 3), "fat must be between 0 and 1, got values from"),
        (lambda x: F.chemical_shift(x, x * torch.nan), "fat must be between 0 and 1"),
        (lambda x: F.chemical_shift(x, x > 0, torch.inf), "shift must be finite"),
        (lambda x: F.chemical_shift(x, x > 0, 1, 3), "axis must be 0, 1 or 2"),
        (lambda x: tio.ChemicalShift(1, 1, labels=(1,)), "labels must be None where fat is no"),
        (lambda x: tio.ChemicalShift(1, 1, brightest=2), "brightest must be between 0 and 1"),
        (lambda x: tio.ChemicalShift(1, "up"), "axis must be"),
        (lambda x: tio.RandomChemicalShift(0), "bandwidth must be > 0"),
        (lambda x: tio.RandomChemicalShift(field_strength=-1), "field_strength must be >= 0"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(volume((1, 1, 4, 4, 4)))
    with pytest.raises(TypeError, match="fat must be a tensor"):
        F.chemical_shift(volume((1, 1, 2, 2, 2)), volume((1, 1, 2, 2, 2)) + 0j)
    with pytest.raises(KeyError, match="fat must name a label map"):
        tio.ChemicalShift(1, 1, "bone")(subject())

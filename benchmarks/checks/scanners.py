"""CT, in Hounsfield units on planes across K, and ultrasound, on B-mode images of one slice, 60 dB
from 0 to 255, of a phased probe of 80 degrees and 60 mm above the middle of the first row."""

import math
from functools import partial

import torch
from torch import Tensor

from .asking import Op, ask, need, noise, one, row, same

ct, ultrasound = partial(row, "CT"), partial(row, "Ultrasound")


def _distance(size: int, shift: float = 0) -> Tensor:
    """Return the distance from the centre, or from a place along J, in voxels."""
    at = torch.arange(size) - (size - 1) / 2
    return torch.hypot(at[:, None], at - shift)


def _in_air(inside: Tensor, value: float = 0.0) -> Tensor:
    """Return planes of a value, water by default, where they are inside, of air elsewhere."""
    return torch.where(inside, value, -1000.0)[None, :, :, None].repeat(1, 1, 1, 6)


@ct("CT: a window of Hounsfield units", "window", "scaleintensityrange", "clip", "clamp")
def ct_window(op: Op) -> None:
    """A ramp of -1000 to 1000: linear from 0 to 1 between 0 and 80, constant outside."""
    x = torch.linspace(-1000, 1000, 4096).view(1, 16, 16, 16)
    same(one(op, x), (x / 80).clamp(0, 1), 1e-5)


@ct("CT of low dose", "dose")
def low_dose(op: Op) -> None:
    """Noise of a dense disc in air is fine, and stronger in its middle than in the corners."""
    disc = _in_air(_distance(48) < 18, 2000.0)
    change = one(op, disc) - disc
    middle, corner = change[:, 20:28, 20:28].std(), change[:, :8, :8].std()
    need(middle > 1.5 * corner > 0, f"{middle:.1f} HU, {corner:.1f} in corners")


@ct("CT streaks of photon starvation", "streak")
def streaks(op: Op) -> Tensor:
    """Changes between two dense rods in water are more than ten times those beside."""
    x = _in_air(_distance(48) < 22)
    x[:, (_distance(48, -12) < 4) | (_distance(48, 12) < 4)] = 4000
    change = (one(op, x) - x)[0, :, 20:28]
    rms = change.square().mean((1, 2)).sqrt()
    between, beside = rms[22:26].mean(), rms[[6, 7, 8, 9, 38, 39, 40, 41]].mean()
    need(between > 10 * beside, f"{between:.1f} between, {beside:.1f} beside")
    return change[22:26].mean()


@ct("CT beam hardening", "hardening")
def beam_hardening(op: Op) -> None:
    """Water between two dense rods becomes darker, and changes more than ten times that beside."""
    need(streaks(op) < -10, "no darkness between rods")


@ct("CT metal", "metal")
def ct_metal(op: Op) -> None:
    """A band between two rods, marked by a mask, is darker than what lies beside it."""
    mask = _in_air((_distance(64, -16) < 3) | (_distance(64, 16) < 3)) == 0
    y = ask(op, _in_air(_distance(64) < 28)[None], mask[None].byte())[0, 0, :, 24:40]
    need(y[31:33].mean() < y[12:20].mean() - 15, "no dark band between rods")


@ct("CT rings", "rings")
def ct_rings(op: Op) -> None:
    """A constant image gets a pattern that is the same after a quarter turn."""
    y = one(op, torch.zeros(1, 32, 32, 4))
    need((y.rot90(1, (1, 2)) - y).abs().max() < 0.01 * y.std(), "not round")


@ct("CT limited angle", "limitedangle", key="ct_limited")
@ct("CT sparse views", "sparseview")
def ct_sparse(op: Op) -> None:
    """A disc gets streaks outside."""
    inside = _distance(64) < 16
    need((one(op, _in_air(inside)) + 1000)[:, ~inside].std() > 10, "no streaks")


@ct("CT of a sharper or softer reconstruction kernel", "sharp", "reconstruction")
def ct_kernel(ops: dict[str, Op]) -> None:
    """Noise: high frequencies grow or shrink against low ones, planes do not mix; means stay."""
    x = 0.4 + 0.2 * noise(1, 32, 32, 8)
    other = torch.cat([x[..., :3], 1 - x[..., 3:4], x[..., 4:]], -1)
    for name, op in ops.items():
        y = one(op, x)
        need(torch.allclose(one(op, other)[..., 4], y[..., 4], atol=1e-4), "planes mix")
        gain = (torch.fft.fft2(y, dim=(1, 2)) / torch.fft.fft2(x, dim=(1, 2))).abs()
        ratio = gain[:, 12:16, 12:16].mean() / gain[:, 1:5, 1:5].mean()
        need(ratio > 1.3 if name == "sharp" else ratio < 0.7, "frequencies keep their shares")
        same(one(op, torch.full_like(x, 0.4))[:, 8:-8, 8:-8], 0.4, 1e-3)


@ct("CT of thicker slices, on the same grid", "thickness")
def ct_thickness(op: Op) -> None:
    """Each slice of noise is the mean of three."""
    x = noise(1, 32, 32, 32)
    same(one(op, x)[..., 1:-1], x.unfold(3, 3, 1).mean(-1), 1e-5)


#: Grey values of a dB.
_DB = 255 / 60
#: Distance from the apex in mm, the angle, and the mask of the fan, (I, J).
_I, _J = torch.meshgrid(torch.arange(96.0) - 47.5, torch.arange(80.0) + 0.5, indexing="ij")
_DEPTH, _ANGLE = torch.hypot(_I, _J), torch.atan2(_I, _J).rad2deg().abs()
_FAN = (_ANGLE <= 40) & (_DEPTH <= 60)


def _darker(op: Op, value: float) -> Tensor:
    """Return by how many dB an operation darkens a constant image, (I, J)."""
    return (value - one(op, torch.full((1, 96, 80, 1), value))[0, ..., 0]) / _DB


@ultrasound("ultrasound attenuation along beams", "attenuation")
def beam_attenuation(op: Op) -> None:
    """A constant image falls by 2 dB for each cm from the apex, to 0.1 dB, within the fan alone."""
    same(_darker(op, 200.0), _DEPTH / 5 * _FAN, 0.1)


@ultrasound("ultrasound acoustic shadow", "acousticshadow")
def acoustic_shadow(op: Op) -> None:
    """A constant image falls by 20 dB, to 0.1 dB, behind 20 mm in a fifth of the fan alone."""
    same(_darker(op, 200.0), 20.0 * (_FAN & (_DEPTH > 20) & (_ANGLE < 8)), 0.1)


@ultrasound("ultrasound reverberation", "reverb")
def reverberation(op: Op) -> None:
    """Echoes of a bright row, 10 and 20 mm below it, are 6 and 12 dB darker; others stay."""
    x = torch.zeros(1, 41, 60, 1)
    x[:, :, 12] = 255
    right = x / _DB
    right[:, :, 22], right[:, :, 32] = (60 - n * 20 * math.log10(2) for n in (1, 2))
    same(one(op, x)[:, 1:-1] / _DB, right[:, 1:-1], 0.1)


@ultrasound("ultrasound speckle along beams", "speckle")
def speckle(op: Op) -> None:
    """Levels of a constant image deviate by 5.57 dB, to 0.3 dB, within the fan alone."""
    change = _darker(op, 150.0)
    need((change[~_FAN] == 0).all(), "values outside of the fan change")
    need(abs(change[_FAN].std() - 5.57) < 0.3, f"levels deviate by {change[_FAN].std():.1f} dB")


@ultrasound("ultrasound haze that fades with depth", "haze")
def haze(op: Op) -> None:
    """A black image becomes brighter near the probe than far from it, and stays outside the fan."""
    light = -_darker(op, 0.0)
    same(light * ~_FAN, torch.zeros_like(light))
    near, far = (light[_FAN & (abs(_DEPTH - at) < 5)].mean() for at in (15, 50))
    need(near > far + 2.5, f"{near:.1f} dB near the probe, {far:.1f} dB far from it")


@ultrasound("ultrasound images made of label maps", "ultrasound")
def labels_to_ultrasound(op: Op) -> None:
    """One label that attenuates by 3 dB per cm is 9 dB darker 30 mm further down, to 1 dB."""
    power = 10 ** (ask(op, torch.ones(1, 1, 80, 60, 1, dtype=torch.uint8))[0, 0] * 6 / 255)
    lost = 10 * (power[:, :30].mean() / power[:, 30:].mean()).log10()
    need(abs(lost - 9) < 1, f"the level falls by {lost:.1f} dB in 30 mm")

"""CT, on batches in Hounsfield units whose planes lie across K."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from .asking import Op, ask, happened, need, noise, one, row, same

asks = partial(row, "CT")


def _planes(plane: Tensor, count: int = 6) -> Tensor:
    """Return equal planes, (1, I, J, K)."""
    return plane[None, :, :, None].repeat(1, 1, 1, count)


def _distance(size: int, shift: float = 0) -> Tensor:
    """Return the distance from the centre, or from a place along J, in voxels."""
    at = torch.arange(size) - (size - 1) / 2
    return torch.hypot(at[:, None], at - shift)


def _in_air(inside: Tensor, value: float = 0.0) -> Tensor:
    """Return planes of a value, water by default, where they are inside, of air elsewhere."""
    return _planes(torch.where(inside, value, -1000.0))


def _around_rods(op: Op, value: float) -> tuple[Tensor, Tensor]:
    """Return changes of water with two rods, at the middle of the line that joins them, along J,
    and beside it."""
    x = _in_air(_distance(48) < 22)
    x[:, (_distance(48, -12) < 4) | (_distance(48, 12) < 4)] = value
    change = (one(op, x) - x)[0, :, 20:28]
    return change[22:26], change[[6, 7, 8, 9, 38, 39, 40, 41]]


@asks("CT: a window of Hounsfield units", "window", "scaleintensityrange", "clip", "clamp")
def ct_window(op: Op) -> None:
    """A ramp of -1000 to 1000: linear from 0 to 1 between 0 and 80, constant outside."""
    x = torch.linspace(-1000, 1000, 4096).view(1, 16, 16, 16)
    same(one(op, x), (x / 80).clamp(0, 1), 1e-5)


@asks("CT of low dose", "dose")
def low_dose(op: Op) -> None:
    """Of a dense disc in air: fine noise, stronger in its middle than in the corners."""
    disc = _in_air(_distance(48) < 18, 2000.0)
    change = one(op, disc) - disc
    middle, corner = change[:, 20:28, 20:28].std(), change[:, :8, :8].std()
    need(middle > 1.5 * corner > 0, f"{middle:.1f} HU, {corner:.1f} in corners")


@asks("CT streaks of photon starvation", "streak")
def streaks(op: Op) -> None:
    """Of two dense rods in water: changes between them, on the line that joins them, are more than
    ten times those beside it."""
    between, beside = (change.square().mean() for change in _around_rods(op, 4000))
    need(between > 100 * beside, f"{between:.1f} between, {beside:.1f} beside")


@asks("CT beam hardening", "hardening")
def beam_hardening(op: Op) -> None:
    """Of two rods of bone in water: darker on the line that joins them than beside it."""
    between, beside = (change.mean() for change in _around_rods(op, 1200))
    need(between < beside - 3, f"{between:.1f} HU between, {beside:.1f} beside")


@asks("CT metal", "metal")
def ct_metal(op: Op) -> None:
    """A band between two rods, marked by a mask, is darker than what lies beside it."""
    mask = _planes((_distance(64, -16) < 3) | (_distance(64, 16) < 3))
    y = ask(op, _in_air(_distance(64) < 28)[None], mask[None].byte())[0, 0, :, 24:40]
    need(y[31:33].mean() < y[12:20].mean() - 15, "no dark band between rods")


@asks("CT rings", "rings")
def ct_rings(op: Op) -> None:
    """Of a constant image: a pattern that is the same after a quarter turn."""
    x = torch.zeros(1, 32, 32, 4)
    y = one(op, x)
    happened(y, x, 1e-3)
    need((y.rot90(1, (1, 2)) - y).abs().max() < 0.01 * y.std(), "not round")


@asks("CT sparse views", "sparseview")
def ct_sparse(op: Op) -> None:
    """Of a disc: streaks outside."""
    inside = _distance(64) < 16
    need((one(op, _in_air(inside)) + 1000)[:, ~inside].std() > 10, "no streaks")


@asks("CT limited angle", "limitedangle")
def ct_limited(op: Op) -> None:
    """Of a square: edges along some direction are lost."""
    middle = (torch.arange(64.0) - 31.5).abs() < 12
    y = one(op, _in_air(middle[:, None] & middle))[0, ..., 0]
    edges = [(v[21:24, 30:34].mean() - v[15:18, 30:34].mean()).abs() for v in (y, y.mT)]
    need(max(edges) > 2 * min(edges), "edges of all directions stay")


@asks("CT of a sharper or softer reconstruction kernel", "sharp", "reconstruction")
def ct_kernel(ops: dict[str, Op]) -> None:
    """Noise, sharpened and softened: high frequencies within planes grow or shrink against low
    ones, constants stay, and planes do not mix."""
    x = 0.4 + 0.2 * noise(1, 32, 32, 8)
    other = torch.cat([x[..., :3], torch.full_like(x[..., :1], 0.5), x[..., 4:]], -1)
    for name, op in ops.items():
        y, constant = one(op, x), one(op, torch.full_like(x, 0.5))[:, 8:24, 8:24, 2:6]
        need((constant - 0.5).abs().max() <= 1e-3, "constants change")
        need(torch.allclose(one(op, other)[..., 4], y[..., 4], atol=1e-4), "planes mix")
        gain = (torch.fft.fft2(y, dim=(1, 2)) / torch.fft.fft2(x, dim=(1, 2))).abs()
        ratio = gain[:, 12:16, 12:16].mean() / gain[:, 1:5, 1:5].mean()
        need(ratio > 1.3 if name == "sharp" else ratio < 0.7, "frequencies keep their shares")


@asks("CT of thicker slices, on the same grid", "thickness")
def ct_thickness(op: Op) -> None:
    """Noise, averaged over three slices: a third of its variance along one axis, of which
    neighbours share two thirds."""
    x = noise(1, 32, 32, 32)
    y = one(op, x)
    found = []
    for axis in (1, 2, 3):
        z = y.movedim(axis, 1)[:, 4:-4] - y.mean()
        shared = [(z[:, n:] * z[:, : z.shape[1] - n]).mean() / x.var() for n in range(4)]
        found.append((torch.stack(shared) - torch.tensor([3, 2, 1, 0]) / 9).abs().max())
    need(min(found) < 0.02, f"variances differ by {min(found):.2f}")

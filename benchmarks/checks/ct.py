"""CT, on batches in Hounsfield units whose planes lie across K."""

from __future__ import annotations

import torch
from torch import Tensor

from .asking import Op, ask, group, happened, noise, one

asks = group("CT")


def _planes(plane: Tensor, count: int = 6) -> Tensor:
    """Return equal planes, (1, I, J, K)."""
    return plane[None, :, :, None].repeat(1, 1, 1, count)


def _distance(size: int, shift: float = 0) -> Tensor:
    """Return the distance from the centre, or from a place along J, in voxels."""
    at = torch.arange(size) - (size - 1) / 2
    return torch.hypot(at[:, None], at - shift)


def _rods(value: float) -> Tensor:
    """Return water in air with two rods on a line along J."""
    x = torch.where(_distance(48) < 22, 0.0, -1000.0)
    for place in (-12, 12):
        x = torch.where(_distance(48, place) < 4, value, x)
    return _planes(x)


#: The middle of the line that joins rods, and places across it.
_BETWEEN, _BESIDE = (slice(22, 26), slice(20, 28)), ([6, 7, 8, 9, 38, 39, 40, 41], slice(20, 28))


@asks("CT: a window of Hounsfield units", "window", "scaleintensityrange", "clip", "clamp")
def ct_window(op: Op) -> str | None:
    """A ramp of -1000 to 1000: linear from 0 to 1 between 0 and 80, constant outside."""
    x = torch.linspace(-1000, 1000, 4096).view(1, 16, 16, 16)
    apart = (one(op, x) - (x / 80).clamp(0, 1)).abs().max()
    return None if apart < 1e-5 else f"values differ by {apart:.2g}"


@asks("CT of low dose", "dose")
def low_dose(op: Op) -> str | None:
    """Of a dense disc in air: fine noise, stronger in its middle than in the corners."""
    disc = _planes(torch.where(_distance(48) < 18, 2000.0, -1000.0))
    change = one(op, disc) - disc
    middle, corner = (float(change[:, a:b, a:b].std()) for a, b in ((20, 28), (0, 8)))
    return None if middle > 1.5 * corner > 0 else f"{middle:.1f} HU, {corner:.1f} in corners"


@asks("CT streaks of photon starvation", "streak")
def streaks(op: Op) -> str | None:
    """Of two dense rods in water: changes between them, on the line that joins them, are more than
    ten times those beside it."""
    change = (one(op, _rods(4000)) - _rods(4000))[0]
    between, beside = (float(change[a].square().mean()) for a in (_BETWEEN, _BESIDE))
    return None if between > 100 * beside else f"{between:.1f} between, {beside:.1f} beside"


@asks("CT beam hardening", "hardening")
def beam_hardening(op: Op) -> str | None:
    """Of two rods of bone in water: darker on the line that joins them than beside it."""
    change = (one(op, _rods(1200)) - _rods(1200))[0]
    between, beside = (float(change[a].mean()) for a in (_BETWEEN, _BESIDE))
    return None if between < beside - 3 else f"{between:.1f} HU between, {beside:.1f} beside"


@asks("CT metal", "metal")
def ct_metal(op: Op) -> str | None:
    """A band between two rods, marked by a mask, is darker than what lies beside it."""
    x = _planes(torch.where(_distance(64) < 28, 0.0, -1000.0), 2)
    mask = _planes((_distance(64, -16) < 3) | (_distance(64, 16) < 3), 2)
    y = ask(op, x[None], mask[None].byte())[0, 0]
    band, beside = y[31:33, 24:40].mean(), y[12:20, 24:40].mean()
    return None if band < beside - 15 else "no dark band between rods"


@asks("CT rings", "rings")
def ct_rings(op: Op) -> str | None:
    """Of a constant image: a pattern that is the same after a quarter turn."""
    x = torch.zeros(1, 32, 32, 4)
    change = one(op, x)
    happened(change, x, 1e-3)
    turned = change.rot90(1, (1, 2))
    return None if (turned - change).abs().max() < 0.01 * change.std() else "not round"


@asks("CT sparse views", "sparseview")
def ct_sparse(op: Op) -> str | None:
    """Of a disc: streaks outside."""
    inside = _distance(64) < 16
    x = _planes(torch.where(inside, 0.0, -1000.0), 2)
    return None if (one(op, x) - x)[:, ~inside].std() > 10 else "no streaks"


@asks("CT limited angle", "limitedangle")
def ct_limited(op: Op) -> str | None:
    """Of a square: edges along some direction are lost."""
    at = torch.arange(64.0) - 31.5
    square = (at.abs() < 12)[:, None] & (at.abs() < 12)
    y = one(op, _planes(torch.where(square, 0.0, -1000.0), 2))[0, ..., 0]
    edges = [(v[21:24, 30:34].mean() - v[15:18, 30:34].mean()).abs() for v in (y, y.mT)]
    return None if max(edges) > 2 * min(edges) else "edges of all directions stay"


@asks("CT of a sharper or softer reconstruction kernel", "sharp", "reconstruction")
def ct_kernel(ops: dict[str, Op]) -> str | None:
    """Noise, sharpened and softened: high frequencies within planes grow or shrink against low
    ones, constants stay, and planes do not mix."""
    x = 0.4 + 0.2 * noise(1, 32, 32, 8)
    other = x.clone()
    other[..., 3] = 0.5
    for name, op in ops.items():
        y = one(op, x)
        if (one(op, torch.full_like(x, 0.5))[:, 8:24, 8:24, 2:6] - 0.5).abs().max() > 1e-3:
            return "constants change"
        if not torch.allclose(one(op, other)[..., 4], y[..., 4], atol=1e-4):
            return "planes mix"
        gain = (torch.fft.fft2(y, dim=(1, 2)) / torch.fft.fft2(x, dim=(1, 2))).abs()
        ratio = gain[:, 12:16, 12:16].mean() / gain[:, 1:5, 1:5].mean()
        if not (ratio > 1.3 if name == "sharp" else ratio < 0.7):
            return "frequencies keep their shares"
    return None


@asks("CT of thicker slices, on the same grid", "thickness")
def ct_thickness(op: Op) -> str | None:
    """Noise, averaged over three slices: a third of its variance along one axis, of which
    neighbours share two thirds."""
    x = noise(1, 32, 32, 32)
    y = one(op, x)
    found = []
    for axis in (1, 2, 3):
        z = y.movedim(axis, 1)[:, 4:-4] - y.mean()
        shared = [(z[:, n:] * z[:, : z.shape[1] - n]).mean() / x.var() for n in range(4)]
        found.append(float((torch.stack(shared) - torch.tensor([3, 2, 1, 0]) / 9).abs().max()))
    return None if min(found) < 0.02 else f"variances differ by {min(found):.2f}"

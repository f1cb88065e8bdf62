"""Operations that move voxels: images of coordinates show where each voxel was sampled."""

from __future__ import annotations

from math import degrees, log
from typing import Any

import torch
from torch import Tensor

from .. import workloads as w
from .asking import SIZE, Op, Part, alike, ask_often, group, noise, voxels

asks = group("Geometry")

#: Sampling places are known to some 64 epsilons of float32, a few times rounded: 1e-4 voxels. Where
#: as much as this is missing of a mean of voxels, a part of it lies outside of the image.
_CLOSE = 0.01  # voxels
#: Root mean square share that a fit of the right kind leaves.
_LEFT = 0.01
_CENTRE = (torch.tensor(SIZE, dtype=torch.float64) - 1) / 2
#: The block at the centre that no affine map takes outside of the image.
_MIDDLE = tuple(slice(n // 2 - 5, n // 2 + 5) for n in SIZE)
_FACTOR = 1 + w.AFFINE["scales"]
_LARGEST = w.ELASTIC["max_displacement"]
_POINTS, _LOCKED = w.ELASTIC["num_control_points"], w.ELASTIC["locked_borders"]
#: How far the cells of control points reach beyond the outer voxels' centres, in voxels, as ITK,
#: by half a voxel, or not at all.
_MARGINS = (0.625, 0.5, 0.0)


def _places(op: Op) -> tuple[Tensor, Tensor]:
    """Return where samples are sampled, (S, 3, I, J, K) voxels, and where that is known.

    A fourth channel makes a constant sum with the first, but for what fills the outside: zeros,
    or the least number of the image, which is 0. Also where channels do not move alike.
    """
    at = voxels(SIZE)
    y = ask_often(op, torch.cat([at, SIZE[0] - 1 - at[:1]]).float())
    places, last = y[:, :3], torch.tensor(SIZE).view(3, 1, 1, 1) - 1
    whole = (y[:, 0] + y[:, 3] - last[0]).abs() < _CLOSE
    return places, whole & ((places > _CLOSE) & (places < last - _CLOSE)).all(1)


def _unknown(known: Tensor) -> str | None:
    """Say where places near the centre, at least, are not known."""
    share = 1 - known[(slice(None), *_MIDDLE)].double().mean().item()
    return f"channels move apart, or {100 * share:.0f} % is from outside" if share > 0.01 else None


def _fit(places: Tensor, where: Tensor, bends: Tensor | None = None) -> Tensor:
    """Return affine maps from voxels to places about the centre, [S, 4, 3], the last row moves.

    Args:
        places: [S, 3, I, J, K] voxels.
        where: Voxels that are looked at, [S, I, J, K].
        bends: Functions [I J K, N] that are fitted, too; their rows come after.
    """
    at = voxels(SIZE).flatten(1).T - _CENTRE
    at = torch.cat([at, torch.ones(len(at), 1), *([] if bends is None else [bends])], 1)
    flat = places.flatten(2).mT - _CENTRE
    rows = zip(where.flatten(1), flat, strict=True)
    return torch.stack([torch.linalg.lstsq(at[c], y[c]).solution for c, y in rows])


def _mapped(maps: Tensor) -> Tensor:
    """Return the places that affine maps say, (S, 3, I, J, K)."""
    at = voxels(SIZE) - _CENTRE.view(3, 1, 1, 1)
    moved = torch.einsum("scd,cijk->sdijk", maps[:, :3], at)
    return moved + (maps[:, 3] + _CENTRE)[..., None, None, None]


def _pose(maps: Tensor) -> str | None:
    """Say what is wrong with affine maps."""
    matrices, most = maps[:, :3].mT, w.AFFINE["degrees"]
    u, factors, v = torch.linalg.svd(matrices)
    turns = u @ v
    if (torch.linalg.det(turns) < 0).any():
        return "mirrors"
    # Scaled, then turned, or the other way: one product with the transpose is diagonal.
    products = torch.stack([matrices @ matrices.mT, matrices.mT @ matrices])
    if (shear := products.triu(1).abs().amax((2, 3)).amin(0).max()) > 0.005:
        return f"shears: off the diagonal by up to {shear:.2g}"
    # Three turns of 15 degrees have rotation vectors whose components reach 17.
    axis = torch.stack([turns[:, a, b] - turns[:, b, a] for a, b in ((2, 1), (0, 2), (1, 0))], 1)
    cosine = (turns.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
    angle = cosine.clamp(-1, 1).acos() * degrees(1)
    largest = (axis / axis.norm(dim=1, keepdim=True) * angle[:, None]).abs().amax(0)
    if largest.max() > 1.2 * most or largest.min() < most / 3:
        each = ", ".join(f"{x:.2g}" for x in largest.tolist())
        return f"turns by up to {each} degrees about the axes, not {most}"
    # What is divided by the least factor grows by more than what is multiplied by the greatest.
    found, least = factors.log().abs().max(), 2 - _FACTOR
    if not log(_FACTOR) / 2 <= found <= -log(least) + 0.002:
        return f"scales by a factor of up to {found.exp():.3g}, not {_FACTOR}"
    if (factors[:, 0] / factors[:, 2]).max() < 1.01:
        return "scales all axes alike"
    moved, reach = maps[:, 3].norm(dim=1).max(), w.AFFINE["translation"] * 3**0.5 / least + _CLOSE
    if not reach / 4 <= moved <= reach:
        return f"moves the centre by up to {moved:.2g} voxels, not {reach:.2g}"
    return None


@asks("affine maps", "affine")
def affine(op: Op) -> str | None:
    """Turned by up to 15 degrees about the centre, scaled by up to 1.1 and moved by 5 voxels."""
    places, known = _places(op)
    if wrong := _unknown(known):
        return wrong
    block = torch.zeros_like(known)
    block[(slice(None), *_MIDDLE)] = True
    maps = _fit(places, block & known)
    right = _mapped(maps)
    if (off := ((places - right).abs().amax(1) * known).max()) > 2 * _CLOSE:
        return f"is not affine: places are off by up to {off:.2g} voxels"
    last = torch.tensor(SIZE).view(3, 1, 1, 1) - 2
    missing = (((right > 1) & (right < last)).all(1) & ~known).double().mean().item()
    if missing > 0:
        return f"{100 * missing:.2g} % of voxels are filled though they lie inside"
    return _pose(maps) or alike(maps, 1e-3)


def _basis(n: int, margin: float) -> Tensor:
    """Return the weights of the control points at each voxel, [n, N]: N - 3 cells end to end."""
    at = (torch.arange(n) + margin) / (n - 1 + 2 * margin) * (_POINTS - 3)
    t = (at[:, None].double() - torch.arange(_POINTS) + 1).abs()
    inner, outer = 2 / 3 - t**2 + t**3 / 2, (2 - t).clamp(min=0) ** 3 / 6
    return torch.where(t < 1, inner, outer)


def _free(margin: float) -> Tensor:
    """Return what each control point that is not locked does, [27, I, J, K]."""
    i, j, k = (_basis(n, margin)[:, _LOCKED:-_LOCKED] for n in SIZE)
    return torch.einsum("ia,jb,kc->abcijk", i, j, k).flatten(0, 2)


def _strength(displacement: Tensor, known: Tensor) -> str | None:
    """Say whether the displacement along an axis is not as strong as it should be, within 30 %."""
    rms = ((displacement.square() * known[:, None]).sum((0, 2, 3, 4)) / known.sum()).sqrt().tolist()
    right = _LARGEST * (_free(_MARGINS[0]).square().sum(0).mean() / 3).sqrt().item()
    if all(0.7 * right < each < 1.3 * right for each in rms):
        return None
    return f"bends by {', '.join(f'{x:.2g}' for x in rms)} voxels rms, not {right:.2g}"


def _left(inner: Tensor, locked: bool) -> float:
    """Return the share of a displacement that a spline leaves, root mean square."""
    found, m = [], (SIZE[0] - inner.shape[2]) // 2
    points = slice(_LOCKED, -_LOCKED) if locked else slice(None)
    for margin in _MARGINS:
        q = [torch.linalg.qr(_basis(n, margin)[m:-m, points]).Q for n in SIZE]
        fit = torch.einsum("sdijk,ia,jb,kc->sdabc", inner, *q)
        rest = inner - torch.einsum("sdabc,ia,jb,kc->sdijk", fit, *q)
        found.append((rest.square().mean() / inner.square().mean()).sqrt().item())
    return min(found)


@asks("elastic deformation", "elastic", "deform")
def elastic(op: Op) -> str | None:
    """A cubic B-spline of 7³ control points moved by up to 7.5 voxels, those at the ends locked."""
    places, known = _places(op)
    if wrong := _unknown(known):
        return wrong
    u = places - voxels(SIZE)
    if wrong := _strength(u, known):
        return wrong
    if (largest := (u.abs().amax(1) * known).max()) > _LARGEST + _CLOSE:
        return f"moves voxels by up to {largest:.2g}, not {_LARGEST}"
    m = int(_LARGEST) + 1  # what is so far inside cannot be sampled outside
    inner = u[..., m:-m, m:-m, m:-m]
    if (left := _left(inner, False)) > _LEFT:
        return f"is no cubic B-spline of {_POINTS}³ points: a fit leaves {100 * left:.0f} % rms"
    if _left(inner, True) > _LEFT:
        return "control points at the ends move though they are locked"
    return alike(inner[..., ::4, ::4, ::4], 1e-3)


@asks("affine map and elastic deformation in one step", "affineelastic")
def affine_elastic(op: Op) -> str | None:
    """Both: an affine map plus what it makes of the spline, whose free points are fitted, too."""
    places, known = _places(op)
    if wrong := _unknown(known):
        return wrong
    free = _free(_MARGINS[0]).flatten(1).T  # [V, 27]
    maps = _fit(places, known, free)
    bends = places - _mapped(maps)
    rest = bends - torch.einsum("svd,vijk->sdijk", maps[:, 4:], free.T.unflatten(1, SIZE))
    square = [(each.square() * known[:, None]).sum() for each in (rest, bends)]
    if (left := (square[0] / square[1]).sqrt().item()) > _LEFT:
        return (
            f"is no cubic B-spline of {_POINTS}³ points, {_LOCKED} locked at each end: a fit "
            f"leaves {100 * left:.0f} % rms"
        )
    return _pose(maps) or _strength(bends, known) or alike(maps[:, :4], 1e-3)


@asks("label maps move with the image")
def with_labels(op: Op) -> str | None:
    """An image and its label map, moved and bent: no other label appears, and the label map of the
    moved image is the moved one (Dice above 0.9)."""
    x = noise(2, 1, *(n // 4 for n in SIZE))
    x = torch.nn.functional.interpolate(x, SIZE, mode="trilinear")
    labels = ((x > 0.5) * 3).byte()
    y, moved = op(x.clone(), labels.clone())
    strange = sorted(set(moved.unique().tolist()) - {0, 3})
    if strange:
        return f"labels that were not there: {strange[:3]}"
    truth = y > 0.5
    dice = 2 * (truth & (moved == 3)).sum() / (truth.sum() + (moved == 3).sum())
    if dice < 0.9:
        return f"Dice with the labels of the moved image is {dice:.2f}"
    wrong = affine_elastic(lambda x: op(x, (x[:, :1] > SIZE[0] // 2).byte())[0])
    return wrong and Part(wrong)


@asks("composed affines, flip and elastic: one interpolation")
def fused(ops: dict[str, Op]) -> str | None:
    """Two affines, a flip and an elastic deformation of white noise: the variance that is left is
    that of one interpolation, (2/3)³ = 0.30, not 0.17 or less. Partly: for less than these."""
    if "all" in ops and _interpolates_once(ops.pop("all")):
        return None
    good = [name for name, op in ops.items() if _interpolates_once(op)]
    return Part("; ".join(good)) if good else "each step interpolates"


def _interpolates_once(op: Any) -> bool:
    x = noise(1, 1, 32, 32, 32)
    left = torch.stack([op(x.clone())[..., 8:24, 8:24, 8:24].var() for _ in range(3)])
    share = (left.mean() / x.var()).item()
    if share > 0.6:
        raise AssertionError("nothing was interpolated")
    return share > 0.23

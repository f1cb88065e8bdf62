"""Operations that move voxels: images of coordinates show where each voxel was sampled."""

from __future__ import annotations

from functools import partial
from math import degrees, log

import torch
from torch import Tensor

from .. import workloads as w
from .asking import SIZE, Op, PartError, alike, ask_often, need, noise, row, voxels

asks = partial(row, "Geometry")

#: Sampling places are known to some 64 epsilons of float32, a few times rounded: 1e-4 voxels. Where
#: as much as this is missing of a mean of voxels, a part of it lies outside of the image.
_CLOSE = 0.01  # voxels
#: Root mean square share that a fit of the right kind leaves.
_LEFT = 1  # %
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
    places, last = y[:, :3], 2 * _CENTRE.view(3, 1, 1, 1)
    known = ((places > _CLOSE) & (places < last - _CLOSE)).all(1)
    known &= (y[:, 0] + y[:, 3] - last[0]).abs() < _CLOSE
    share = 1 - known[(slice(None), *_MIDDLE)].double().mean()
    need(share <= 0.01, f"channels move apart, or {100 * share:.0f} % is from outside")
    return places, known


def _fit(places: Tensor, where: Tensor, bends: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return affine maps from voxels to places about the centre, [S, 4, 3], the last row moves, and
    the places that they say, (S, 3, I, J, K).

    Args:
        places: [S, 3, I, J, K] voxels.
        where: Voxels that are looked at, [S, I, J, K].
        bends: Functions [I J K, N] that are fitted, too; their rows come after.
    """
    at = voxels(SIZE).flatten(1).T - _CENTRE
    at = torch.cat([at, torch.ones(len(at), 1)], 1)
    terms = at if bends is None else torch.cat([at, bends], 1)
    rows = zip(where.flatten(1), places.flatten(2).mT - _CENTRE, strict=True)
    maps = torch.stack([torch.linalg.lstsq(terms[c], y[c]).solution for c, y in rows])
    return maps, (at @ maps[:, :4] + _CENTRE).mT.unflatten(2, SIZE)


def _check_pose(maps: Tensor) -> None:
    """Find out what is wrong with affine maps."""
    matrices, most = maps[:, :3].mT, w.AFFINE["degrees"]
    u, factors, v = torch.linalg.svd(matrices)
    turns = u @ v
    need((torch.linalg.det(turns) > 0).all(), "mirrors")
    # Scaled, then turned, or the other way: one product with the transpose is diagonal.
    products = torch.stack([matrices @ matrices.mT, matrices.mT @ matrices])
    shear = products.triu(1).abs().amax((2, 3)).amin(0).max()
    need(shear <= 0.005, f"shears: off the diagonal by up to {shear:.2g}")
    # Three turns of 15 degrees have rotation vectors whose components reach 17.
    axis = torch.stack([turns[:, a, b] - turns[:, b, a] for a, b in ((2, 1), (0, 2), (1, 0))], 1)
    cosine = (turns.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
    angle = cosine.clamp(-1, 1).acos() * degrees(1)
    largest = (axis / axis.norm(dim=1, keepdim=True) * angle[:, None]).abs().amax(0)
    each = ", ".join(f"{x:.2g}" for x in largest.tolist())
    right = largest.max() <= 1.2 * most and largest.min() >= most / 3
    need(right, f"turns by up to {each} degrees about the axes, not {most}")
    # What is divided by the least factor grows by more than what is multiplied by the greatest.
    found, least = factors.log().abs().max(), 2 - _FACTOR
    right = log(_FACTOR) / 2 <= found <= -log(least) + 0.002
    need(right, f"scales by a factor of up to {found.exp():.3g}, not {_FACTOR}")
    need((factors[:, 0] / factors[:, 2]).max() >= 1.01, "scales all axes alike")
    moved, reach = maps[:, 3].norm(dim=1).max(), w.AFFINE["translation"] * 3**0.5 / least + _CLOSE
    right = reach / 4 <= moved <= reach
    need(right, f"moves the centre by up to {moved:.2g} voxels, not {reach:.2g}")


@asks("affine maps", "affine")
def affine(op: Op) -> None:
    """Turned by up to 15 degrees about the centre, scaled by up to 1.1 and moved by 5 voxels."""
    places, known = _places(op)
    block = torch.zeros_like(known)
    block[(slice(None), *_MIDDLE)] = True
    maps, right = _fit(places, block & known)
    off = ((places - right).abs().amax(1) * known).max()
    need(off <= 2 * _CLOSE, f"is not affine: places are off by up to {off:.2g} voxels")
    inside = ((right > 1) & (right < 2 * _CENTRE.view(3, 1, 1, 1) - 1)).all(1)
    missing = (inside & ~known).double().mean()
    need(missing == 0, f"{100 * missing:.2g} % of voxels are filled though they lie inside")
    _check_pose(maps)
    alike(maps, 1e-3)


def _basis(n: int, margin: float) -> Tensor:
    """Return the weights of the control points at each voxel, [n, N]: N - 3 cells end to end."""
    at = (torch.arange(n) + margin) / (n - 1 + 2 * margin) * (_POINTS - 3)
    t = (at[:, None].double() - torch.arange(_POINTS) + 1).abs()
    inner, outer = 2 / 3 - t**2 + t**3 / 2, (2 - t).clamp(min=0) ** 3 / 6
    return torch.where(t < 1, inner, outer)


def _free() -> Tensor:
    """Return what each control point that is not locked does, [27, I, J, K]."""
    i, j, k = (_basis(n, _MARGINS[0])[:, _LOCKED:-_LOCKED] for n in SIZE)
    return torch.einsum("ia,jb,kc->abcijk", i, j, k).flatten(0, 2)


def _check_strength(displacement: Tensor, known: Tensor) -> None:
    """Find out whether the displacement along each axis is as strong as it should be, to 30 %."""
    rms = ((displacement.square() * known[:, None]).sum((0, 2, 3, 4)) / known.sum()).sqrt()
    right = _LARGEST * (_free().square().sum(0).mean() / 3).sqrt()
    each = ", ".join(f"{x:.2g}" for x in rms.tolist())
    need(((rms / right - 1).abs() < 0.3).all(), f"bends by {each} voxels rms, not {right:.2g}")


def _left(inner: Tensor, locked: int) -> float:
    """Return the share of a displacement that a spline leaves, root mean square."""
    found, m = [], (SIZE[0] - inner.shape[2]) // 2
    for margin in _MARGINS:
        bases = [_basis(n, margin)[m:-m, locked : _POINTS - locked] for n in SIZE]
        q = [torch.linalg.qr(basis).Q for basis in bases]
        fit = torch.einsum("sdijk,ia,jb,kc->sdabc", inner, *q)
        rest = inner - torch.einsum("sdabc,ia,jb,kc->sdijk", fit, *q)
        found.append((rest.square().mean() / inner.square().mean()).sqrt().item())
    return min(found)


@asks("elastic deformation", "elastic", "deform")
def elastic(op: Op) -> None:
    """A cubic B-spline of 7³ control points moved by up to 7.5 voxels, those at the ends locked."""
    places, known = _places(op)
    u = places - voxels(SIZE)
    _check_strength(u, known)
    largest = (u.abs().amax(1) * known).max()
    need(largest <= _LARGEST + _CLOSE, f"moves voxels by up to {largest:.2g}, not {_LARGEST}")
    m = int(_LARGEST) + 1  # what is so far inside cannot be sampled outside
    inner = u[..., m:-m, m:-m, m:-m]
    left = 100 * _left(inner, 0)
    need(left <= _LEFT, f"is no cubic B-spline of {_POINTS}³ points: a fit leaves {left:.0f} % rms")
    locked = 100 * _left(inner, _LOCKED) <= _LEFT
    need(locked, "control points at the ends move though they are locked")
    alike(inner[..., ::4, ::4, ::4], 1e-3)


@asks("affine map and elastic deformation in one step", "affineelastic")
def affine_elastic(op: Op) -> None:
    """Both: an affine map plus what it makes of the spline, whose free points are fitted, too."""
    places, known = _places(op)
    free = _free().flatten(1).T  # [V, 27]
    maps, straight = _fit(places, known, free)
    bends = places - straight
    rest = bends - (free @ maps[:, 4:]).mT.unflatten(2, SIZE)
    square = [(each.square() * known[:, None]).sum() for each in (rest, bends)]
    left = 100 * (square[0] / square[1]).sqrt()
    spline = f"cubic B-spline of {_POINTS}³ points, {_LOCKED} locked at each end"
    need(left <= _LEFT, f"is no {spline}: a fit leaves {left:.0f} % rms")
    _check_pose(maps)
    _check_strength(bends, known)
    alike(maps[:, :4], 1e-3)


@asks("label maps move with the image")
def with_labels(op: Op) -> None:
    """An image and its label map, moved and bent: no other label appears, and the label map of the
    moved image is the moved one (Dice above 0.9)."""
    x = noise(2, 1, *(n // 4 for n in SIZE))
    x = torch.nn.functional.interpolate(x, SIZE, mode="trilinear")
    y, labels = op(x.clone(), ((x > 0.5) * 3).byte())
    strange = sorted(set(labels.unique().tolist()) - {0, 3})
    need(not strange, f"labels that were not there: {strange[:3]}")
    truth, moved = y > 0.5, labels == 3
    dice = 2 * (truth & moved).sum() / (truth.sum() + moved.sum())
    need(dice >= 0.9, f"Dice with the labels of the moved image is {dice:.2f}")
    affine_elastic(lambda x: op(x, (x[:, :1] > SIZE[0] // 2).byte())[0])


@asks("composed affines, flip and elastic: one interpolation")
def fused(ops: dict[str, Op]) -> None:
    """Two affines, a flip and an elastic deformation of white noise: the variance that is left is
    that of one interpolation, (2/3)³ = 0.30, not 0.17 or less. Partly: for less than these."""
    if "all" in ops and _interpolates_once(ops.pop("all")):
        return
    good = [name for name, op in ops.items() if _interpolates_once(op)]
    need(good, "each step interpolates")
    raise PartError("; ".join(good))


def _interpolates_once(op: Op) -> bool:
    x = noise(1, 1, 32, 32, 32)
    left = torch.stack([op(x.clone())[..., 8:24, 8:24, 8:24].var() for _ in range(3)])
    share = left.mean() / x.var()
    if share > 0.6:
        raise AssertionError("nothing was interpolated")
    return bool(share > 0.23)

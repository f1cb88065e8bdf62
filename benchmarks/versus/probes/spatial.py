"""Operations that move voxels: images of coordinates show where each voxel was sampled."""

from __future__ import annotations

from itertools import permutations
from math import degrees, log

import torch
from torch import Tensor

from .. import workloads as w
from .asking import SIZE, Op, alike, ask_often, voxels

#: Sampling places are known to some 64 epsilons of float32, a few times rounded: 1e-4 voxels. Where
#: as much as this is missing of a mean of voxels, a part of it lies outside of the image.
_CLOSE = 0.01  # voxels
#: Half of the block at the centre that no affine move takes outside of the image, in voxels.
_BLOCK = 5
_CENTRE = (torch.tensor(SIZE, dtype=torch.float64) - 1) / 2
_FACTOR = 1 + w.AFFINE["scales"]
#: How far ITK's cells of control points reach beyond the outer voxels' centres, in voxels.
_MARGIN = 0.625
_LARGEST = w.ELASTIC["max_displacement"]
#: How far an affine map fitted to one that bends, too, may be off: degrees, share, voxels, and
#: what is off the diagonal. One that does not bend is known to 1e-4 of these.
_BENT = (8.0, 0.2, 5.0, 0.3)
_PLAIN = (0.1, 0.002, _CLOSE, 0.005)
#: Root mean square that a fit of what is right leaves: places that are known to 1e-4 voxels.
_LEFT = 0.01
_POINTS, _LOCKED = w.ELASTIC["num_control_points"], w.ELASTIC["locked_borders"]
_NOT = f"is no cubic B-spline of {_POINTS}³ points, {_LOCKED} locked at each end: a fit leaves"


def _places(op: Op, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where samples are sampled, (S, 3, I, J, K) voxels, and where that is known, (S, I, J, K).

    A fourth channel makes a constant sum with the first, but for what fills the outside: zeros,
    or the least number of the image, which is 0. Also where channels do not move alike.
    """
    at = voxels(SIZE)
    given = torch.cat([at, SIZE[0] - 1 - at[:1]]).float()
    y = ask_often(op, given, device)
    places, last = y[:, :3], torch.tensor(SIZE).view(3, 1, 1, 1) - 1
    whole = (y[:, 0] + y[:, 3] - last[0]).abs() < _CLOSE
    inside = (places > _CLOSE) & (places < last - _CLOSE)
    return places, whole & inside.all(1)


def _unknown(known: Tensor) -> str | None:
    """Near the centre, at least, places must be known."""
    i, j, k = (slice(n // 2 - _BLOCK, n // 2 + _BLOCK) for n in SIZE)
    share = 1 - known[:, i, j, k].double().mean().item()
    if share < 0.01:
        return None
    return f"channels move apart, or {100 * share:.0f} % of the middle is none of the image"


def _fit(places: Tensor, where: Tensor, bends: Tensor | None = None) -> Tensor:
    """Affine maps from voxels to places, about the centre: [S, 4, 3], the fourth row moves.

    Args:
        places: [S, 3, I, J, K] voxels.
        where: Which are looked at, [S, I, J, K].
        bends: Functions [I J K, N] that are fitted, too; their rows come after.
    """
    at = voxels(SIZE).flatten(1).T - _CENTRE  # [V, 3]
    at = torch.cat([at, torch.ones(len(at), 1, dtype=at.dtype)], 1)
    at = at if bends is None else torch.cat([at, bends], 1)
    flat = places.flatten(2).transpose(1, 2) - _CENTRE  # [S, V, 3]
    chosen = where.flatten(1)
    return torch.stack(
        [torch.linalg.lstsq(at[c], y[c]).solution for c, y in zip(chosen, flat, strict=True)]
    )


def _mapped(maps: Tensor) -> Tensor:
    """Places that affine maps say, (S, 3, I, J, K)."""
    at = voxels(SIZE) - _CENTRE.view(3, 1, 1, 1)
    moved = torch.einsum("scd,cijk->sdijk", maps[:, :3], at)
    return moved + (maps[:, 3] + _CENTRE)[..., None, None, None]


def _angles(turns: Tensor) -> Tensor:
    """Largest angles about the three axes, in degrees, in the order that makes them smallest."""
    found = []
    for a, b, c in permutations(range(3)):
        sign = 1 if (b - a) % 3 == 1 else -1
        about_a = torch.atan2(-sign * turns[:, b, c], turns[:, c, c])
        about_b = torch.asin((sign * turns[:, a, c]).clamp(-1, 1))
        about_c = torch.atan2(-sign * turns[:, a, b], turns[:, a, a])
        each = torch.stack([about_a, about_b, about_c]).abs().amax(1)  # [3]
        found.append(each[torch.tensor([a, b, c]).argsort()])
    return min(found, key=lambda each: each.max().item()) * degrees(1)


def _pose(maps: Tensor, bent: bool) -> str | None:
    """What is wrong with some affine maps, whether fitted to maps that bend, too, or not."""
    angle, share, shift, most_shear = _BENT if bent else _PLAIN
    matrices = maps[:, :3].mT
    u, factors, v = torch.linalg.svd(matrices)
    turns = u @ v
    if (torch.linalg.det(turns) < 0).any():
        return "mirrors"
    # Scaled, then turned, or the other way: one product with the transpose is diagonal.
    products = torch.stack([matrices @ matrices.mT, matrices.mT @ matrices])
    shear = products.triu(1).abs().amax((2, 3)).amin(0).max().item()
    if shear > most_shear:
        return f"shears: off the diagonal by up to {shear:.2g}"
    angles = _angles(turns)
    most = w.AFFINE["degrees"]
    if angles.max() > most + angle or angles.min() < most / 3:
        each = ", ".join(f"{x:.2g}" for x in angles.tolist())
        return f"turns by up to {each} degrees about the axes, not {most}"
    # What is divided by the least factor grows by more than what is multiplied by the greatest.
    least = 2 - _FACTOR
    found = factors.log().abs().max().item()
    if not log(_FACTOR) / 2 <= found <= -log(least) + share:
        return f"scales by a factor of up to {torch.tensor(found).exp():.3g}, not {_FACTOR}"
    if not bent and (factors[:, 0] / factors[:, 2]).max() < 1.01:
        return "scales all axes alike"
    # Moved before or after it is turned and scaled; about the centre, or the centre moves further.
    moved = maps[:, 3].norm(dim=1).max().item()
    reach = w.AFFINE["translation"] * 3**0.5 / least + shift
    if not reach / 4 <= moved <= reach:
        return f"moves the centre by up to {moved:.2g} voxels, not {reach:.2g}"
    return None


def affine(op: Op, device: torch.device) -> str | None:
    """Turned about the centre, scaled along each axis and moved, in the ranges asked for."""
    places, known = _places(op, device)
    if remark := _unknown(known):
        return remark
    block = torch.zeros_like(known)
    i, j, k = (slice(n // 2 - _BLOCK, n // 2 + _BLOCK) for n in SIZE)
    block[:, i, j, k] = True
    maps = _fit(places, block & known)
    right = _mapped(maps)
    off = ((places - right).abs().amax(1) * known).max().item()
    if off > 2 * _CLOSE:
        return f"is not affine: places are off by up to {off:.2g} voxels"
    last = torch.tensor(SIZE).view(3, 1, 1, 1) - 2
    missing = (((right > 1) & (right < last)).all(1) & ~known).double().mean().item()
    if missing > 0:
        return f"{100 * missing:.2g} % of voxels are filled though they lie inside"
    return _pose(maps, bent=False) or alike(maps, 1e-3)


def _basis(n: int, margin: float) -> Tensor:
    """Weights of the control points at each voxel, [n, N]: as many cells less 3 from end to end.

    Args:
        n: Voxels.
        margin: How far beyond the outer voxels' centres the ends lie, in voxels.
    """
    cells = _POINTS - 3
    at = (torch.arange(n, dtype=torch.float64) + margin) / (n - 1 + 2 * margin) * cells
    t = (at[:, None] - torch.arange(_POINTS) + 1).abs()
    inner, outer = 2 / 3 - t**2 + t**3 / 2, (2 - t).clamp(min=0) ** 3 / 6
    return torch.where(t < 1, inner, outer)


def _free(margin: float) -> Tensor:
    """What each control point that is not locked does, [27, I, J, K]."""
    i, j, k = (_basis(n, margin)[:, _LOCKED:-_LOCKED] for n in SIZE)
    return torch.einsum("ia,jb,kc->abcijk", i, j, k).flatten(0, 2)


def _splines(count: int) -> Tensor:
    """Displacements along one axis as they should be, [count, I, J, K] voxels."""
    free = _free(_MARGIN)
    random = torch.Generator().manual_seed(0)
    u = 2 * torch.rand(count, len(free), generator=random, dtype=torch.float64) - 1
    return torch.einsum("sv,vijk->sijk", _LARGEST * u, free)


def _square(displacement: Tensor, known: Tensor) -> Tensor:
    """Mean square along each axis where it is known, [3]."""
    return (displacement.square() * known[:, None]).sum((0, 2, 3, 4)) / known.sum()


def _strength(displacement: Tensor, known: Tensor, right: float) -> str | None:
    """Whether the displacement along each axis is as strong as it should be, within 30 %."""
    rms = _square(displacement, known).sqrt().tolist()
    if all(0.7 * right < each < 1.3 * right for each in rms):
        return None
    each = ", ".join(f"{x:.2g}" for x in rms)
    return f"bends by {each} voxels rms along the axes, not {right:.2g}"


def elastic(op: Op, device: torch.device) -> str | None:
    """A cubic B-spline of control points that move by as much as is asked for."""
    places, known = _places(op, device)
    if remark := _unknown(known):
        return remark
    u = places - voxels(SIZE)
    largest = (u.abs().amax(1) * known).max().item()
    right = _splines(64).square().mean().sqrt().item()
    if remark := _strength(u, known, right):
        return remark
    if largest > _LARGEST + _CLOSE:
        return f"moves voxels by up to {largest:.2g}, not {_LARGEST}"
    m = int(_LARGEST) + 1  # what is so far inside cannot be sampled outside
    inner = u[..., m:-m, m:-m, m:-m]
    if (left := _left(inner, ())) > _LEFT:
        return (
            f"is no cubic B-spline of {_POINTS}³ points: a fit leaves {100 * left:.0f} % rms of it"
        )
    loose = [name for axis, name in enumerate("IJK") if _left(inner, (axis,)) > _LEFT]
    if loose:
        return f"control points at the ends of {', '.join(loose)} move though they are locked"
    return alike(inner[..., ::4, ::4, ::4], 1e-3)


def _left(inner: Tensor, locked: tuple[int, ...]) -> float:
    """Root mean square share of a displacement that a spline leaves, locked along some axes."""
    found = []
    m = (SIZE[0] - inner.shape[2]) // 2
    for margin in (_MARGIN, 0.5, 0.0):
        bases = [_basis(n, margin)[m:-m] for n in SIZE]
        for axis in locked:
            bases[axis] = bases[axis][:, _LOCKED:-_LOCKED]
        q = [torch.linalg.qr(basis).Q for basis in bases]
        points = torch.einsum("sdijk,ia,jb,kc->sdabc", inner, *q)
        rest = inner - torch.einsum("sdabc,ia,jb,kc->sdijk", points, *q)
        found.append((rest.square().mean() / inner.square().mean()).sqrt().item())
    return min(found)


def affine_elastic(op: Op, device: torch.device) -> str | None:
    """Both: an affine map, plus what it makes of the spline, whose free points are fitted, too."""
    places, known = _places(op, device)
    if remark := _unknown(known):
        return remark
    free = _free(_MARGIN).flatten(1).T  # [V, 27]
    maps = _fit(places, known, free)
    bends = places - _mapped(maps)
    rest = bends - torch.einsum("svd,vijk->sdijk", maps[:, 4:], free.T.unflatten(1, SIZE))
    left = (_square(rest, known).mean() / _square(bends, known).mean()).sqrt().item()
    right = _splines(64).square().mean().sqrt().item()
    if left < _LEFT:
        return _pose(maps, False) or _strength(bends, known, right) or alike(maps[:, :4], 1e-3)
    # What is left is no such spline: an affine map alone is fitted, which takes a part of it away.
    plain = _splines(30).unflatten(0, (10, 3)) + voxels(SIZE)
    straight = _mapped(_fit(plain, torch.ones(10, *SIZE, dtype=torch.bool)))
    right = (plain - straight).square().mean().sqrt().item()
    maps = _fit(places, known)
    remark = _pose(maps, True) or _strength(places - _mapped(maps), known, right)
    return remark or f"{_NOT} {100 * left:.0f} % rms of it"


def with_labels(op: Op, device: torch.device) -> str | None:
    """The same of an image that comes with a label map, which contenders do not hand out."""
    return affine_elastic(lambda x: op(x, (x[:, :1] > SIZE[0] // 2).byte()), device)

"""Operations that move voxels, also in millimetres, history and points."""

from functools import partial
from math import log
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import workloads as w
from .asking import SIZE, Op, alike, happened, need, noise, often, parts, refusal, row, voxels

asks = partial(row, "Geometry")

#: Sampling places are known to some 64 epsilons of float32, a few times rounded: 1e-4 voxels.
_CLOSE = 0.01  # voxels
#: Root mean square share that a fit of the right kind leaves.
_LEFT = 1  # %
_CENTRE = (torch.tensor(SIZE, dtype=torch.float64) - 1) / 2
#: The block at the centre that no affine map takes outside of the image.
_MIDDLE = tuple(slice(n // 2 - 5, n // 2 + 5) for n in SIZE)
_FACTOR = 1 + w.AFFINE["scales"]
_INNER = slice(8, -8)  # what is so far inside cannot be sampled outside
_POINTS, _LOCKED = w.ELASTIC["num_control_points"], w.ELASTIC["locked_borders"]
#: How far cells of control points reach beyond the outer voxels' centres, in voxels; 5/8 as ITK.
_MARGINS = (0.625, 0.5, 0.0)


def _places(op: Op) -> tuple[Tensor, Tensor]:
    """Return which voxels samples come from, (S, 3, I, J, K), and where that is known."""
    at = voxels(SIZE)
    # A constant sum with the first, but for zeros outside, and where channels do not move alike.
    y = often(op, torch.cat([at, SIZE[0] - 1 - at[:1]]).float())
    places, last = y[:, :3], 2 * _CENTRE.view(3, 1, 1, 1)
    known = ((places > _CLOSE) & (places < last - _CLOSE)).all(1)
    known &= (y[:, 0] + y[:, 3] - last[0]).abs() < _CLOSE
    share = 1 - known[(slice(None), *_MIDDLE)].double().mean()
    need(share <= 0.01, f"channels move apart, or {100 * share:.0f} % is from outside")
    return places, known


def _fit(places: Tensor, where: Tensor, bends: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return affine maps about the centre that explain places where they are known best, [S, 4, 3],
    and where they map voxels to, (S, 3, I, J, K). Rows of bends [I J K, N] come after the four."""
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
    sine = axis.norm(dim=1, keepdim=True) / 2
    largest = (axis / 2 / sine * sine.asin().rad2deg()).abs().amax(0)
    each = ", ".join(f"{x:.2g}" for x in largest.tolist())
    right = largest.max() <= 1.2 * most and largest.min() >= most / 3
    need(right, f"turns by up to {each} degrees about the axes, not {most}")
    # What is divided by the least factor grows by more than what is multiplied by the greatest.
    found, least = factors.log().abs().max(), 2 - _FACTOR
    right = log(_FACTOR) / 2 <= found <= -log(least) + 0.002
    need(right, f"scales by a factor of up to {found.exp():.3g}, not {_FACTOR}")
    need((factors[:, 0] / factors[:, 2]).max() >= 1.01, "scales all axes alike")
    moved, reach = maps[:, 3].norm(dim=1).max(), w.AFFINE["translation"] * 3**0.5 / least + _CLOSE
    need(reach / 4 <= moved <= reach, f"moves the centre by up to {moved:.2g}, not {reach:.2g}")


@asks("affine maps", "affine")
def affine(op: Op) -> None:
    """Turned by up to 15 degrees about the centre, scaled by up to 1.1 and moved by 5 voxels."""
    places, known = _places(op)
    maps, right = _fit(places, known)
    off = ((places - right).abs().amax(1) * known).max()
    need(off <= 2 * _CLOSE, f"is not affine: places are off by up to {off:.2g} voxels")
    inside = (right - _CENTRE.view(3, 1, 1, 1)).abs() < _CENTRE.view(3, 1, 1, 1) - _CLOSE
    filled = (inside.all(1) & ~known).double().mean()
    need(filled <= 0.001, f"{filled:.0%} is filled though it comes from inside")
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
    right = w.ELASTIC["max_displacement"] * (_free().square().sum(0).mean() / 3).sqrt()
    each = ", ".join(f"{x:.2g}" for x in rms.tolist())
    need(((rms / right - 1).abs() < 0.3).all(), f"bends by {each} voxels rms, not {right:.2g}")


def _left(inner: Tensor, locked: int) -> Tensor:
    """Return the percentage of a displacement that a spline leaves, root mean square."""
    found = []
    for margin in _MARGINS:
        bases = [_basis(n, margin)[_INNER, locked : _POINTS - locked] for n in SIZE]
        projections = [basis @ torch.linalg.pinv(basis) for basis in bases]
        rest = inner - torch.einsum("sdijk,ai,bj,ck->sdabc", inner, *projections)
        found.append(100 * (rest.square().mean() / inner.square().mean()).sqrt())
    return min(found)


@asks("elastic deformation", "elastic", "deform")
def elastic(op: Op) -> None:
    """A cubic B-spline of 7³ control points moved by up to 7.5 voxels, those at the ends locked."""
    places, known = _places(op)
    bends, most = places - voxels(SIZE), w.ELASTIC["max_displacement"]
    _check_strength(bends, known)
    farthest = (bends.abs() * known[:, None]).max()
    need(farthest <= most, f"moves voxels by up to {farthest:.2g}, not {most}")
    inner = bends[..., _INNER, _INNER, _INNER]
    left = _left(inner, 0)
    need(left <= _LEFT, f"is no cubic B-spline of {_POINTS}³ points: a fit leaves {left:.0f} % rms")
    need(_left(inner, _LOCKED) <= _LEFT, "control points at the ends move though they are locked")
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
    """No other label appears, and labels of the moved image are the moved ones (Dice above 0.9)."""
    x = torch.nn.functional.interpolate(noise(2, 1, 8, 9, 11), SIZE, mode="trilinear")
    y, labels = op(x.clone(), ((x > 0.5) * 3).byte())
    strange = set(labels.unique().tolist()) - {0, 3}
    need(not strange, f"labels that were not there: {strange}")
    truth, moved = y > 0.5, labels == 3
    dice = 2 * (truth & moved).sum() / (truth.sum() + moved.sum())
    need(dice >= 0.9, f"Dice with the labels of the moved image is {dice:.2f}")
    affine_elastic(lambda x: op(x, (x[:, :1] > SIZE[0] // 2).byte())[0])


@asks("composed affines, flip and elastic: one interpolation")
def fused(ops: dict[str, Op]) -> None:
    """Two affines, a flip and a spline leave (2/3)³ = 0.30 of the variance of noise, not 0.17."""
    if "all" in ops and _interpolates_once(ops.pop("all")):
        return
    good = [name for name, op in ops.items() if _interpolates_once(op)]
    need(False, "; ".join(good) or "each step interpolates", part=bool(good))


def _interpolates_once(op: Op) -> bool:
    x = noise(1, 1, 32, 32, 32)
    left = torch.stack([op(x.clone())[..., 8:24, 8:24, 8:24].var() for _ in range(3)])
    share = left.mean() / x.var()
    assert share <= 0.6, "nothing was interpolated"
    return bool(share > 0.23)


# Images are (1, I, J, K) from here on, affines arrays (4, 4).
def _blob(shape: tuple[int, ...], centre: list[float], widths: Any) -> Tensor:
    """Return a Gaussian, (1, I, J, K); centre and standard deviations in voxels."""
    away = (voxels(shape).movedim(0, -1) - torch.tensor(centre)) / torch.tensor(widths)
    return (-away.square().sum(-1) / 2).exp().float()[None]


def _centroid(x: Tensor, before: list[float] | None = None) -> Tensor:
    """Return where the intensity of an image lies, in voxels; it must have moved."""
    weight = x.detach().double()[0]
    found = (weight * voxels(tuple(weight.shape))).sum((1, 2, 3)) / weight.sum()
    assert before is None or (found - torch.tensor(before)).norm() >= 1, "nothing moved"
    return found


@asks("images of different spacing stay aligned in mm")
def spacing(op: Op) -> None:
    """A blob at 1 mm and at 2 mm, rotated together: centroids within 0.5 mm."""
    one, two = _blob((32,) * 3, [20.0, 13, 18], 3.0), _blob((16,) * 3, [9.75, 6.25, 8.75], 1.5)
    coarse = np.diag([2, 2, 2, 1.0])
    coarse[:3, 3] = 0.5  # both volumes have the same bounds
    with refusal("refused: "):
        y, z = op(one, np.eye(4), two, coarse)
    shape = "x".join(map(str, z.shape[1:]))
    need(z.shape == two.shape, f"the second image becomes one of {shape} voxels")
    apart = (_centroid(y, [20.0, 13, 18]) - 2 * _centroid(z) - 0.5).norm()
    need(apart < 0.5, f"{apart:.1f} mm apart")


@asks("rotates in mm on anisotropic voxels")
def millimetres(op: Op) -> None:
    """A bar turned by 45 degrees about I in a volume of 1x1x2 mm keeps its lengths in mm."""
    x = _blob((32, 32, 16), [15.5, 15.5, 7.5], [2.5, 5.0, 1.25])
    y, _ = op(x, np.diag([1.0, 1, 2, 1]))
    happened(y, x, 0.05)
    at = voxels((32, 32, 16)).flatten(1) * torch.tensor([[1], [1], [2]])
    weights = (v.detach().flatten().double().clamp(min=0) for v in (x, y))
    covariances = torch.stack([at.cov(correction=0, aweights=weight) for weight in weights])
    lengths = torch.linalg.eigvalsh(covariances).sqrt()
    shown = " -> ".join("/".join(f"{length:.1f}" for length in each) for each in lengths)
    # linear interpolation widens by at most half a voxel of 2 mm
    need(lengths.diff(dim=0).abs().max() < 0.3, f"a bar's lengths become {shown} mm")


@asks("axes by anatomy ('LR')")
def anatomy(op: Op) -> None:
    """Flips left and right, stored along K, by their name."""
    # J, K and I grow to the posterior, left and superior
    affine = np.array([[0, 0, -1, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    x = noise(1, 6, 7, 8)
    need(torch.equal(op(x, affine)[0], x.flip(-1)), "another axis is flipped")


@asks("orientation and spacing")
def regrid(op: Op) -> None:
    """A blob brought to RAS and 1 mm stays where it was in mm."""
    # posterior, superior, left; 1.5, 1 and 2 mm
    raw = np.array([[0, 0, -2, 40], [-1.5, 0, 0, 30], [0, 1, 0, -5], [0, 0, 0, 1.0]])
    y, affine = op(_blob((18, 24, 12), [8.0, 13, 6], [2.0, 3, 1.5]), raw)
    axes, origin = np.split(np.asarray(affine, dtype=float)[:3], [3], 1)
    need(np.allclose(axes, np.eye(3), atol=1e-6), f"the axes become {axes.round(3).tolist()}")
    apart = (_centroid(y) + torch.from_numpy(origin[:, 0]) - torch.tensor([28, 18, 8])).norm()
    need(apart < 0.3, f"the blob is {apart:.1f} mm from its place")


@asks("what was drawn is recorded and replayed")
def replay(op: Op) -> None:
    """A random affine and flip, applied again as recorded: the same voxels."""
    x = noise(1, 10, 11, 12)
    y, again = op(x)
    happened(y, x)
    need(torch.equal(y, again), "replayed, it is another")


@asks("transforms can be undone", "inverse", "undo")
def inverse(ops: dict[str, Op]) -> None:
    """A random affine and flip, and a deformation, undone: a smooth image is what it was."""

    def restores(op: Op) -> None:
        x = _blob((24, 24, 24), [13.0, 11, 10], 4.0)
        y, back = op(x)
        happened(y, x, 0.1)
        error = (back.reshape(x.shape) - x)[:, 6:18, 6:18, 6:18].abs().max()
        # a peak of 4 voxels' width, linearly interpolated twice, is up to 3 % lower
        need(error < 0.05, f"wrong by {error:.2f} of the peak")

    parts(restores, ops)


@asks("points move with the image", "point", "boundingbox", "boxes")
def points(op: Op) -> None:
    """A point at the peak of a blob stays there."""
    x = _blob((24, 24, 24), [14.0, 10, 13], 2.5)
    y, moved = op(x, torch.tensor([[14.0, 10, 13]]))
    apart = (_centroid(y.reshape(x.shape), [14.0, 10, 13]) - moved.detach().reshape(3)).norm()
    need(apart < 0.3, f"{apart:.1f} voxels from the blob")


@asks("2D images")
def planes(op: Op) -> None:
    """An image (1, I, J) of one slice is rotated by 30 degrees within it."""
    x = _blob((24, 24, 1), [15.0, 12, 0], [3.0, 3, 1])[..., 0]
    y = op(x)
    need(y.shape == x.shape, f"the result of {list(x.shape)} is {list(y.shape)}")
    happened(y, x, 0.05)
    kept = y.sum() / x.sum()
    need(abs(kept - 1) < 0.05, f"{100 * kept:.0f} % of the intensity is left")


@asks("dtypes of labels are kept")
def dtypes(op: Op) -> None:
    """Label maps of uint8 and int16, moved at random."""
    for name in ("uint8", "int16"):
        x = torch.zeros(1, 12, 12, 12, dtype=getattr(torch, name))
        x[:, 3:7, 4:9, 5:9] = 2
        with refusal(f"{name} is refused: "):
            y = op(x)
        need(y.dtype == x.dtype, f"{name} becomes {y.dtype}".replace("torch.", ""))


@asks("displacement fields, one vector a voxel", "dense", "displacement", "warp")
def dense_field(op: Op) -> None:
    """A blob sampled at places that a smooth field moves, against the blob at these places."""
    at = voxels((24, 24, 24))
    field = 2 * (at.roll(-1, 0) / 6).sin()
    right = (-(at + field - torch.tensor([12, 11, 13]).view(3, 1, 1, 1)).square().sum(0) / 50).exp()
    y = op(_blob((24, 24, 24), [12.0, 11, 13], 5.0)[None], field[None].float())
    apart = (y[0, 0] - right)[4:-4, 4:-4, 4:-4].abs().max()
    need(apart < 0.02, f"wrong by up to {apart:.2f} of the peak")

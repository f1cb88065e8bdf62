"""Formulas of sampling: coordinates, weights of voxels, and the rule for where an image ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...shapes import Affine, ControlPoints, Triple, Volume

#: Windows of a sinc, of the distance as a share of their radius.
WINDOWS: dict[str, Callable[[Tensor], Tensor]] = {
    "lanczos": torch.sinc,
    "hamming": lambda x: 0.54 + 0.46 * torch.cos(torch.pi * x),
    "cosine": lambda x: torch.cos(torch.pi * x / 2),
    "welch": lambda x: 1 - x**2,
    "blackman": lambda x: 0.42 + 0.5 * torch.cos(torch.pi * x) + 0.08 * torch.cos(2 * torch.pi * x),
}
#: Tolerance towards inside, and towards the second of two voxels, in voxels.
TIE = 1e-4
#: Memberships of labels this close count as the same; the smallest of such labels is taken.
SAME = 1e-6
#: Distance of the domain of a B-spline from the outermost voxel centres in ITK, in voxels.
MARGIN = 0.625


def warp(
    x: Volume,
    matrix: Affine | None = None,
    control_points: ControlPoints | None = None,
    *,
    lattice: Affine | None = None,
    size: Triple | None = None,
    mode: str = "linear",
    fill: float | Tensor = 0.0,
    inverse: bool = False,
) -> Volume:
    """Sample through ``v -> matrix (v + u(v))``: the displacement first, then the affine map.

    Args:
        x: [B, C, I, J, K].
        matrix: Output voxel to input voxel, [B, 4, 4].
        control_points: Displacement in output voxels, [B, 3, N0, N1, N2].
        lattice: Output voxel to control-point coordinates, [B, 4, 4].
        size: Voxels of the output along I, J, K.
        mode, fill: As for :func:`sample`.
        inverse: Invert ``v + u(v)``.
    """
    size = size or (x.shape[2], x.shape[3], x.shape[4])
    at = voxels(size).expand(len(x), -1, -1)  # [B, N, 3]
    if control_points is not None:
        if lattice is None:
            lattice = control_lattice(size, control_points.shape[2:]).expand(len(x), 4, 4)
        at = displaced(at, control_points, lattice, inverse)
    if matrix is not None:
        at = at @ matrix[:, :3, :3].mT + matrix[:, None, :3, 3]
    return sample(x, at.reshape(len(x), *size, 3), mode, fill)


def displacement_warp(
    x: Volume, displacement: Tensor, *, mode: str = "linear", fill: float | Tensor = 0.0
) -> Volume:
    """Sample through ``v -> v + u(v)`` with one displacement for each output voxel.

    Args:
        x: [B, C, I, J, K].
        displacement: Displacement in voxels, [B, 3, I', J', K'].
        mode, fill: As for :func:`sample`.
    """
    size = displacement.shape[2:]
    at = voxels(size).reshape(*size, 3) + displacement.movedim(1, -1)
    return sample(x, at, mode, fill)


def b0_distortion(
    x: Volume,
    displacement: Tensor,
    axis: Sequence[int],
    spacing: Tensor,
    mode: str = "linear",
    fill: float = 0.0,
) -> Volume:
    """Sample at ``r - d``, times the change of that from one face of a voxel to the other.

    Args:
        x: [B, C, I, J, K].
        displacement: Displacement d along an axis in mm, [B, I, J, K].
        axis: The axis of each sample.
        spacing: Distance of voxels along it, [B].
        mode, fill: As for :func:`sample`.
    """
    out, size = [], displacement.shape[1:]
    for y, d, a, side in zip(x, displacement, axis, spacing, strict=True):
        at, d = voxels(size).reshape(*size, 3).clone(), (d / side).movedim(a, -1)
        at[..., a] -= d.movedim(-1, a)
        ends = torch.cat([d[..., :1], d, d[..., -1:]], -1)  # outermost voxels go on
        faces = (ends[..., 1:] + ends[..., :-1]) / 2
        weight = (1 - faces.diff(dim=-1)).movedim(-1, a)
        out.append(sample(y[None], at[None], mode, fill) * weight)
    return torch.cat(out)


def exponentiate(velocity: Tensor, steps: int = 7) -> Tensor:
    """Flow over unit time: ``id + v / 2^steps``, composed with itself ``steps`` times.

    Composed by linear interpolation, clamped to the outermost voxels: ``u(v) + u(v + u(v))``.

    Args:
        velocity: In voxels, [B, 3, I, J, K].
        steps: Number of compositions.
    """
    u, size = velocity.double() / 2**steps, velocity.shape[2:]
    for _ in range(steps):
        at = voxels(size).reshape(*size, 3) + u.movedim(1, -1)
        i, j, k = (shares_along(at[..., a], n, "linear") for a, n in enumerate(size))
        u = u + torch.einsum("bcijk,bxyzi,bxyzj,bxyzk->bcxyz", u, i, j, k)
    return u


def jacobian_determinant(displacement: Tensor) -> Tensor:
    """Determinant of the derivatives of ``v + u(v)``, by central differences, one-sided at ends.

    Args:
        displacement: In voxels, [B, 3, I, J, K].
    """
    size = displacement.shape[2:]
    position = voxels(size).reshape(*size, 3) + displacement.movedim(1, -1).double()
    columns = []
    for a, n in enumerate(size):
        after, before = (torch.arange(n) + 1).clamp(max=n - 1), (torch.arange(n) - 1).clamp(min=0)
        moved = position.index_select(1 + a, after) - position.index_select(1 + a, before)
        if n == 1:  # nothing is known along this axis: the identity
            moved, after = moved + torch.eye(3)[a], before + 1
        columns.append(moved / (after - before).view([-1 if d == 1 + a else 1 for d in range(5)]))
    return torch.linalg.det(torch.stack(columns, -1))[:, None]


def resample(
    x: Volume,
    size: Triple,
    matrix: Affine | None = None,
    *,
    mode: str = "linear",
    fill: float | Tensor = 0.0,
) -> Volume:
    """Sample on another grid, by default over one field of view: ``(v + 1/2) n / m - 1/2``.

    Args:
        x: [B, C, I, J, K].
        size: Voxels of the output along I, J, K, m for n of the input.
        matrix: Output voxel to input voxel, [B, 4, 4].
        mode, fill: As for :func:`sample`; also a window of the sinc, or 'gaussian'.
    """
    if matrix is not None:
        return warp(x, matrix, size=size, mode=mode, fill=fill)
    ratio = torch.tensor(x.shape[2:], dtype=torch.float64) / torch.tensor(size)
    at = (voxels(size) + 0.5) * ratio - 0.5
    return sample(x, at.expand(len(x), -1, -1).reshape(len(x), *size, 3), mode, fill)


def flip(x: Volume, axes: Tensor) -> Volume:
    """Mirror: ``out(i) = x(n - 1 - i)`` along the axes of each sample.

    Args:
        x: [B, C, I, J, K].
        axes: Axes to mirror, [B, 3] bool.
    """
    out = x.clone()
    for b, a in axes.nonzero().tolist():
        last = x.shape[2 + a] - 1
        lines = torch.stack([out[b].select(1 + a, last - i) for i in range(last + 1)], 1 + a)
        out[b] = lines
    return out


def sample(x: Volume, at: Tensor, mode: str = "linear", fill: float | Tensor = 0.0) -> Volume:
    """Read at coordinates, as ITK does: clamped up to half a voxel outside, farther out the fill.

    Inside means -1/2 <= c + 1e-4 < n - 1/2 along each axis. The fill is selected, never blended.
    Mode 'label' gives the label whose linearly interpolated membership is largest.

    Args:
        x: [B, C, I, J, K].
        at: Coordinates in voxels of ``x``, [B, I', J', K', 3].
        mode: 'linear', 'nearest', 'bspline', 'label', or as for :func:`resample`.
        fill: Value outside: a number, [B] or [B, C].
    """
    ends = torch.tensor(x.shape[2:]) - 0.5
    inside = ((at + TIE >= -0.5) & (at + TIE < ends)).all(-1)[:, None]  # [B, 1, I', J', K']
    if mode == "label":
        labels = sorted(set(x.flatten().tolist()))
        shares = torch.stack([sample((x == label).double(), at) for label in labels])
        largest = shares > shares.amax(0) - SAME
        out = torch.tensor(labels).double()[largest.double().argmax(0)]  # the first of equal ones
    else:
        i, j, k = (shares_along(at[..., a], x.shape[2 + a], mode) for a in range(3))
        out = torch.einsum("bcijk,bxyzi,bxyzj,bxyzk->bcxyz", x.double(), i, j, k)
    value = torch.as_tensor(fill, dtype=torch.float64)
    return torch.where(inside, out, value.reshape(*value.shape, *[1] * (5 - value.ndim)))


def shares_along(at: Tensor, n: int, mode: str) -> Tensor:
    """Share of each of n voxels of an axis in what is read at coordinates [...]: [..., n].

    Linear is a triangle about the voxel; nearest is the second of two. 'bspline' is the cubic
    B-spline through all voxels (Unser 1999, doi:10.1109/79.799930): its coefficients are the
    voxels through the inverse of the B-spline at the voxels.
    """
    if mode == "bspline":
        return mirrored_bspline(at, n) @ mirrored_bspline(torch.arange(n), n).inverse()
    if mode in WINDOWS:
        return windowed_sinc(at, n, mode)
    if mode == "gaussian":
        return gaussian(at, n)
    if mode == "linear":
        return (1 - (at.clamp(0, n - 1)[..., None] - torch.arange(n)).abs()).clamp_min(0)
    nearest = (at + 0.5 + TIE).floor().clamp(0, n - 1)
    return (nearest[..., None] == torch.arange(n)).double()


def mirrored_bspline(at: Tensor, n: int) -> Tensor:
    """Share of n coefficients that are mirrored in the outermost ones, as in ITK: [..., n]."""
    shares = torch.zeros(*at.shape, n, dtype=torch.float64)
    for m in range(-2, n + 2):
        period = max(2 * (n - 1), 1)
        mirrored = min(m % period, period - m % period) if n > 1 else 0
        shares[..., mirrored] += cubic_bspline(at - m)
    return shares


def windowed_sinc(at: Tensor, n: int, window: str, radius: int = 5) -> Tensor:
    """Share of n voxels, the outermost of which are repeated, as in ITK: [..., n].

    ``sinc(d) window(d / 5)`` up to a distance of 5 (Meijering et al. 1999,
    doi:10.1007/10704282_23), not divided by the sum.
    """
    shares = torch.zeros(*at.shape, n, dtype=torch.float64)
    for m in range(-radius - 1, n + radius + 1):
        d = at.double() - m
        share = torch.sinc(d) * WINDOWS[window](d / radius) * (d.abs() < radius)
        shares[..., min(max(m, 0), n - 1)] += share
    return shares


def gaussian(at: Tensor, n: int, std: float = 0.8, alpha: float = 4) -> Tensor:
    """Share of n voxels in a Gaussian about the coordinate, as in ITK: [..., n].

    Its integral over each voxel of which a part is within ``alpha std``, divided by the sum.
    """
    reach = alpha * std - 1e-6  # a voxel that touches the end is not within it
    low = torch.arange(n) - 0.5 - at.double()[..., None]
    high = low + 1
    near = (high > -reach) & (low < reach)
    shares = near * (torch.erf(high / (std * 2**0.5)) - torch.erf(low / (std * 2**0.5)))
    return shares / shares.sum(-1, keepdim=True)


def cubic_bspline(distance: Tensor) -> Tensor:
    """B3: 2/3 - d^2 + |d|^3 / 2 up to 1, (2 - |d|)^3 / 6 up to 2, and 0 beyond."""
    d = distance.double().abs()
    outer = (2 - d).clamp_min(0) ** 3 / 6
    return torch.where(d < 1, 2 / 3 - d**2 + d**3 / 2, outer)


def control_lattice(size: Sequence[int], counts: Sequence[int]) -> Affine:
    """Voxel to control point, [4, 4]: ITK's BSplineTransform over an image.

    ``count - 3`` cells cover the image and 0.625 voxel beyond its outermost voxel centres; one
    control point stands before.
    """
    lattice = torch.eye(4, dtype=torch.float64)
    for a, (n, count) in enumerate(zip(size, counts, strict=True)):
        lattice[a, a] = (count - 3) / (n - 1 + 2 * MARGIN)
        lattice[a, 3] = 1 + MARGIN * lattice[a, a]
    return lattice


def displaced(
    points: Tensor, control_points: ControlPoints, lattice: Affine, inverse: bool = False
) -> Tensor:
    """``v + u(v)``, u being the sum of all control points times B3; or p with ``p + u(p) = v``.

    Args:
        points: v, [B, N, 3].
        control_points: [B, 3, N0, N1, N2].
        lattice: From v to control-point coordinates, [B, 4, 4].
        inverse: Solve for p, by 200 steps ``p = v - u(p)``.
    """

    def displacement(points: Tensor) -> Tensor:
        at = points @ lattice[:, :3, :3].mT + lattice[:, None, :3, 3]
        counts = control_points.shape[2:]
        i, j, k = (cubic_bspline(at[..., a, None] - torch.arange(counts[a])) for a in range(3))
        return torch.einsum("bdijk,bni,bnj,bnk->bnd", control_points.double(), i, j, k)

    if not inverse:
        return points + displacement(points)
    out = points
    for _ in range(200):
        out = points - displacement(out)
    return out


def voxels(size: Sequence[int]) -> Tensor:
    """Coordinates of all voxels in C order, [N, 3]."""
    i, j, k = (torch.arange(n, dtype=torch.float64) for n in size)
    return torch.cartesian_prod(i, j, k)

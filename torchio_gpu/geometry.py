"""Voxels and the world: the one page where axes, units and directions are defined.

- A volume is [B, C, I, J, K]; voxel (i, j, k) has its centre at the integer coordinates (i, j, k).
- The world is RAS+ in millimetres: x grows to the Right, y to the Anterior, z to the Superior.
- An *affine* (4, 4) maps voxel to world: ``world = affine @ (i, j, k, 1)``.
- A transform's parameters say what happens to the *content*: a translation of +5 mm moves the
  content 5 mm along the axis, a scale of 2 doubles its size, +90 degrees about z takes +x to +y.
- Resampling asks the opposite question, where an output point comes from. That *pull-back* is
  the inverse of the content's motion; :func:`pull_back` and :func:`affine_motion` make it.

Matrices are composed in float64 and cast where voxels are sampled. Functions are batched and take
numpy arrays, or tensors where a gradient or a device is wanted; see :mod:`torchio_gpu.arrays`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from .arrays import Array, as_array, common, host
from .shapes import Triple

#: How far outside the outermost voxel centres ITK places the domain of a B-spline, in voxels
#: (half a voxel to the image's edge and an eighth beyond: BSplineTransformInitializer).
DOMAIN_MARGIN = 0.625
SPLINE_ORDER = 3
CODES = (("L", "R"), ("P", "A"), ("I", "S"))
_AXIS_NAMES = frozenset(
    [*"lrpais", "lr", "rl", "pa", "ap", "is", "si"]
    + ["left", "right", "posterior", "anterior", "inferior", "superior"]
)
#: Two grids are the same space when their corners agree within this share of a voxel.
SPACE_TOLERANCE = 0.01
#: Rounding of a number of voxels that may be whole.
_WHOLE = 1e-6


@dataclass(frozen=True)
class Space:
    """Where the voxels of a batch of images lie: a shape for all, an affine for each.

    Args:
        shape: Voxels along I, J, K.
        affine: Voxel to world, [B, 4, 4] float64 on the host.
    """

    shape: Triple
    affine: np.ndarray

    @cached_property
    def to_voxel(self) -> np.ndarray:
        """World to voxel, [B, 4, 4]; not to be written to."""
        return _to_voxel(self.affine.astype(np.float64, copy=False).tobytes())

    @property
    def centre(self) -> np.ndarray:
        """World position of voxel (n - 1) / 2, [B, 3]: the middle, for odd and even n alike."""
        return self.affine[:, :3] @ _middle(self.shape)

    @property
    def corners(self) -> np.ndarray:
        """World positions of the eight corner voxels, [B, 8, 3]."""
        ends = np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij")
        return apply_affine(self.affine, np.stack(ends, -1).reshape(-1, 3))

    def distance_mm(self, other: Space) -> float:
        """Largest distance between corresponding corners; infinite when the shapes differ."""
        if self.shape != other.shape:
            return float("inf")
        if np.array_equal(self.affine, other.affine):
            return 0.0
        return float(np.linalg.norm(self.corners - other.corners, axis=-1).max())

    def is_same(self, other: Space) -> bool:
        """Return whether both are one space: corners agree within 1 % of the smallest voxel side.

        The limit is relative, so that it holds for micrometres and for metres.
        """
        return self.distance_mm(other) <= SPACE_TOLERANCE * self._side(other)

    def is_aligned(self, other: Space) -> bool:
        """Return whether affines agree as those of one space do, whatever the shapes."""
        shape = tuple(min(pair) for pair in zip(self.shape, other.shape, strict=True))
        i, j, k = shape
        return Space((i, j, k), self.affine).is_same(Space((i, j, k), other.affine))

    def _side(self, other: Space) -> float:
        return float(min(spacing(self.affine).min(), spacing(other.affine).min()))


@lru_cache(maxsize=64)
def _to_voxel(affine: bytes) -> np.ndarray:
    """Inverse of affines, [B, 4, 4], known by their bytes: the same grids come again and again."""
    inverse: np.ndarray = invert(np.frombuffer(affine).reshape(-1, 4, 4))
    inverse.flags.writeable = False
    return inverse


@lru_cache(maxsize=256)
def _middle(shape: Triple) -> np.ndarray:
    i, j, k = shape
    return np.array(((i - 1) / 2, (j - 1) / 2, (k - 1) / 2, 1.0))


def check_affine(affine: Any, name: str = "affine") -> np.ndarray:
    """An affine as a (4, 4) float64 array; raises when it cannot place voxels in the world."""
    matrix = np.array(host(as_array(affine, name)), dtype=np.float64)
    if matrix.shape != (4, 4):
        raise ValueError(f"{name} must have shape (4, 4), got {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} must be finite, got {matrix.tolist()}")
    if matrix[3].tolist() != [0, 0, 0, 1]:
        raise ValueError(f"the last row of {name} must be [0, 0, 0, 1], got {matrix[3].tolist()}")
    # Compared with the volume of a box of the same spacing, so that units do not matter.
    if abs(np.linalg.det(matrix[:3, :3])) <= 1e-9 * spacing(matrix).prod():
        raise ValueError(f"{name} must be invertible, got the singular matrix {matrix.tolist()}")
    return matrix


def spacing(affine: np.ndarray) -> np.ndarray:
    """Distance between neighbouring voxels along I, J, K in mm, [..., 3]."""
    return np.sqrt((affine[..., :3, :3] ** 2).sum(-2))


def orientation(affine: np.ndarray) -> tuple[str, str, str]:
    """Anatomical direction in which I, J and K grow, for example ('R', 'A', 'S').

    Each voxel axis takes the world axis it runs along most; strongest matches are settled first.
    """
    cosines = affine[:3, :3] / spacing(affine)  # [world, voxel]
    codes = ["", "", ""]
    strength = np.abs(cosines)
    for _ in range(3):
        world, voxel = divmod(int(strength.argmax()), 3)
        codes[voxel] = CODES[world][int(cosines[world, voxel] > 0)]
        strength[world, :] = -1
        strength[:, voxel] = -1
    return codes[0], codes[1], codes[2]


def axis_index(axis: int | str, affine: np.ndarray) -> int:
    """Voxel axis (0, 1 or 2) meant by an integer or an anatomical name.

    A name counts by its first letter, one of L, R, A, P, I, S: 'L', 'Left' and 'LR' are the same.

    >>> axis_index("LR", np.eye(4))
    0
    """
    if isinstance(axis, int):
        return check_axis(axis)
    letter = check_axis_name(axis)[0].upper()
    codes = orientation(affine)
    pair = next(pair for pair in CODES if letter in pair)
    return next(n for n, code in enumerate(codes) if code in pair)


def check_axis(axis: int) -> int:
    """Return an integer voxel axis, or raise."""
    if isinstance(axis, bool) or not isinstance(axis, int) or axis not in (0, 1, 2):
        raise ValueError(f"axes must be 0, 1, 2 or anatomical names such as 'LR', got {axis!r}")
    return axis


def check_axis_name(axis: str, name: str = "axes") -> str:
    """Return an anatomical axis name, or raise."""
    if not isinstance(axis, str) or axis.lower() not in _AXIS_NAMES:
        raise ValueError(
            f"{name} must be 0, 1, 2 or anatomical names such as 'LR', 'Anterior' or 'S', "
            f"got {axis!r}"
        )
    return axis


def apply_affine(matrix: Array, points: Array) -> Any:
    """Map points [..., N, 3] by matrices [..., 4, 4]."""
    return points @ matrix[..., :3, :3].swapaxes(-1, -2) + matrix[..., None, :3, 3]


def invert(matrix: Array) -> Any:
    """Inverse of affine matrices [..., 4, 4].

    On tensors by cofactors: differentiable, and without LAPACK's question to the device whether
    the matrix is singular.
    """
    if isinstance(matrix, np.ndarray):
        return np.linalg.inv(matrix)
    m = matrix[..., :3, :3]
    one, two = [1, 2, 0], [2, 0, 1]
    cofactors = (
        m[..., one, :][..., one] * m[..., two, :][..., two]
        - m[..., one, :][..., two] * m[..., two, :][..., one]
    )
    determinant = (m[..., 0, :] * cofactors[..., 0, :]).sum(-1)
    linear = cofactors.swapaxes(-1, -2) / determinant[..., None, None]
    return affine_from(linear, -(linear @ matrix[..., :3, 3:])[..., 0])


def pull_back(motion: Array) -> Any:
    """From where the content goes to where an output point comes from."""
    return invert(motion)


def affine_from(linear: Array, offset: Array) -> Any:
    """Homogeneous matrices [..., 4, 4] from their linear part [..., 3, 3] and offset [..., 3]."""
    xp, linear, offset = common(linear, offset)
    where = {} if xp is np else {"device": linear.device}
    matrix = xp.zeros((*linear.shape[:-2], 4, 4), dtype=xp.float64, **where)
    matrix[..., :3, :3] = linear
    matrix[..., :3, 3] = offset
    matrix[..., 3, 3] = 1
    return matrix


# E, C, S with R_axis(t) = E[axis] + C[axis] cos t + S[axis] sin t (Rodrigues), [3, 3, 3]
_KEEP = np.einsum("ai,aj->aij", np.eye(3), np.eye(3))
_COSINE = np.eye(3) - _KEEP
_SINE = np.zeros((3, 3, 3))
for _a, _b, _c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
    _SINE[_a, _c, _b], _SINE[_a, _b, _c] = 1, -1


def rotation(degrees: Array) -> Any:
    """Rotation matrices [..., 3, 3] from angles about x, y, z in degrees, [..., 3].

    Right-handed in RAS+; applied about y first, then x, then z, as SimpleITK's Euler3DTransform
    does: R = Rz Rx Ry.
    """
    xp, degrees, keep, cosine, sine = common(degrees, _KEEP, _COSINE, _SINE)
    radians = xp.deg2rad(degrees)[..., None, None]
    about = keep + cosine * xp.cos(radians) + sine * xp.sin(radians)
    return about[..., 2, :, :] @ about[..., 0, :, :] @ about[..., 1, :, :]


def affine_motion(
    scales: Array, degrees: Array, translation: Array, centre: Array, inverse: bool = False
) -> Any:
    """Motion of the content in the world: rotate, move, then scale about a centre.

    ``x -> centre + S (R (x - centre) + t)``, the order of TorchIO 1.x, in which the scale applies
    to the translation too.

    Args:
        scales: Size of the result relative to the original along x, y, z, [B, 3].
        degrees: Angles about x, y, z, [B, 3]; see :func:`rotation`.
        translation: Millimetres along x, y, z, [B, 3].
        centre: World position that scaling and rotation leave in place, [B, 3] in mm.
        inverse: Return the inverse, the pull-back, which is as easily written down.

    Returns:
        Matrices [B, 4, 4].
    """
    _, scales, degrees, translation, centre = common(scales, degrees, translation, centre)
    turn = rotation(degrees)  # [B, 3, 3]
    if inverse:  # y -> centre + R' ((y - centre) / S - t)
        back = turn.swapaxes(-1, -2)
        shift = centre / scales + translation
        return affine_from(back / scales[..., None, :], centre - (back @ shift[..., None])[..., 0])
    linear = scales[..., None] * turn
    offset = centre + scales * translation - (linear @ centre[..., None])[..., 0]
    return affine_from(linear, offset)


def reflection(space: Space, axes: np.ndarray) -> np.ndarray:
    """World map that mirrors a space in the middle of the chosen voxel axes.

    Args:
        space: The grid whose middle stays in place.
        axes: Which of I, J, K to mirror, [B, 3] bool.

    Returns:
        Matrices [B, 4, 4]; each is its own inverse.
    """
    mirror = np.zeros((len(axes), 4, 4))
    mirror.reshape(-1, 16)[:, :11:5] = 1 - 2 * axes  # the diagonal
    mirror[:, :3, 3] = axes * (2 * _middle(space.shape)[:3])
    mirror[:, 3, 3] = 1
    return space.affine @ mirror @ space.to_voxel


def reoriented(space: Space, codes: Sequence[str]) -> Space:
    """The grid over the same voxels whose axes grow most nearly in given directions.

    Args:
        space: The grid.
        codes: Anatomical directions of I, J, K, such as ('R', 'A', 'S').
    """
    shapes, affines = [], []
    for affine in space.affine:
        now = orientation(affine)
        turn = np.zeros((4, 4))  # new voxel to old voxel
        turn[3, 3] = 1
        shape = []
        for new, code in enumerate(codes):
            pair = next(pair for pair in CODES if code in pair)
            old = next(axis for axis, have in enumerate(now) if have in pair)
            n = space.shape[old]
            turn[old, new] = 1 if now[old] == code else -1
            turn[old, 3] = 0 if now[old] == code else n - 1
            shape.append(n)
        shapes.append(shape)
        affines.append(affine @ turn)
    return Space(one_shape(shapes), np.stack(affines))


def respaced(space: Space, distance: np.ndarray) -> Space:
    """The grid with another spacing and the same centre.

    It has as many voxels as fit into the field of view, floor(n old / new) as in TorchIO 1.x, and
    at least one; a single slice stays single.

    Args:
        space: The grid.
        distance: Distance between voxels along I, J, K in mm, [3].
    """
    counts = np.floor(np.array(space.shape) * spacing(space.affine) / distance + _WHOLE)
    counts = np.where(np.array(space.shape) == 1, 1, counts.clip(1))
    return _rescaled(space, one_shape(counts), distance / spacing(space.affine))


def resized(space: Space, shape: Triple) -> Space:
    """The grid of another shape over the same field of view."""
    return _rescaled(space, shape, np.array(space.shape) / np.array(shape))


def _rescaled(space: Space, shape: Triple, factor: np.ndarray) -> Space:
    """The grid whose voxels are ``factor`` times as large, about the same centre."""
    affine = space.affine.copy()
    affine[:, :3, :3] *= np.broadcast_to(factor, (len(affine), 3))[:, None]
    affine[:, :3, 3] += space.centre - Space(shape, affine).centre
    return Space(shape, affine)


def windowed(space: Space, first: np.ndarray, shape: Triple) -> Space:
    """The grid of some of a grid's voxels, or of more than these.

    Args:
        space: The grid.
        first: Its voxel that becomes (0, 0, 0), [3] or [B, 3]; it may lie outside.
        shape: Voxels of the window.
    """
    affine = space.affine.copy()
    corner = np.broadcast_to(first, (len(affine), 3)).astype(np.float64)
    affine[:, :3, 3] += (affine[:, :3, :3] @ corner[..., None])[..., 0]
    return Space(shape, affine)


def one_shape(shapes: Any) -> Triple:
    """The shape that all samples have, [B, 3]; raises when they differ."""
    each = [tuple(int(n) for n in shape) for shape in shapes]
    for sample, shape in enumerate(each):
        if shape != each[0]:
            raise ValueError(
                f"samples of a batch must come out in one shape: sample 0 in {each[0]}, sample "
                f"{sample} in {shape}; transform subjects before they are batched, or to a "
                "given shape"
            )
    i, j, k = each[0]
    return i, j, k


def slice_axis(space: Space) -> tuple[np.ndarray, np.ndarray] | None:
    """For single-slice images, the world axes that the slice's plane holds, else ``None``.

    Returns:
        (in_plane, about): two [B, 3] masks over the world axes x, y, z. Translation and scale are
        allowed where ``in_plane`` is 1, rotation where ``about`` is 1: about the slice's normal.
    """
    if 1 not in space.shape:
        return None
    thin = [axis for axis, n in enumerate(space.shape) if n == 1]
    cosines = np.abs(space.affine[:, :3, :3]) / spacing(space.affine)[:, None]  # world, voxel
    normal = np.zeros((len(cosines), 3))
    for axis in thin:
        normal[range(len(normal)), cosines[:, :, axis].argmax(1)] = 1
    # A line or a point of voxels has no plane to rotate in.
    about = normal if len(thin) == 1 else np.zeros_like(normal)
    return 1 - normal, about


def motion_in(
    space: Space,
    scales: Array,
    degrees: Array,
    translation: Array,
    centre: Array,
    inverse: bool = False,
) -> Any:
    """:func:`affine_motion` of the content of a space; a single slice stays in its plane."""
    plane = slice_axis(space)
    if plane is not None:
        _, scales, degrees, translation, inside, about = common(
            scales, degrees, translation, *plane
        )
        scales, translation = 1 + (scales - 1) * inside, translation * inside
        degrees = degrees * about
    return affine_motion(scales, degrees, translation, centre, inverse)


def within_slice(
    matrix: Array, source: Triple, target: Triple, offset: np.ndarray | None = None
) -> Any:
    """A map between the voxels of two grids, [B, 4, 4], that does not leave a single slice.

    A single slice that becomes a single slice is neither turned nor scaled nor moved across. Where
    the grid itself moved, by an ``offset`` in voxels of the source, [B, 3], it may have become
    another slice: one at least half a slice away stays away.
    """
    linear = np.abs(host(matrix))[0, :3, :3]
    mask, unit, away = np.ones((4, 4)), np.zeros((4, 4)), np.zeros((len(matrix), 4, 4))
    for a in range(3):
        b = int(linear[a].argmax())  # the target's axis that runs along it
        if source[a] == 1 and target[b] == 1:
            mask[a, :] = 0
            mask[:, b] = 0
            unit[a, b] = 1
            if offset is not None:
                away[:, a, 3] = np.where(abs(offset[:, a]) > 0.5, offset[:, a], 0)
    _, matrix, mask, unit, away = common(matrix, mask, unit, away)
    return matrix * mask + unit + away


def control_lattice(space: Space, counts: Triple) -> np.ndarray:
    """World to control-point coordinates, [B, 4, 4], for a cubic B-spline over a space.

    The lattice runs along the voxel axes and is laid out as ITK's BSplineTransform does over an
    image: ``counts - 3`` mesh cells cover the image and a margin of 0.625 voxel beyond the outer
    voxel centres, and one further control point stands outside each end. In control-point
    coordinates, point m of the lattice sits at m, and the image lies within [1, counts - 2].
    """
    return _voxel_lattice(space.shape, counts) @ space.to_voxel


@lru_cache(maxsize=256)
def _voxel_lattice(shape: Triple, counts: Triple) -> np.ndarray:
    lattice = np.diag((0.0, 0.0, 0.0, 1.0))
    for axis, (n, count) in enumerate(zip(shape, counts, strict=True)):
        cells_per_voxel = (count - SPLINE_ORDER) / (n - 1 + 2 * DOMAIN_MARGIN)
        lattice[axis, axis] = cells_per_voxel
        lattice[axis, 3] = 1 + DOMAIN_MARGIN * cells_per_voxel
    return lattice


def control_spacing(space: Space, counts: Triple) -> np.ndarray:
    """Distance between neighbouring control points along I, J, K in mm, [B, 3]."""
    cells_per_voxel = _voxel_lattice(space.shape, counts).diagonal()[:3]
    return spacing(space.affine) / cells_per_voxel


def displace(control_points: Array, linear: Array) -> Any:
    """Express displacement vectors [B, 3, N0, N1, N2] in other axes, by ``linear`` [B, 3, 3]."""
    _, points, linear = common(control_points, linear)
    return (linear @ points.reshape(*points.shape[:2], -1)).reshape(points.shape)

"""Voxels and the world: the one page where axes, units and directions are defined.

- A volume is [B, C, I, J, K]; voxel (i, j, k) has its centre at the integer coordinates (i, j, k).
- The world is RAS+ in millimetres: x grows to the Right, y to the Anterior, z to the Superior.
- An *affine* (4, 4) maps voxel to world: ``world = affine @ (i, j, k, 1)``.
- A transform's parameters say what happens to the *content*: a translation of +5 mm moves the
  content 5 mm along the axis, a scale of 2 doubles its size, +90 degrees about z takes +x to +y.
- Resampling asks the opposite question, where an output point comes from. That *pull-back* is
  the inverse of the content's motion, and :func:`pull_back` is the only place that inverts it.

Matrices are composed in float64 and cast where voxels are sampled. All functions are plain torch:
batched, differentiable, and at home on any device.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .shapes import Affine, ControlPoints, Triple

#: How far outside the outermost voxel centres ITK places the domain of a B-spline, in voxels
#: (half a voxel to the image's edge and an eighth beyond: BSplineTransformInitializer).
DOMAIN_MARGIN = 0.625
SPLINE_ORDER = 3
CODES = (("L", "R"), ("P", "A"), ("I", "S"))
#: Two grids are the same space when their corners agree within this distance.
SPACE_TOLERANCE_MM = 1e-3


@dataclass(frozen=True)
class Space:
    """Where the voxels of a batch of images lie: a shape for all, an affine for each.

    Args:
        shape: Voxels along I, J, K.
        affine: Voxel to world, [B, 4, 4] float64 on the host.
    """

    shape: Triple
    affine: Affine

    @property
    def centre(self) -> Tensor:
        """World position of voxel (n - 1) / 2, [B, 3]: the middle, for odd and even n alike."""
        middle = _homogeneous(tuple((n - 1) / 2 for n in self.shape))
        return (self.affine @ middle)[:, :3]

    @property
    def corners(self) -> Tensor:
        """World positions of the eight corner voxels, [B, 8, 3]."""
        ends = [(0, n - 1) for n in self.shape]
        indices = torch.cartesian_prod(*[torch.tensor(e, dtype=torch.float64) for e in ends])
        return apply_affine(self.affine, indices)

    def distance_mm(self, other: Space) -> float:
        """Largest distance between corresponding corners; infinite when the shapes differ."""
        if self.shape != other.shape:
            return float("inf")
        return float((self.corners - other.corners).norm(dim=-1).max())


@lru_cache(maxsize=1024)
def _homogeneous(point: tuple[float, ...]) -> Tensor:
    return torch.tensor((*point, 1.0), dtype=torch.float64)


def check_affine(affine: object, name: str = "affine") -> Tensor:
    """An affine as a (4, 4) float64 tensor; raises when it cannot place voxels in the world."""
    matrix = torch.as_tensor(affine, dtype=torch.float64).detach().cpu()
    if matrix.shape != (4, 4):
        raise ValueError(f"{name} must have shape (4, 4), got {tuple(matrix.shape)}")
    if not bool(torch.isfinite(matrix).all()):
        raise ValueError(f"{name} must be finite, got {matrix.tolist()}")
    if matrix[3].tolist() != [0, 0, 0, 1]:
        raise ValueError(f"the last row of {name} must be [0, 0, 0, 1], got {matrix[3].tolist()}")
    columns = matrix[:3, :3].norm(dim=0)
    # Compared with the volume of a box of the same spacing, so that units do not matter.
    if bool((matrix[:3, :3].det().abs() <= 1e-9 * columns.prod())):
        raise ValueError(f"{name} must be invertible, got the singular matrix {matrix.tolist()}")
    return matrix


def spacing(affine: Tensor) -> Tensor:
    """Distance between neighbouring voxels along I, J, K in mm, [..., 3]."""
    return affine[..., :3, :3].norm(dim=-2)


def orientation(affine: Tensor) -> tuple[str, str, str]:
    """Anatomical direction in which I, J and K grow, for example ('R', 'A', 'S').

    Each voxel axis takes the world axis it runs along most; strongest matches are settled first.
    """
    cosines = affine[:3, :3] / spacing(affine)  # [world, voxel]
    codes = ["", "", ""]
    strength = cosines.abs().clone()
    for _ in range(3):
        world, voxel = divmod(int(strength.argmax()), 3)
        codes[voxel] = CODES[world][int(cosines[world, voxel] > 0)]
        strength[world, :] = -1
        strength[:, voxel] = -1
    return codes[0], codes[1], codes[2]


def axis_index(axis: int | str, affine: Tensor) -> int:
    """Voxel axis (0, 1 or 2) meant by an integer or an anatomical name.

    Names: 'L', 'Left', 'LR', 'lateral directions' by their first letter: one of L, R, A, P, I, S.

    >>> axis_index("LR", torch.eye(4, dtype=torch.float64))
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
    if isinstance(axis, bool) or axis not in (0, 1, 2):
        raise ValueError(f"axes must be 0, 1, 2 or anatomical names such as 'LR', got {axis!r}")
    return axis


def check_axis_name(axis: str) -> str:
    """Return an anatomical axis name, or raise."""
    if not isinstance(axis, str) or axis[:1].upper() not in "LRAPIS" or not axis:
        raise ValueError(
            f"axes must be 0, 1, 2 or anatomical names such as 'LR', 'Anterior' or 'S', "
            f"got {axis!r}"
        )
    return axis


def apply_affine(matrix: Affine, points: Tensor) -> Tensor:
    """Map points [..., N, 3] by matrices [..., 4, 4]."""
    return points @ matrix[..., :3, :3].mT + matrix[..., None, :3, 3]


def invert(matrix: Affine) -> Affine:
    """Inverse of affine matrices [..., 4, 4] in closed form.

    Rows of the inverse are cross products of columns over the determinant: exact to rounding, no
    wait for the device to say whether it exists, and none of LAPACK's start-up for a 3 x 3.
    """
    a, b, c, offset = matrix[..., :3, :].unbind(-1)
    rows = torch.linalg.cross(torch.stack((b, c, a), -2), torch.stack((c, a, b), -2))
    linear = rows / (rows[..., 0, :] * a).sum(-1)[..., None, None]
    top = torch.cat((linear, -(linear @ offset[..., None])), -1)
    return torch.cat((top, matrix[..., 3:, :]), -2)


def pull_back(motion: Affine) -> Affine:
    """From where the content goes to where an output point comes from."""
    return invert(motion)


@lru_cache(maxsize=32)
def _rotation_constants(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """E, C, S with R_axis(t) = E[axis] + C[axis] cos t + S[axis] sin t (Rodrigues), [3, 3, 3]."""
    eye = torch.eye(3, dtype=dtype)
    keep = torch.einsum("ai,aj->aij", eye, eye)
    cross = torch.zeros(3, 3, 3, dtype=dtype)
    for a in range(3):
        b, c = (a + 1) % 3, (a + 2) % 3
        cross[a, c, b], cross[a, b, c] = 1, -1
    return keep.to(device), (eye - keep).to(device), cross.to(device)


def rotation(degrees: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] from angles about x, y, z in degrees, [..., 3].

    Right-handed in RAS+; applied about y first, then x, then z, as SimpleITK's Euler3DTransform
    does: R = Rz Rx Ry.
    """
    keep, cosine, sine = _rotation_constants(degrees.dtype, degrees.device)
    radians = torch.deg2rad(degrees)[..., None, None]
    x, y, z = (keep + cosine * radians.cos() + sine * radians.sin()).unbind(-3)
    return z @ x @ y


def affine_motion(
    scales: Tensor, degrees: Tensor, translation: Tensor, centre: Tensor
) -> Affine:
    """Motion of the content in the world: rotate, move, then scale about a centre.

    ``x -> centre + S (R (x - centre) + t)``, the order of TorchIO 1.x, in which the scale applies
    to the translation too.

    Args:
        scales: Size of the result relative to the original along x, y, z, [B, 3].
        degrees: Angles about x, y, z, [B, 3]; see :func:`rotation`.
        translation: Millimetres along x, y, z, [B, 3].
        centre: World position that scaling and rotation leave in place, [B, 3] in mm.

    Returns:
        Matrices [B, 4, 4] in the dtype and on the device of the parameters.
    """
    linear = scales[..., None] * rotation(degrees)  # [B, 3, 3]
    moved = (linear @ centre[..., None])[..., 0]
    offset = centre + scales * translation - moved
    top = torch.cat((linear, offset[..., None]), -1)  # [B, 3, 4]
    bottom = _homogeneous((0.0, 0.0, 0.0)).to(top).expand(*top.shape[:-2], 1, 4)
    return torch.cat((top, bottom), -2)


def reflection(space: Space, axes: Tensor) -> Affine:
    """World map that mirrors a space in the middle of the chosen voxel axes.

    Args:
        space: The grid whose middle stays in place.
        axes: Which of I, J, K to mirror, [B, 3] bool.

    Returns:
        Matrices [B, 4, 4]; each is its own inverse.
    """
    last = torch.tensor(space.shape, dtype=torch.float64) - 1
    mirror = torch.eye(4, dtype=torch.float64).repeat(len(axes), 1, 1)
    mirror[:, :3, :3] -= 2 * torch.diag_embed(axes.double())
    mirror[:, :3, 3] = axes * last
    return space.affine @ mirror @ invert(space.affine)


def slice_axis(space: Space) -> tuple[Tensor, Tensor] | None:
    """For single-slice images, the world axes that the slice's plane holds, else ``None``.

    Returns:
        (in_plane, about): two [B, 3] masks over the world axes x, y, z. Translation and scale are
        allowed where ``in_plane`` is 1, rotation where ``about`` is 1: about the slice's normal.
    """
    if 1 not in space.shape:
        return None
    thin = torch.tensor([n == 1 for n in space.shape])
    cosines = space.affine[:, :3, :3].abs() / spacing(space.affine)[:, None]  # [B, world, voxel]
    normal = torch.zeros(len(cosines), 3, dtype=torch.float64)
    for voxel in thin.nonzero()[:, 0].tolist():
        normal.scatter_(1, cosines[:, :, voxel].argmax(1, keepdim=True), 1.0)
    # A line or a point of voxels has no plane to rotate in.
    about = normal if int(thin.sum()) == 1 else torch.zeros_like(normal)
    return 1 - normal, about


def control_lattice(space: Space, counts: Triple) -> Affine:
    """World to control-point coordinates, [B, 4, 4], for a cubic B-spline over a space.

    The lattice runs along the voxel axes and is laid out as ITK's BSplineTransform does over an
    image: ``counts - 3`` mesh cells cover the image and a margin of 0.625 voxel beyond the outer
    voxel centres, and one further control point stands outside each end. In control-point
    coordinates, point m of the lattice sits at m, and the image lies within [1, counts - 2].
    """
    lattice = torch.zeros(4, 4, dtype=torch.float64)
    lattice[3, 3] = 1
    for axis, (n, count) in enumerate(zip(space.shape, counts, strict=True)):
        cells_per_voxel = (count - SPLINE_ORDER) / (n - 1 + 2 * DOMAIN_MARGIN)
        lattice[axis, axis] = cells_per_voxel
        lattice[axis, 3] = 1 + DOMAIN_MARGIN * cells_per_voxel
    return lattice @ invert(space.affine)


def control_spacing(space: Space, counts: Triple) -> Tensor:
    """Distance between neighbouring control points along I, J, K in mm, [B, 3]."""
    return 1 / control_lattice(space, counts)[:, :3, :3].norm(dim=-1)


def displace(control_points: ControlPoints, linear: Tensor) -> ControlPoints:
    """Express displacement vectors in other axes: multiply each by ``linear`` [B, 3, 3]."""
    flat = control_points.flatten(2)  # [B, 3, N]
    return (linear @ flat).view_as(control_points)

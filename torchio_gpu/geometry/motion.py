"""Motion of the content: rotation, scale, translation, reflection, as world matrices."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..arrays import Array, common, host
from ..shapes import Triple
from ..tracing import instruction
from .matrices import affine_from, invert
from .space import Space, middle, spacing

# E, C, S with R_axis(t) = E[axis] + C[axis] cos t + S[axis] sin t (Rodrigues), [3, 3, 3]
_KEEP = np.einsum("ai,aj->aij", np.eye(3), np.eye(3))
_COSINE = np.eye(3) - _KEEP
_SINE = np.zeros((3, 3, 3))
for _a, _b, _c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
    _SINE[_a, _c, _b], _SINE[_a, _b, _c] = 1, -1


def rotation(degrees: Array) -> Any:
    """Return rotation matrices [..., 3, 3] from angles about x, y, z in degrees, [..., 3].

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
    """Return the motion of the content in the world: rotate, translate, then scale about a centre.

    ``x -> centre + S (R (x - centre) + t)``, the order of TorchIO 1.x, in which the scale applies
    to the translation too.

    Args:
        scales: Size of the result relative to the original along x, y, z, [B, 3].
        degrees: Angles about x, y, z, [B, 3]; see :func:`rotation`.
        translation: Millimetres along x, y, z, [B, 3].
        centre: World position that scaling and rotation leave in place, [B, 3] in mm.
        inverse: Return the inverse, which is the pull-back.

    Returns:
        Matrices [B, 4, 4].
    """
    _, scales, degrees, translation, centre = common(scales, degrees, translation, centre)
    rotate = rotation(degrees)  # [B, 3, 3]
    if inverse:  # y -> centre + R' ((y - centre) / S - t)
        back = rotate.swapaxes(-1, -2)
        shift = centre / scales + translation
        return affine_from(back / scales[..., None, :], centre - (back @ shift[..., None])[..., 0])
    linear = scales[..., None] * rotate
    offset = centre + scales * translation - (linear @ centre[..., None])[..., 0]
    return affine_from(linear, offset)


def reflection(space: Space, axes: np.ndarray) -> np.ndarray:
    """Return the world map that mirrors a space about its centre, along voxel axes.

    Args:
        space: The grid, whose centre is fixed.
        axes: Mask of the axes I, J, K to mirror, [B, 3] bool.

    Returns:
        Matrices [B, 4, 4]; each is its own inverse.
    """
    return _reflection(_all_reflections(space.affine, space.shape), axes)


@instruction
def _all_reflections(affine: np.ndarray, shape: Triple) -> np.ndarray:
    return _reflections_of(affine.astype(np.float64, copy=False).tobytes(), shape)


@instruction
def _reflection(reflections: np.ndarray, axes: np.ndarray) -> np.ndarray:
    each = np.arange(len(reflections)) * 8 + axes.dot(_BITS)  # a space may be that of all samples
    return reflections.reshape(-1, 4, 4)[each]  # type: ignore[no-any-return]


_BITS = np.array((4, 2, 1))


@lru_cache(maxsize=64)
def _reflections_of(affine: bytes, shape: Triple) -> np.ndarray:
    """Return the reflections along no axis, K, J, J and K, I, ..., all axes, [B, 8, 4, 4]."""
    to_world = np.frombuffer(affine).reshape(-1, 1, 4, 4)
    axes = np.array([(n >> 2 & 1, n >> 1 & 1, n & 1) for n in range(8)])
    mirror = np.eye(4)[None].repeat(8, 0)
    mirror.reshape(-1, 16)[:, :11:5] = 1 - 2 * axes  # the diagonal
    mirror[:, :3, 3] = axes * (2 * middle(shape)[:3])
    found: np.ndarray = to_world @ mirror @ invert(to_world)
    found.flags.writeable = False
    return found


def slice_axis(space: Space) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the world axes in the plane of single-slice images; None for other images.

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
    # A row of voxels, or a single voxel, has no plane to rotate in.
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
    """Return :func:`affine_motion` for a space; a single slice remains in its plane.

    Where the plane is oblique, the pull-back is restricted to it along the axes of the voxels.
    """
    plane = slice_axis(space)
    if plane is None:
        return affine_motion(scales, degrees, translation, centre, inverse)
    _, scales, degrees, translation, inside, about = common(scales, degrees, translation, *plane)
    scales, translation = 1 + (scales - 1) * inside, translation * inside
    degrees = degrees * about
    if not _is_oblique(space):
        return affine_motion(scales, degrees, translation, centre, inverse)
    back = affine_motion(scales, degrees, translation, centre, inverse=True)
    free = np.array([*(float(n > 1) for n in space.shape), 1.0])
    mask, unit = np.outer(free, free), np.diag(1 - free)
    _, back, mask, unit, to_world, to_voxel = common(back, mask, unit, space.affine, space.to_voxel)
    back = to_world @ ((to_voxel @ back @ to_world) * mask + unit) @ to_voxel
    return back if inverse else invert(back)


def _is_oblique(space: Space) -> bool:
    """Return True unless the single slices of a space are planes of the world's axes."""
    thin = [axis for axis, n in enumerate(space.shape) if n == 1]
    cosines = np.abs(space.affine[:, :3, :3]) / spacing(space.affine)[:, None]  # world, voxel
    across = np.abs(space.to_voxel[:, :3, :3])[:, thin]  # [B, thin, world]
    normal = across.max(-1) / np.linalg.norm(across, axis=-1)
    return bool((cosines[:, :, thin].max(1) < 1 - 1e-9).any() or (normal < 1 - 1e-9).any())


def within_slice(
    matrix: Array, source: Triple, target: Triple, offset: np.ndarray | None = None
) -> Any:
    """Restrict a map between the voxels of two grids, [B, 4, 4], to the plane of a single slice.

    A single slice that is mapped to a single slice is not rotated out of its plane, scaled or
    moved across it. An ``offset`` of the grid, in voxels of the source, [B, 3], is kept across the
    slice if it exceeds half a voxel: the grid is then another slice.
    """
    linear = np.abs(host(matrix))[0, :3, :3]
    mask, unit, away = np.ones((4, 4)), np.zeros((4, 4)), np.zeros((len(matrix), 4, 4))
    for a in range(3):
        b = int(linear[a].argmax())  # axis of the target along it
        if source[a] == 1 and target[b] == 1:
            mask[a, :] = 0
            mask[:, b] = 0
            unit[a, b] = 1
            if offset is not None:
                away[:, a, 3] = np.where(abs(offset[:, a]) > 0.5, offset[:, a], 0)
    _, matrix, mask, unit, away = common(matrix, mask, unit, away)
    return matrix * mask + unit + away

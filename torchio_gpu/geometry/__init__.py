"""Geometry of voxels and of the world: spaces, matrices, motions, grids, spline lattices."""

from .bspline import (
    DOMAIN_MARGIN,
    SPLINE_ORDER,
    control_lattice,
    control_spacing,
    cubic_bspline,
    displace,
    is_diagonal,
    voxel_lattice,
)
from .grids import one_shape, reoriented, resized, respaced, windowed
from .matrices import affine_from, apply_affine, invert, pull_back
from .motion import affine_motion, motion_in, reflection, rotation, slice_axis, within_slice
from .space import (
    CODES,
    SPACE_TOLERANCE,
    Space,
    axis_index,
    check_affine,
    check_axis,
    check_axis_name,
    check_same_space,
    orientation,
    spacing,
)

__all__ = [
    "CODES",
    "DOMAIN_MARGIN",
    "SPACE_TOLERANCE",
    "SPLINE_ORDER",
    "Space",
    "affine_from",
    "affine_motion",
    "apply_affine",
    "axis_index",
    "check_affine",
    "check_axis",
    "check_axis_name",
    "check_same_space",
    "control_lattice",
    "control_spacing",
    "cubic_bspline",
    "displace",
    "invert",
    "is_diagonal",
    "motion_in",
    "one_shape",
    "orientation",
    "pull_back",
    "reflection",
    "reoriented",
    "resized",
    "respaced",
    "rotation",
    "slice_axis",
    "spacing",
    "voxel_lattice",
    "windowed",
    "within_slice",
]

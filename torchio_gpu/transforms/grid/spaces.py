"""Grids from arguments, such as an image or a pair (shape, affine), and checks of their size."""

from __future__ import annotations

import math
from typing import Any

from ... import geometry
from ...data import Image, meta_tensor
from ...geometry import Space
from ...shapes import LONGEST, brief, check_triple, rectangular

#: Voxels of an image, at most: 4096 along each axis. A larger argument is a mistake.
MAX_VOXELS = 2**36


def given_space(value: Any, name: str) -> Space | None:
    """Return the grid of an image, of a MetaTensor or of a pair (shape, affine); None otherwise.

    Args:
        value: The argument.
        name: Its name, for errors.
    """
    if isinstance(value, Image):
        return value.space
    if meta_tensor.is_meta_tensor(value):
        voxels, affine = meta_tensor.split(value)
        value = voxels.shape[-3:], affine[0] if len(affine) == 1 else affine
    elif not _is_pair(value, name):
        return None
    shape, affine = value
    if rectangular(shape, f"the shape of {name}").shape != (3,):
        raise ValueError(f"{name} must have a shape of three integers > 0, got {brief(shape)}")
    triple = check_triple(tuple(shape), f"the shape of {name}")
    return Space(triple, geometry.check_affine(affine, f"the affine of {name}")[None])


def _is_pair(value: Any, name: str) -> bool:
    pair = isinstance(value, (tuple, list)) and len(value) == 2
    return pair and rectangular(value[1], f"the affine of {name}").ndim == 2


def check_size(space: Space, name: str, value: Any) -> Space:
    """Return a grid, or raise a ValueError if an argument made it too large.

    Args:
        space: The grid.
        name: Name of the argument.
        value: The argument.
    """
    if max(space.shape) > LONGEST or math.prod(space.shape) > MAX_VOXELS:
        raise ValueError(
            f"{name} must give images of <= {LONGEST} voxels along an axis and <= {MAX_VOXELS} in "
            f"all, got {brief(value)}, which gives {' x '.join(map(str, space.shape))}"
        )
    return space

"""Checks of arguments of images: voxels, spacing, indices."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..arrays import as_array, host
from ..shapes import Triple
from ..signature import is_flag
from .files import PathLike, Region


class SitkImage(Protocol):
    """Image of SimpleITK, which is not imported for it."""

    def GetSpacing(self) -> tuple[float, ...]: ...  # noqa: N802

    def GetDirection(self) -> tuple[float, ...]: ...  # noqa: N802


class NibabelImage(Protocol):
    """Spatial image of NiBabel, which is not imported for it."""

    @property
    def dataobj(self) -> object: ...

    @property
    def affine(self) -> np.ndarray | None: ...


#: Source of an image, beside another image.
ImageSource: TypeAlias = (
    PathLike | Sequence[PathLike] | Tensor | np.ndarray | SitkImage | NibabelImage
)

#: Replacement of types that torch stores but has few operations for.
_LARGER = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}


def usable(data: Tensor) -> Tensor:
    """Return voxels in a type that torch computes with: unsigned types become wider and signed."""
    larger = _LARGER.get(data.dtype)
    return data if larger is None else data.to(larger)


def check_source(owner: str, sources: int, type: str | None, kind: str) -> None:
    """Raise unless an image has one source and its class's type."""
    if sources != 1:
        raise ValueError(f"{owner} takes exactly one of source, path and tensor, got {sources}")
    if type is not None and not (isinstance(type, str) and type == kind):
        raise ValueError(f"type of {owner} must be {kind!r}, got {type!r}")


def check_names(owner: type, own: Collection[str], names: Iterable[str]) -> None:
    """Raise a ValueError if metadata would hide an attribute of the same name.

    Args:
        owner: Class of the image, points or boxes.
        own: Attributes that its instances have.
        names: Names of the metadata.
    """
    reserved = [name for name in names if name in own or hasattr(owner, name)]
    if reserved:
        raise ValueError(
            f"names of metadata must not be {reserved}, which {owner.__name__} uses itself"
        )


def check_reading(reader: object, **flags: object) -> None:
    """Raise unless a reader is a function or None, and flags are bools."""
    if reader is not None and not callable(reader):
        raise TypeError(f"reader must be a function of a path, got {reader!r}")
    for name, flag in flags.items():
        if not is_flag(flag):
            raise TypeError(f"{name} must be True or False, got {flag!r}")


def check_voxels(data: Any, owner: str, check_nans: bool) -> Tensor:
    """Return voxels (C, I, J, K) as a tensor of a type that torch computes with.

    Args:
        data: Tensor or array.
        owner: Name of the image or file, for errors.
        check_nans: Warn if there are NaN.
    """
    if isinstance(data, np.ndarray):
        native = data.astype(data.dtype.newbyteorder("="), copy=False)
        data = torch.from_numpy(np.ascontiguousarray(native))
    if not isinstance(data, Tensor):
        raise TypeError(
            f"{owner} takes a path, tensor, array, SimpleITK or NiBabel image, "
            f"got {data.__class__.__name__}"
        )
    data = usable(data)
    if data.ndim != 4 or 0 in data.shape:
        raise ValueError(
            f"tensor of {owner} must have shape (C, I, J, K) with no empty axis, "
            f"got {tuple(data.shape)}"
        )
    floating = data.is_floating_point() or data.is_complex()
    if check_nans and floating and bool(data.isnan().any()):
        warnings.warn(f"there are NaN among the voxels of {owner}", RuntimeWarning, stacklevel=4)
    return data


def from_spacing(spacing: Sequence[float], affine: Any, source: Any) -> np.ndarray:
    """Return the affine of a spacing, without rotation, for voxels that have no affine."""
    values = host(as_array(spacing, "spacing"))
    if values.shape != (3,) or not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(f"spacing must be three numbers > 0, got {spacing!r}")
    if affine is not None or not isinstance(source, (Tensor, np.ndarray)):
        raise ValueError(
            "spacing must be None unless source is a tensor or array without affine, "
            f"got {spacing!r}"
        )
    return np.diag([*values, 1.0])


def region_of(item: Any, shape: Triple) -> Region:
    """Return an index as three slices with step 1 and bounds within the shape.

    Args:
        item: Up to three integers or slices, with an ellipsis among them or not.
        shape: Voxels along I, J, K.
    """
    items = list(item) if isinstance(item, tuple) else [item]
    if Ellipsis in items:
        at = items.index(Ellipsis)
        items[at : at + 1] = [slice(None)] * (4 - len(items))
    if len(items) > 3 or Ellipsis in items:
        raise IndexError(f"an image takes at most three spatial indices, got {item!r}")
    region = []
    for axis, (n, index) in enumerate(
        zip(shape, items + [slice(None)] * (3 - len(items)), strict=True)
    ):
        if isinstance(index, (int, np.integer)):
            index = int(index)
            first = index + n if index < 0 else index
            index = slice(first, first + 1)
        if not isinstance(index, slice):
            raise TypeError(f"index {axis} of an image must be an integer or slice, got {index!r}")
        start, stop, step = index.indices(n)
        if step != 1 or stop <= start or (index.start is not None and index.start >= n):
            raise IndexError(
                f"index {axis} of an image must select voxels of 0..{n - 1} with step 1, "
                f"got {index}"
            )
        region.append(slice(start, stop))
    return region[0], region[1], region[2]

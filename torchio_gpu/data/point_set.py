"""Base of points and of bounding boxes: coordinates along named axes, labels and metadata."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from .. import geometry
from ..arrays import send
from ..shapes import AffineLike, brief, rectangular
from .axes import check_has_affine, conversion
from .checks import check_names
from .pickling import Transferable

#: Coordinates as they may be given: one row for each point or box.
RowsLike: TypeAlias = Tensor | np.ndarray | Sequence[Sequence[float] | np.ndarray | Tensor]
#: A name or a number for each point or box.
LabelsLike: TypeAlias = Sequence[str | int] | np.ndarray | Tensor
Self = TypeVar("Self", bound="PointSet")

#: Largest difference of affines of one grid, in mm.
_SAME_GRID = 1e-4
_OWN = frozenset(("metadata", "_data", "_affine", "_labels", "_folded", "_axes", "_format"))


class PointSet(Transferable):
    """Rows of coordinates along named axes, with labels and metadata.

    Subclasses say which points of a row a map of the world moves (:meth:`world`), and what row
    follows from the moved points (:meth:`with_world`).
    """

    #: Numbers in a row.
    _columns: ClassVar[int]
    #: Points that a map moves for each row.
    _per_row: ClassVar[int] = 1
    #: Word for rows, for errors and the repr.
    _rows: ClassVar[str]

    def __init__(
        self,
        data: RowsLike,
        axes: str,
        affine: AffineLike | None,
        labels: LabelsLike | None,
        metadata: dict[str, Any],
    ) -> None:
        check_names(type(self), _OWN, metadata)
        self.metadata: dict[str, Any] = dict(metadata)
        self._data = self._check_data(data)
        self._axes = axes
        self._affine = None if affine is None else geometry.check_affine(affine)
        check_has_affine(axes, self._affine)
        self._folded = torch.zeros(len(self._data), dtype=torch.bool, device=self._data.device)
        self.labels = labels  # type: ignore[assignment]

    def _check_data(self, data: RowsLike) -> Tensor:
        """Return coordinates as float32, if they are that, or float64."""
        name = type(self).__name__
        if not isinstance(data, Tensor):
            if isinstance(data, (list, tuple)) and any(isinstance(row, Tensor) for row in data):
                data = [row.tolist() if isinstance(row, Tensor) else row for row in data]
            array = rectangular(data, f"data of {name}")
            if array.size == 0 and array.ndim < 2:
                array = np.empty((0, self._columns))
            if array.dtype.kind not in "iuf":
                raise TypeError(f"data of {name} must be real numbers, got {brief(data)}")
            single = array.dtype.itemsize <= 4 and array.dtype.kind == "f"
            data = torch.from_numpy(np.array(array, np.float32 if single else np.float64))
        if data.is_complex() or data.dtype == torch.bool:
            raise TypeError(f"data of {name} must be real numbers, got {data.dtype}")
        if data.ndim != 2 or data.shape[1] != self._columns:
            raise ValueError(
                f"data of {name} must have shape (N, {self._columns}), got {tuple(data.shape)}"
            )
        return data if data.dtype == torch.float64 else data.to(_dtype(data.dtype))

    def _check_moved(self, points: Any, folded: Any) -> tuple[Tensor, Tensor]:
        """Return moved points and their flags as tensors; raise unless they are as many as ours."""
        count = len(self) * self._per_row
        points, folded = torch.as_tensor(points), torch.as_tensor(folded)
        for name, value, shape in (("points", points, (count, 3)), ("folded", folded, (count,))):
            if tuple(value.shape) != shape:
                raise ValueError(f"{name} must have shape {shape}, got {tuple(value.shape)}")
        return points, folded

    # Members

    @property
    def data(self) -> Tensor:
        """Coordinates, one row for each point or box."""
        return self._data

    @data.setter
    def data(self, data: RowsLike) -> None:
        rows = self._check_data(data)
        if len(rows) != len(self):
            raise ValueError(f"data must have {len(self)} rows as before, got {len(rows)}")
        self._data, self._folded = rows, self._folded.to(rows.device)

    @property
    def axes(self) -> str:
        """Axes of the coordinates: a world code such as 'RAS', or an order of 'IJK'."""
        return self._axes

    @property
    def affine(self) -> np.ndarray | None:
        """Voxel to world, RAS+ mm, (4, 4) float64, or None."""
        if self._affine is not None:
            self._affine.flags.writeable = False  # coordinates would move with it
        return self._affine

    @property
    def labels(self) -> list[str | int] | None:
        """Name or number of each row, or None."""
        return self._labels

    @labels.setter
    def labels(self, labels: LabelsLike | None) -> None:
        self._labels = None if labels is None else self._check_labels(labels)

    def _check_labels(self, labels: LabelsLike) -> list[str | int]:
        if isinstance(labels, (Tensor, np.ndarray)):
            labels = labels.tolist()
        right = isinstance(labels, (list, tuple)) and len(labels) == len(self)
        if not right or not all(_is_label(label) for label in labels):
            raise ValueError(
                f"labels must be a list with a string or an integer for each of {len(self)} "
                f"{self._rows}, got {brief(labels)}"
            )
        return [label if isinstance(label, str) else int(label) for label in labels]

    @property
    def folded(self) -> Tensor:
        """True where an elastic map could not be inverted, and the place is a guess; bool (N,)."""
        return self._folded

    @property
    def device(self) -> torch.device:
        """Device of the coordinates."""
        return self._data.device

    @property
    def dtype(self) -> torch.dtype:
        """dtype of the coordinates: float32 or float64."""
        return self._data.dtype

    def to(self: Self, *args: Any, **kwargs: Any) -> Self:
        """Return a copy on another device or of another dtype, as ``Tensor.to``.

        Coordinates are float32 or float64: float16 and bfloat16, which are too coarse for them,
        make them float32, and types that are not floating leave them as they are.
        """
        kwargs.pop("memory_format", None)  # of voxels
        wish = torch.empty(0, dtype=self.dtype, device=self.device).to(*args, **kwargs)
        how = {name: kwargs[name] for name in ("copy", "non_blocking") if name in kwargs}
        new = self._with(self._data.to(wish.device, _dtype(wish.dtype, self.dtype), **how))
        new._folded = self._folded.to(wish.device, **how)
        return new

    def pin_memory(self: Self) -> Self:
        """Return a copy in page-locked memory, for asynchronous copies to a GPU."""
        new = self._with(self._data.pin_memory())
        new._folded = self._folded.pin_memory()
        return new

    def numpy(self) -> np.ndarray:
        """Return the coordinates as an array."""
        return self._data.detach().cpu().numpy()

    # Maps

    def world(self) -> Tensor:
        """Return the points that a map must move, [M, 3] float64, RAS+ mm."""
        raise NotImplementedError

    def with_world(
        self: Self, points: Tensor, folded: Tensor, affine: np.ndarray | None = None
    ) -> Self:
        """Return the same rows after a map has moved the points of :meth:`world`.

        Args:
            points: The moved points, [M, 3], RAS+ mm.
            folded: True where a point was not found, [M].
            affine: New affine; voxel axes are then those of its voxels.
        """
        raise NotImplementedError

    def _convert(self, points: Tensor, matrix: np.ndarray) -> Tensor:
        """Map points [..., N, 3] by a matrix on the host, in float64 on the points' device."""
        return geometry.apply_affine(
            send(torch.from_numpy(matrix), points.device), points.to(torch.float64)
        )

    def _with(self: Self, data: Tensor, affine: np.ndarray | None = None) -> Self:
        """Return a copy with other coordinates and, if given, another affine; values unchecked."""
        new = self.__copy__()
        new._data = data
        new._affine = new._affine if affine is None else geometry.check_affine(affine)
        return new

    def _moved(self: Self, data: Tensor, folded: Tensor, affine: np.ndarray | None) -> Self:
        """Return a copy with moved coordinates, on the device and of the dtype of these."""
        new = self._with(data.to(self.device, self.dtype), affine)
        new._folded = self._folded | folded.to(self.device)
        return new

    def _from_world(self, affine: np.ndarray | None) -> np.ndarray:
        """Return the matrix from RAS+ mm to the axes, of a new affine if that is given."""
        return conversion("RAS", None, self._axes, self._affine if affine is None else affine)

    # Mapping

    def __getitem__(self, name: str) -> Any:
        if not isinstance(name, str):
            raise TypeError(
                f"{type(self).__name__} takes names in brackets, got {name!r}: index their data"
            )
        if name in ("data", "axes", "affine", "labels", "folded"):
            return getattr(self, name)
        if name in self.metadata:
            return self.metadata[name]
        raise KeyError(f"{type(self).__name__} has no {name!r}; it has {list(self.metadata)}")

    def __setitem__(self, name: str, value: Any) -> None:
        check_names(type(self), _OWN, (name,))
        self.metadata[name] = value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype=dtype)

    def __contains__(self, name: object) -> bool:
        return name in self.metadata

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._data)

    def __getattr__(self, name: str) -> Any:
        # only called for names that are no attribute of the class or the instance
        metadata = self.__dict__.get("metadata", {})
        if name in metadata:
            return metadata[name]
        raise AttributeError(f"{type(self).__name__} has no attribute or metadata {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        # metadata are accessible both as attributes and as items
        if name in _OWN or hasattr(type(self), name):
            object.__setattr__(self, name, value)
        else:
            self.__dict__.setdefault("metadata", {})[name] = value

    def __len__(self) -> int:
        return len(self._data)

    def __copy__(self: Self) -> Self:
        new = self.__class__.__new__(self.__class__)
        new.__dict__.update(self.__dict__)
        new.__dict__["metadata"] = dict(self.metadata)
        new._labels = None if self._labels is None else list(self._labels)
        return new

    def __repr__(self) -> str:
        device = "" if self.device.type == "cpu" else f", device='{self.device}'"
        return f"{type(self).__name__}({len(self)} {self._rows}, {self._along()}{device})"

    def _along(self) -> str:
        """Return the argument that names the axes, for the repr."""
        return f"axes={self._axes!r}"


def _dtype(wish: torch.dtype, other: torch.dtype = torch.float64) -> torch.dtype:
    """Return the dtype of coordinates for a wish: ``other`` if that is no floating type."""
    if not wish.is_floating_point:
        return other
    return wish if wish == torch.float64 else torch.float32


def _is_label(label: object) -> bool:
    return isinstance(label, (str, int, np.integer)) and not isinstance(label, bool)


def _collate_rows(rows: Sequence[PointSet], **_: Any) -> list[PointSet]:
    """Return the points of samples as a list: each sample has its own number of them."""
    return list(rows)


def _register_collate() -> None:
    """Register points in torch's default collate function, for dicts in a plain DataLoader."""
    from torch.utils.data._utils.collate import default_collate_fn_map

    default_collate_fn_map[PointSet] = _collate_rows


_register_collate()


def follow_grid(value: Any, before: np.ndarray, after: np.ndarray) -> Any:
    """Return points on the grid ``before``, (4, 4), as voxels of ``after``; other values as is.

    Args:
        value: Points, boxes, or any other value.
        before, after: Affines of an image before and after it was cropped.
    """
    if not isinstance(value, PointSet) or not same_affine(value.affine, before):
        return value
    world = value.world()
    return value.with_world(world, torch.zeros(len(world), dtype=torch.bool), after)


def same_affine(one: np.ndarray | None, other: np.ndarray) -> bool:
    """Return True if two affines are those of one grid; None is of none."""
    return one is not None and bool(np.allclose(one, other, rtol=0, atol=_SAME_GRID))

"""Access to the values of an image by name: as items, and metadata as attributes, too."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from . import files
from .checks import check_names
from .keys import AFFINE, DATA, PATH, STEM, TYPE

#: Attributes of an image instance; all others are metadata.
OWN = frozenset(
    ("path", "reader", "check_nans", "metadata", "_data", "_affine", "_header", "_nifti")
)
_KEYS = (DATA, AFFINE, TYPE, PATH, STEM)
_None = object()
Self = TypeVar("Self", bound="ImageValues")


class ImageValues:
    """Base of images: mapping from names to voxels, affine, type, path, stem and metadata.

    Images are equal only to themselves. 'data' and 'affine' are among the keys while the voxels are
    in memory, so that iteration reads no file; ``image["data"]`` reads it.
    """

    path: files.Paths | None
    metadata: dict[str, Any]

    @property
    def loaded(self) -> bool:
        """True if the voxels are in memory."""
        raise NotImplementedError

    @property
    def stem(self) -> str | list[str]:
        """Name of the file without folder and suffixes; of several files, a list; '' if none."""
        if isinstance(self.path, list):
            return [stem_of(path) for path in self.path]
        return "" if self.path is None else stem_of(self.path)

    def keys(self) -> list[str]:
        """Return the names of all values."""
        read = (DATA, AFFINE) if self.loaded else ()
        return [*read, TYPE, PATH, STEM, *self.metadata]

    def values(self) -> list[Any]:
        """Return all values."""
        return [self[name] for name in self.keys()]

    def items(self) -> list[tuple[str, Any]]:
        """Return all names with their values."""
        return [(name, self[name]) for name in self.keys()]

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a name, or the default."""
        return self[name] if name in _KEYS else self.metadata.get(name, default)

    def pop(self, name: str, default: Any = _None) -> Any:
        """Remove metadata and return them, or the default if there are none of that name."""
        self._check(name)
        return self.metadata.pop(name) if default is _None else self.metadata.pop(name, default)

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Return the value of a name, after it was set to the default if there was none."""
        if name not in _KEYS and name not in self.metadata:
            self[name] = default
        return self[name]

    def update(
        self, other: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /, **values: Any
    ) -> None:
        """Set values by name: those of a mapping or of pairs, and those given as keywords."""
        given = {**dict(other), **values}
        self._check(*(name for name in given if name not in (DATA, AFFINE)))
        for name, value in given.items():
            self[name] = value

    def copy(self: Self) -> Self:
        """Return a copy that shares the voxels, as ``copy.copy`` does."""
        return copy.copy(self)

    def __getitem__(self, name: str) -> Any:
        if name == PATH:
            paths = self.path
            if isinstance(paths, list):
                return [str(path) for path in paths]
            return "" if paths is None else str(paths)
        if name in _KEYS:
            return getattr(self, name)
        if name not in self.metadata:
            raise KeyError(f"image has no {name!r}; it has {self.keys()}")
        return self.metadata[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if name in (DATA, AFFINE):
            setattr(self, name, value)
        else:
            self._check(name)
            self.metadata[name] = value

    def __delitem__(self, name: str) -> None:
        self.pop(name)

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def _check(self, *names: str) -> None:
        check_names(type(self), OWN, names)

    def __setattr__(self, name: str, value: Any) -> None:
        # metadata are accessible both as attributes and as items
        if name in OWN or hasattr(type(self), name):
            object.__setattr__(self, name, value)
        else:
            self.__dict__.setdefault("metadata", {})[name] = value

    def __getattr__(self, name: str) -> Any:
        # only called for names that are no attribute of the class or the instance
        metadata = self.__dict__.get("metadata", {})
        if name in metadata:
            return metadata[name]
        raise AttributeError(f"{type(self).__name__} has no attribute or metadata {name!r}")


def stem_of(path: str | Path) -> str:
    """Return the name of a file without folder and suffixes."""
    return Path(path).name.split(".")[0]

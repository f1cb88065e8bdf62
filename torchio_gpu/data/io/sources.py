"""Formats by the suffixes of files, and the formats that users register."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...signature import checked
from .guards import without_member
from .voxels import Header, Opened, Region, Source, copied, failing_as, shown

Opener = Callable[[Path], Source]

#: Group of entry points of packages that bring a format; their names are suffixes without a dot.
GROUP = "torchio_gpu.sources"
_OPENERS: dict[str, Callable[[Path], Opened]] = {}


@checked
def register_source(suffix: str, opener: Callable[[Path], Source]) -> None:
    """Register a format of files, which can then be read wherever a path is taken.

    Of suffixes that fit a file or folder the longest counts, and a registered one before a format
    of this library. Processes that are spawned know what is registered when their modules are
    imported, as fits the ``if __name__ == "__main__":`` of a script. The command line, and
    everybody else, knows formats of installed packages with an entry point in the group
    ``torchio_gpu.sources``::

        [project.entry-points."torchio_gpu.sources"]
        ims = "my_package:open_ims"

    Args:
        suffix: End of the file names, with its dot, in capitals or not.
        opener: Function that takes a path and returns a :class:`Source`: an object with a
            ``header`` and a method ``read`` that returns a box. It reads no voxels. A path such as
            ``scan.ims::/2`` is passed as it is. What it raises becomes an OSError with the path.

    Raises:
        ValueError: The suffix does not begin with a dot.

    >>> class Ramp:
    ...     header = Header((1, 9, 9, 9), torch.eye(4, dtype=torch.float64), torch.float32)
    ...
    ...     def __init__(self, path):
    ...         self.values = np.linspace(0, 1, 729, dtype=np.float32).reshape(1, 9, 9, 9)
    ...
    ...     def read(self, box):
    ...         return self.values[(slice(None), *box)]
    >>> register_source(".ramp", Ramp)
    >>> from tempfile import NamedTemporaryFile
    >>> with NamedTemporaryFile(suffix=".ramp") as file:
    ...     ScalarImage(file.name)[3:5].shape
    (1, 2, 9, 9)
    """
    if not suffix.startswith(".") or len(suffix) < 2:
        raise ValueError(f"suffix must begin with a dot, as '.ims', got {suffix!r}")
    _OPENERS[suffix.lower()] = partial(_open, opener)


def registered(path: Path) -> Callable[[Path], Opened] | None:
    """Return the function that opens a file or folder in a registered format; None for others."""
    name = without_member(path)[0].name.lower()
    known = {**_installed(), **_OPENERS}
    fitting = [suffix for suffix in known if name.endswith(suffix)]
    return known[max(fitting, key=len)] if fitting else None


@cache
def _installed() -> dict[str, Callable[[Path], Opened]]:
    """Return the formats of installed packages, which are imported when a file is opened."""
    return {
        f".{entry.name.lower().lstrip('.')}": partial(_open_by, entry)
        for entry in entry_points(group=GROUP)
    }


def _open_by(entry: EntryPoint, path: Path) -> Opened:
    return _open(entry.load(), path)


def _open(opener: Opener, path: Path) -> Opened:
    """Return the source that a function of the user opens, checked."""
    name = getattr(opener, "__qualname__", repr(opener))
    with failing_as(f"'{shown(path)}' should be an image that {name} opens, but is not"):
        source = opener(path)
        header: Any = getattr(source, "header", None)
        if not isinstance(header, Header) or not callable(getattr(source, "read", None)):
            raise TypeError(
                f"{name} must return a header and a function read, got {type(source).__name__}"
            )
        whole = [isinstance(n, (int, np.integer)) and n > 0 for n in header.shape]
        if len(whole) != 4 or not all(whole) or not isinstance(header.dtype, torch.dtype):
            raise TypeError(
                f"header must have a shape (C, I, J, K) and a dtype of torch, got "
                f"{tuple(header.shape)} and {header.dtype!r}"
            )
        c, i, j, k = map(int, header.shape)
        affine = torch.as_tensor(np.asarray(header.affine, dtype=np.float64)).clone()

    def read(region: Region) -> Tensor:
        given = source.read(region)
        voxels = copied(given, header.dtype) if isinstance(given, np.ndarray) else given
        shape = (c, *(len(range(part.start, part.stop, part.step)) for part in region))
        if not isinstance(voxels, Tensor) or tuple(voxels.shape) != shape:
            got = tuple(getattr(voxels, "shape", ())) or type(voxels).__name__
            raise TypeError(f"read of {name} must return voxels {shape}, got {got}")
        if voxels is given:  # which the source may keep
            return voxels.to(header.dtype, copy=True, memory_format=torch.contiguous_format)
        return voxels

    return Opened(Header((c, i, j, k), affine, header.dtype, header.nifti), read)


__all__ = ["register_source", "registered"]

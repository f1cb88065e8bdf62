"""Folders of volumes that nnU-Net v2 has preprocessed.

A case is ``case.b2nd`` and ``case_seg.b2nd``, with properties in ``case.pkl``, which is a pickle
and is never read: loading a pickle runs what its author wrote. So orientation and origin are not
known. The spacing is that of the configuration, in the file of plans one folder higher.

Arrays are (C, z, y, x), as nnU-Net reads images by SimpleITK; they become (C, x, y, z), so I is the
first axis of the image that nnU-Net read, as elsewhere in this library. Where plans transpose the
axes, that order stays: K, J and I are then the first, second and third axis of the plans.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

_LARGEST = 64 << 20  # bytes of a file of plans


def is_preprocessed(path: Path, shape: Sequence[int]) -> bool:
    """Return True if a file is one of nnU-Net's, by the properties beside it."""
    names = (path.stem, path.stem.removesuffix("_seg"))
    return len(shape) == 4 and any(path.with_name(f"{name}.pkl").is_file() for name in names)


def preprocessed_affine(path: Path) -> np.ndarray:
    """Return the affine of a preprocessed volume: its spacing, or the identity.

    It is the identity without plans, and for configurations of slices.
    """
    folder = path.absolute().parent
    files = folder.parent.glob("*.json")
    for file in sorted(files, key=lambda each: ("plans" not in each.name.lower(), each)):
        try:
            stat = file.stat()
        except OSError:
            continue
        spacing = _spacing(file, folder.name, stat.st_mtime_ns, stat.st_size)
        if spacing is not None:
            return np.diag([*spacing, 1.0])
    return np.eye(4)


@lru_cache(maxsize=256)
def _spacing(file: Path, name: str, time: int, size: int) -> tuple[float, float, float] | None:
    """Return the spacing along x, y, z that plans have for a folder; None if they have none.

    Args:
        file: Any JSON file.
        name: Name of the folder.
        time, size: Time of change and size of the file, by which a changed one is read again.
    """
    if size > _LARGEST:
        return None
    try:
        configurations = json.loads(file.read_bytes())["configurations"]
        for each in configurations.values():
            if each.get("data_identifier") == name:
                z, y, x = (float(n) for n in each["spacing"])
                if min(x, y, z) > 0 and np.isfinite([x, y, z]).all():
                    return x, y, z
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass  # no plans, or of slices
    return None


__all__ = ["is_preprocessed", "preprocessed_affine"]

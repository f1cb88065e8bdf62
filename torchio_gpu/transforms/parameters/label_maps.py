"""Label maps that transforms of images read: their names, and the labels they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from ...data.keys import LABEL
from ...shapes import Volume

T = TypeVar("T")

#: Labels to count in a table, at most: more take more memory than a volume.
_MAX_COUNTERS = 2**20
#: Name and kind of each image.
Kinds = tuple[tuple[str, str], ...]


def name_of_map(kinds: Kinds, label_key: str | None, transform: str) -> str:
    """Return the name of the label map that a transform reads, the first one for None.

    Raises:
        KeyError: There is no such label map.
    """
    maps = [name for name, kind in kinds if kind == LABEL]
    if label_key is None and maps:
        return maps[0]
    if label_key not in maps:
        wish = "a label map" if label_key is None else f"the label map {label_key!r}"
        raise KeyError(f"{transform} needs {wish}; the label maps are {maps}")
    return label_key


def present_labels(maps: Volume) -> np.ndarray:
    """Return the labels >= 0 that a map holds."""
    maps = maps.byte() if maps.dtype == torch.bool else maps
    low, high = (int(end) for end in maps.aminmax())
    if low >= 0 and high < _MAX_COUNTERS:  # counting is thirty times as fast as sorting
        present = torch.bincount(maps.flatten()).nonzero()[:, 0]
    else:
        present = torch.unique(maps)
        present = present[present >= 0]
    return present.cpu().numpy().astype(np.int64)  # type: ignore[no-any-return]


def check_used_labels(labels: Sequence[int] | None) -> tuple[int, ...] | None:
    """Return the labels to use, None for all; raise unless they are different integers >= 0.

    >>> check_used_labels(range(3))
    (0, 1, 2)
    """
    used = None if labels is None else tuple(labels)
    for label in used or ():
        if isinstance(label, bool) or not isinstance(label, (int, np.integer)) or label < 0:
            raise ValueError(f"used_labels must be integers >= 0, got {labels!r}")
    if used is not None and len(set(used)) != len(used):
        raise ValueError(f"used_labels must differ from each other, got {labels!r}")
    return used


def by_label(values: Mapping[Any, T], name: str) -> dict[int, T]:
    """Return a dict by label; JSON turns keys into strings.

    Raises:
        ValueError: A key is no whole number, or there is none.

    >>> by_label({"2": 0.5, 0: 1}, "mean")
    {2: 0.5, 0: 1}
    """
    found: dict[int, T] = {}
    for key, value in values.items():
        whole = isinstance(key, str) and key.removeprefix("-").isdecimal()
        label = int(key) if whole else key
        if isinstance(label, bool) or not isinstance(label, (int, np.integer)):
            raise ValueError(f"{name} must have whole numbers, labels, as keys, got {key!r}")
        found[int(label)] = value
    if not found:
        raise ValueError(f"{name} must have an entry for at least one label, got {values!r}")
    return found


__all__ = ["Kinds", "by_label", "check_used_labels", "name_of_map", "present_labels"]

"""Tables of facts about images and other values, for notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from ..geometry import orientation, spacing
from ..plot import table_of

#: Columns of the facts about an image, or about a batch of images.
COLUMNS = ("type", "shape", "spacing in mm", "orientation", "dtype", "device", "file")


@runtime_checkable
class HasFacts(Protocol):
    """Protocol of images and batches of images."""

    def _facts(self) -> list[str]:
        """Return a text for each of :data:`COLUMNS`, from the header alone if voxels are unread.

        Of a header that cannot be read: type and error.
        """


def facts_of(
    kind: str,
    shape: Sequence[int],
    affine: np.ndarray,
    dtype: torch.dtype,
    device: torch.device | None,
    file: str = "",
) -> list[str]:
    """Return a text for each of :data:`COLUMNS`.

    Args:
        kind: Type of the image.
        shape: Shape of the voxels.
        affine: Affines, (B, 4, 4).
        dtype: dtype of the voxels.
        device: Device of the voxels; None if they have not been read.
        file: Path.
    """
    distances = {" x ".join(f"{mm:.3g}" for mm in row) for row in spacing(affine)}
    codes = {"".join(orientation(each)) + "+" for each in affine}
    place = "not read" if device is None else str(device)
    size = " x ".join(map(str, shape))
    return [kind, size, _one(distances), _one(codes), str(dtype)[len("torch.") :], place, file]


def _one(texts: set[str]) -> str:
    return texts.pop() if len(texts) == 1 else "differs"


def table_of_values(values: Mapping[str, object], caption: str = "") -> str:
    """Return an HTML table with a row for each value: facts about images, others in brief."""
    rows = [
        [name, *(value._facts() if isinstance(value, HasFacts) else [_type(value), brief(value)])]
        for name, value in values.items()
    ]
    return table_of(rows, ("", *COLUMNS), caption)


def _type(value: object) -> str:
    return "" if value is None else type(value).__name__


def brief(value: object) -> str:
    """Return a value on a line of at most 60 characters."""
    if isinstance(value, (torch.Tensor, np.ndarray)) and value.ndim:
        return f"{' x '.join(map(str, value.shape))}, {str(value.dtype).removeprefix('torch.')}"
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:59]}…"

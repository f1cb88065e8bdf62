"""Transforms that need whole volumes: on some samples of a batch, and images that they make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from ...data import ImagesBatch, SubjectsBatch
from ...functional.rows import rows_at
from ..parameters.params import Params

if TYPE_CHECKING:
    from ..base import Transform


class Made(NamedTuple):
    """A scalar image that a transform makes, and the image whose space it takes."""

    name: str
    like: str


def with_made(transform: Transform, images: Mapping[str, ImagesBatch]) -> dict[str, ImagesBatch]:
    """Images with the one that a transform makes, all zeros as yet, if they lack it."""
    made = transform.makes(tuple((name, each.kind) for name, each in images.items()))
    if made is None or made.name in images:
        return dict(images)
    source = images[made.like]
    voxels = torch.zeros(len(source), 1, *source.spatial_shape, device=source.device)
    empty = ImagesBatch(voxels, source.affine.copy())
    empty.placeholder = True
    return {**images, made.name: empty}


def add_made(transform: Transform, batch: SubjectsBatch) -> bool:
    """Add the image that a transform makes to a batch; returns whether it was not there yet.

    It may take the place of a value that is None.
    """
    images = with_made(transform, batch.images)
    if len(images) == len(batch.images):
        return False
    for name in images.keys() - batch.images.keys():
        if any(value is not None for value in batch.metadata.get(name, [])):
            raise ValueError(
                f"{transform.name} must make an image of a new name, the subject has a value "
                f"{name!r}: {batch.metadata[name]}"
            )
        batch.metadata = {key: v for key, v in batch.metadata.items() if key != name}
    batch.images.update(images)
    return True


class Change:
    """Applies a volume transform to the samples that it is to change, and to no others.

    Args:
        transform: The transform.
        images: What it is applied to.
        active: Which samples to change, [B]; all of them if None.
    """

    def __init__(
        self, transform: Transform, images: dict[str, ImagesBatch], active: np.ndarray | None
    ) -> None:
        self.transform, self.images = transform, images
        self.rows = None if active is None else active.nonzero()[0].tolist()
        self.some = images if self.rows is None else _Rows(images, self.rows)

    def __call__(self, name: str, params: Params) -> ImagesBatch:
        images = self.images[name]
        if self.rows == []:
            return images
        params = params if self.rows is None else params.rows(self.rows)
        new = self.transform.voxels(self.some, name, params)
        affine = self.transform.placed(self.some, name, params)
        if self.rows is None:
            return images.with_data(new, affine)
        if new.shape[1:] != images.shape[1:]:
            raise ValueError(
                f"{self.transform.name} must keep the shape of {name!r} when it leaves samples of "
                f"a batch out: {tuple(images.shape[1:])} became {tuple(new.shape[1:])}"
            )
        out = images.data.to(torch.promote_types(images.data.dtype, new.dtype), copy=True)
        out[rows_at(self.rows, out.device)] = new.to(out.dtype)
        affines = images.affine.copy()
        affines[self.rows] = affine
        return images.with_data(out, affines)


class _Rows(Mapping[str, ImagesBatch]):
    """Some samples of images, cut out when they are asked for."""

    def __init__(self, images: Mapping[str, ImagesBatch], rows: Sequence[int]) -> None:
        self.images, self.rows = images, rows

    def __getitem__(self, name: str) -> ImagesBatch:
        return self.images[name].rows(self.rows)

    def __contains__(self, name: object) -> bool:
        return name in self.images

    def __iter__(self) -> Iterator[str]:
        return iter(self.images)

    def __len__(self) -> int:
        return len(self.images)


__all__ = ["Change", "Made", "add_made", "with_made"]

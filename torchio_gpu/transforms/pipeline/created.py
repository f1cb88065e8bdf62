"""Images that transforms create, and application of volume transforms to active samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ...data import ImagesBatch, SubjectsBatch
from ...functional.samples import samples_at
from ...shapes import Volume
from ..parameters.params import Params


def with_created(transform: Any, images: Mapping[str, ImagesBatch]) -> dict[str, ImagesBatch]:
    """Return ``images`` plus the image that ``transform`` creates, filled with zeros."""
    kinds = tuple((name, each.kind) for name, each in images.items())
    created = transform.creates(kinds) if transform.role == "volume" else None
    if created is None or created.name in images:
        return dict(images)
    source = images[created.like]
    voxels = torch.zeros(len(source), 1, *source.spatial_shape, device=source.device)
    empty = ImagesBatch(voxels, source.affine.copy())
    empty.placeholder = True
    return {**images, created.name: empty}


def add_created(transform: Any, batch: SubjectsBatch) -> bool:
    """Add the image that a transform creates to a batch; return True if the batch lacked it.

    A value of that name is replaced if it is None.
    """
    images = with_created(transform, batch.images)
    if len(images) == len(batch.images):
        return False
    for name in images.keys() - batch.images.keys():
        if any(value is not None for value in batch.metadata.get(name, [])):
            raise ValueError(
                f"{transform.name} must create an image of a new name, the subject has a value "
                f"{name!r}: {batch.metadata[name]}"
            )
        batch.metadata = {key: v for key, v in batch.metadata.items() if key != name}
    batch.images.update(images)
    return True


class SampleSubset:
    """Samples of a batch to which a volume transform is applied.

    Args:
        transform: The transform.
        images: Images of all samples.
        active: Samples to change, [B]; None for all.
    """

    def __init__(
        self, transform: Any, images: dict[str, ImagesBatch], active: np.ndarray | None
    ) -> None:
        self.transform, self.images = transform, images
        self.samples = None if active is None else active.nonzero()[0].tolist()
        self.subset = images if self.samples is None else _SampleImages(images, self.samples)

    def apply(self, name: str, params: Params) -> ImagesBatch:
        """Return an image of all samples, transformed in the active ones."""
        images = self.images[name]
        if self.samples == []:
            return images
        params = params if self.samples is None else params.rows(self.samples)
        new = self.transform.voxels(self.subset, name, params)
        affine = self.transform.affine_of(self.subset, name, params)
        if self.samples is None:
            return images.with_data(new, affine)
        if new.shape[1:] != images.shape[1:]:
            raise ValueError(
                f"{self.transform.name} must keep the shape of {name!r} when it leaves samples of "
                f"a batch out: {tuple(images.shape[1:])} became {tuple(new.shape[1:])}"
            )
        affines = images.affine.copy()
        affines[self.samples] = affine
        return images.with_data(with_samples(images.data, self.samples, new), affines)


def with_samples(x: Volume, samples: Sequence[int], new: Volume) -> Volume:
    """Return a copy of ``x`` whose given samples are new, in a dtype that holds both."""
    out = x.to(torch.promote_types(x.dtype, new.dtype), copy=True)
    out[samples_at(samples, out.device)] = new.to(out.dtype)
    return out


class _SampleImages(Mapping[str, ImagesBatch]):
    """Images of some samples, copied at each access."""

    def __init__(self, images: Mapping[str, ImagesBatch], samples: Sequence[int]) -> None:
        self.images, self.samples = images, samples

    def __getitem__(self, name: str) -> ImagesBatch:
        return self.images[name].rows(self.samples)

    def __contains__(self, name: object) -> bool:
        return name in self.images

    def __iter__(self) -> Iterator[str]:
        return iter(self.images)

    def __len__(self) -> int:
        return len(self.images)


__all__ = ["SampleSubset", "add_created", "with_created", "with_samples"]

"""Extraction of patches from subjects and batches: base class of all samplers."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import functional as F
from ... import random
from ...data import LOCATION, Subject, SubjectsBatch
from ...data.point_set import follow_grid
from ...functional.dispatch.backend import use_kernel
from ...functional.pad import check_padding
from ...geometry import Space, check_same_space, windowed
from ...shapes import Triple, TripleLike, check_triple
from ...signature import is_number
from ...transforms import Pad
from .location import PatchLocation
from .older_samplers import OlderSampler


class PatchSampler(OlderSampler):
    """Base class of samplers of patches.

    Called with a Subject, a sampler returns one patch of it, which is a Subject as well; with a
    Subject and a number, an iterator of so many patches. From a SubjectsBatch it takes one patch of
    each sample.

    Args:
        patch_size: Voxels of a patch along I, J, K; one number stands for three.
        padding_mode: None for patches inside the volume. Otherwise the padding outside: 'constant'
            for ``fill``, or as for :class:`Pad`.
        fill: Value outside for padding 'constant'; label maps get 0.
    """

    def __init__(
        self, patch_size: TripleLike, padding_mode: str | float | None = None, fill: float = 0
    ) -> None:
        self.patch_size = check_triple(patch_size, "patch_size")
        self.padding_mode, self.fill = padding_mode, fill
        if padding_mode is not None:
            check_padding(padding_mode)
        if not is_number(fill) or not math.isfinite(fill):
            raise ValueError(f"fill must be a number, got {fill!r}")
        if padding_mode != "constant" and fill != 0:
            raise ValueError(f"fill must not be given with padding_mode {padding_mode!r}")

    def __repr__(self) -> str:
        parameters = inspect.signature(type(self).__init__).parameters.values()
        shown = [
            f"{p.name}={getattr(self, p.name)!r}"
            for p in parameters
            if p.name not in ("self", "subject") and getattr(self, p.name, p.default) != p.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    # Positions of patches

    def margins(self, shape: Triple) -> tuple[np.ndarray, np.ndarray]:
        """Return by how many voxels patches may leave a volume, before and after it, [3] each."""
        raise NotImplementedError

    def room(self, shape: Triple) -> tuple[np.ndarray, np.ndarray]:
        """Return the first and the last voxel at which a patch may begin, [3] each.

        Raises:
            ValueError: A patch is larger than the volume, and there is no padding.
        """
        before, after = self.margins(shape)
        last = np.array(shape) + after - self.patch_size
        if (last < -before).any():
            flat = ", with 1 along the axis of a single slice" if 1 in shape else ""
            raise ValueError(
                f"patch_size must be at most the shape of the volume, {shape}, or padding_mode be "
                f"given{flat}, got {self.patch_size}"
            )
        return -before, last

    def padded(self, x: Any) -> tuple[Any, np.ndarray]:
        """Return a padded subject or batch, and the number of voxels added before it, [3]."""
        space = check_space(x)
        self.room(space.shape)
        before, after = self.margins(space.shape)
        if not (before.any() or after.any()):
            return x, before
        mode: Any = self.fill if self.padding_mode == "constant" else self.padding_mode
        bounds = np.stack([before, after], 1).ravel().tolist()
        pad = Pad(bounds, padding_mode=mode)
        streams, x = x.streams, pad(x)
        (
            x.history if isinstance(x, Subject) else x.records
        ).pop()  # padding is not part of the history of a patch
        x.streams = streams
        return x, before

    # Cutting

    def cut(
        self,
        padded: Subject,
        before: np.ndarray,
        corner: np.ndarray,
        seed: int,
        voxels: Mapping[str, Tensor] | None = None,
    ) -> Subject:
        """Cut a patch out of a subject.

        Args:
            padded: The padded subject.
            before: Number of voxels added before it, [3].
            corner: First voxel of the patch, in voxels of the subject without padding, [3].
            seed: Seed of the patch.
            voxels: Voxels of its images by name, if they were cut before.
        """
        patch = copy.copy(padded)
        i, j, k = (
            slice(first, first + n)
            for first, n in zip((corner + before).tolist(), self.patch_size, strict=True)
        )
        old = check_space(patch).affine[0]
        for name, image in patch.get_images_dict(intensity_only=False).items():
            if voxels is None:
                part = image[i, j, k]
            else:
                affine = image.affine.copy()
                affine[:, 3] = affine @ [i.start, j.start, k.start, 1]
                part = image._with(voxels[name], affine)
            patch.add_image(part, name)
        for name, value in patch.metadata.items():
            patch[name] = follow_grid(value, old, space_of(patch).affine[0])
        a, b, c = corner.tolist()
        location = PatchLocation((a, b, c), self.patch_size)
        patch[LOCATION], patch["patch_location"] = location.to_tensor(), location
        patch.streams = random.Streams(np.array([seed]), np.ones(1, dtype=np.int64))
        return patch

    def cut_several(
        self, padded: Subject, before: np.ndarray, corners: np.ndarray, seeds: np.ndarray
    ) -> list[Subject]:
        """Cut patches out of a subject; arguments as for :meth:`cut`, [N, 3] and [N].

        One launch of a kernel, on a GPU, cuts all patches of an image, which share memory.
        """
        images = padded.get_images_dict(intensity_only=False)
        voxels: list[dict[str, Tensor] | None] = [None] * len(corners)
        if use_kernel(next(iter(images.values())).data.device):
            parts = {
                name: F.extract_patches(image.data[None], corners + before, self.patch_size)
                for name, image in images.items()
            }
            voxels = [{name: part[n] for name, part in parts.items()} for n in range(len(corners))]
        return [
            self.cut(padded, before, corner, int(seed), own)
            for corner, seed, own in zip(corners, seeds, voxels, strict=True)
        ]

    def cut_batch(
        self, padded: SubjectsBatch, before: np.ndarray, corner: np.ndarray, seeds: np.ndarray
    ) -> SubjectsBatch:
        """Cut one patch out of each sample; arguments as for :meth:`cut`, [B, 3] and [B]."""
        size = self.patch_size
        images = {}
        for name, each in padded.images.items():
            data = F.extract_patches(each.data, corner + before, size)
            space = windowed(each.space, corner + before, size)
            images[name] = each.with_data(data, space.affine)
        batch = padded.replace(images)
        grids = list(zip(space_of(padded).affine, space_of(batch).affine, strict=True))
        for name, values in batch.metadata.items():
            if isinstance(values, list):
                moved = [follow_grid(v, *grid) for v, grid in zip(values, grids, strict=True)]
                batch.metadata = {**batch.metadata, name: moved}
        batch.metadata = {**batch.metadata, **located(corner, size)}
        batch.streams = random.Streams(seeds, np.ones(len(seeds), dtype=np.int64))
        return batch


def located(corner: np.ndarray, size: Triple) -> dict[str, Any]:
    """Return metadata with the locations of patches that begin at ``corner``, [B, 3]."""
    places = [PatchLocation((a, b, c), size) for a, b, c in corner.tolist()]
    ends = np.concatenate([corner, corner + size], 1).astype(np.int64, copy=False)
    return {LOCATION: torch.from_numpy(ends), "patch_location": places}


def space_of(x: Subject | SubjectsBatch) -> Space:
    """Return the space of the first image."""
    images: Mapping[str, Any] = x.get_images_dict(intensity_only=False)
    space: Space = next(iter(images.values())).space
    return space


def check_space(x: Subject | SubjectsBatch) -> Space:
    """Return the space that all images share.

    Raises:
        ValueError: The spaces of images differ.
    """
    images = x.get_images_dict(intensity_only=False)
    check_same_space({name: image.space for name, image in images.items()})
    return space_of(x)


__all__ = ["PatchSampler", "check_space", "located", "space_of"]

"""Cached subjects, and batches of them that do not copy their volumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data import ImagesBatch, SubjectsBatch
from ...data.unread import UnreadImages, VoxelRows
from ...functional.patches import extract_patches
from ...random import Streams
from ...shapes import Triple, Volume
from ..sampling.weights import Weights


class CachedSubject:
    """One subject on the device, with values computed from its voxels.

    Args:
        batch: The subject, as a batch of one.
        decisions: Random numbers of decisions that its patches share, [1, N].
    """

    def __init__(self, batch: SubjectsBatch, decisions: np.ndarray | None = None) -> None:
        self.batch = batch
        self.decisions = np.empty((1, 0)) if decisions is None else decisions
        #: Weights of an image, by its name and the bytes of the box that voxels are drawn from.
        self.weights: dict[tuple[str, bytes], Weights] = {}
        #: Voxels on the host of images that are drawn from, by name.
        self.maps: dict[str, Tensor] = {}
        #: Fill values, by image and by rule or key.
        self.fills: dict[tuple[str, str | bytes], Tensor] = {}
        #: Event at which a copy to a GPU is done, and the stream that used the subject last.
        self.arrival: Any = None
        self.stream: Any = None

    @property
    def bytes(self) -> int:
        """Memory of the voxels, in bytes; those of unread images take none."""
        return sum(images.data.nbytes for images in self.read_images())

    def read_images(self) -> list[ImagesBatch]:
        """Return the images whose voxels are in memory."""
        return [images for images in self.batch.images.values() if not images.unread]

    def tensors(self) -> list[Tensor]:
        """Return all tensors on the device of the subject."""
        return [*(images.data for images in self.read_images()), *self.fills.values()]

    def to(self, device: torch.device, non_blocking: bool = False) -> CachedSubject:
        """Return the subject on another device; itself if it is there already."""
        if self.batch.device == device:
            return self
        moved = CachedSubject(self.batch.to(device, non_blocking=non_blocking), self.decisions)
        # shared, so that they are computed once
        moved.weights, moved.maps, moved.fills = self.weights, self.maps, self.fills
        return moved

    def on_host(self, name: str) -> Tensor | VoxelRows:
        """Return the voxels [I, J, K] of an image on the host, or rows of them from its file.

        Waits for a device that computed them.
        """
        images = self.batch.images[name]
        if isinstance(images, UnreadImages):
            return VoxelRows(images)
        if name not in self.maps:
            self.maps[name] = images.data.cpu()
        return self.maps[name][0, 0]

    def map(self, name: str) -> Tensor:
        """Return the voxels of an image where weights are computed from them, (C, I, J, K)."""
        if name in self.maps:
            return self.maps[name][0]
        images = self.batch.images[name]
        return images.to("cpu").read().data[0] if images.unread else images.data[0]

    def inherit(self, before: CachedSubject) -> None:
        """Take over what is known of images that are still those of a subject ``before``."""
        images, known = self.batch.images, before.batch.images
        kept = {
            name: voxels
            for name, voxels in before.maps.items()
            if name in images and images[name].data is known[name].data
        }
        if kept:
            self.maps, self.weights = kept, before.weights


class _Images(ImagesBatch):
    """One image of several cached subjects. A subject may occur repeatedly.

    Only the patches that are read are copied. Shapes may differ if only patches are read.
    """

    def __init__(
        self, subjects: Sequence[CachedSubject], name: str, dtype: torch.dtype | None = None
    ) -> None:
        each = [subject.batch.images[name] for subject in subjects]
        self._subjects, self._name, self._each = subjects, name, each
        #: Boxes that are read ahead, by sample, first voxel and size.
        self._ahead: dict[tuple[int, bytes, Triple], Callable[[], Volume]] = {}
        self._dtype = each[0].dtype if dtype is None else dtype
        self.affine = np.concatenate([images.affine for images in each])
        self.kind = each[0].kind
        known = [images._images for images in each]
        self._images = None if None in known else list(chain.from_iterable(k or () for k in known))

    @property  # type: ignore[misc]
    def data(self) -> Volume:
        """Voxels, (B, C, I, J, K): a copy of all volumes."""
        return torch.cat([images.data for images in self._each]).to(self._dtype)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self._each), *self._each[0].shape[1:]))

    @property
    def device(self) -> torch.device:
        return self._each[0].device

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    def floating(self) -> ImagesBatch:
        if self.dtype.is_floating_point or self.dtype.is_complex:
            return self
        return _Images(self._subjects, self._name, torch.float32)

    @property
    def unread(self) -> bool:  # type: ignore[override]
        return any(images.unread for images in self._each)

    @property
    def box_at_a_time(self) -> Triple:  # type: ignore[override]
        return next(images.box_at_a_time for images in self._each if images.unread)

    def rows(self, samples: Sequence[int]) -> ImagesBatch:
        return _Images([self._subjects[n] for n in samples], self._name, self._dtype)

    def prefetch(self, first: np.ndarray, size: Triple, submit: Callable[..., Any]) -> None:
        """Start to read boxes of unread images in threads; :meth:`part` waits for these.

        Args:
            first, size: See :meth:`part`.
            submit: Starts a function in a thread, and returns its future.
        """
        for n, images in enumerate(self._each):
            if isinstance(images, UnreadImages):
                ahead = images.part_ahead(first[n : n + 1], size, submit)
                self._ahead[n, first[n].tobytes(), size] = ahead

    def part(self, first: np.ndarray, size: Triple) -> Volume:
        if not self.unread:
            volumes = [images.data for images in self._each]
            return extract_patches(volumes, first, size).to(self._dtype)
        parts = []
        for n, images in enumerate(self._each):
            ahead = self._ahead.pop((n, first[n].tobytes(), size), None)
            parts.append(images.part(first[n : n + 1], size) if ahead is None else ahead())
        return torch.cat(parts).to(self._dtype)

    def known(self, keys: Sequence[bytes], compute: Callable[[], Any]) -> Any:
        pairs = list(zip(self._subjects, keys, strict=True))
        values = [subject.fills.get((self._name, key)) for subject, key in pairs]
        found = [value for value in values if value is not None]
        if len(found) == len(values):
            return torch.cat(found)
        computed = compute()
        if not isinstance(computed, Tensor):  # a number for all, as of complex voxels
            return computed
        for n, (subject, key) in enumerate(pairs):
            subject.fills[self._name, key] = computed[n : n + 1]
        return computed

    def fill_value(self, rule: str | float) -> Any:
        if not isinstance(rule, str):
            return rule
        values = []
        for subject, images in zip(self._subjects, self._each, strict=True):
            known = subject.fills.get((self._name, rule))
            if known is None:
                known = images.fill_value(rule)
                if not isinstance(known, Tensor):  # a number for all, as of complex voxels
                    return known
                subject.fills[self._name, rule] = known
            values.append(known)
        return torch.cat(values)


def merge_images(parts: Sequence[ImagesBatch], order: np.ndarray) -> ImagesBatch | None:
    """Return images of cached subjects as one; None if they differ in more than shape.

    Args:
        parts: Images that :func:`merge` made, perhaps converted.
        order: For each sample of the result, its number counted through all parts.
    """
    known = [images for images in parts if isinstance(images, _Images)]
    if len(known) < len(parts) or len({images.dtype for images in known}) > 1:
        return None
    subjects = [subject for images in known for subject in images._subjects]
    return _Images([subjects[n] for n in order], known[0]._name, known[0].dtype)


def merge(subjects: Sequence[CachedSubject], seeds: np.ndarray) -> SubjectsBatch:
    """Return a batch of cached subjects whose images have equal kinds, dtypes and shapes.

    Args:
        subjects: The subjects; the same one may occur several times.
        seeds: Seeds of the samples, [B]; their first position is used up.
    """
    batches = [subject.batch for subject in subjects]
    first = batches[0]
    images: dict[str, ImagesBatch] = {name: _Images(subjects, name) for name in first.images}
    names = dict.fromkeys(name for each in batches for name in each.metadata)
    metadata = {name: [each.metadata.get(name, [None])[0] for each in batches] for name in names}
    histories = [each.history[0] for each in batches]
    used = np.ones(len(seeds), dtype=np.int64)
    batch = SubjectsBatch(
        images, metadata, Streams(seeds, used), histories if any(histories) else None
    )
    batch._class = first._class
    return batch


__all__ = ["CachedSubject", "merge", "merge_images"]

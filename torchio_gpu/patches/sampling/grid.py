"""Patches on a regular grid, which cover every voxel."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ... import random
from ...cached import cached_property
from ...data import Subject
from ...data.checks import check_reading
from ...data.unread import unread_batch
from ...functional.patches import extract_patches
from ...functional.stitching import check_overlap
from ...shapes import Triple, TripleLike, Volume, check_triple
from .cutting import PatchSampler, check_space
from .location import PatchLocation
from .unread import UnreadSubject, check_padding_by_number


class GridSampler(PatchSampler, Dataset[Any]):
    """Sampler of patches on a regular grid, for predictions of whole volumes.

    A map-style dataset: pass it to a loader, and the predictions for its batches to a
    :class:`PatchAggregator`. The last patch along an axis ends where the volume does, so that it
    may share more voxels with its neighbour than others do.

    Args:
        subject: Subject to cut patches out of. Its voxels are read into a copy, if ``load`` is
            True. None for a sampler that is called with subjects.
        patch_size: Voxels of a patch along I, J, K; one number stands for three. For 2D images,
            1 along the axis of the single slice.
        patch_overlap: Voxels that neighbours share; one number stands for three.
        padding_mode: None for patches inside the volume. Otherwise it is padded by half the overlap
            at all ends, and further if it is smaller than a patch: with ``fill`` for 'constant', or
            as for :class:`Pad`.
        fill: Value outside for padding 'constant'; label maps get 0.
        load: Read the voxels of the subject. With False they stay in files that can be sliced, as
            described for :class:`Queue`, and each patch reads its own: for volumes that are larger
            than memory. The padding must be a number then.

    Locations are those in the volume without padding: patches may begin at negative voxels, and a
    :class:`PatchAggregator` of the subject's shape drops voxels outside.

    Raises:
        ValueError: A patch is larger than the volume and there is no padding; the overlap is not
            smaller than the patch, or odd where there is padding; or the images of the subject do
            not lie in one space.

    >>> subject = Subject(t1=ScalarImage(torch.rand(1, 10, 8, 8)))
    >>> sampler = GridSampler(subject, patch_size=4, patch_overlap=(2, 0, 0))
    >>> len(sampler), sampler[1].patch_location.index
    (16, (0, 0, 4))
    """

    #: Samples do not depend on a seed: a loader may ask for several at once.
    _draws_nothing = True

    def __init__(
        self,
        subject: Subject | None = None,
        patch_size: TripleLike | None = None,
        patch_overlap: TripleLike = 0,
        padding_mode: str | float | None = None,
        fill: float = 0,
        load: bool = True,
    ) -> None:
        if patch_size is None:
            raise ValueError("patch_size must be given, got None")
        super().__init__(patch_size, padding_mode, fill)
        overlap = check_triple(patch_overlap, "patch_overlap", least=0)
        self.patch_overlap = check_overlap(overlap, self.patch_size)
        if padding_mode is not None and any(n % 2 for n in overlap):
            raise ValueError(
                "patch_overlap must be even where there is padding, which adds half of it at all "
                f"ends, got {overlap}"
            )
        check_reading(None, load=load)
        self.subject, self.load = None, load
        self._unread: UnreadSubject | None = None
        if not load:
            check_padding_by_number(self, "load")
        if subject is not None:
            if not isinstance(subject, Subject):
                raise TypeError(f"subject must be a Subject, got {type(subject).__name__}")
            check_space(subject)
            self.subject = copy.copy(subject)
            if not load:
                batch = unread_batch(self.subject, lambda *_: {})
                self._unread = UnreadSubject(self, batch)
                _, self._seeds = self.corners_and_seeds(self._unread.shape, self._unread.streams)
                return
            self.subject.load()
            self._padded, self._before = self.padded(self.subject)
            streams = self.subject.streams or random.streams_for(1)
            self._seeds = streams.offspring(len(self))[0]

    def margins(self, shape: Triple) -> tuple[np.ndarray, np.ndarray]:
        if self.padding_mode is None:
            return np.zeros(3, dtype=int), np.zeros(3, dtype=int)
        half = np.array(self.patch_overlap) // 2
        missing = (np.array(self.patch_size) - np.array(shape) - 2 * half).clip(0)
        # the centre voxel of a patch, number n // 2, is inside the volume
        return half + missing - missing // 2, half + missing // 2

    def corners(self, shape: Triple) -> np.ndarray:
        """Return first voxels of the patches of a volume, [N, 3], with K fastest."""
        step = np.array(self.patch_size) - self.patch_overlap
        ends = zip(*self.room(shape), step, strict=True)
        along = [[*range(first, last, step), last] for first, last, step in ends]
        return np.stack(np.meshgrid(*along, indexing="ij"), -1).reshape(-1, 3)

    def corners_and_seeds(
        self, shape: Triple, streams: random.Streams
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return first voxels and seeds of the patches of a volume that is not padded as a whole.

        Args:
            shape: Shape of the volume.
            streams: Seeds of the subject.
        """
        if any(margin.any() for margin in self.margins(shape)):
            streams.take(1)  # the step that pads a whole volume takes this position
        corners = self.corners(shape)
        return corners, streams.offspring(len(corners))[0]

    @cached_property
    def _corners(self) -> np.ndarray:
        return self.corners(self._subject().spatial_shape)

    @property
    def patch_locations(self) -> list[PatchLocation]:
        """Locations of the patches."""
        return [PatchLocation((a, b, c), self.patch_size) for a, b, c in self._corners.tolist()]

    @property
    def locations(self) -> Tensor:
        """Locations of the patches, (N, 6): first voxel, and the one after the last."""
        return torch.stack([location.to_tensor() for location in self.patch_locations])

    def tensor(self, name: str, locations: Sequence[PatchLocation]) -> Volume:
        """Return the voxels of an image in patches at given locations, (N, C, i, j, k)."""
        self._subject()
        corners = np.array([location.index for location in locations])
        if self._unread is not None:
            return torch.stack([self._unread.patch(corner, 0)[name].data for corner in corners])
        corners += self._before
        return extract_patches(self._padded[name].data[None], corners, self.patch_size)

    def _subject(self) -> Subject:
        if self.subject is None:
            raise ValueError("subject must be given for a GridSampler that is indexed, got None")
        return self.subject

    def __len__(self) -> int:
        self._subject()
        return len(self._corners)

    def __getitem__(self, index: int) -> Subject:
        number = range(len(self))[int(index)]
        corner, seed = self._corners[number], int(self._seeds[number])
        if self._unread is not None:
            return self._unread.patch(corner, seed)
        return self.cut(self._padded, self._before, corner, seed)

    def __getitems__(self, indices: Sequence[int]) -> list[Subject]:
        """Return several patches; a loader asks for those of a batch in this way."""
        own = type(self).__getitem__ is not GridSampler.__getitem__  # that of a user
        if own or self._unread is not None:
            return [self[index] for index in indices]
        numbers = [range(len(self))[int(index)] for index in indices]
        return self.cut_several(
            self._padded, self._before, self._corners[numbers], self._seeds[numbers]
        )

    def __iter__(self) -> Iterator[Subject]:
        return (self[n] for n in range(len(self)))

    def __call__(self, subject: Subject, num_patches: int | None = None) -> Iterator[Subject]:
        """Return the patches of another subject, or the first ``num_patches`` of them."""
        other = GridSampler(
            subject, self.patch_size, self.patch_overlap, self.padding_mode, self.fill, self.load
        )
        count = len(other) if num_patches is None else min(num_patches, len(other))
        return (other[n] for n in range(count))


__all__ = ["GridSampler"]

"""Patches at random places: all alike."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, islice
from typing import Any, overload

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from ... import random
from ...data import Subject, SubjectsBatch
from ...shapes import Triple, TripleLike, check_count
from .cutting import PatchSampler, space_of

#: First voxels of patches, [N, 3], given their seeds, [N].
Finder = Callable[[np.ndarray], np.ndarray]

_UNIFORM = random.Layout(((0, 0, 3),))


class RandomSampler(PatchSampler, IterableDataset[Any]):
    """What samplers at random places share. Not for use by itself.

    Iterating over one that has a subject gives ``num_patches`` patches of it; workers of a
    DataLoader share them out.
    """

    def __init__(
        self,
        subject: Subject | None,
        patch_size: TripleLike,
        num_patches: int | None,
        padding_mode: str | float | None,
        fill: float,
    ) -> None:
        super().__init__(patch_size, padding_mode, fill)
        if num_patches is not None:
            check_count(num_patches, "num_patches", 0)
        self.subject, self.num_patches = subject, num_patches
        self._epoch = 0

    def margins(self, shape: Triple) -> tuple[np.ndarray, np.ndarray]:
        if self.padding_mode is None:
            return np.zeros(3, dtype=int), np.zeros(3, dtype=int)
        # any voxel may be the middle one of a patch
        before = np.array(self.patch_size) // 2
        return before, np.array(self.patch_size) - 1 - before

    def finder(self, x: Any) -> Finder:
        """What finds places for patches of a Subject, or for one of each sample of a batch."""
        raise NotImplementedError

    @overload
    def __call__(self, subject: Subject) -> Subject: ...
    @overload
    def __call__(self, subject: SubjectsBatch) -> SubjectsBatch: ...
    @overload
    def __call__(self, subject: Any, num_patches: int) -> Iterator[Any]: ...

    def __call__(self, subject: Any, num_patches: int | None = None) -> Any:
        """One patch of a Subject, or one of each sample of a SubjectsBatch; or an iterator.

        The places follow from the seeds that a loader gave the samples, if it did, and from
        torch's generator otherwise.

        Args:
            subject: A Subject or a SubjectsBatch.
            num_patches: How many to iterate over.
        """
        number = 1 if num_patches is None else check_count(num_patches, "num_patches", 0)
        found = self._patches(subject, number)
        return next(found) if num_patches is None else found

    def _patches(self, x: Any, number: int) -> Iterator[Any]:
        if not isinstance(x, (Subject, SubjectsBatch)):
            raise TypeError(f"subject must be a Subject or a SubjectsBatch, got {type(x).__name__}")
        if number == 0:
            return
        single = isinstance(x, Subject)
        streams = x.streams or random.streams_for(1 if single else x.batch_size)
        seeds = streams.offspring(number)
        if single:
            x = copy.copy(x)  # files are read into the copy
            if number > 1:
                x.load()
        padded, before = self.padded(x)
        find = self.finder(x)
        for n in range(number):
            corner = find(seeds[:, n])
            if single:
                yield self.cut(padded, before, corner[0], int(seeds[0, n]))
            else:
                yield self.cut_batch(padded, before, corner, seeds[:, n])

    def __iter__(self) -> Iterator[Subject]:
        if self.subject is None:
            raise ValueError(f"{type(self).__name__} must be given a subject to be iterated over")
        subject = copy.copy(self.subject)
        subject.load()
        padded, before = self.padded(subject)
        find = self.finder(subject)
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        # what workers have in common, and what differs between epochs
        base = int(random.fresh_seeds(1)[0]) if worker is None else worker.seed - worker.id
        epoch, self._epoch = self._epoch, self._epoch + 1
        numbers: Any = count() if self.num_patches is None else range(self.num_patches)
        for number in islice(numbers, first, None, step):
            seeds = random.sample_seeds(base, epoch, [number])
            yield self.cut(padded, before, find(seeds)[0], int(seeds[0]))

    def __len__(self) -> int:
        if self.num_patches is None:
            raise TypeError(f"{type(self).__name__} has no length: num_patches is None")
        return self.num_patches


class UniformSampler(RandomSampler):
    """Patches from anywhere, all places equally likely.

    Args:
        subject: What to iterate over; None for a sampler that is called, or given to a Queue.
        patch_size: Voxels of a patch along I, J, K; one number stands for three. For 2D images,
            1 along the axis of the single slice.
        num_patches: How many to iterate over; None for no end.
        padding_mode: None for patches that lie within the volume. Otherwise any voxel may be the
            middle one of a patch, and outside stands ``fill`` for 'constant', or what :class:`Pad`
            says.
        fill: Value outside for padding 'constant'; label maps get 0.

    A number or triple in the place of ``subject`` is the patch size, as in TorchIO 1.x. Patches are
    Subjects that know their place: ``patch.patch_location``, and ``patch[LOCATION]`` as a tensor.

    Raises:
        ValueError: An argument is not as above; or, when a patch is cut, it is larger than the
            volume, or the images of a subject do not lie in one space.

    >>> subject = Subject(t1=ScalarImage(torch.rand(1, 12, 12, 12)))
    >>> [patch.t1.shape for patch in UniformSampler(subject, patch_size=8, num_patches=2)]
    [(1, 8, 8, 8), (1, 8, 8, 8)]
    >>> UniformSampler(4)(subject).patch_location.size
    (4, 4, 4)
    """

    def __init__(
        self,
        subject: Subject | TripleLike | None = None,
        patch_size: TripleLike | None = None,
        num_patches: int | None = None,
        padding_mode: str | float | None = None,
        fill: float = 0,
    ) -> None:
        subject, patch_size, _ = sorted_out(subject, patch_size)
        super().__init__(subject, patch_size, num_patches, padding_mode, fill)

    def finder(self, x: Any) -> Finder:
        return partial(self.corners_between, *self.room(space_of(x).shape))

    def corners_between(self, first: np.ndarray, last: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """First voxels of patches that begin between two voxels, both included, [N, 3]."""
        u = random.uniforms(seeds, _UNIFORM)[:, :3]
        return first + (u * (last - first + 1)).astype(np.int64)


def sorted_out(
    subject: Any, patch_size: Any, third: Any = None, name: str | None = None
) -> tuple[Subject | None, TripleLike, Any]:
    """Arguments by position in the order of TorchIO 1.x, which has no subject, or in that of 2.

    Args:
        subject, patch_size, third: What was given first, second and third, or by name.
        name: Of the third, if it is a name that 1.x has second.
    """
    if subject is None or isinstance(subject, Subject):
        if patch_size is None:
            raise ValueError("patch_size must be given, got None")
        return subject, patch_size, third
    if patch_size is None:
        return None, subject, third
    if name is None or not isinstance(patch_size, str):
        raise ValueError(f"patch_size must be given once, got {subject!r} and {patch_size!r}")
    if third is not None:
        raise ValueError(f"{name} must be given once, got {patch_size!r} and {third!r}")
    return None, subject, patch_size


__all__ = ["Finder", "RandomSampler", "UniformSampler", "sorted_out"]

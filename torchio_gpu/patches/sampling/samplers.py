"""Patches at random locations: base class, and uniform sampling."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, islice
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from ... import random
from ...data import Subject, SubjectsBatch
from ...shapes import Triple, TripleLike, check_count
from .cutting import PatchSampler, space_of

#: Function from seeds of patches, [N], to their first voxels, [N, 3].
Finder = Callable[[np.ndarray], np.ndarray]

_UNIFORM = random.Layout(((0, 0, 3),))


class RandomSampler(PatchSampler, IterableDataset[Any]):
    """Base class of samplers at random locations.

    Iteration, which needs a subject, yields ``num_patches`` patches of it; the workers of a
    DataLoader divide them among themselves.
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
        # any voxel may be the centre of a patch
        before = np.array(self.patch_size) // 2
        return before, np.array(self.patch_size) - 1 - before

    def finder(self, x: Any) -> Finder:
        """Return the function that draws first voxels in a Subject, or in samples of a batch."""
        raise NotImplementedError

    @overload
    def __call__(self, subject: Subject) -> Subject: ...
    @overload
    def __call__(self, subject: SubjectsBatch) -> SubjectsBatch: ...
    @overload
    def __call__(self, subject: Any, num_patches: int) -> Iterator[Any]: ...

    def __call__(self, subject: Any, num_patches: int | None = None) -> Any:
        """Cut one patch out of a Subject, or out of each sample of a SubjectsBatch; or iterate.

        The locations depend on the seeds of the samples, if a loader set them, and otherwise on
        torch's generator.

        Args:
            subject: A Subject or a SubjectsBatch.
            num_patches: Number of patches of an iterator; None for a single patch.
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
            raise ValueError(
                f"subject must be given to iterate over a {type(self).__name__}, got None"
            )
        subject = copy.copy(self.subject)
        subject.load()
        padded, before = self.padded(subject)
        find = self.finder(subject)
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        # a seed that all workers share, and an epoch number
        base = int(random.fresh_seeds(1)[0]) if worker is None else worker.seed - worker.id
        epoch, self._epoch = self._epoch, self._epoch + 1
        numbers: Any = count() if self.num_patches is None else range(self.num_patches)
        for number in islice(numbers, first, None, step):
            seeds = random.sample_seeds(base, epoch, [number])
            yield self.cut(padded, before, find(seeds)[0], int(seeds[0]))

    def get_probability_map(self, subject: Subject) -> Tensor:
        """Return the weight of each voxel to be the centre of a patch, (1, I, J, K).

        They need not sum to 1; voxels around which no patch fits are included.
        """
        raise NotImplementedError

    def __len__(self) -> int:
        if self.num_patches is None:
            raise TypeError(
                f"num_patches must be given for a length, {type(self).__name__} has None"
            )
        return self.num_patches


class UniformSampler(RandomSampler):
    """Sampler of patches at uniformly distributed locations.

    Args:
        subject: Subject to iterate over; None for a sampler that is called, or given to a Queue.
        patch_size: Voxels of a patch along I, J, K; one number stands for three. For 2D images,
            1 along the axis of the single slice.
        num_patches: Number of patches of an iteration; None for an infinite one.
        padding_mode: None for patches inside the volume. Otherwise any voxel may be the centre of a
            patch, and the padding outside is ``fill`` for 'constant', or as for :class:`Pad`.
        fill: Value outside for padding 'constant'; label maps get 0.

    A number or triple in the place of ``subject`` is the patch size, as in TorchIO 1.x. Patches are
    Subjects with their location: ``patch.patch_location``, and ``patch[LOCATION]`` as a tensor.

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

    def get_probability_map(self, subject: Subject) -> Tensor:
        return torch.ones(1, *subject.spatial_shape)

    def finder(self, x: Any) -> Finder:
        return partial(self.corners_between, *self.room(space_of(x).shape))

    def corners_between(self, first: np.ndarray, last: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """Draw first voxels of patches between two voxels, both included, [N, 3]."""
        u = random.uniforms(seeds, _UNIFORM)[:, :3]
        return first + (u * (last - first + 1)).astype(np.int64)


def sorted_out(
    subject: Any, patch_size: Any, third: Any = None, name: str | None = None
) -> tuple[Subject | None, TripleLike, Any]:
    """Return subject, patch size and third argument, given in the order of TorchIO 1.x or of 2.

    In 1.x the order is patch size and third argument, without a subject.

    Args:
        subject, patch_size, third: First, second and third argument, or the arguments by name.
        name: Name of the third, if it is second in 1.x.
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

"""Cache of the subjects of a dataset: on the device up to a limit, the others in host memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

import torch

from ... import random
from ...data import ImagesBatch, Subject, SubjectsBatch
from ...data.unread import unread_batch
from ...functional.dispatch.backend import kind_of
from ...loader import SeededDataset
from ..sampling.cutting import check_space
from .cached_subject import CachedSubject
from .epochs import describe
from .stream_order import StreamOrder

#: Default limit, as a share of the free memory of a GPU.
_SHARE = 0.5


class SubjectCache:
    """Cache of subjects that are read once, on a device or in host memory.

    Args:
        subjects: A dataset.
        device: Device of the cache.
        memory: Bytes of voxels to keep there; by default half of the free memory of a GPU.
        seed: Seed of random transforms of the dataset; by default drawn from torch's CPU generator.
        on_host: Returns, of the images of a subject by name, those to keep on the host as well.
        unread: Leave the voxels of images in files that can be sliced there.
    """

    def __init__(
        self,
        subjects: Any,
        device: torch.device,
        memory: int | None = None,
        seed: int | None = None,
        on_host: Callable[[Mapping[str, ImagesBatch]], Sequence[str]] = lambda images: (),
        unread: bool = False,
    ) -> None:
        self.subjects, self.device = subjects, device
        if memory is None and device.type == "cuda":
            memory = int(_SHARE * torch.cuda.mem_get_info(device)[0])
        self.memory = memory
        #: Bytes of voxels on the device.
        self.used = 0
        self._on_device: dict[int, CachedSubject] = {}
        self._on_host: dict[int, CachedSubject] = {}
        self._order: StreamOrder | None = None
        self._names, self._unread = on_host, unread
        self._seed = int(random.fresh_seeds(1)[0]) if seed is None else seed

    @contextmanager
    def prefetching(self, threads: int) -> Iterator[Callable[[Sequence[int], Sequence[int]], Any]]:
        """Create a function that returns subjects on the device, and prefetches the next ones.

        Args:
            threads: Threads that prefetch subjects.

        Yields:
            Function of the indices to return now, and of those to prefetch.
        """
        if self._order is None and kind_of(self.device) == "cuda":
            self._order = StreamOrder(self.device)
        executor = ThreadPoolExecutor(threads, "torchio_gpu.SubjectCache") if threads else None
        reading: dict[int, Future[CachedSubject]] = {}
        moving: dict[int, CachedSubject] = {}

        def take(now: Sequence[int], later: Sequence[int]) -> list[CachedSubject]:
            if executor is not None:
                for index in [*now, *later]:
                    if index not in reading and not self._has(index):
                        reading[index] = executor.submit(copy_context().run, self._read, index)
            found = [self._get(index, reading, moving) for index in now]
            known = dict(zip(now, found, strict=True))
            moving.clear()
            for index in later:  # copied while the device processes the current subjects
                if index in reading and reading[index].done() and not reading[index].exception():
                    self._keep(index, reading.pop(index).result())
                if index in self._on_host and index not in moving:
                    moving[index] = known.get(index) or self._to_device(self._on_host[index])
            return found

        try:
            yield take
        finally:
            if executor is not None:
                executor.shutdown(wait=True, cancel_futures=True)

    def order(self, subjects: Sequence[CachedSubject]) -> None:
        """Order what follows on the current stream after all that it needs.

        Args:
            subjects: Subjects, or results of work on them, that are read.
        """
        if self._order is not None:
            self._order.use(subjects)

    def _has(self, index: int) -> bool:
        return index in self._on_device or index in self._on_host

    def _get(
        self,
        index: int,
        reading: dict[int, Future[CachedSubject]],
        moving: dict[int, CachedSubject],
    ) -> CachedSubject:
        if index in self._on_device:
            return self._on_device[index]
        if index in moving:
            return moving[index]
        if index not in self._on_host:
            future = reading.pop(index, None)
            self._keep(index, self._read(index) if future is None else future.result())
        return (
            self._on_device[index]
            if index in self._on_device
            else self._to_device(self._on_host[index])
        )

    def _read(self, index: int) -> CachedSubject:
        """Read a subject, with the transform of the dataset, into host memory."""
        try:
            seed = int(random.sample_seeds(self._seed, 0, [index])[0])
            subject = SeededDataset(self.subjects, shares=True)[index, seed]
            if not isinstance(subject, Subject):
                raise TypeError(f"subjects must be Subjects, got {type(subject).__name__}")
            check_space(subject)
            if self._unread:
                read = CachedSubject(unread_batch(subject, lambda *_: {}))
            else:
                read = CachedSubject(SubjectsBatch.from_subjects([subject], view=True))
            images = read.batch.images
            maps = {n: images[n].data for n in self._names(images) if not images[n].unread}
            read.maps = {name: data for name, data in maps.items() if data.device.type == "cpu"}
            return read if self._order is None else self._order.prepare(read)
        except Exception as error:
            message = f"subject {index}{describe(self.subjects, index)} could not be loaded"
            raise RuntimeError(f"{message}: {type(error).__name__}: {error}") from error

    def _keep(self, index: int, subject: CachedSubject) -> None:
        """Store a subject on the device if there is room, or else in host memory."""
        if self.memory is None or self.used + subject.bytes <= self.memory:
            self.used += subject.bytes
            self._on_device[index] = self._to_device(subject)
        else:
            self._on_host[index] = subject

    def _to_device(self, subject: CachedSubject) -> CachedSubject:
        return subject.to(self.device) if self._order is None else self._order.copy(subject)


__all__ = ["SubjectCache"]

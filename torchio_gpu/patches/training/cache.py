"""Where the volumes of a dataset are kept: on the device as far as there is room, else at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

import torch

from ... import random
from ...data import Subject, SubjectsBatch
from ...loader import SeededDataset
from ..sampling.cutting import check_space
from .epochs import describe
from .cached_subject import CachedSubject

#: As a share of the free memory of a GPU, how much is taken by default.
_SHARE = 0.5


class SubjectCache:
    """Subjects that were read once, on a device or in host memory.

    Args:
        subjects: A dataset.
        device: Where to keep them.
        memory: How many bytes of voxels to keep there; by default half of what is free on a GPU.
        seed: Decides what a random transform of the dataset does; by default drawn from torch's CPU
            generator.
    """

    def __init__(
        self,
        subjects: Any,
        device: torch.device,
        memory: int | None = None,
        seed: int | None = None,
    ) -> None:
        self.subjects, self.device = subjects, device
        if memory is None and device.type == "cuda":
            memory = int(_SHARE * torch.cuda.mem_get_info(device)[0])
        self.memory = memory
        #: Bytes of voxels on the device.
        self.used = 0
        self._on_device: dict[int, CachedSubject] = {}
        self._on_host: dict[int, CachedSubject] = {}  # in host memory
        self._stream: Any = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._seed = int(random.fresh_seeds(1)[0]) if seed is None else seed

    @contextmanager
    def prefetching(self, threads: int) -> Iterator[Callable[[Sequence[int], Sequence[int]], Any]]:
        """A function from indices to subjects on the device, which has others made ready.

        Args:
            threads: Threads that read subjects ahead.

        Yields:
            The function of indices to take now, and of indices to be taken next.
        """
        executor = ThreadPoolExecutor(threads, "torchio_gpu.SubjectCache") if threads else None
        reading: dict[int, Future[CachedSubject]] = {}
        moving: dict[int, CachedSubject] = {}

        def take(now: Sequence[int], later: Sequence[int]) -> list[CachedSubject]:
            if executor is not None:
                for index in [*now, *later]:
                    if index not in reading and not self._has(index):
                        reading[index] = executor.submit(copy_context().run, self._read, index)
            found = [self._get(index, reading, moving) for index in now]
            moving.clear()
            for index in later:  # copied while the device works on those of now
                if index in self._on_host:
                    moving[index] = self._to_device(self._on_host[index])
            if self._stream is not None:
                torch.cuda.current_stream(self.device).wait_stream(self._stream)
            return found

        try:
            yield take
        finally:
            if executor is not None:
                executor.shutdown(wait=True, cancel_futures=True)

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
        """Return a subject, read and as the dataset makes it, in host memory."""
        try:
            seed = int(random.sample_seeds(self._seed, 0, [index])[0])
            subject = SeededDataset(self.subjects, shares=True)[index, seed]
            if not isinstance(subject, Subject):
                raise TypeError(f"subjects must be Subjects, got {type(subject).__name__}")
            check_space(subject)
            return CachedSubject(SubjectsBatch.from_subjects([subject], view=True))
        except Exception as error:
            what = f"subject {index}{describe(self.subjects, index)} could not be loaded"
            raise RuntimeError(f"{what}: {type(error).__name__}: {error}") from error

    def _keep(self, index: int, subject: CachedSubject) -> None:
        """Put a subject on the device if there is room, or else into host memory."""
        if self.memory is None or self.used + subject.bytes <= self.memory:
            self.used += subject.bytes
            self._on_device[index] = self._to_device(subject)
        else:
            if self._stream is not None:
                subject = CachedSubject(subject.batch.pin_memory())
            self._on_host[index] = subject

    def _to_device(self, subject: CachedSubject) -> CachedSubject:
        if self._stream is None:
            return subject.to(self.device)
        with torch.cuda.stream(self._stream):
            moved = subject.to(self.device, non_blocking=True)
        for images in moved.batch.images.values():  # memory of one stream, used by another
            images.data.record_stream(torch.cuda.current_stream(self.device))
        return moved


__all__ = ["SubjectCache"]

"""A queue of patches for training: subjects are read ahead, and their patches are shuffled."""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from math import prod
from typing import Any

import torch
from torch.utils.data import Dataset, IterableDataset

from ...data import Subject, SubjectsDataset
from ...loader import SeededDataset
from ...progress import progress
from ...shapes import check_count
from ...signature import checked
from ..sampling.cutting import PatchSampler
from .epochs import EpochSampler, describe, unread

#: Arguments by position after the first, in TorchIO 2 and in 1.x.
_ORDER = (
    "patch_sampler",
    "max_length",
    "patches_per_volume",
    "num_workers",
    "shuffle_subjects",
    "shuffle_patches",
    "transform",
    "subject_sampler",
)
_ORDER_OF_1 = (
    "max_length",
    "patches_per_volume",
    "patch_sampler",
    "subject_sampler",
    "num_workers",
    "shuffle_subjects",
    "shuffle_patches",
)
#: Subjects whose patches may come in after each patch that goes out: more than one, or the queue
#: would never fill where a subject has one patch.
_INTAKE = 2


@dataclass
class QueueStatistics:
    """What a queue has done since an epoch began.

    Args:
        subjects: Subjects whose patches came into the queue.
        skipped: Subjects that could not be loaded and were left out.
        patches: Patches handed out.
        waiting: Seconds for which the loop that takes the patches had to wait for subjects.
        loading: Seconds that loading, transforming and cutting took, in all threads together.
        length: Patches in the queue.
    """

    subjects: int = 0
    skipped: int = 0
    patches: int = 0
    waiting: float = 0.0
    loading: float = 0.0
    length: int = 0


class Queue(IterableDataset[Any]):
    """Patches of many subjects in random order, a few subjects in memory at a time.

    Give it to a loader without workers, and let threads of the queue read ahead; or give it to a
    loader with workers, which share out the subjects. Ranks of ``torch.distributed`` share them
    out as well; one of them may have a subject more than another. The first patch is there as soon
    as one subject is loaded. After each patch that is taken, those of up to two more subjects come
    in if there is room for them, so that the queue fills while it is used. The order of the patches
    does not depend on the number of threads.

    Args:
        subjects: A sequence of Subjects, or a dataset of them, such as a SubjectsDataset.
        patch_sampler: What takes the patches, such as ``UniformSampler(64)``.
        max_length: Patches in the queue at most: the more, the better they are shuffled. While
            they are handed out, threads have the patches of ``num_workers`` more subjects ready.
        patches_per_volume: Patches of each subject.
        num_workers: Threads that load subjects ahead; with 0 they are loaded when needed. Never are
            more than ``num_workers + 1`` subjects loaded whose patches are not yet in the queue.
        shuffle_subjects: Take subjects in random order; by default, unless there is a
            ``subject_sampler``.
        shuffle_patches: Take patches out of the queue at random.
        transform: Applied to each subject after it is loaded.
        subject_sampler: Which subjects to take, in which order; an iterable of indices, as
            :class:`torch.utils.data.Sampler` is. It shares out subjects between ranks itself.
        on_error: What to do when a subject cannot be loaded: 'raise', or 'skip' it with a warning
            and count it in :attr:`statistics`.
        seed: Decides all that is random, together with the number of the epoch; by default drawn
            from torch's CPU generator at each epoch. Ranks need the same: for them, the default
            decides the order of subjects as ``seed=0`` does.
        progress: Show a progress bar of the patches of an epoch.
        subjects_dataset, sampler, samples_per_volume: Names of ``subjects``, ``patch_sampler`` and
            ``patches_per_volume`` in TorchIO 1.x, whose order of positional arguments is
            understood, too.

    Raises:
        TypeError: ``subjects`` holds no Subjects, or ``patch_sampler`` cannot be called.
        ValueError: A number is out of range, an argument is given by both of its names, or subjects
            are to be shuffled by both.
        RuntimeError: During an epoch, a subject cannot be loaded; it is named.

    >>> subjects = [Subject(t1=ScalarImage(torch.rand(1, 12, 12, 12))) for _ in range(3)]
    >>> queue = Queue(subjects, UniformSampler(8), max_length=8, patches_per_volume=4)
    >>> len(queue), [batch.batch_size for batch in SubjectsLoader(queue, batch_size=6)]
    (12, [6, 6])
    """

    @checked
    def __init__(
        self,
        subjects: Sequence[Subject] | Dataset[Any] | None = None,
        *order: Any,
        patch_sampler: Callable[..., Any] | None = None,
        max_length: int | None = None,
        patches_per_volume: int | None = None,
        num_workers: int | None = None,
        shuffle_subjects: bool | None = None,
        shuffle_patches: bool | None = None,
        transform: Callable[[Subject], Any] | None = None,
        subject_sampler: Any = None,
        on_error: str = "raise",
        seed: int | None = None,
        progress: bool = False,
        subjects_dataset: Any = None,
        sampler: Callable[..., Any] | None = None,
        samples_per_volume: int | None = None,
    ) -> None:
        given = {
            "subjects": subjects,
            "patch_sampler": patch_sampler,
            "max_length": max_length,
            "patches_per_volume": patches_per_volume,
            "num_workers": num_workers,
            "shuffle_subjects": shuffle_subjects,
            "shuffle_patches": shuffle_patches,
            "transform": transform,
            "subject_sampler": subject_sampler,
        }
        names = _ORDER_OF_1 if order and isinstance(order[0], int) else _ORDER
        if len(order) > len(names):
            raise TypeError(f"Queue takes {len(names) + 1} positional arguments, got {order!r}")
        _add(given, dict(zip(names, order, strict=False)))
        others = {"subjects": subjects_dataset, "patch_sampler": sampler}
        _add(given, {**others, "patches_per_volume": samples_per_volume})
        defaults = {"max_length": 300, "patches_per_volume": 10, "num_workers": 0}
        for name, default in defaults.items():
            setattr(self, name, default if given[name] is None else given[name])
        self.max_length: int
        self.patches_per_volume: int
        self.num_workers: int
        self.patch_sampler = given["patch_sampler"]
        self.subject_sampler = given["subject_sampler"]
        self.transform = given["transform"]
        shuffle = given["shuffle_subjects"]
        self.shuffle_subjects = self.subject_sampler is None if shuffle is None else bool(shuffle)
        shuffle = given["shuffle_patches"]
        self.shuffle_patches = True if shuffle is None else bool(shuffle)
        self.on_error, self.seed, self.progress = on_error, seed, progress
        self._statistics = QueueStatistics()
        self._check()
        self.subjects = given["subjects"]
        if not isinstance(self.subjects, Dataset):
            if self.subjects is None:
                raise ValueError("subjects must be given, got None")
            self.subjects = SubjectsDataset(self.subjects)
        # samplers of this library cut patches out, as copies
        self._shares = isinstance(self.patch_sampler, PatchSampler)
        self._epochs = EpochSampler(
            self.subjects, self.subject_sampler, self.shuffle_subjects, seed
        )

    def _check(self) -> None:
        if not callable(self.patch_sampler):
            raise TypeError(f"patch_sampler must be a sampler, got {self.patch_sampler!r}")
        least = {"max_length": 1, "patches_per_volume": 1, "num_workers": 0}
        for name, low in least.items():
            check_count(getattr(self, name), name, low)
        if self.patches_per_volume > self.max_length:
            raise ValueError(
                f"max_length must have room for the patches of a subject: expected at least "
                f"patches_per_volume, {self.patches_per_volume}, got {self.max_length}"
            )
        if self.on_error not in ("raise", "skip"):
            raise ValueError(f"on_error must be 'raise' or 'skip', got {self.on_error!r}")
        if self.transform is not None and not callable(self.transform):
            raise TypeError(f"transform must be callable or None, got {self.transform!r}")

    # How much there is

    @property
    def num_subjects(self) -> int:
        """Subjects of an epoch, of this rank."""
        return len(self._epochs)

    @property
    def patches_per_epoch(self) -> int:
        """Patches of an epoch, of this rank, at most.

        A GridSampler may have fewer, and those of subjects that turn out to be skipped are counted.
        """
        return self.num_subjects * self.patches_per_volume

    def __len__(self) -> int:
        return self.patches_per_epoch

    @property
    def max_memory(self) -> int:
        """Bytes that the patches of a full queue take: ``max_length`` of those of subject 0."""
        if not isinstance(self.patch_sampler, PatchSampler):
            raise TypeError("max_memory is known for samplers of this library only")
        subject = unread(self.subjects, 0) or self.subjects[0]
        images = subject.get_images(intensity_only=False)
        voxel = sum(i.num_channels * i.dtype.itemsize for i in images)
        return self.max_length * prod(self.patch_sampler.patch_size) * int(voxel)

    @property
    def max_memory_pretty(self) -> str:
        """:attr:`max_memory` in words."""
        size, units = float(self.max_memory), ["B", "KiB", "MiB", "GiB"]
        while size >= 1024 and len(units) > 1:
            size /= 1024
            units.pop(0)
        return f"{size:.1f} {units[0]}"

    @property
    def statistics(self) -> QueueStatistics:
        """What was done since the last epoch began; of a loader's workers, each has its own."""
        return replace(self._statistics)

    @property
    def epoch(self) -> int:
        """Number of the epoch that the next iteration runs."""
        return self._epochs.epoch

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the next epoch.

        It goes up by itself where the queue is iterated over in one process. A SubjectsLoader sets
        it; a plain DataLoader with workers that do not persist needs it set before each epoch where
        there is a ``seed``, or several ranks. Workers that persist count by themselves.
        """
        self._epochs.epoch = epoch

    # The work

    def __iter__(self) -> Iterator[Subject]:
        epoch = self._epochs.next()
        picks = torch.Generator().manual_seed(epoch.seed)
        counts = self._statistics = QueueStatistics()
        pairs = list(zip(epoch.indices, epoch.seeds, strict=True))
        total = len(pairs) * self.patches_per_volume
        with (
            progress("patches", total, self.progress) as advance,
            self._loaded(pairs, counts) as loaded,
        ):
            waiting: list[Subject] = []
            more, wanted = True, 1
            while more or waiting:
                for _ in range(wanted):
                    if not more or len(waiting) + self.patches_per_volume > self.max_length:
                        break
                    patches = next(loaded, None)
                    more = patches is not None
                    waiting += patches or ()
                if not waiting:
                    continue
                wanted = _INTAKE
                if self.shuffle_patches:
                    at = int(torch.randint(len(waiting), (), generator=picks))
                    waiting[0], waiting[at] = waiting[at], waiting[0]
                patch = waiting.pop(0)
                counts.patches += 1
                counts.length = len(waiting)
                advance(1)
                yield patch

    @contextmanager
    def _loaded(
        self, pairs: list[tuple[int, int]], counts: QueueStatistics
    ) -> Iterator[Iterator[list[Subject]]]:
        """The patches of subjects, given as (index, seed), loaded ahead; none of a skipped one."""
        if self.num_workers == 0:
            yield (self._result(pair[0], partial(self._load, pair), counts) for pair in pairs)
            return
        executor = ThreadPoolExecutor(self.num_workers, thread_name_prefix="torchio_gpu.Queue")
        ahead: deque[tuple[int, Future[Any]]] = deque()
        left = deque(pairs)

        def fill() -> None:
            while left and len(ahead) < self.num_workers:
                pair = left.popleft()
                ahead.append((pair[0], executor.submit(copy_context().run, self._load, pair)))

        def results() -> Iterator[list[Subject]]:
            fill()
            while ahead:
                index, future = ahead.popleft()
                patches = self._result(index, future.result, counts)
                fill()
                yield patches

        try:
            yield results()
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def _load(self, pair: tuple[int, int]) -> tuple[list[Subject], float]:
        """Return the patches of a subject, and how many seconds they took."""
        start = time.perf_counter()
        subject = SeededDataset(self.subjects, self.transform, self._shares)[pair]
        if not isinstance(subject, Subject):
            raise TypeError(f"subjects must be Subjects, got {type(subject).__name__}")
        assert self.patch_sampler is not None
        drawn = self.patch_sampler(subject, self.patches_per_volume)
        patches = list(islice(drawn, self.patches_per_volume))  # others' samplers may not end
        return patches, time.perf_counter() - start

    def _result(
        self,
        index: int,
        load: Callable[[], tuple[list[Subject], float]],
        counts: QueueStatistics,
    ) -> list[Subject]:
        """What loading a subject comes to; an error names the subject."""
        start = time.perf_counter()
        try:
            patches, seconds = load()
        except Exception as error:
            what = f"subject {index}{describe(self.subjects, index)} could not be loaded"
            reason = f"{type(error).__name__}: {error}"
            if self.on_error == "raise":
                raise RuntimeError(f"{what}: {reason}") from error
            warnings.warn(f"{what} and is left out: {reason}", RuntimeWarning, stacklevel=2)
            counts.skipped += 1
            return []
        counts.subjects += 1
        counts.loading += seconds
        counts.waiting += time.perf_counter() - start
        return patches


def _add(given: dict[str, Any], more: dict[str, Any]) -> None:
    """Take arguments by another name, or by position; refuse one that was given already."""
    for name, value in more.items():
        if value is None:
            continue
        if given[name] is not None:
            other = {"subjects": "subjects_dataset", "patches_per_volume": "samples_per_volume"}
            also = other.get(name, "sampler" if name == "patch_sampler" else name)
            raise ValueError(f"{name} must be given once, got it twice; {also} is the same")
        given[name] = value


__all__ = ["Queue", "QueueStatistics"]

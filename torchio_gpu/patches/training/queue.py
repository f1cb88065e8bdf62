"""Queue of patches for training: subjects are prefetched, and their patches are shuffled."""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from numbers import Number
from typing import Any

import torch
from torch.utils.data import Dataset, IterableDataset

from ...data import NUM_SAMPLES, Subject, SubjectsDataset
from ...loader import SeededDataset
from ...progress import progress
from ...shapes import check_count
from ...signature import checked
from ...spellings import older_spellings
from ..sampling.cutting import PatchSampler
from ..sampling.unread import whole_needed
from .epochs import EpochSampler, Indices, describe, unread
from .older_queue import OlderQueue
from .unread import UnreadPatches, stays_unread, without_transform

#: Arguments by position in TorchIO 1, by their names here.
_ORDER_OF_1 = (
    "subjects",
    "max_length",
    "patches_per_volume",
    "patch_sampler",
    "subject_sampler",
    "num_workers",
    "shuffle_subjects",
    "shuffle_patches",
    "start_background",
    "progress",
)
#: Largest number of subjects whose patches are added after each patch that is taken: more than one,
#: or the queue would never fill with one patch per subject.
_INTAKE = 2


@dataclass
class QueueStatistics:
    """Statistics of a queue since the start of an epoch.

    Args:
        subjects: Subjects whose patches were added to the queue.
        skipped: Subjects that could not be loaded and were skipped.
        patches: Patches taken from the queue.
        waiting: Seconds that the consumer waited for subjects.
        loading: Seconds spent in loading, transforming and cutting, summed over threads.
        length: Patches in the queue.
    """

    subjects: int = 0
    skipped: int = 0
    patches: int = 0
    waiting: float = 0.0
    loading: float = 0.0
    length: int = 0


class Queue(OlderQueue, IterableDataset[Any]):
    """Patches of many subjects in random order, a few subjects in memory at a time.

    Pass it to a loader without workers, and let threads of the queue prefetch; or pass it to a
    loader with workers, which divide the subjects. Ranks of ``torch.distributed`` divide them as
    well; one of them may have a subject more than another. The first patch is available as soon as
    one subject is loaded. After each patch that is taken, those of up to two more subjects are
    added if there is room for them, so that the queue fills while it is used. The order of patches
    does not depend on the number of threads.

    Args:
        subjects: A sequence of Subjects, or a dataset of them, such as a SubjectsDataset.
        patch_sampler: Sampler of the patches, such as ``UniformSampler(64)``.
        max_length: Largest number of patches in the queue: the more, the better they are shuffled.
            Threads hold the patches of ``num_workers`` more subjects.
        patches_per_volume: Patches of each subject.
        num_workers: Threads that prefetch subjects; with 0 they are loaded when needed. At most
            ``num_workers + 1`` subjects are loaded whose patches are not yet in the queue.
        shuffle_subjects: Take subjects in random order; by default, unless there is a
            ``subject_sampler``.
        shuffle_patches: Take patches out of the queue at random.
        transform: Applied to each subject after it is loaded.
        subject_sampler: Indices of the subjects to take, in order; an iterable, such as a
            :class:`torch.utils.data.Sampler`. It divides subjects among ranks itself.
        on_error: Action if a subject cannot be loaded: 'raise', or 'skip' it with a warning
            and count it in :attr:`statistics`.
        seed: Seed of all randomness, together with the number of the epoch; by default drawn from
            torch's CPU generator at each epoch. Ranks need the same order of subjects: with
            several of them, the default for the order is ``seed=0``.
        progress: Show a progress bar of the patches of an epoch.

    A dataset with ``load_getitem=False`` leaves voxels in their files, and the queue reads only the
    boxes that its patches need, so that volumes may be larger than memory. The transform, of the
    dataset or of the queue, is drawn once for each subject, as for whole volumes, and computed for
    each patch alone; it may move or resample content and change single voxels. Boxes are read from
    uncompressed NIfTI and MetaImage, .npy, .b2nd, .zarr and HDF5. Images of other files are read
    whole, once for the patches of a subject, and so are maps of weights or labels. For the fill
    'minimum' a volume is read once, slab by slab.

    A subject with a value ``num_samples`` has so many patches. The names and the order of arguments
    of TorchIO 1 are accepted, too: ``Queue(dataset, 300, 10, sampler)``. Its ``start_background``
    has no effect: subjects are loaded from the first iteration on.

    Raises:
        TypeError: ``subjects`` holds no Subjects, or ``patch_sampler`` cannot be called.
        ValueError: A number is out of range, an argument is given by both of its names, or
            ``shuffle_subjects`` is True with a ``subject_sampler``; or a dataset has
            ``load_getitem=False``, and a transform needs whole volumes, which is named.
        RuntimeError: During an epoch, a subject cannot be loaded; it is named.

    >>> subjects = [Subject(t1=ScalarImage(torch.rand(1, 12, 12, 12))) for _ in range(3)]
    >>> queue = Queue(subjects, UniformSampler(8), max_length=8, patches_per_volume=4)
    >>> len(queue), [batch.batch_size for batch in SubjectsLoader(queue, batch_size=6)]
    (12, [6, 6])
    """

    @older_spellings(
        _ORDER_OF_1,
        lambda args: len(args) > 1 and isinstance(args[1], Number),
        without_effect=("start_background",),
        subjects_dataset="subjects",
        sampler="patch_sampler",
        samples_per_volume="patches_per_volume",
        verbose="progress",
    )
    @checked
    def __init__(
        self,
        subjects: Sequence[Subject] | Dataset[Subject],
        patch_sampler: Callable[[Subject, int], Iterable[Subject]],
        max_length: int = 300,
        patches_per_volume: int = 10,
        num_workers: int = 0,
        shuffle_subjects: bool | None = None,
        shuffle_patches: bool = True,
        transform: Callable[[Subject], Subject] | None = None,
        subject_sampler: Indices | None = None,
        *,
        on_error: str = "raise",
        seed: int | None = None,
        progress: bool = False,
    ) -> None:
        self.patch_sampler, self.transform = patch_sampler, transform
        self.max_length, self.patches_per_volume = max_length, patches_per_volume
        self.num_workers, self.subject_sampler = num_workers, subject_sampler
        in_order = subject_sampler is not None
        self.shuffle_subjects = not in_order if shuffle_subjects is None else shuffle_subjects
        self.shuffle_patches = bool(shuffle_patches)
        self.on_error, self.seed, self.progress = on_error, seed, progress
        self._statistics = QueueStatistics()
        self._check()
        self.subjects = subjects
        if not isinstance(subjects, Dataset):
            self.subjects = SubjectsDataset(subjects)
        #: Dataset that subjects are taken from, and what cuts patches out of them.
        self._source, self._cut, self._whole = self.subjects, patch_sampler, transform
        if stays_unread(self.subjects):
            self._source, before = without_transform(self.subjects)
            if before is not None and transform is not None:
                raise whole_needed(f"{transform!r} is applied to what {before!r} returns")
            self._cut = UnreadPatches(patch_sampler, transform if before is None else before)
            self._whole = None
        # samplers of this library copy patches, so that cached voxels may be shared
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

    # Sizes

    @property
    def num_subjects(self) -> int:
        """Number of subjects of an epoch, of this rank."""
        return len(self._epochs)

    @property
    def patches_per_epoch(self) -> int:
        """Largest number of patches of an epoch, of this rank.

        A GridSampler may yield fewer, and patches of skipped subjects are counted.
        """
        expected = self._epochs.expected()
        if expected is None:
            return self.num_subjects * self.patches_per_volume
        return sum(map(self._number_of, expected))

    def __len__(self) -> int:
        return self.patches_per_epoch

    def _number_of(self, index: int) -> int:
        """Return the number of patches of a subject, as far as it is known before it is read."""
        subject = unread(self.subjects, index)
        return self.patches_per_volume if subject is None else self._number_in(subject)

    def _number_in(self, subject: Subject) -> int:
        number = subject.get(NUM_SAMPLES, self.patches_per_volume)
        if check_count(number, NUM_SAMPLES, 0) > self.max_length:
            raise ValueError(
                f"max_length must have room for the {number} patches of a subject that its "
                f"{NUM_SAMPLES} asks for, got {self.max_length}"
            )
        return int(number)

    @property
    def max_memory(self) -> int:
        """Memory of a full queue in bytes: ``max_length`` patches of subject 0."""
        return self.get_max_memory()

    @property
    def max_memory_pretty(self) -> str:
        """:attr:`max_memory` with its unit, as text."""
        return self.get_max_memory_pretty()

    @property
    def statistics(self) -> QueueStatistics:
        """Statistics since the start of the last epoch; each worker of a loader has its own."""
        return replace(self._statistics)

    @property
    def epoch(self) -> int:
        """Number of the epoch that the next iteration runs."""
        return self._epochs.epoch

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the next epoch.

        Each iteration in one process increments it. A SubjectsLoader sets it; for a plain
        DataLoader with workers that do not persist, set it before each epoch if there is a
        ``seed``, or several ranks. Persistent workers count by themselves.
        """
        self._epochs.epoch = epoch

    def __repr__(self) -> str:
        names = ("max_length", "num_subjects", "patches_per_volume", "patches_per_epoch")
        values = ", ".join(f"{name}={getattr(self, name)}" for name in names)
        return f"Queue({values}, patch_sampler={self.patch_sampler!r})"

    # Iteration

    def __iter__(self) -> Iterator[Subject]:
        epoch = self._epochs.next()
        picks = torch.Generator().manual_seed(epoch.seed)
        counts = self._statistics = QueueStatistics()
        pairs = list(zip(epoch.indices, epoch.seeds, strict=True))
        total = sum(self._number_of(index) for index, _ in pairs)
        with (
            progress("patches", total, self.progress) as advance,
            self._loaded(pairs, counts) as loaded,
        ):
            waiting: list[Subject] = []
            held: list[Subject] = []  # patches of a subject for which there was no room
            more, wanted = True, 1
            while more or waiting or held:
                for _ in range(wanted):
                    number = len(held) or self.patches_per_volume
                    if not (more or held) or len(waiting) + number > self.max_length:
                        break
                    if not held:
                        patches = next(loaded, None)
                        more, held = patches is not None, patches or []
                    if len(waiting) + len(held) <= self.max_length:
                        waiting, held = waiting + held, []
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
        """Prefetch the patches of subjects, given as (index, seed); skipped subjects have none."""
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
        subject = SeededDataset(self._source, self._whole, self._shares)[pair]
        if not isinstance(subject, Subject):
            raise TypeError(f"subjects must be Subjects, got {type(subject).__name__}")
        number = self._number_in(subject)
        drawn = self._cut(subject, number)
        patches = list(islice(drawn, number))  # other samplers may be infinite
        return patches, time.perf_counter() - start

    def _result(
        self,
        index: int,
        load: Callable[[], tuple[list[Subject], float]],
        counts: QueueStatistics,
    ) -> list[Subject]:
        """Return the patches of a subject; report an error with the name of the subject."""
        start = time.perf_counter()
        try:
            patches, seconds = load()
        except Exception as error:
            message = f"subject {index}{describe(self.subjects, index)} could not be loaded"
            reason = f"{type(error).__name__}: {error}"
            if self.on_error == "raise":
                raise RuntimeError(f"{message}: {reason}") from error
            warnings.warn(f"{message} and is left out: {reason}", RuntimeWarning, stacklevel=2)
            counts.skipped += 1
            return []
        counts.subjects += 1
        counts.loading += seconds
        counts.waiting += time.perf_counter() - start
        return patches


__all__ = ["Queue", "QueueStatistics"]

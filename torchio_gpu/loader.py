"""DataLoader of subjects that sets the seed of every sample."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset

from . import random
from .data.dataset import SubjectsDataset, collate
from .data.subject import Subject

_Seeded = tuple[int, int]  # (index, seed)


class SubjectsLoader(DataLoader[Any]):
    """DataLoader of subjects whose augmentation does not depend on the batch.

    A :class:`torch.utils.data.DataLoader` that yields :class:`SubjectsBatch` and gives each sample
    a seed made from (base seed, epoch, index in the dataset, number of previous occurrences in the
    epoch): a sampler with replacement gets another augmentation each time. Transforms inside the
    dataset and transforms applied to the batch later both draw from it, so that the augmentation
    of a sample is the same for any batch size, order of samples or number of workers.

    Args:
        dataset: Map-style dataset of subjects; other samples are collated by torch. Samples of an
            iterable dataset have no index: their seeds are drawn when they are needed.
        seed: Base seed; drawn from torch's CPU generator at the first epoch by default.
        kwargs: As for DataLoader (``batch_size``, ``shuffle``, ``num_workers``, ...).

    >>> dataset = SubjectsDataset([Subject(t1=ScalarImage(torch.rand(1, 4, 4, 4)))] * 3)
    >>> [batch.batch_size for batch in SubjectsLoader(dataset, batch_size=2)]
    [2, 1]
    """

    def __init__(
        self, dataset: Dataset[object], *args: Any, seed: int | None = None, **kwargs: Any
    ):
        kwargs.setdefault("collate_fn", collate)
        if seed is not None and isinstance(dataset, IterableDataset):
            raise ValueError(
                "seed must be None for an iterable dataset: give it to the dataset, such as a "
                f"Queue; got {seed}"
            )
        super().__init__(dataset, *args, **kwargs)
        self.seed = seed
        #: Number of the epoch that the next iteration runs; see :meth:`set_epoch`.
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the next epoch, as when training is resumed."""
        self.epoch = epoch

    def __iter__(self) -> Any:
        if isinstance(self.dataset, IterableDataset):
            if hasattr(self.dataset, "set_epoch"):
                self.dataset.set_epoch(self.epoch)
            self.epoch += 1
            return super().__iter__()
        if self.batch_sampler is None:
            raise ValueError("batch_size must be given for a SubjectsLoader, got None")
        if self.seed is None:
            self.seed = int(random.fresh_seeds(1, self.generator)[0])
        seeded = _SeededBatches(self.batch_sampler, self.seed, self.epoch)
        self.epoch += 1
        return iter(self._inner(seeded))

    def _inner(self, batches: Iterable[list[_Seeded]]) -> DataLoader[Any]:
        """Return the loader that reads batches; it is kept as long as its workers persist."""
        inner = self.__dict__.get("_loader")
        if inner is None:
            newer = {name: getattr(self, name) for name in ("in_order",) if hasattr(self, name)}
            inner = DataLoader(
                SeededDataset(self.dataset, shares=self.collate_fn is collate),
                batch_sampler=batches,  # type: ignore[arg-type]
                pin_memory_device=self.pin_memory_device,
                **newer,
                num_workers=self.num_workers,
                collate_fn=self.collate_fn,
                pin_memory=self.pin_memory,
                timeout=self.timeout,
                worker_init_fn=self.worker_init_fn,
                multiprocessing_context=self.multiprocessing_context,
                generator=self.generator,
                prefetch_factor=self.prefetch_factor,
                persistent_workers=self.persistent_workers,
            )
            if self.persistent_workers:
                self.__dict__["_loader"] = inner
        else:
            inner.batch_sampler.update(batches)
        return inner


class _SeededBatches(BatchSampler):
    """Batches of (index, seed) pairs: the seed is sent to the worker with the index."""

    def __init__(self, batches: Any, seed: int, epoch: int) -> None:
        self._batches, self._seed, self._epoch = batches, seed, epoch

    def update(self, other: _SeededBatches) -> None:
        self.__dict__.update(other.__dict__)

    def __iter__(self) -> Iterator[list[_Seeded]]:  # type: ignore[override]
        times: Counter[int] = Counter()
        for indices in self._batches:
            numbers = [int(index) for index in indices]
            visits = random.visits(numbers, times)
            seeds = random.sample_seeds(self._seed, self._epoch, visits).tolist()
            yield list(zip(numbers, seeds, strict=True))

    def __len__(self) -> int:
        return len(self._batches)


class SeededDataset(Dataset[Any]):
    """Dataset whose samples are read, and transformed, with their own seed.

    Args:
        dataset: The samples.
        transform: Transform of each sample, after that of the dataset.
        shares: True if the voxels of samples are not written to, so that they may be shared with
            the cache of the dataset.
    """

    def __init__(
        self,
        dataset: Any,
        transform: Callable[[Any], Any] | None = None,
        shares: bool = False,
    ) -> None:
        self._dataset, self._transform, self._shares = dataset, transform, shares

    def __getitem__(self, pair: _Seeded) -> Any:
        index, seed = pair
        with random.use_seed(seed) as streams:
            subject = self._stored(index)
            if isinstance(subject, Subject):
                subject = copy.copy(subject)  # the dataset may cache it
            if self._transform is not None:
                subject = self._transform(subject)
        if isinstance(subject, Subject):
            subject.streams = streams
        return subject

    def __getitems__(self, pairs: list[_Seeded]) -> list[Any]:
        """Return the samples of a batch, as a loader of torch asks for them."""
        if self._transform is not None or not getattr(self._dataset, "_draws_nothing", False):
            return [self[pair] for pair in pairs]
        subjects: list[Any] = self._dataset.__getitems__([index for index, _ in pairs])
        for subject, (_, seed) in zip(subjects, pairs, strict=True):
            with random.use_seed(seed) as streams:
                subject.streams = streams
        return subjects

    def _stored(self, index: int) -> Any:
        """Return a sample; it may share voxels with the dataset's cache if they are only read."""
        dataset: Any = self._dataset
        plain = type(dataset).__getitem__ is SubjectsDataset.__getitem__
        keeps = self._transform is None or getattr(self._transform, "keeps_input", False)
        return dataset.shared(index) if plain and keeps and self._shares else dataset[index]

    def __len__(self) -> int:
        return len(self._dataset)

"""Order of the subjects of an epoch, divided among processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, distributed
from torch.utils.data import get_worker_info

from ... import random
from ...data import Subject, SubjectsDataset
from ...shapes import check_count

#: Indices of subjects in the order in which to take them, as a sampler of torch has them.
Indices: TypeAlias = Iterable[int]


class Epoch(NamedTuple):
    """Subjects of an epoch for this process.

    Args:
        indices: Indices of the subjects, in order.
        seeds: Seed of each subject.
        seed: Seed of all other randomness.
    """

    indices: list[int]
    seeds: list[int]
    seed: int


class EpochSampler:
    """Sampler of the order of subjects, epoch by epoch.

    Ranks of ``torch.distributed``, and workers of a loader, take every n-th subject of one order.

    Args:
        subjects: A dataset; without a ``sampler`` it must have a length.
        sampler: Indices in the order wanted, of this rank only; None for all subjects.
        shuffle: Use a random order.
        seed: Seed of the order, with the number of the epoch. By default it is drawn from torch's
            CPU generator; with several ranks, which must agree on the order, that has seed 0.
    """

    def __init__(self, subjects: Any, sampler: Any, shuffle: bool, seed: int | None) -> None:
        if sampler is not None and shuffle:
            raise ValueError(
                "shuffle_subjects must not be True with a subject_sampler, which decides the order"
            )
        scalar = isinstance(sampler, Tensor) and not sampler.ndim
        if sampler is not None and (scalar or not isinstance(sampler, Iterable)):
            raise TypeError(f"subject_sampler must be an iterable of indices, got {sampler!r}")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise TypeError(f"seed must be an integer or None, got {seed!r}")
        if seed is not None and not -(2**63) <= seed < 2**63:
            raise ValueError(f"seed must have 64 bits, got {seed}")
        self.subjects, self.shuffle, self.seed = subjects, shuffle, seed
        self.sampler: Any = sampler
        #: Number of the next epoch.
        self.epoch = 0
        self._rank_known = (0, 1)

    def rank(self) -> tuple[int, int]:
        """Return the rank of this process, and the number of ranks."""
        if distributed.is_available() and distributed.is_initialized():
            self._rank_known = distributed.get_rank(), distributed.get_world_size()
        return self._rank_known

    def __getstate__(self) -> dict[str, Any]:
        self.rank()  # keep it for a new process, which has no process group
        return dict(self.__dict__)

    def __len__(self) -> int:
        """Return the number of subjects of an epoch, of this rank."""
        if self.sampler is not None:
            return len(self.sampler)
        rank, ranks = self.rank()
        return len(range(rank, len(self.subjects), ranks))

    def expected(self) -> list[int] | None:
        """Return the subjects of an epoch, of this rank, in any order; None if a sampler draws."""
        if self.sampler is None:
            rank, ranks = self.rank()
            return list(range(rank, len(self.subjects), ranks))
        if isinstance(self.sampler, (list, tuple)):
            return [int(index) for index in self.sampler]
        return None

    def next(self) -> Epoch:
        """Return the next epoch."""
        worker, (rank, ranks) = get_worker_info(), self.rank()
        if self.seed is not None:
            base = common = self.seed
        else:  # the seed of a worker is a common one plus its number
            base = int(random.fresh_seeds(1)[0]) if worker is None else worker.seed - worker.id
            common = base if ranks == 1 else 0
        mixed = int(random.sample_seeds(common, self.epoch, [0])[0])
        if self.sampler is not None:
            fixed = worker is not None or self.seed is not None
            with torch.random.fork_rng(devices=[], enabled=fixed):
                if fixed:  # otherwise each worker would get another order
                    torch.manual_seed(mixed)
                indices = (i.item() if isinstance(i, Tensor) else i for i in self.sampler)
                order = [check_count(i, "indices of subject_sampler", 0) for i in indices]
        else:
            order = list(range(len(self.subjects)))
            if self.shuffle:
                generator = torch.Generator().manual_seed(mixed)
                order = torch.randperm(len(order), generator=generator).tolist()
            order = order[rank::ranks]
        numbers = random.visits(order, Counter())
        seeds = random.sample_seeds(base, self.epoch, [*numbers, -1]).tolist()
        self.epoch += 1
        share = slice(None) if worker is None else slice(worker.id, None, worker.num_workers)
        return Epoch(order[share], seeds[:-1][share], seeds[-1])


def unread(subjects: Any, index: int) -> Subject | None:
    """Return a subject that was not read, where the dataset has it."""
    known = subjects.dry_iter() if isinstance(subjects, SubjectsDataset) else ()
    return known[index] if -len(known) <= index < len(known) else None


def describe(subjects: Any, index: int) -> str:
    """Return the name of a subject, if it has one, and its files, in parentheses."""
    subject = unread(subjects, index)
    if subject is None:
        return ""
    names = (subject.get(key) for key in ("name", "subject_id", "id"))
    parts = [str(name) for name in names if name is not None][:1]
    images = subject.get_images(intensity_only=False)
    parts += [str(image.path) for image in images if image.path is not None]
    return f" ({', '.join(parts)})" if parts else ""


__all__ = ["Epoch", "EpochSampler", "describe", "unread"]

"""Whose turn it is: subjects in the order of an epoch, shared out between processes."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import distributed
from torch.utils.data import get_worker_info

from .. import rng
from ..data import Subject, SubjectsDataset


class Epoch(NamedTuple):
    """The subjects of an epoch that fall to this process.

    Args:
        indices: Which subjects, in order.
        seeds: Of each of them.
        seed: Of whatever else is random.
    """

    indices: list[int]
    seeds: list[int]
    seed: int


class Turns:
    """In which order subjects come, epoch by epoch.

    Ranks of ``torch.distributed``, and workers of a loader, take every n-th of one order.

    Args:
        count: How many subjects there are.
        sampler: Indices in the order wanted, of this rank only; None for all subjects.
        shuffle: Take them in random order.
        seed: Decides the order, with the number of the epoch. By default it is drawn from torch's
            CPU generator, but for ranks, which must agree: there it is 0 for the order.
    """

    def __init__(self, count: int, sampler: Any, shuffle: bool, seed: int | None) -> None:
        self.count, self.sampler, self.shuffle, self.seed = count, sampler, shuffle, seed
        #: Number of the next epoch.
        self.epoch = 0
        self._rank_known = (0, 1)

    def rank(self) -> tuple[int, int]:
        """Which rank this is, and of how many."""
        if distributed.is_available() and distributed.is_initialized():
            self._rank_known = distributed.get_rank(), distributed.get_world_size()
        return self._rank_known

    def __getstate__(self) -> dict[str, Any]:
        self.rank()  # which a new process does not know
        return dict(self.__dict__)

    def __len__(self) -> int:
        """How many subjects an epoch has for this rank."""
        if self.sampler is not None:
            return len(self.sampler)
        rank, ranks = self.rank()
        return len(range(rank, self.count, ranks))

    def next(self) -> Epoch:
        """The next epoch."""
        worker, (rank, ranks) = get_worker_info(), self.rank()
        if self.seed is not None:
            base = common = self.seed
        else:  # the seeds of workers differ by their numbers
            base = int(rng.fresh_seeds(1)[0]) if worker is None else worker.seed - worker.id
            common = base if ranks == 1 else 0
        if self.sampler is not None:
            with torch.random.fork_rng(devices=[], enabled=worker is not None):
                if worker is not None:  # or each would see another order
                    torch.manual_seed(base)
                order = [int(index) for index in self.sampler]
        else:
            order = list(range(self.count))
            if self.shuffle:
                mixed = int(rng.sample_seeds(common, self.epoch, [0])[0])
                generator = torch.Generator().manual_seed(mixed)
                order = torch.randperm(self.count, generator=generator).tolist()
            order = order[rank::ranks]
        mine = order if worker is None else order[worker.id :: worker.num_workers]
        seeds = rng.sample_seeds(base, self.epoch, [*mine, -1]).tolist()
        self.epoch += 1
        return Epoch(mine, seeds[:-1], seeds[-1])


def unread(subjects: Any, index: int) -> Subject | None:
    """A subject that was not read, where the dataset has it."""
    return subjects.dry_iter()[index] if isinstance(subjects, SubjectsDataset) else None


def describe(subjects: Any, index: int) -> str:
    """What a subject is known by: its name, if it has one, and its files."""
    subject = unread(subjects, index)
    if subject is None:
        return ""
    names = (subject.get(key) for key in ("name", "subject_id", "id"))
    parts = [str(name) for name in names if name is not None][:1]
    parts += [str(image.path) for image in subject.get_images() if image.path is not None]
    return f" ({', '.join(parts)})" if parts else ""


__all__ = ["Epoch", "Turns", "describe", "unread"]

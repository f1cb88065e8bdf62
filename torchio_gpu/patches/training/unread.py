"""Patches of subjects whose voxels stay in their files, as a queue takes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...data import Image, Subject, SubjectsDataset
from ...data.unread import Fills, unread_batch, version_of
from ...transforms import Transform
from ...transforms.pipeline.patchwise import Patchwise
from ..sampling.cutting import PatchSampler
from ..sampling.grid import GridSampler
from ..sampling.samplers import RandomSampler
from ..sampling.unread import NOTHING, UnreadSubject, check_padding_by_number, whole_needed
from ..sampling.weighted import WeightedSampler

#: Methods that cut patches: samplers of users that have others cut them out of whole subjects.
_CUTTING = ("__call__", "__getitem__", "__iter__", "_patches", "cut", "padded")


class UnreadPatches:
    """Patches of subjects, each computed from the box of the files that it needs.

    They are the patches that the sampler cuts out of the transformed subject.

    Args:
        sampler: The sampler. Callables that are none get unread subjects.
        transform: Transform of the subjects; None for none.

    Raises:
        ValueError: The transform or the sampler needs whole volumes.
    """

    def __init__(self, sampler: Any, transform: Any = None) -> None:
        self._sampler, self._plan = sampler, NOTHING
        self._fills: dict[Any, Fills] = {}  # of all subjects: a few numbers each
        if transform is not None and not isinstance(transform, Transform):
            raise whole_needed(f"transform takes whole subjects, got {transform!r}")
        base = GridSampler if isinstance(sampler, GridSampler) else RandomSampler
        known = (getattr(type(sampler), n, None) is getattr(base, n, None) for n in _CUTTING)
        self._knows_sampler = isinstance(sampler, base) and all(known)
        if not self._knows_sampler and (transform or isinstance(sampler, PatchSampler)):
            raise whole_needed(f"patch_sampler takes whole subjects, got {sampler!r}")
        check_padding_by_number(sampler)
        if transform is not None:
            self._plan = transform.plan()
            check_no_whole(Patchwise(self._plan.pipeline))

    def fills(self, name: str, image: Image) -> Fills:
        """Return the fill values of an image that are known, to which others are added."""
        assert image.path is not None
        return self._fills.setdefault((name, version_of(image.path)), {})

    def __call__(self, subject: Subject, number: int) -> Iterator[Subject]:
        """Return patches of a subject, at most ``number`` of them."""
        if not self._knows_sampler:
            return iter(self._sampler(subject, number))
        return self._patches(subject, number)

    def _patches(self, subject: Subject, number: int) -> Iterator[Subject]:
        sampler = self._sampler
        unread = UnreadSubject(sampler, unread_batch(subject, self.fills), self._plan)
        if isinstance(sampler, GridSampler):
            corners, seeds = sampler.corners_and_seeds(unread.shape, unread.streams)
        else:
            seeds = unread.streams.offspring(number)[0]
            name = sampler.map_name if isinstance(sampler, WeightedSampler) else None
            find = sampler.finder(unread.to_draw_from(name))
            found = [find(seeds[n : n + 1])[0] for n in range(number)]
            corners = np.array(found).reshape(-1, 3)
        for n in range(min(number, len(corners))):
            yield unread.patch(corners[n], int(seeds[n]))


def check_no_whole(pipeline: Patchwise) -> None:
    """Raise a ValueError, which names a step, if a pipeline needs whole volumes."""
    if pipeline.why_whole is not None:
        raise whole_needed(pipeline.why_whole)


def stays_unread(dataset: Any) -> bool:
    """Return True if a dataset leaves the voxels of its subjects in their files."""
    return getattr(dataset, "load_getitem", True) is False


def without_transform(dataset: Any) -> tuple[Any, Any]:
    """Return a dataset whose subjects are unread, and the transform that it would apply to them."""
    plain = isinstance(dataset, SubjectsDataset) and all(
        getattr(type(dataset), name) is getattr(SubjectsDataset, name)
        for name in ("__getitem__", "shared")
    )
    if not plain or dataset.transform is None:
        return dataset, None
    return SubjectsDataset(dataset.dry_iter(), load_getitem=False), dataset.transform


__all__ = ["UnreadPatches", "check_no_whole", "stays_unread", "without_transform"]

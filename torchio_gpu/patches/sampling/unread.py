"""Patches of subjects whose voxels stay in their files: the box that each needs is read alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from ... import random
from ...data import LOCATION, Image, ImagesBatch, Subject, SubjectsBatch, SubjectsDataset
from ...data.unread import Fills, unread_batch, version_of
from ...geometry import Space, check_same_space
from ...shapes import Triple, check_triple
from ...transforms import Pad, Transform
from ...transforms.pipeline.executor import Executor
from ...transforms.pipeline.patchwise import Patchwise
from ...transforms.pipeline.plan import Plan
from ...transforms.pipeline.points import warn_of_points
from ...transforms.pipeline.steps import Steps
from .cutting import PatchSampler
from .grid import GridSampler
from .location import PatchLocation
from .samplers import RandomSampler
from .weighted import WeightedSampler


class UnreadPatches:
    """Patches of subjects, each computed from the box of the files that it needs.

    They are the patches that the sampler cuts out of the transformed subject.

    Args:
        sampler: The sampler.
        transform: Transform of the subjects; None for none.

    Raises:
        ValueError: The transform needs whole volumes, or the sampler pads by more than a number.
    """

    def __init__(self, sampler: Any, transform: Any = None) -> None:
        if transform is not None and not isinstance(transform, Transform):
            raise whole_needed(f"transform takes whole subjects, got {transform!r}")
        self.sampler = sampler
        #: True if patches are those of a sampler of this library.
        self.knows_sampler = isinstance(sampler, (RandomSampler, GridSampler)) and (
            type(sampler).__call__ in (RandomSampler.__call__, GridSampler.__call__)
        )
        if not self.knows_sampler and (transform is not None or isinstance(sampler, PatchSampler)):
            raise whole_needed(f"patch_sampler cuts transformed subjects, got {sampler!r}")
        padding = getattr(sampler, "padding_mode", None)
        if isinstance(padding, str) and padding != "constant":
            raise whole_needed(f"padding by {padding!r} needs the whole volume")
        self._plan = Plan(Steps()) if transform is None else transform.plan()
        why = Patchwise(self._plan.pipeline).why_whole
        if why is not None:
            raise whole_needed(why)
        self._fills: dict[Any, Fills] = {}  # of all subjects: a few numbers each

    def fills(self, name: str, image: Image) -> Fills:
        """Return the fill values of an image that are known, to which others are added."""
        assert image.path is not None
        return self._fills.setdefault((name, version_of(image.path)), {})

    def __call__(self, subject: Subject, number: int) -> Iterator[Subject]:
        """Return patches of a subject, at most ``number`` of them."""
        if not self.knows_sampler:
            return iter(self.sampler(subject, number))
        return self._patches(subject, number)

    def _patches(self, subject: Subject, number: int) -> Iterator[Subject]:
        batch, plan = unread_batch(subject, self.fills), self._plan
        batch.streams = batch.streams or random.streams_for(1)
        warn_of_points(batch.metadata, plan.steps)
        numbers = plan.numbers(batch)
        spaces = {n: w.space for n, w in Executor(plan, batch, numbers).final_maps().items()}
        check_same_space(spaces)
        shape = next(iter(spaces.values())).shape
        if isinstance(self.sampler, GridSampler):
            corners = self.sampler.corners(shape)
            if any(margin.any() for margin in self.sampler.margins(shape)):
                batch.streams.take(1)  # a step that pads whole volumes takes this position
            seeds = batch.streams.offspring(len(corners))[0]
            number = min(number, len(corners))
        else:
            self.sampler.room(shape)
            seeds = batch.streams.offspring(number)[0]
            find = self.sampler.finder(self._to_draw_from(spaces, Executor(plan, batch, numbers)))
            found = [find(seeds[n : n + 1])[0] for n in range(number)]
            corners = np.array(found).reshape(-1, 3)
        for n in range(number):
            yield self._patch(Executor(plan, batch, numbers), shape, corners[n], int(seeds[n]))

    def _to_draw_from(self, spaces: Mapping[str, Space], executor: Executor) -> SubjectsBatch:
        """Return the transformed images as far as locations depend on them: shapes, and the map."""
        images = {}
        for name, before in executor.batch.images.items():
            nothing = torch.empty(1, 1, *spaces[name].shape, device="meta")
            images[name] = ImagesBatch(nothing, spaces[name].affine, before.kind)
        if isinstance(self.sampler, WeightedSampler):
            name = self.sampler.map_name(images)
            images[name] = executor.whole(name)
        return SubjectsBatch(images)

    def _patch(self, executor: Executor, shape: Triple, corner: np.ndarray, seed: int) -> Subject:
        size = self.sampler.patch_size
        start, stop = corner.clip(0, shape), (corner + size).clip(0, shape)
        inside = check_triple((stop - start).tolist(), "size")
        patch = executor.finish_patch_of_whole(start, inside).unbatch()[0]
        patch.streams = None
        if inside != size:
            constant = self.sampler.padding_mode == "constant"
            fill = self.sampler.fill if constant else self.sampler.padding_mode
            bounds = np.stack([start - corner, corner + size - stop], 1)
            patch = Pad(bounds.ravel().tolist(), padding_mode=fill)(patch)
            patch.history.pop()  # as padding of volumes by samplers
        i, j, k = corner.tolist()
        location = PatchLocation((i, j, k), size)
        patch[LOCATION], patch["patch_location"] = location.to_tensor(), location
        patch.streams = random.Streams(np.array([seed]), np.ones(1, dtype=np.int64))
        return patch


def stays_unread(dataset: Any) -> bool:
    """Return True if a dataset leaves the voxels of its subjects in their files."""
    return getattr(dataset, "load_getitem", True) is False


def without_transform(dataset: Any) -> tuple[Any, Any]:
    """Return a dataset whose subjects are unread, and the transform that it would apply to them."""
    if type(dataset).__getitem__ is not SubjectsDataset.__getitem__ or dataset.transform is None:
        return dataset, None
    return SubjectsDataset(dataset.dry_iter(), load_getitem=False), dataset.transform


def whole_needed(why: str) -> ValueError:
    """Return the error of a step that needs whole volumes, of a dataset that does not read them."""
    return ValueError(f"load_getitem must be True where whole volumes are needed: {why}")


__all__ = ["UnreadPatches", "stays_unread", "whole_needed", "without_transform"]

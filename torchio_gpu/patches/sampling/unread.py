"""Patches of a subject whose voxels stay in files: the box that each needs is read alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ... import random
from ...data import LOCATION, ImagesBatch, Subject, SubjectsBatch
from ...geometry import check_same_space
from ...shapes import Triple, check_triple
from ...transforms import Pad
from ...transforms.pipeline.executor import Executor
from ...transforms.pipeline.plan import Plan
from ...transforms.pipeline.points import warn_of_points
from ...transforms.pipeline.steps import Steps
from .cutting import PatchSampler
from .location import PatchLocation

#: Plan of no transform.
NOTHING = Plan(Steps())


class UnreadSubject:
    """Subject whose voxels stay in files, and whose patches are transformed one at a time.

    Args:
        sampler: Sampler whose patches are cut.
        batch: The subject, from :func:`.unread_batch`; it draws the parameters of the transform.
        plan: The transform, a spatial stage and a pointwise one at most.

    Raises:
        ValueError: A patch is larger than the volume and there is no padding, or images do not lie
            in one space.
    """

    def __init__(self, sampler: PatchSampler, batch: SubjectsBatch, plan: Plan = NOTHING) -> None:
        self._sampler, self._batch, self._plan = sampler, batch, plan
        if batch.streams is None:
            batch.streams = random.streams_for(1)
        #: Seeds of the subject, of which the transform has taken its own.
        self.streams = batch.streams
        warn_of_points(batch.metadata, plan.steps)
        self._numbers = plan.numbers(batch)
        warps = self._executor().final_maps()
        self._spaces = {name: warp.space for name, warp in warps.items()}
        check_same_space(self._spaces)
        #: Shape of the transformed volume.
        self.shape: Triple = next(iter(self._spaces.values())).shape
        sampler.room(self.shape)

    def _executor(self) -> Executor:
        return Executor(self._plan, self._batch, self._numbers)

    def to_draw_from(self, map_name: Any = None) -> SubjectsBatch:
        """Return the transformed images as far as locations depend on them.

        Args:
            map_name: Function from the images, by name, to the name of the one with the weights,
                which is read whole; others have a shape and no voxels.
        """
        images: dict[str, ImagesBatch] = {}
        for name, space in self._spaces.items():
            nothing = torch.empty(1, 1, *space.shape, device="meta")
            images[name] = ImagesBatch(nothing, space.affine, self._batch.images[name].kind)
        if map_name is not None:
            name = map_name(images)
            images[name] = self._executor().whole(name)
        return SubjectsBatch(images)

    def patch(self, corner: np.ndarray, seed: int) -> Subject:
        """Return the patch that begins at a voxel of the transformed volume, [3]."""
        size = self._sampler.patch_size
        start, stop = corner.clip(0, self.shape), (corner + size).clip(0, self.shape)
        inside = check_triple((stop - start).tolist(), "size")
        patch = self._executor().finish_patch_of_whole(start, inside).unbatch()[0]
        patch.streams = None
        if inside != size:
            constant = self._sampler.padding_mode == "constant"
            fill = self._sampler.fill if constant else self._sampler.padding_mode
            bounds = np.stack([start - corner, corner + size - stop], 1)
            assert fill is not None
            patch = Pad(bounds.ravel().tolist(), padding_mode=fill)(patch)
            patch.history.pop()  # as padding of volumes by samplers
        i, j, k = corner.tolist()
        location = PatchLocation((i, j, k), size)
        patch[LOCATION], patch["patch_location"] = location.to_tensor(), location
        patch.streams = random.Streams(np.array([seed]), np.ones(1, dtype=np.int64))
        return patch


def check_padding_by_number(sampler: Any, argument: str = "load_getitem") -> None:
    """Raise a ValueError, which names an argument, if a sampler pads by more than a number."""
    padding = getattr(sampler, "padding_mode", None)
    if isinstance(padding, str) and padding != "constant":
        raise whole_needed(f"padding by {padding!r} needs the whole volume", argument)


def whole_needed(why: str, argument: str = "load_getitem") -> ValueError:
    """Return the error of a step that needs whole volumes, where they stay in files."""
    return ValueError(f"{argument} must be True where whole volumes are needed: {why}")


__all__ = ["NOTHING", "UnreadSubject", "check_padding_by_number", "whole_needed"]

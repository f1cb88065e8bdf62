"""Points and boxes of a batch, which follow the maps of the images."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence, ValuesView
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ...arrays import common, send
from ...data import SpatialMap, SubjectsBatch, VelocityField
from ...data.point_set import PointSet, same_affine
from ...geometry import BSplineField, DenseField, Space, displace, invert
from ...tracing import untraceable
from .steps import Step

#: Names that a warning was given for.
_WARNED: set[str] = set()


class PendingPoints:
    """Points and boxes of a batch, in the world, while a plan is executed.

    Those whose affine is that of an image follow its grid: their voxel indices are those of the
    image in the result.

    Args:
        batch: The batch; values of its metadata that are points are replaced by :meth:`finish`.
    """

    def __init__(self, batch: SubjectsBatch) -> None:
        untraceable("points are moved by torch")
        self._values = {n: v for n, v in batch.metadata.items() if are_points(v)}
        self._world: dict[str, Tensor] = {}  # [B, N, 3], padded
        self._folded: dict[str, Tensor] = {}  # [B, N]
        self._grid_of: dict[str, list[str | None]] = {}  # image whose grid the points are on
        for name, values in self._values.items():
            worlds = [torch.zeros(0, 3).double() if v is None else v.world() for v in values]
            device = next((w.device for w in worlds if w.device.type != "cpu"), worlds[0].device)
            world = pad_sequence([w.to(device) for w in worlds], batch_first=True)
            self._world[name] = world
            self._folded[name] = torch.zeros(world.shape[:2], dtype=torch.bool, device=device)
            self._grid_of[name] = [_image_on_grid(v, batch, n) for n, v in enumerate(values)]

    @property
    def grids(self) -> dict[str, tuple[str | None, ...]]:
        """Image on whose grid the points of each sample are, or None, by name of the points."""
        return {name: tuple(grids) for name, grids in self._grid_of.items()}

    def resume(self, step: Step) -> None:
        """Let points follow the images that they followed when a step was applied that is undone.

        After a correction of affines, several images may share a grid that differed before it.
        """
        if not getattr(step.params, "undone", False):
            return
        for name, images in step.follows.items():
            now = self._grid_of.get(name, [])
            if len(images) in (1, len(now)):
                before = list(images) * (len(now) // len(images))
                pairs = zip(now, before, strict=True)
                self._grid_of[name] = [None if own is None else image for own, image in pairs]

    def untouched(self, step: Step) -> tuple[str, ...]:
        """Return the names of the points that a step does not move."""
        return tuple(name for name in self._values if not _moves(step, name))

    def move(self, step: Step, maps: Sequence[SpatialMap], space: Space) -> None:
        """Move the points by the maps of a step, if the step moves them.

        Args:
            step: The step.
            maps: Its maps, in order.
            space: Space of the first image. Content of a single slice stays within it.
        """
        maps = within_slice(maps, space)
        for name in self._values:
            if _moves(step, name):
                for each in maps:
                    self._push(name, each)

    def correct_affine(self, image: str, step: Step, matrix: Any) -> None:
        """Move the points on the grid of an image by the correction of its affine.

        Args:
            image: Name of the image.
            step: The step that corrects it.
            matrix: World after the correction to world before, [B, 4, 4].
        """
        for name, grids in self._grid_of.items():
            follow = np.array([grid == image for grid in grids])
            if follow.any() and _moves(step, name):
                own = np.where(follow[:, None, None], matrix, np.eye(4))
                self._push(name, SpatialMap(own))

    def _push(self, name: str, move: SpatialMap) -> None:
        world, folded = move.push(self._world[name])
        self._world[name] = world
        known = send(self._folded[name], world.device)
        self._folded[name] = known | send(torch.as_tensor(folded), world.device)

    def finish(self, batch: SubjectsBatch, affines: Mapping[str, np.ndarray] | None = None) -> None:
        """Store the moved points in the metadata of the result.

        Args:
            batch: The result.
            affines: Affines of its images, [B, 4, 4], by name; by default those that they have.
        """
        if affines is None:
            affines = {name: images.affine for name, images in batch.images.items()}
        moved = {}
        for name, values in self._values.items():
            new: list[Any] = []
            for n, value in enumerate(values):
                if value is None:
                    new.append(None)
                    continue
                count = len(value.world())
                world, folded = self._world[name][n, :count], self._folded[name][n, :count]
                grid = self._grid_of[name][n]
                affine = affines[grid][n] if grid is not None and grid in affines else None
                new.append(value.with_world(world, folded, affine))
            moved[name] = new
        batch.metadata = {**batch.metadata, **moved}


def pending_points(batch: SubjectsBatch) -> PendingPoints | None:
    """Return the points of a batch; None if it has none.

    Raises:
        TypeError: A value is points in one sample and something else in another, which would stay.
    """
    for name, values in batch.metadata.items():
        if isinstance(values, (list, tuple)) and any(map(_is_points, values)):
            other = [n for n, v in enumerate(values) if v is not None and not _is_points(v)]
            if other:
                raise TypeError(
                    f"{name!r} must be points or boxes in all samples that have it, as in one: "
                    f"got {type(values[other[0]]).__name__} in sample {other[0]}"
                )
    found = any(map(are_points, batch.metadata.values()))
    return PendingPoints(batch) if found else None


def _is_points(value: Any) -> bool:
    return isinstance(value, PointSet)


def are_points(values: Any) -> bool:
    """Return True for a list of points or boxes, one per sample, of which some may be None."""
    if not isinstance(values, (list, tuple)) or not any(map(_is_points, values)):
        return False
    return all(value is None or _is_points(value) for value in values)


def _image_on_grid(value: Any, batch: SubjectsBatch, sample: int) -> str | None:
    """Return the name of the first image whose affine is that of the points, or None."""
    if value is None or value.affine is None:
        return None
    for name, images in batch.images.items():
        if same_affine(value.affine, images.affine[sample]):
            return name
    return None


def _moves(step: Step, name: str) -> bool:
    """Return True if a step moves the points of a name."""
    # names to include and exclude were resolved when a transform was recorded
    transforms = (*step.within, *(() if step.params is not None else (step.transform,)))
    taken = all(
        (t.include is None or name in t.include) and (t.exclude is None or name not in t.exclude)
        for t in transforms
    )
    return taken and name not in step.untouched


def within_slice(maps: Sequence[SpatialMap], space: Space) -> Sequence[SpatialMap]:
    """Return maps that bend within a single slice only, if a space is one.

    Args:
        maps: Maps of a step.
        space: Space of an image that they move.
    """
    if 1 not in space.shape:
        return maps
    return [each._replace(elastic=_within_slice(each.elastic, space)) for each in maps]


def _within_slice(field: Any, space: Space) -> Any:
    """Return a field without its component across a single slice."""
    if isinstance(field, VelocityField):
        return replace(field, velocity=_within_slice(field.velocity, space))
    if not isinstance(field, (BSplineField, DenseField)):
        return field
    free = np.diag([float(n > 1) for n in space.shape])
    linear = space.affine[:, :3, :3]
    project = linear @ free @ invert(space.affine)[:, :3, :3]
    if isinstance(field, DenseField):
        return field._replace(displacement=displace(field.displacement, project))
    _, points, project = common(field.control_points, project)
    return field._replace(control_points=displace(points, project))


def warn_of_points(values: Mapping[str, Any], steps: Sequence[Step]) -> None:
    """Warn, once for each name, of landmarks in tensors or lists, which the steps do not move.

    Args:
        values: Values of a subject or a dict, or lists of these with one entry per sample.
        steps: Steps of the pipeline.
    """
    movers = [s.transform for s in steps if s.role == "spatial" and not s.traits.regrids]
    for name, value in values.items() if movers else ():
        one = value[0] if isinstance(value, list) and value else value
        within = one.values() if isinstance(one, dict) else one
        if isinstance(within, (list, tuple, ValuesView)) and any(map(_is_points, within)):
            if name not in _WARNED:
                _WARNED.add(name)
                warnings.warn(
                    f"{name!r} holds points within a {type(one).__name__}, which stay as they are: "
                    "give each a name of its own",
                    RuntimeWarning,
                    stacklevel=4,
                )
            continue
        if not isinstance(one, (Tensor, np.ndarray)) or one.ndim != 2 or name in _WARNED:
            continue
        if one.shape[1] == 3:
            _WARNED.add(name)
            warnings.warn(
                f"{name!r} has shape {tuple(one.shape)}, as landmarks have, and stays as it is: "
                f"{movers[0].name} moves images and Points, so wrap it as tio.Points(...)",
                RuntimeWarning,
                stacklevel=4,
            )

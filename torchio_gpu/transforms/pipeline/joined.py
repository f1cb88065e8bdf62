"""Patches of volumes that differ in shape, computed together: one pass for all samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data import ImagesBatch, SubjectsBatch
from ...functional.dispatch.kernels import sharing
from ...functional.fields_of_view import FieldOfView
from ...functional.maps import VoxelMap
from ...functional.operations import Operation, View
from ...random import Streams
from .executor import Executor
from .sampling import Pass, Source

#: Function that returns the images of several batches as one, without a copy of their voxels, or
#: None if they differ in more than shape. Arguments are the batches and, for each sample of the
#: result, its number counted through them.
Merge = Callable[[Sequence[ImagesBatch], np.ndarray], ImagesBatch | None]


class _DifferentError(Exception):
    """Passes that cannot be joined."""


class JoinedPatches:
    """Executors whose images are cropped to patches of one size, to be finished as one batch.

    An image is read in one pass over all samples whose passes differ in shapes and numbers alone.

    Args:
        patches: The executors.
        rows: Numbers of the samples of each in the result.
        merge: See :data:`Merge`; None to read the images of each executor in a pass of its own.
    """

    def __init__(
        self, patches: Sequence[Executor], rows: Sequence[np.ndarray], merge: Merge | None
    ) -> None:
        self._patches, self._rows = patches, rows
        #: Passes to run, with the names of their images and the numbers of their samples; None if
        #: some images were sampled before the end.
        self.passes: list[tuple[list[str], np.ndarray, Pass]] | None = None
        for each in patches:
            each.execute()
        parts = [each.pending.parts() for each in patches]
        names = [[list(group) for group in groups] for groups in parts]
        whole = sum(map(len, names[0])) == len(patches[0].batch.images)
        if whole and names.count(names[0]) == len(names):
            self.passes = []
            for groups in zip(*parts, strict=True):
                passes = [Pass.of(list(group.values())) for group in groups]
                for samples, one in _joined(passes, rows, merge):
                    self.passes.append((list(groups[0]), samples, one))

    def finish(self) -> SubjectsBatch:
        """Read all images, and return the batch."""
        patches, rows = self._patches, self._rows
        outputs: dict[str, list[tuple[np.ndarray, ImagesBatch]]] = {}
        if self.passes is not None:
            with sharing():
                for names, samples, one in self.passes:
                    for name, images in zip(names, one.run(), strict=True):
                        outputs.setdefault(name, []).append((samples, images))
        else:
            for each, samples in zip(patches, rows, strict=True):
                each.pending.flush()
                for name, images in each.batch.images.items():
                    outputs.setdefault(name, []).append((samples, images))
        order = np.argsort(np.concatenate(rows))
        found = {name: _stacked(outputs[name]) for name in patches[0].batch.images}
        for each, samples in zip(patches, rows, strict=True):
            if each.points is not None:
                affines = {name: images.affine[samples] for name, images in found.items()}
                each.points.finish(each.batch, affines)
        return _as_one([each.batch for each in patches], order, found)


def _joined(
    passes: Sequence[Pass], rows: Sequence[np.ndarray], merge: Merge | None
) -> list[tuple[np.ndarray, Pass]]:
    """Return as few passes as possible, each with the numbers of its samples, ascending."""
    if merge is None:
        return list(zip(rows, passes, strict=True))
    bundles: list[tuple[list[Pass], list[np.ndarray], Pass]] = []
    for each, own in zip(passes, rows, strict=True):
        for n, (some, numbers, _) in enumerate(bundles):
            try:
                one = _join([*some, each], [*numbers, own], merge)
            except _DifferentError:
                continue
            bundles[n] = [*some, each], [*numbers, own], one
            break
        else:
            try:
                one = _join([each], [own], merge)
            except _DifferentError:
                one = each
            bundles.append(([each], [own], one))
    return [(np.sort(np.concatenate(numbers)), one) for _, numbers, one in bundles]


def _join(passes: Sequence[Pass], rows: Sequence[np.ndarray], merge: Merge) -> Pass:
    """Join passes to one over all their samples, in the order of ``rows``; raise if they differ."""
    first, counts = passes[0], [len(own) for own in rows]
    order = np.argsort(np.concatenate(rows))
    views = [p.patch for p in passes if p.patch is not None]
    alike = {(p.exact, p.parallel, len(p.sources)) for p in passes}
    if len(views) < len(passes) or len(alike) > 1:
        raise _DifferentError
    sources = [
        _join_sources(each, counts, order, merge)
        for each in zip(*(p.sources for p in passes), strict=True)
    ]
    shape = np.repeat([p.shape for p in passes], counts, 0)[order]
    joined = Pass(
        sources=sources,
        voxel_map=_join_maps([p.voxel_map for p in passes], counts, order),
        shape=shape,
        affine=_arrays([p.affine for p in passes], counts, order),
        exact=first.exact,
        parallel=first.parallel,
        patch=View(
            np.repeat([view.whole for view in views], counts, 0)[order],
            _arrays([view.first for view in views], counts, order),
        ),
    )
    region = joined.region()
    if region is None or (np.array(region[1]) > shape).any():
        raise _DifferentError  # no part of this size lies in all volumes
    return joined


def _join_maps(maps: Sequence[VoxelMap], counts: Sequence[int], order: np.ndarray) -> VoxelMap:
    first = maps[0]
    if any(m.displacement is not None or m.inverse != first.inverse for m in maps):
        raise _DifferentError
    matrix, points, lattice = (
        _arrays(each, counts, order) for each in zip(*(m[:3] for m in maps), strict=True)
    )
    return first._replace(matrix=matrix, control_points=points, lattice=lattice)


def _join_sources(
    sources: Sequence[Source], counts: Sequence[int], order: np.ndarray, merge: Merge
) -> Source:
    first = sources[0]
    alike = {(s.mode, s.rule, len(s.fields), len(s.operations)) for s in sources}
    images = merge([s.images for s in sources], order)
    if len(alike) > 1 or images is None:
        raise _DifferentError
    fields = [
        FieldOfView(
            _arrays([f.low for f in each], counts, order),
            _arrays([f.high for f in each], counts, order),
            _join_fills([f.fill for f in each], order),
        )
        for each in zip(*(s.fields for s in sources), strict=True)
    ]
    operations = [
        _join_operations(each, counts, order)
        for each in zip(*(s.operations for s in sources), strict=True)
    ]
    return Source(images, first.mode, first.rule, fields, operations)


def _join_fills(fills: Sequence[float | Tensor], order: np.ndarray) -> float | Tensor:
    known = [fill for fill in fills if isinstance(fill, Tensor)]
    if known and len(known) == len(fills):
        rows = [row for fill in known for row in fill]
        return torch.stack([rows[n] for n in order])
    if known or len(set(fills)) > 1:
        raise _DifferentError
    return fills[0]


def _join_operations(
    operations: Sequence[Operation], counts: Sequence[int], order: np.ndarray
) -> Operation:
    first = operations[0]
    changed: dict[str, Any] = {}
    for each in fields(first):
        values = [getattr(operation, each.name, None) for operation in operations]
        if any(isinstance(value, (np.ndarray, Tensor)) for value in values):
            changed[each.name] = _arrays(values, counts, order)
        elif values.count(values[0]) < len(values):
            raise _DifferentError
    if len(set(map(type, operations))) > 1:
        raise _DifferentError
    return replace(first, **changed)


def _arrays(arrays: Sequence[Any], counts: Sequence[int], order: np.ndarray) -> Any:
    """Concatenate arrays on the host, [1 or B, ...] each, and order their samples."""
    if all(array is None for array in arrays):
        return None
    if not all(isinstance(array, np.ndarray) for array in arrays):
        raise _DifferentError
    if len({array.shape[1:] for array in arrays}) > 1:
        raise _DifferentError
    pairs = zip(arrays, counts, strict=True)
    full = [np.broadcast_to(array, (count, *array.shape[1:])) for array, count in pairs]
    return np.concatenate(full)[order]


def _stacked(outputs: Sequence[tuple[np.ndarray, ImagesBatch]]) -> ImagesBatch:
    """Return the images of all samples, given those of some with their numbers."""
    if len(outputs) == 1:  # of all samples, in order
        return outputs[0][1]
    order = np.argsort(np.concatenate([samples for samples, _ in outputs]))
    parts = [images for _, images in outputs]
    volumes = [volume for images in parts for volume in images.data]
    data = torch.stack([volumes[n] for n in order])
    affine = np.concatenate([images.affine for images in parts])[order]
    known = [image for images in parts for image in images._images or ()]
    complete = len(known) == len(order)
    return ImagesBatch(data, affine, parts[0].kind, [known[n] for n in order] if complete else None)


class _Histories(Sequence[Any]):
    """Records of each sample of several batches, as lists that are made when they are asked for."""

    def __init__(self, batches: Sequence[SubjectsBatch], order: np.ndarray) -> None:
        self._known = [(batch.histories, batch.records) for batch in batches]
        each = [(n, m) for n, batch in enumerate(batches) for m in range(batch.batch_size)]
        self._samples = [each[n] for n in order]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, sample: Any) -> Any:
        if isinstance(sample, slice):
            return [self[n] for n in range(*sample.indices(len(self)))]
        number, own = self._samples[sample]
        histories, records = self._known[number]
        found = (record.of_sample(own) for record in records)
        before = histories[own] if histories else ()
        return [*before, *(record for record in found if record is not None)]


def _as_one(
    batches: Sequence[SubjectsBatch], order: np.ndarray, images: dict[str, ImagesBatch]
) -> SubjectsBatch:
    """Return a batch with the values, the seeds and the histories of the samples of several."""
    if len(batches) == 1 and (order == np.arange(len(order))).all():
        return batches[0].replace(images)
    names = dict.fromkeys(name for batch in batches for name in batch.metadata)
    values = {
        name: [v for b in batches for v in b.metadata.get(name, [None] * b.batch_size)]
        for name in names
    }
    metadata = {name: [each[n] for n in order] for name, each in values.items()}
    streams = [batch.streams for batch in batches if batch.streams is not None]
    joined = None
    if len(streams) == len(batches):
        seeds, used = (
            np.concatenate([getattr(each, name) for each in streams])[order]
            for name in ("seeds", "used")
        )
        joined = Streams(seeds, used)
    recorded = any(batch.histories or batch.records for batch in batches)
    histories = _Histories(batches, order) if recorded else None
    batch = SubjectsBatch(images, metadata, joined, histories)
    batch._class = batches[0]._class
    return batch


__all__ = ["JoinedPatches", "Merge"]

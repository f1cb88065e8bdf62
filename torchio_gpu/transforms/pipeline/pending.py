"""Pending operations of each image of a batch, executed together by :meth:`Pending.flush`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ... import functional as F
from ...arrays import Array, host
from ...data import ImagesBatch, SubjectsBatch
from ...data.keys import LABEL
from ...functional.dispatch.kernels import sharing
from ...functional.operations import Noise, Operation
from ...geometry import Space, spacing
from .composed import ComposedMaps
from .sampling import Part, Pass, can_sample_together, sample
from .warp import PendingWarp

#: Pass over an image: name of the image, and a description.
Note = tuple[str, str]


@dataclass
class Pending:
    """Pending operations of each image of a batch, executed together by :meth:`flush`.

    Args:
        batch: The images; a flush replaces those that change.
        warps: Pending maps of images.
        operations: Pending pointwise operations of images, after their maps.
        computed: Scalar images that a step computes with. Integers become float32 even if no
            sample is active: the dtype of a batch must not depend on random numbers.
        notes: Passes so far, if they are to be recorded.
        grids: Grids of images with pending maps.
    """

    batch: SubjectsBatch
    warps: dict[str, PendingWarp] = field(default_factory=dict)
    operations: dict[str, list[Operation]] = field(default_factory=dict)
    computed: set[str] = field(default_factory=set)
    notes: list[Note] | None = None
    grids: list[ComposedMaps] = field(default_factory=list)

    def note(self, name: str, phrase: Callable[[], str]) -> None:
        """Record a pass over an image, if passes are recorded."""
        if self.notes is not None:
            self.notes.append((name, phrase()))

    def note_early_sampling(self, name: str) -> None:
        """Record that an image was sampled early, as parameters depend on its voxels."""
        self.note(name, lambda: "sampled early, as parameters depend on its voxels")

    def take_notes(self) -> list[str]:
        """Return the recorded passes, one line each, and clear the record."""
        lines = [f"    {name}: {phrase}" for name, phrase in self.notes or ()]
        self.notes = []
        return lines

    def compute(self, names: Sequence[str]) -> None:
        """Record that a step computes with the voxels of some images."""
        images = self.batch.images
        self.computed.update(name for name in names if images[name].kind != LABEL)

    def append(self, name: str, operations: Operation | tuple[Operation, ...]) -> None:
        """Add a pointwise operation on an image, or several in their order."""
        added = operations if isinstance(operations, tuple) else (operations,)
        self.operations.setdefault(name, []).extend(added)

    def warp(self, name: str) -> PendingWarp:
        """Return the pending maps of an image; add an empty entry if it has none."""
        if name not in self.warps:
            images = self.batch.images[name]
            self.warps[name] = PendingWarp(self._no_maps(images.space), images.kind)
        return self.warps[name]

    def _no_maps(self, space: Space) -> ComposedMaps:
        """Return the composition of no maps on a grid, one for all images on it."""
        for known in self.grids:
            same = known.space.shape == space.shape
            if same and np.array_equal(known.space.affine, space.affine):
                return known
        self.grids.append(ComposedMaps.none(space))
        return self.grids[-1]

    def add_fields_of_view(
        self,
        names: Sequence[str],
        warps: list[PendingWarp],
        fills: Sequence[str | float | None],
        regrids: bool,
    ) -> list[PendingWarp]:
        """Record the fields of view before a step that may bring other voxels into view.

        If one is no cuboid of source voxels, all images are sampled first.

        Args:
            names: Images that the step changes.
            warps: Their pending maps.
            fills: Fills of the step, or rules for them.
            regrids: The step changes the grid, rather than move content on it.

        Returns:
            Their pending maps, new ones if they were sampled.
        """
        pairs = zip(warps, fills, strict=True)
        added = [warp.add_field_of_view(fill, regrids) for warp, fill in pairs]
        if all(added):
            return warps
        self.flush_within()
        warps = [self.warp(name) for name in names]
        for warp, fill in zip(warps, fills, strict=True):
            warp.add_field_of_view(fill, regrids)
        return warps

    def crop_to_fields_of_view(self) -> None:
        """Crop all images to their fields of view, for a step that computes with their voxels.

        They are sampled instead if no field of view of whole voxels is close enough, or if
        sampling only moves voxels, which loses nothing.
        """
        warps = self.warps.values()
        exact = all(warp.moves_whole_voxels for warp in warps)
        if exact or self._maps_differ() or any(w.field_of_view_in_voxels() is None for w in warps):
            self.flush_within()
            return
        for name, warp in self.warps.items():
            images = self._as_computed(name)
            cropped = self.batch.images[name] = warp.crop_to_field_of_view(images)
            if cropped is not images:
                self.note(name, partial(_describe_pass, images, "copied to", cropped))

    def flush_within(self) -> None:
        """Execute what is pending in the middle of a spatial stage.

        Keeps ``regridded``: it decides how later steps treat the ends of fields of view, and must
        not depend on an early flush, which depends on the samples of the batch.
        """
        regridded = {name: warp.regridded for name, warp in self.warps.items()}
        self.flush()
        for name, before in regridded.items():
            self.warp(name).regridded = before

    def flush(self) -> None:
        """Sample each image once through all its maps, with its operations in the same pass."""
        with sharing():
            self._flush_each()
        self.computed.clear()
        self.warps.clear()
        self.grids.clear()
        self.operations.clear()

    def _flush_each(self) -> None:
        done: set[str] = set()
        for parts in self.parts():
            names, sampled = list(parts), Pass.of(list(parts.values())).run()
            for (name, part), out in zip(parts.items(), sampled, strict=True):
                self.batch.images[name] = out
                self._note_sampled(name, names, part, out)
            done.update(names)
        for name in [name for name in self.batch.images if name not in done]:
            images = self.batch.images[name] = self._as_computed(name)
            if operations := self._operations_of(name):
                self.batch.images[name] = images.with_data(F.pointwise(images.data, operations))
                self.note(name, lambda: "one pass over its voxels")

    def take_from_noise(self) -> dict[str, list[Operation]]:
        """Remove the operations on each image from its first noise on, and return them."""
        taken = {}
        for name, operations in self.operations.items():
            noisy = [n for n, each in enumerate(operations) if isinstance(each, Noise)]
            if noisy:
                taken[name] = operations[noisy[0] :]
                del operations[noisy[0] :]
        return taken

    def whole(self, name: str) -> ImagesBatch:
        """Return one image with all that is pending, which stays pending."""
        images, operations = self._as_computed(name), self._operations_of(name)
        if name in self.warps and not self.warps[name].maps.is_empty:
            return sample(self.warps[name], images, operations)
        return images.with_data(F.pointwise(images.data, operations)) if operations else images

    def parts(self) -> list[dict[str, Part]]:
        """Return the images to sample, by name, grouped by those that one pass samples."""
        return [
            {n: Part(self.warps[n], self._as_computed(n), self._operations_of(n)) for n in names}
            for names in self._groups()
        ]

    def _groups(self) -> list[list[str]]:
        """Return the names of the images that one pass samples."""
        groups: list[list[str]] = []
        for name in [name for name, warp in self.warps.items() if not warp.maps.is_empty]:
            for group in groups:
                if self._sampled_with(name, group[0]):
                    group.append(name)
                    break
            else:
                groups.append([name])
        return groups

    def _sampled_with(self, name: str, other: str) -> bool:
        """Return True if two images are sampled at the same places, on the same device."""
        if not can_sample_together(self.warps[other], self.warps[name]):
            return False
        return self.batch.images[name].device == self.batch.images[other].device

    def _note_sampled(self, name: str, names: Sequence[str], part: Part, out: ImagesBatch) -> None:
        count = len(part.operations)
        if name != names[0] and not count:
            self.note(name, partial("together with {}".format, names[0]))
            return
        how = "copied to" if part.warp.sampled_exactly else "sampled on"
        if part.warp.modulates:
            how = "sampled, and scaled by the determinant of the map, on"
        self.note(name, partial(_describe_pass, part.images, how, out, count))

    def _operations_of(self, name: str) -> list[Operation]:
        return self.operations.get(name, [])

    def _maps_differ(self) -> bool:
        """Return True if images have different pending maps, so that voxels do not correspond."""
        warps = [self.warps.get(name) for name in self.batch.images]
        matrices = [None if warp is None else warp.maps.matrix for warp in warps]
        first = matrices[0]

        def same(matrix: Array | None) -> bool:
            if matrix is None or first is None:
                return matrix is first
            return np.array_equal(host(matrix), host(first))

        return not all(map(same, matrices))

    def _as_computed(self, name: str) -> ImagesBatch:
        """Return an image, as floats if a step computes with it."""
        images = self.batch.images[name]
        return images.floating() if name in self.computed else images


def _describe_pass(before: ImagesBatch, done: str, after: ImagesBatch, operations: int = 0) -> str:
    """Describe a pass from one grid to another."""
    more = f", and {operations} operations on what is read" if operations else ""
    return f"{_describe_grid(before)} {done} {_describe_grid(after)}{more}"


def _describe_grid(images: ImagesBatch) -> str:
    """Describe a grid: its shape and, if samples agree, its spacing."""
    shape = "x".join(map(str, images.spatial_shape))
    distance = spacing(images.affine)
    if np.ptp(distance, axis=0).max() > 1e-6:
        return shape
    return f"{shape} at {', '.join(f'{d:.3g}' for d in distance[0])} mm"


__all__ = ["Pending"]

"""Pending operations of each image of a batch, executed together by :meth:`Pending.flush`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ... import functional as F
from ...arrays import Array, host
from ...data import ImagesBatch, SubjectsBatch
from ...data.image import INTENSITY
from ...functional.dispatch.kernels import sharing
from ...functional.operations import Operation
from ...geometry import spacing
from .sampling import Part, sample, sample_together, together_with
from .warp import PendingWarp

#: One pass over an image: its name, and a phrase.
Note = tuple[str, str]


@dataclass
class Pending:
    """Pending operations of each image of a batch, executed together by :meth:`flush`.

    Args:
        batch: The images; a flush replaces those that change.
        warps: Pending maps of images.
        operations: Pending pointwise operations of images, after their maps.
        computed: Scalar images that a step computes with. Integers become float32 even if every
            decision says no: the type of a batch must not depend on one.
        notes: Passes so far, if they are wanted.
    """

    batch: SubjectsBatch
    warps: dict[str, PendingWarp] = field(default_factory=dict)
    operations: dict[str, list[Operation]] = field(default_factory=dict)
    computed: set[str] = field(default_factory=set)
    notes: list[Note] | None = None

    def note(self, name: str, phrase: Callable[[], str]) -> None:
        """Write down a pass over an image, if that is wanted."""
        if self.notes is not None:
            self.notes.append((name, phrase()))

    def note_look(self, name: str) -> None:
        """Write down that an image was sampled for a look at it."""
        self.note(name, lambda: "sampled for a look at its voxels")

    def take_notes(self) -> list[str]:
        """Return what was written down, a line for each pass, and forget it."""
        lines = [f"    {name}: {phrase}" for name, phrase in self.notes or ()]
        self.notes = []
        return lines

    def compute(self, names: Sequence[str]) -> None:
        """Note that a step computes with the voxels of some images."""
        images = self.batch.images
        self.computed.update(name for name in names if images[name].kind == INTENSITY)

    def append(self, name: str, operation: Operation) -> None:
        """Add a pointwise operation on an image."""
        self.operations.setdefault(name, []).append(operation)

    def warp(self, name: str) -> PendingWarp:
        """Return the pending maps of an image, none as yet if there were none."""
        if name not in self.warps:
            images = self.batch.images[name]
            space = images.space
            self.warps[name] = PendingWarp(space, space, images.kind)
        return self.warps[name]

    def enclose(
        self,
        names: Sequence[str],
        warps: list[PendingWarp],
        fills: Sequence[str | float | None],
        regrids: bool,
    ) -> list[PendingWarp]:
        """Keep the fields of view before a step that may bring something else into view.

        Where one is no box in the source, all images are sampled first.

        Args:
            names: Images that the step changes.
            warps: Their maps.
            fills: Values, or rules of values, that the step gives to what is outside.
            regrids: The step changes the grid, rather than move content on it.

        Returns:
            Their maps, new ones if they were sampled.
        """
        enclosed = [warp.enclose(fill, regrids) for warp, fill in zip(warps, fills, strict=True)]
        if all(enclosed):
            return warps
        self.flush_within()
        warps = [self.warp(name) for name in names]
        for warp, fill in zip(warps, fills, strict=True):
            warp.enclose(fill, regrids)
        return warps

    def cut_to_view(self) -> None:
        """Cut all images to their fields of view, for a step that computes with their voxels.

        Where that cannot be done by whole voxels they are sampled, as where it costs nothing.
        """
        warps = self.warps.values()
        exact = all(warp.moves_voxels for warp in warps)
        if exact or self._differ() or any(warp.whole_view() is None for warp in warps):
            self.flush_within()
            return
        for name, warp in self.warps.items():
            images = self._as_computed(name)
            cut = self.batch.images[name] = warp.cut_to_view(images)
            if cut is not images:
                self.note(name, partial(_from_to, images, "copied to", cut))

    def flush_within(self) -> None:
        """Execute what is pending, in the middle of a spatial stage.

        How fields of view end in what follows must not depend on that: samples differ in it.
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
        self.operations.clear()

    def _flush_each(self) -> None:
        groups = self._groups()
        for names in groups:
            parts = [Part(self.warps[n], self._as_computed(n), self._of(n)) for n in names]
            if len(parts) > 1:
                sampled = sample_together(parts)
            else:
                sampled = [sample(*parts[0])]
            for name, part, out in zip(names, parts, sampled, strict=True):
                self.batch.images[name] = out
                self._note_sampled(name, names, part, out)
        done = {name for names in groups for name in names}
        for name in [name for name in self.batch.images if name not in done]:
            images = self.batch.images[name] = self._as_computed(name)
            if operations := self._of(name):
                self.batch.images[name] = images.with_data(F.pointwise(images.data, operations))
                self.note(name, lambda: "one pass over its voxels")

    def _groups(self) -> list[list[str]]:
        """Return the images to sample, those together whose voxels are read at the same places."""
        groups: list[list[str]] = []
        for name in [name for name, warp in self.warps.items() if warp.moved]:
            for group in groups:
                if self._moves_with(name, group[0]):
                    group.append(name)
                    break
            else:
                groups.append([name])
        return groups

    def _moves_with(self, name: str, other: str) -> bool:
        """Return True if two images are sampled at the same places, on the same device."""
        if not together_with(self.warps[other], self.warps[name]):
            return False
        return self.batch.images[name].device == self.batch.images[other].device

    def _note_sampled(self, name: str, names: Sequence[str], part: Part, out: ImagesBatch) -> None:
        count = len(part.operations)
        if name != names[0] and not count:
            self.note(name, partial("together with {}".format, names[0]))
            return
        how = "copied to" if part.warp.exact else "sampled on"
        self.note(name, partial(_from_to, part.images, how, out, count))

    def _of(self, name: str) -> list[Operation]:
        return self.operations.get(name, [])

    def _differ(self) -> bool:
        """Return True if images have different pending maps: their voxels do not correspond."""
        warps = [self.warps.get(name) for name in self.batch.images]
        matrices = [None if warp is None else warp.matrix for warp in warps]
        first = matrices[0]

        def same(matrix: Array | None) -> bool:
            if matrix is None or first is None:
                return matrix is first
            return np.array_equal(host(matrix), host(first))

        return not all(map(same, matrices))

    def _as_computed(self, name: str) -> ImagesBatch:
        """Return an image in the type that steps compute with, where one does."""
        images = self.batch.images[name]
        return images.floating() if name in self.computed else images


def _from_to(before: ImagesBatch, done: str, after: ImagesBatch, operations: int = 0) -> str:
    """Return a pass from one grid to another in words."""
    more = f", and {operations} operations on what is read" if operations else ""
    return f"{_grid(before)} {done} {_grid(after)}{more}"


def _grid(images: ImagesBatch) -> str:
    """Return a grid in words: its shape and, where samples agree, its spacing."""
    shape = "x".join(map(str, images.spatial_shape))
    distance = spacing(images.affine)
    if np.ptp(distance, axis=0).max() > 1e-6:
        return shape
    return f"{shape} at {', '.join(f'{d:.3g}' for d in distance[0])} mm"


__all__ = ["Pending"]

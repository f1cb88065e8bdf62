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
from ...functional.dispatch.backend import use_kernel
from ...functional.dispatch.kernels import sharing
from ...functional.operations import Operation
from ...geometry import spacing
from .sampling import sample, sample_pair
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
        done = self._flush_pairs()
        for name in [name for name in self.batch.images if name not in done]:
            warp, operations = self.warps.get(name), self.operations.get(name, [])
            images = self.batch.images[name] = self._as_computed(name)
            if warp is not None and warp.moved:
                out = self.batch.images[name] = sample(warp, images, operations)
                how = "copied to" if warp.exact else "sampled on"
                self.note(name, partial(_from_to, images, how, out, len(operations)))
            elif operations:
                self.batch.images[name] = images.with_data(F.pointwise(images.data, operations))
                self.note(name, lambda: "one pass over its voxels")

    def _flush_pairs(self) -> set[str]:
        """Sample images and label maps that move alike together, where a kernel does that at once.

        Returns:
            Names of those that were sampled.
        """
        moved = {name: warp for name, warp in self.warps.items() if warp.moved}
        kinds = {name: self.batch.images[name].kind for name in moved}
        done: set[str] = set()
        for name in (name for name, kind in kinds.items() if kind == INTENSITY):
            if moved[name].view is not None or not use_kernel(self.batch.images[name].device):
                return done
            images = self._as_computed(name)
            for other in (n for n, kind in kinds.items() if kind != INTENSITY and n not in done):
                labels, operations = self.batch.images[other], self.operations.get(name, [])
                pair = sample_pair(moved[name], images, operations, moved[other], labels)
                if pair is not None:
                    self.batch.images[name], self.batch.images[other] = pair
                    phrase = partial(_from_to, images, "sampled on", pair[0], len(operations))
                    self.note(name, phrase)
                    self.note(other, partial("together with {}".format, name))
                    done |= {name, other}
                    break
        return done

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

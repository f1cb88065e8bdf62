"""What is still to be done to the images of a batch, in one pass over each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

from ... import functional as F
from ...arrays import Array, host
from ...data import ImagesBatch, SubjectsBatch
from ...data.image import INTENSITY
from ...functional.dispatch.backend import use_kernel
from ...functional.dispatch.kernels import sharing
from ...functional.operations import Operation
from ...geometry import spacing
from ...shapes import Triple
from .chain import Chain
from .reading import sample, sample_pair

#: What happened to an image in one pass: its name, and a phrase.
Note = tuple[str, str]


class Window(NamedTuple):
    """The part of each image that is wanted in the end.

    Args:
        size: Its voxels along I, J, K.
        place: Its first voxel in each sample, [B, 3], given the maps that lead to the whole images.
    """

    size: Triple
    place: Callable[[Mapping[str, Chain]], np.ndarray]


@dataclass
class Waiting:
    """What is still to be done to the images of a batch, in one pass over each."""

    batch: SubjectsBatch
    chains: dict[str, Chain] = field(default_factory=dict)
    programs: dict[str, list[Operation]] = field(default_factory=dict)
    #: Scalar images that a step computes with. Integers become float32 even if every coin says
    #: no: the type of a batch must not depend on a coin.
    computed: set[str] = field(default_factory=set)
    #: The passes so far, where they are asked for.
    notes: list[Note] | None = None

    def note(self, name: str, phrase: Callable[[], str]) -> None:
        """Write down a pass over an image, if that is wanted."""
        if self.notes is not None:
            self.notes.append((name, phrase()))

    def compute(self, names: Sequence[str]) -> None:
        """Note that a step computes with the voxels of some images."""
        images = self.batch.images
        for name in names:
            if images[name].kind == INTENSITY:
                self.computed.add(name)

    def chain(self, name: str) -> Chain:
        """The maps of an image that wait, none as yet."""
        if name not in self.chains:
            images = self.batch.images[name]
            space = images.space
            self.chains[name] = Chain(space, space, images.kind)
        return self.chains[name]

    def frame(self) -> None:
        """Cut all images to what is in view, for a step that computes with their voxels.

        Where that cannot be done by whole voxels they are sampled, as where it costs nothing.
        """
        chains = self.chains.values()
        exact = all(chain.moves_voxels for chain in chains)
        if exact or self._apart() or any(chain.whole_view() is None for chain in chains):
            self.go_on()
            return
        for name, chain in self.chains.items():
            images = self.as_computed(name)
            framed = self.batch.images[name] = chain.frame(images)
            if framed is not images:
                self.note(name, partial(_from_to, images, "copied to", framed))

    def go_on(self) -> None:
        """Carry out what waits, in the middle of a run.

        How fields of view end in what follows must not depend on that: samples differ in it.
        """
        regridded = {name: chain.regridded for name, chain in self.chains.items()}
        self.carry_out()
        for name, before in regridded.items():
            self.chain(name).regridded = before

    def _apart(self) -> bool:
        """Whether images wait for different motions, so that their voxels do not correspond."""
        chains = [self.chains.get(name) for name in self.batch.images]
        matrices = [None if chain is None else chain.matrix for chain in chains]
        first = matrices[0]

        def same(matrix: Array | None) -> bool:
            if matrix is None or first is None:
                return matrix is first
            return np.array_equal(host(matrix), host(first))

        return not all(map(same, matrices))

    def as_computed(self, name: str) -> ImagesBatch:
        """An image in the type that steps compute with, where one does."""
        images = self.batch.images[name]
        return images.floating() if name in self.computed else images

    def cut(self, window: Window) -> None:
        """Go on with a window of each image, which is the last thing that happens to its grid."""
        chains = {name: self.chain(name) for name in self.batch.images}
        first = window.place(chains)
        for chain in chains.values():
            chain.cut(first, window.size)

    def look(self, name: str) -> None:
        """Note that an image was sampled for a look at it."""
        self.note(name, lambda: "sampled for a look at its voxels")

    def tell(self) -> list[str]:
        """What was written down, a line for each; it is forgotten then."""
        lines = [f"    {name}: {phrase}" for name, phrase in self.notes or ()]
        self.notes = []
        return lines

    def carry_out(self) -> None:
        """Do it: a spatial run first, then the pointwise run after it, in the same pass."""
        with sharing():
            self._each()
        self.computed.clear()
        self.chains.clear()
        self.programs.clear()

    def _pairs(self) -> set[str]:
        """Read images and label maps that move alike together, where a kernel does that at once.

        Returns:
            Names of those that were read.
        """
        moved = {name: chain for name, chain in self.chains.items() if chain.moved}
        kinds = {name: self.batch.images[name].kind for name in moved}
        read: set[str] = set()
        for name in (name for name, kind in kinds.items() if kind == INTENSITY):
            if moved[name].view is not None or not use_kernel(self.batch.images[name].device):
                return read
            images = self.as_computed(name)
            for other in (n for n, kind in kinds.items() if kind != INTENSITY and n not in read):
                labels, program = self.batch.images[other], self.programs.get(name, [])
                pair = sample_pair(moved[name], images, program, moved[other], labels)
                if pair is not None:
                    self.batch.images[name], self.batch.images[other] = pair
                    phrase = partial(_from_to, images, "sampled on", pair[0], len(program))
                    self.note(name, phrase)
                    self.note(other, partial("together with {}".format, name))
                    read |= {name, other}
                    break
        return read

    def _each(self) -> None:
        read = self._pairs()
        for name in [name for name in self.batch.images if name not in read]:
            chain, program = self.chains.get(name), self.programs.get(name, [])
            images = self.batch.images[name] = self.as_computed(name)
            if chain is not None and chain.moved:
                out = self.batch.images[name] = sample(chain, images, program)
                done = "copied to" if chain.exact else "sampled on"
                self.note(name, partial(_from_to, images, done, out, len(program)))
            elif program:
                self.batch.images[name] = images.with_data(F.pointwise(images.data, program))
                self.note(name, lambda: "one pass over its voxels")


def _from_to(before: ImagesBatch, done: str, after: ImagesBatch, operations: int = 0) -> str:
    more = f", and {operations} operations on what is read" if operations else ""
    return f"{_grid(before)} {done} {_grid(after)}{more}"


def _grid(images: ImagesBatch) -> str:
    """A grid in words: its shape and, where samples agree, its spacing."""
    shape = "x".join(map(str, images.spatial_shape))
    distance = spacing(images.affine)
    if np.ptp(distance, axis=0).max() > 1e-6:
        return shape
    return f"{shape} at {', '.join(f'{d:.3g}' for d in distance[0])} mm"


__all__ = ["Waiting", "Window"]

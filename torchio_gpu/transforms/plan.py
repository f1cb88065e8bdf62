"""How a pipeline is carried out: which neighbouring transforms share one pass over the voxels.

A pipeline is flattened into steps once. Neighbouring spatial steps form a run: their maps are
composed in the world, in float64 on the host, and each image is sampled once, on the final grid.
Neighbouring pointwise steps form a run as well: one program, which is applied as the voxels of the
spatial run before it are read, or in a pass of its own.

A spatial run ends where maps can no longer be composed cheaply: a second bending map, or one that
turns the grid on which a bending map was to be evaluated axis by axis; and where voxels are to be
read differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from .. import functional as F
from .. import rng
from ..arrays import Array, common
from ..data import ImagesBatch, SubjectsBatch
from ..data.image import INTENSITY
from ..functional.program import Operation
from ..functional.spatial import is_exact
from ..geometry import SPACE_TOLERANCE_MM, Space, displace, invert
from .params import Params

if TYPE_CHECKING:
    from .base import Scene, Transform


@dataclass(frozen=True)
class Elastic:
    """A bending map of the world, ``p -> p + d(p)``: where an output point comes from.

    Args:
        control_points: Displacement d in mm along RAS+, [B, 3, N0, N1, N2].
        lattice: World to control-point coordinates, [B, 4, 4].
        inverse: Use the inverse map instead.
    """

    control_points: Array
    lattice: np.ndarray
    inverse: bool = False


@dataclass(frozen=True)
class Move:
    """One step of a spatial transform, as a pull-back in the world: first bend, then ``matrix``.

    Args:
        matrix: Output world to input world, [B, 4, 4].
        elastic: Bending applied to output points before the matrix.
        space: Grid of the output; that of the input by default.
    """

    matrix: Array | None = None
    elastic: Elastic | None = None
    space: Space | None = None


@dataclass(frozen=True)
class Sampling:
    """How a spatial transform reads voxels.

    Args:
        image: Interpolation of scalar images.
        label: Interpolation of label maps.
        image_fill: Value outside scalar images: a number or a rule of ``fill_value``.
        label_fill: Value outside label maps.
    """

    image: str = "linear"
    label: str = "nearest"
    image_fill: str | float = "minimum"
    label_fill: float = 0


@dataclass(frozen=True)
class Step:
    """A transform in a plan.

    Args:
        transform: What to do.
        params: With which parameters; drawn for each batch if None.
        names: The images whose parameters ``params`` holds.
        gates: Positions and probabilities of the compositions around the step: where one of
            their coins says no, the step is left out.
        within: The compositions around the step; each may leave images out.
        keep: Images to keep as they are before the step, with the names to keep them under.
        untouched: Images to leave alone whatever the transform says.
    """

    transform: Transform
    params: Params | None = None
    names: tuple[str, ...] = ()
    gates: tuple[tuple[int, float], ...] = ()
    within: tuple[Transform, ...] = ()
    keep: dict[str, str] | None = None
    untouched: tuple[str, ...] = ()


@dataclass(frozen=True)
class Record:
    """What was applied: a transform, its parameters, to which images of which samples.

    ``untouched`` are the images that were there and were left alone; an image that is added later,
    such as a prediction, follows the others when the record is replayed or undone.
    """

    transform: Transform
    params: Params
    names: tuple[str, ...]
    untouched: tuple[str, ...] = ()
    active: np.ndarray | None = None

    def row(self, sample: int) -> Record | None:
        """The record of one sample, or None if the transform left it out."""
        if self.active is not None and not bool(self.active[sample]):
            return None
        return Record(self.transform, self.params.row(sample), self.names, self.untouched)

    def __repr__(self) -> str:
        return f"{self.transform.name}({self.params})"


@dataclass
class Group:
    """Steps that share one pass, and why the pass ends with them."""

    role: str
    steps: list[int]
    reason: str = "end of the pipeline"


@dataclass
class _Chain:
    """The maps of one image that wait to be sampled."""

    source: Space
    space: Space  # of the output so far
    matrix: Array | None = None  # towards the source, from where the elastic map is evaluated
    elastic: Elastic | None = None
    moved: bool = False
    after: np.ndarray | None = None  # from the output to where the elastic map is evaluated

    def add(self, move: Move) -> None:
        """Follow one more map: outputs of the chain become its inputs."""
        self.moved = True
        if move.elastic is not None:
            if self.elastic is not None:
                raise AssertionError("a run holds one bending map: the plan is wrong")
            self.elastic = move.elastic
            # what was collected so far lies between the bending map and the source
        if move.matrix is not None:
            # pull-back of the sum: earlier maps act on the result of this one
            if self.elastic is None or move.elastic is not None:
                self.matrix = _times(self.matrix, move.matrix)
            else:
                self.after = _times(self.after, move.matrix)
        if move.space is not None:
            self.space = move.space

    def sample(
        self, images: ImagesBatch, sampling: Sampling | None, program: Sequence[Operation]
    ) -> ImagesBatch:
        """Read the voxels through all maps at once, and apply what follows to each."""
        grid = _times(self.after, self.space.affine)
        world = grid if self.matrix is None else _times(self.matrix, grid)
        matrix = _times(self.source.to_voxel, world)
        points = lattice = None
        if self.elastic is not None:
            lattice = _times(self.elastic.lattice, grid)
            inverse = self.space.to_voxel if self.after is None else invert(grid)
            points = displace(self.elastic.control_points, inverse[:, :3, :3])
        if 1 in self.source.shape:
            matrix, points = _in_plane(matrix, points, self.source, self.space)
        if sampling is None and is_exact(matrix, points):
            sampling = Sampling(image="nearest")  # no step asks to interpolate: values are moved
        sampling = sampling or Sampling()
        intensity = images.kind == INTENSITY
        rule = sampling.image_fill if intensity else sampling.label_fill
        data = F.warp(
            images.data,
            matrix,
            points,
            lattice=lattice,
            size=self.space.shape,
            mode=sampling.image if intensity else sampling.label,
            fill=F.fill_value(images.data, rule),
            inverse=self.elastic is not None and self.elastic.inverse,
            operations=program,
        )
        return images.with_data(data, self.space.affine)


def _times(left: Array | None, right: Array) -> Any:
    if left is None:
        return right
    _, left, right = common(left, right)
    return left @ right


def _in_plane(
    matrix: Array, points: Array | None, source: Space, target: Space
) -> tuple[Array, Array | None]:
    """Keep single-slice images from being sampled across their slice."""
    thin = [[axis for axis in range(3) if s.shape[axis] == 1] for s in (source, target)]
    free, mask, unit = np.ones(3), np.ones((4, 4)), np.zeros((4, 4))
    for a, b in zip(*thin, strict=False):
        mask[a, :] = 0
        mask[:, b] = 0
        unit[a, b] = 1
        free[b] = 0
    if points is not None:
        _, points, free = common(points, free)
        points = points * free[:, None, None, None]
    _, matrix, mask, unit = common(matrix, mask, unit)
    return matrix * mask + unit, points


@dataclass
class _Waiting:
    """What is still to be done to the images of a batch, in one pass over each."""

    batch: SubjectsBatch
    chains: dict[str, _Chain] = field(default_factory=dict)
    programs: dict[str, list[Operation]] = field(default_factory=dict)
    sampling: Sampling | None = None
    #: Scalar images that a step computes with. Integers become float32 even if every coin says
    #: no: the type of a batch must not depend on a coin.
    computed: set[str] = field(default_factory=set)

    def compute(self, names: Sequence[str]) -> None:
        """Note that a step computes with the voxels of some images."""
        self.computed.update(n for n in names if self.batch.images[n].kind == INTENSITY)

    def carry_out(self) -> None:
        """Do it: a spatial run first, then the pointwise run after it, in the same pass."""
        for name, images in list(self.batch.images.items()):
            chain, program = self.chains.get(name), self.programs.get(name, [])
            if name in self.computed and not images.data.is_floating_point():
                images = self.batch.images[name] = images.with_data(images.data.float())
            if chain is not None and chain.moved:
                self.batch.images[name] = chain.sample(images, self.sampling, program)
            elif program:
                self.batch.images[name] = images.with_data(F.pointwise(images.data, program))
        self.computed.clear()
        self.chains.clear()
        self.programs.clear()
        self.sampling = None


class Plan:
    """The steps of a pipeline, grouped into passes.

    Args:
        steps: Transforms in order.
        fuse: Whether neighbours may share a pass; otherwise each step has its own.
        gates: Number of compositions with a coin of their own.
    """

    def __init__(self, steps: Sequence[Step], fuse: bool = True, gates: int = 0) -> None:
        self.steps = list(steps)
        self.gates = gates
        self.groups = _group(self.steps, fuse)
        self._prepared: dict[Any, _Prepared] = {}

    def run(self, batch: SubjectsBatch) -> SubjectsBatch:
        """Carry out the pipeline on a batch; the batch itself is left as it is."""
        if not self.steps:
            return batch
        draws = self.draw(batch)
        out = batch.replace(dict(batch.images))
        waiting = _Waiting(out)
        for group in self.groups:
            if group.role == "spatial":
                waiting.carry_out()
                self._spatial(waiting, group, draws)
            else:
                self._pointwise(waiting, group, draws)
        waiting.carry_out()
        return out

    def draw(self, batch: SubjectsBatch) -> _Draws:
        """All uniform numbers that the pipeline needs for a batch."""
        kinds = tuple((name, images.kind) for name, images in batch.images.items())
        chances = tuple(step.transform.p for step in self.steps)
        key = (kinds, tuple(batch.metadata), chances)
        prepared = self._prepared.get(key)
        if prepared is None:
            prepared = self._prepared[key] = self._prepare(kinds, key[1])
        streams = batch.streams or rng.streams_for(batch.batch_size)
        base = streams.take(self.gates + len(self.steps))
        if not prepared.layout.requests:
            return _Draws(prepared, np.empty((batch.batch_size, 0)))
        return _Draws(prepared, rng.uniforms(streams.seeds, prepared.layout, base))

    def _prepare(self, kinds: tuple[tuple[str, str], ...], others: tuple[str, ...]) -> _Prepared:
        """Which images each step changes, and where its random numbers stand."""
        requests: list[tuple[int, int, int]] = []
        names, coins, columns = [], [], []
        gates: dict[int, int] = {}
        for number, step in enumerate(self.steps):
            transform, position = step.transform, self.gates + number
            # what was recorded may be replayed where some of its images are missing
            missing = others if step.params is None else None
            selected = transform.select(kinds, missing)
            allowed = [outer.select(kinds, missing) for outer in step.within]
            selected = tuple(
                name
                for name in selected
                if name not in step.untouched and all(name in names for names in allowed)
            )
            for gate, _ in step.gates:
                if gate not in gates:
                    gates[gate] = len(requests)
                    requests.append((gate, 0, 1))
            coin = None
            if step.params is None and transform.p < 1:
                coin = len(requests)
                requests.append((position, 0, 1))
            own = []
            if step.params is None and transform.draws:
                # an image's stream follows from its name: parameters of one image do not depend
                # on which others the subject has
                streams = (
                    [1] if transform.role == "spatial" else [crc32(n.encode()) for n in selected]
                )
                for stream in streams:
                    own.append(len(requests))
                    requests.append((position, stream, transform.draws))
            names.append(selected)
            coins.append(coin)
            columns.append(own)
        return _Prepared(rng.Layout(tuple(requests)), names, coins, columns, gates)

    def _decide(
        self, number: int, draws: _Draws, batch: SubjectsBatch, scene: Scene
    ) -> tuple[Params, np.ndarray | None] | None:
        """Parameters of a step for this batch, or None if it leaves every sample as it is."""
        step = self.steps[number]
        active = draws.active(number, step)
        if active is not None and not active.any():
            return None
        size = batch.batch_size
        if step.params is None:
            params = step.transform.draw(scene, draws.numbers(number, step.transform))
        else:
            params = step.params.expand(size)
        if active is not None and active.all():
            active = None
        if active is not None:
            params = params.gate(active)
        names = step.names or scene.names
        untouched = tuple(name for name in batch.images if name not in scene.names)
        batch.records.append(Record(step.transform, params, names, untouched, active))
        return params, active

    def _keep(self, number: int, waiting: _Waiting) -> None:
        keep = self.steps[number].keep
        if not keep:
            return
        waiting.carry_out()
        images = waiting.batch.images
        for name, new in keep.items():
            if name not in images:
                raise KeyError(f"keep must name images of the subject, {name!r} is none")
            images[new] = images[name]

    def _spatial(self, waiting: _Waiting, group: Group, draws: _Draws) -> None:
        from .base import Scene

        chains = waiting.chains
        for number in group.steps:
            self._keep(number, waiting)
            transform = self.steps[number].transform
            names = draws.prepared.names[number]
            if not names:
                continue
            for name in names:
                if name not in chains:
                    space = waiting.batch.images[name].space
                    chains[name] = _Chain(space, space)
            wish = transform.sampling()
            if wish is not None and wish.image != "nearest":
                waiting.compute(names)
            _check_spaces({name: chains[name].space for name in names}, transform)
            scene = Scene(names, chains[names[0]].space)
            decided = self._decide(number, draws, waiting.batch, scene)
            if decided is None:
                continue
            for move in transform.moves(decided[0], scene):
                for name in names:
                    chains[name].add(move)
            waiting.sampling = waiting.sampling or wish

    def _pointwise(self, waiting: _Waiting, group: Group, draws: _Draws) -> None:
        from .base import Scene

        for number in group.steps:
            self._keep(number, waiting)
            step = self.steps[number]
            names = draws.prepared.names[number]
            if not names:
                continue
            waiting.compute(names)
            scene = Scene(names, waiting.batch.images[names[0]].space)
            decided = self._decide(number, draws, waiting.batch, scene)
            if decided is None:
                continue
            params, active = decided
            known = step.names or names
            for name in names:
                if name in known:
                    operation = step.transform.operation(params.column(known.index(name)), active)
                    waiting.programs.setdefault(name, []).append(operation)

    def __str__(self) -> str:
        lines = []
        for group in self.groups:
            names = " -> ".join(self.steps[n].transform.name for n in group.steps)
            lines.append(f"{group.role}: {names}  (ends: {group.reason})")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Prepared:
    """What is known of a pipeline once the names of the images are."""

    layout: rng.Layout
    names: list[tuple[str, ...]]
    coins: list[int | None]
    columns: list[list[int]]
    gates: dict[int, int]


@dataclass
class _Draws:
    """The uniform numbers of one call."""

    prepared: _Prepared
    u: np.ndarray

    def _column(self, request: int) -> np.ndarray:
        return self.u[:, self.prepared.layout.columns[request]]

    def active(self, number: int, step: Step) -> np.ndarray | None:
        """Which samples a step transforms, [B]; all of them if None."""
        request = self.prepared.coins[number]
        masks = [self._column(self.prepared.gates[gate])[:, 0] < p for gate, p in step.gates]
        if request is not None:
            masks.append(self._column(request)[:, 0] < step.transform.p)
        if not masks:
            return None
        active = masks[0]
        for mask in masks[1:]:
            active = active & mask
        return active

    def numbers(self, number: int, transform: Transform) -> np.ndarray:
        """Numbers of a step: [B, draws], or [B, M, draws] for a pointwise transform."""
        requests = self.prepared.columns[number]
        if transform.role == "spatial":
            return self._column(requests[0]) if requests else self.u[:, :0]
        if not requests:
            return np.empty((len(self.u), len(self.prepared.names[number]), 0))
        if len(requests) == 1:
            return self._column(requests[0])[:, None]
        return np.stack([self._column(request) for request in requests], 1)


def _group(steps: Sequence[Step], fuse: bool) -> list[Group]:
    """Neighbours that can share a pass."""
    groups: list[Group] = []
    bent = False
    sampling: Sampling | None = None
    for number, step in enumerate(steps):
        transform = step.transform
        reason = None
        if not groups:
            reason = ""
        elif not fuse:
            reason = "steps are not fused"
        elif step.keep:
            reason = f"images are kept as they are before {transform.name}"
        elif transform.role != groups[-1].role:
            reason = f"{transform.name} is {transform.role}"
        elif transform.role == "spatial":
            wish = transform.sampling()
            if bent and transform.bends:
                reason = f"{transform.name} bends the image a second time"
            elif bent and not transform.parallel:
                reason = f"{transform.name} turns the grid of the bending map before it"
            elif None not in (wish, sampling) and wish != sampling:
                reason = f"{transform.name} reads voxels differently"
        if reason is not None:
            if groups:
                groups[-1].reason = reason
            groups.append(Group(transform.role, []))
            bent, sampling = False, None
        groups[-1].steps.append(number)
        if transform.role == "spatial":
            bent = bent or transform.bends
            sampling = sampling or transform.sampling()
    return groups


def _check_spaces(spaces: dict[str, Space], transform: Transform) -> None:
    """Refuse images that differ in shape while their affines say that they should not."""
    if len(spaces) < 2 or not getattr(transform, "check_shape", True):
        return
    first_name, first = next(iter(spaces.items()))
    for name, space in spaces.items():
        if space is first or space.shape == first.shape:
            continue
        if np.abs(space.affine - first.affine).max() < SPACE_TOLERANCE_MM:
            raise ValueError(
                f"images of a subject must share a shape under {transform.name} when they share "
                f"an affine: {first_name!r} has {first.shape}, {name!r} has {space.shape}"
            )


__all__ = ["Elastic", "Group", "Move", "Plan", "Record", "Sampling", "Step"]

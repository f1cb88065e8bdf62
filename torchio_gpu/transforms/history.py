"""Histories: repeat, undo and serialise recorded transforms."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from torch import Tensor
from torch.distributions import Distribution

from ..data import SpatialMap, Subject
from ..data.keys import INTENSITY
from ..geometry import Space
from . import records
from .base import Branches, Context, Transform
from .compose import Compose
from .convert import to_batch
from .grid.base import GridParams
from .inverse import Inverse, regrids
from .parameters.params import Params
from .parameters.ranges import Choice
from .pipeline.maps import SpatialTraits, may_move
from .pipeline.points import within_slice
from .pipeline.record import Record
from .pipeline.steps import SUBJECT, Step, Steps
from .spatial.affine import Resampling

#: Modules of the classes that records may always name.
_LIBRARY = "torchio_gpu."


class Recorded(Transform):
    """Transform with recorded parameters.

    Args:
        transform: The transform.
        params: Its parameters, of one sample or of a batch.
        names: Images that the parameters are for.
        untouched: Images not to transform; others are transformed as the transform selects them.
        spaces: Spaces of the images that it moved, if they were recorded.
        fuse: The transform may share a pass with its neighbours.
        follows: Images whose grids points followed, if they were recorded; see :class:`Record`.

    >>> batch = SubjectsBatch({"t1": ImagesBatch(torch.rand(1, 1, 4, 4, 4))})
    >>> noise = RandomNoise()
    >>> again = Recorded(noise, noise.sample_params(batch), ("t1",))
    >>> bool((again(batch).t1.data == again(batch).t1.data).all())
    True
    """

    def __init__(
        self,
        transform: Transform,
        params: Params,
        names: tuple[str, ...],
        untouched: tuple[str, ...] = (),
        spaces: tuple[Space, ...] = (),
        fuse: bool = True,
        follows: Mapping[str, tuple[str | None, ...]] | None = None,
    ) -> None:
        super().__init__()
        self.transform, self.params, self.names = transform, params, names
        self.untouched, self.spaces, self.fuse = untouched, spaces, fuse
        self.follows = dict(follows or {})

    @property
    def name(self) -> str:
        """Name of the class of the transform."""
        return self.transform.name

    @property
    def role(self) -> str:  # type: ignore[override]
        """Role of the transform."""
        return self.transform.role

    @property
    def traits(self) -> SpatialTraits | None:  # type: ignore[override]
        """Traits of the transform."""
        return self.transform.traits

    def draw(self, context: Context, u: np.ndarray) -> Params:
        return self.params

    def select(
        self, kinds: tuple[tuple[str, str], ...], others: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        return self.transform.select(kinds)

    def _add_to(self, steps: Steps, through: Branches = ()) -> None:
        branches = self._add_decision(steps, through)
        step = Step(
            self.transform, steps.position, self.params, self.names, branches,
            untouched=self.untouched, spaces=self.spaces, fuse=self.fuse, follows=self.follows,
        )  # fmt: skip
        steps.steps.append(step)

    def is_invertible(self) -> bool:
        return self.transform.is_invertible()

    def inverse(self) -> Transform:
        """Return the transform that undoes this one."""
        kept = self.names, self.untouched, self.spaces
        if self.role == SUBJECT:
            undo = self.transform.inverse()
            return Recorded(undo, self.params, *kept, self.fuse, self.follows)
        params = self.transform.invert(self.params)
        parts = params.cut_first() if isinstance(params, GridParams) else None
        if parts is None:
            return Recorded(self.transform, params, *kept, self.fuse, self.follows)
        return Compose(
            [
                Recorded(self.transform, each, *kept, self.fuse and not cuts, self.follows)
                for each, cuts in zip(parts, (True, False), strict=True)
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, strings, lists and dicts, which JSON can hold.

        Distributions and choices among the transform's arguments are left out: ranges do not matter
        once parameters are drawn.

        Raises:
            TypeError: The transform cannot be constructed without an argument that was left out,
                such as the function of a Lambda.
        """
        arguments = _plain(self.transform.arguments(), self.transform.name)
        for name, parameter in inspect.signature(type(self.transform).__init__).parameters.items():
            named = parameter.kind is parameter.POSITIONAL_OR_KEYWORD and name != "self"
            if named and parameter.default is parameter.empty and name not in arguments:
                raise _not_serialisable(self.transform.name, name)
        return {
            "transform": self.transform.name,
            "arguments": arguments,
            "params": self.params.to_dict(),
            "params_type": type(self.params).__name__,
            "names": list(self.names),
            "untouched": list(self.untouched),
            "spaces": [[list(s.shape), s.affine.tolist()] for s in self.spaces],
            "fuse": self.fuse,
            "follows": {name: list(images) for name, images in self.follows.items()},
        }

    def __repr__(self) -> str:
        return f"Recorded({self.transform.name}({self.params}))"


def from_dict(
    record: Mapping[str, Any], allow: type[Transform] | Sequence[type[Transform]] = ()
) -> Recorded:
    """Return the recorded transform of a dict; the inverse of :meth:`Recorded.to_dict`.

    Args:
        record: Result of :meth:`Recorded.to_dict`.
        allow: Classes of transforms that a record may name, besides those of this library.

    Raises:
        ValueError: The record is damaged, or names a class that is not allowed.

    >>> batch = SubjectsBatch({"t1": ImagesBatch(torch.rand(1, 1, 4, 4, 4))})
    >>> noise = RandomNoise()
    >>> recorded = Recorded(noise, noise.sample_params(batch), ("t1",))
    >>> again = from_dict(recorded.to_dict())
    >>> bool((again(batch).t1.data == recorded(batch).t1.data).all())
    True
    """
    checked = records.check(record)
    library = [cls for cls in _subclasses(Transform) if cls.__module__.startswith(_LIBRARY)]
    allow = (allow,) if isinstance(allow, type) else allow
    kinds: dict[str, Any] = {cls.__name__: cls for cls in (*library, *allow)}
    modules = {_LIBRARY, *(cls.__module__ for cls in allow)}
    classes = [cls for cls in _subclasses(Params) if cls.__module__.startswith(tuple(modules))]
    params: dict[str, Any] = {cls.__name__: cls for cls in classes}
    for name, allowed in ((checked.transform, kinds), (checked.params_type, params)):
        if name not in allowed:
            raise ValueError(f"record names an unknown {name!r}; known are {sorted(allowed)}")
    try:
        transform = kinds[checked.transform](**checked.arguments)
        expected = {field.name for field in fields(params[checked.params_type])}
        if expected - {"undone"} - set(checked.params) or set(checked.params) - expected:
            raise ValueError(f"params must be {sorted(expected)}, got {sorted(checked.params)}")
        values = params[checked.params_type].from_dict(checked.params)
        records.check_fields(values, len(checked.names))
    except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise ValueError(
            f"record of {checked.transform!r} does not fit it: {type(error).__name__}: {error}"
        ) from error
    kept = checked.names, checked.untouched, checked.spaces, checked.fuse, checked.follows
    return Recorded(transform, values, *kept)


def compose_history(
    records: Sequence[Record],
    ignore_intensity: bool = False,
    image_interpolation: str | None = None,
) -> Compose:
    """Return the records of a subject as a transform; see ``Subject.get_composed_history``."""
    steps = []
    for record in records:
        transform = record.transform
        if ignore_intensity and not may_move(transform) and INTENSITY in transform.kinds:
            continue
        if image_interpolation is not None:
            transform = _interpolating(transform, image_interpolation)
        steps.append(_recorded(record, transform))
    return Compose(steps)


def _interpolating(transform: Transform, mode: str) -> Transform:
    """Return a transform with another interpolation of scalar images, if it interpolates."""
    if isinstance(transform, Inverse):
        return Inverse(_interpolating(transform.transform, mode))
    return transform.with_interpolation(mode) if isinstance(transform, Resampling) else transform


def applied_map(records: Sequence[Record], name: str) -> SpatialMap:
    """Return the map that records applied to an image or to points; see ``Subject.applied_map``.

    Args:
        records: Records of one sample, oldest first.
        name: Name of the image or of the points.
    """
    total = SpatialMap()
    for record in records:
        transform = record.transform
        if name in record.untouched or not may_move(transform):
            continue
        if transform.role == SUBJECT:
            raise ValueError(
                f"the map that was applied to {name!r} is not known, since {transform.name} may "
                "have moved it"
            )
        if regrids(transform):
            maps: Sequence[SpatialMap] = _corrections(record, name)
        else:
            maps = transform.maps(record.params, Context(record.names, record.spaces))
            own = record.names.index(name) if name in record.names else 0
            maps = within_slice(maps, record.spaces[own]) if record.spaces else maps
        for move in maps:
            total = total @ move._replace(space=None)
    return total


def _corrections(record: Record, name: str) -> tuple[SpatialMap, ...]:
    """Return the correction of the affine of an image by a transform that gives it a new grid.

    Points on the grid of an image follow its correction, and so does an image without parameters.
    """
    header, image = getattr(record.params, "header", None), name
    while image not in record.names and record.follows.get(image):
        image = record.follows[image][0] or ""
    if header is None or image not in record.names:
        return ()
    own = header[:, record.names.index(image)]
    return (SpatialMap(own),) if (own != np.eye(4)).any() else ()


def _subclasses(cls: Any) -> list[Any]:
    return [leaf for sub in cls.__subclasses__() for leaf in (sub, *_subclasses(sub))]


def _plain(values: dict[str, Any], transform: str) -> dict[str, Any]:
    """Return arguments as JSON types, without distributions, whose parameters are drawn already."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, (tuple, list)):
            value = [
                v.tolist() if isinstance(v, (np.ndarray, np.generic, Tensor)) else v for v in value
            ]
        if isinstance(value, (np.ndarray, np.generic, Tensor)):
            out[name] = value.tolist()
        elif isinstance(value, dict):
            out[name] = _plain(value, transform)
        elif _is_plain(value):
            out[name] = value
        elif not _is_range(value):
            raise _not_serialisable(transform, name)
    return out


def _not_serialisable(transform: str, argument: str) -> TypeError:
    return TypeError(
        f"{transform} cannot be serialised: its argument {argument} must be a number, string, list "
        "or dict of these"
    )


def _is_range(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_is_plain(each) or _is_range(each) for each in value)
    return isinstance(value, (Choice, Distribution))


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _recorded(record: Record, transform: Transform) -> Recorded:
    """Return a transform with the parameters of a record."""
    kept = record.names, record.untouched, record.spaces, record.fuse, record.follows
    return Recorded(transform, record.params, *kept)


def _record_of(
    transform: Transform, subject: Subject, arguments: Mapping[str, Any] | None = None
) -> Record:
    """Return a record of a transform that was not applied; see ``Subject.add_transform``."""
    if not isinstance(transform, Transform):
        raise TypeError(f"transform must be a Transform, got {transform!r}")
    if arguments is not None:
        transform = type(transform)(**arguments)
    if transform.draws or isinstance(transform, Compose):
        raise ValueError(f"transform must draw no numbers to be recorded, got {transform!r}")
    batch, _ = to_batch(subject)
    context = transform._context(batch)
    images = () if transform.shares else (len(context.names),)
    params = transform.draw(context, np.empty((1, *images, 0))) if context.names else Params()
    untouched = tuple(name for name in batch.images if name not in context.names)
    moves = transform.role == "spatial" and not regrids(transform)
    spaces = context.spaces if moves else ()
    return Record(transform, params, context.names, untouched, spaces=spaces)


def _as_transform(record: Record) -> Recorded:
    return _recorded(record, record.transform)


Transform._inverse = staticmethod(Inverse)
Subject._compose = staticmethod(compose_history)
Subject._record_of = staticmethod(_record_of)
Subject._map_of = staticmethod(applied_map)
Record.as_transform = staticmethod(_as_transform)

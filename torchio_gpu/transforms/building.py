"""Transforms from descriptions: dicts of plain values, which may come from anyone.

A description names classes; they are looked up in a table of those that are allowed, and nothing
is imported for it. It has one of these forms:

- ``{"_target_": "torchio_gpu.RandomAffine", "degrees": 15}``, as of Hydra and MONAI;
- ``{"class_path": "torchio_gpu.RandomAffine", "init_args": {"degrees": 15}}``, as of jsonargparse;
- ``{"RandomAffine": {"degrees": 15}}``, the short form, in which what is no dict is the first
  argument, and a name alone is a transform without arguments;
- a record of a history, with the parameters that were drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch.distributions import Distribution

from .. import names
from ..shapes import brief
from . import naming, records
from .base import Transform
from .compose import Compose
from .descriptions import DISTRIBUTIONS, class_name
from .history import Recorded
from .parameters.params import Params
from .parameters.ranges import Choice
from .plain_values import DescriptionError, Path, check_depth, check_key, check_plain, number

#: Classes of transforms that a description may name.
CLASSES = (*names.TRANSFORMS, "Compose", "Inverse")


def from_dict(
    description: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    allow: type[Transform] | Sequence[type[Transform]] = (),
) -> Transform:
    """Return the transform of a description, or of an entry of a history.

    Args:
        description: Result of :meth:`Transform.to_dict`, in either style; or of ``to_dict`` of an
            entry of a history; or a list of these, as a whole history is, for a :class:`Compose`.
        allow: Classes of transforms that it may name, besides those of this library.

    Raises:
        ValueError: The description is damaged, or names a class that is not allowed.

    >>> noise = RandomNoise(std=(0, 1))
    >>> from_dict(noise.to_dict())
    RandomNoise(std=(0, 1))
    >>> x = torch.rand(1, 4, 4, 4)
    >>> out = noise(Subject(t1=ScalarImage(x)))
    >>> again = from_dict([entry.to_dict() for entry in out.history])
    >>> bool((again(Subject(t1=ScalarImage(x))).t1.data == out.t1.data).all())
    True
    """
    builder = Builder(allow)
    if isinstance(description, Sequence) and not isinstance(description, str):
        return Compose([builder.transform(each, (n,)) for n, each in enumerate(description)])
    return builder.transform(description)


class Builder:
    """Constructor of transforms from descriptions.

    Args:
        allow: Classes of transforms that may be named, besides those of this library.
    """

    def __init__(self, allow: type[Transform] | Iterable[type[Transform]] = ()) -> None:
        allowed = [allow] if isinstance(allow, type) else list(allow)
        for cls in allowed:
            if not (isinstance(cls, type) and issubclass(cls, Transform)):
                raise TypeError(f"allow must hold classes of transforms, got {cls!r}")
        library = [cls for cls in _subclasses(Transform) if naming.is_own(cls)]
        own = [cls for cls in library if cls.__name__ in CLASSES]
        self._transforms: dict[str, Any] = {cls.__name__: cls for cls in (*own, *allowed)}
        self._recorded: dict[str, Any] = {cls.__name__: cls for cls in (*library, *allowed)}
        self._modules = ("torchio_gpu.", *(cls.__module__ for cls in allowed))
        found = [getattr(torch.distributions, name, None) for name in DISTRIBUTIONS]
        others = [Choice, *(cls for cls in found if cls is not None)]
        self._ranges: dict[str, Any] = {cls.__name__: cls for cls in others}
        self._targets: dict[str, Any] = {}
        for cls in (*own, *allowed, *others):
            package = "torch.distributions" if issubclass(cls, Distribution) else "torchio_gpu"
            if cls not in allowed:
                known = {f"{package}.{cls.__name__}", f"{package}.transforms.{cls.__name__}"}
                self._targets |= dict.fromkeys(known, cls)
            self._targets |= {class_name(cls): cls, f"{cls.__module__}.{cls.__qualname__}": cls}

    def transform(self, value: Any, path: Path = ()) -> Transform:
        """Return the transform of a description in any form.

        Args:
            value: The description.
            path: Where it is, for errors.

        Raises:
            DescriptionError: It does not fit.
        """
        check_depth(path)
        if isinstance(value, str):
            made = self._construct(self._named(value, path), {}, path)
        elif not isinstance(value, Mapping):
            raise DescriptionError(
                "a transform must be a name, or a dict such as RandomFlip: {axes: LR}, got "
                f"{brief(value)}",
                path,
            )
        elif _has_class(value):
            made = self._of_class(value, path)
            if not isinstance(made, Transform):
                raise DescriptionError(f"a transform is needed here, got {made!r}", path)
        elif _is_record(value):
            made = self._record(value, path)
        else:
            if "weight" in value:
                problem = "weight is for the transforms of OneOf and SomeOf"
                raise DescriptionError(problem, (*path, "weight"))
            if len(value) != 1:
                found = f"{len(value)} keys" if value else "none"
                raise DescriptionError(
                    "a transform must have one key, its name, as in RandomFlip: {axes: LR}, got "
                    f"{found}{nearest_of(value)}",
                    path,
                )
            (name,) = value
            made = self._construct(self._named(name, (*path, name)), value[name], (*path, name))
        return made  # type: ignore[no-any-return]

    def _named(self, name: Any, path: Path) -> Any:
        if name not in self._transforms:
            hint = names.nearest(name, self._transforms) if isinstance(name, str) else ""
            raise DescriptionError(f"there is no transform {brief(name)}{hint}", path)
        return self._transforms[name]

    def _of_class(self, value: Mapping[Any, Any], path: Path) -> Any:
        """Return the object of a description with ``_target_`` or ``class_path``."""
        key = "_target_" if "_target_" in value else "class_path"
        target = value[key]
        if not isinstance(target, str) or target not in self._targets:
            hint = names.nearest(target, self._targets) if isinstance(target, str) else ""
            raise DescriptionError(
                f"{key} must name a transform, such as torchio_gpu.RandomAffine, a Choice or a "
                f"distribution of torch, got {brief(target)}{hint}",
                (*path, key),
            )
        given = {name: each for name, each in value.items() if name != key}
        if key == "class_path":
            for name in given:
                if name != "init_args":
                    problem = f"arguments must be under init_args, got {brief(name)} beside it"
                    raise DescriptionError(problem, (*path, name))
            given, path = given.get("init_args") or {}, (*path, "init_args")
            if not isinstance(given, Mapping):
                raise DescriptionError(f"init_args must be a dict, got {brief(given)}", path)
        return self._construct(self._targets[target], given, path)

    def _construct(self, cls: Any, given: Any, path: Path) -> Any:
        """Return an object of a class.

        Args:
            cls: Class of a transform, Choice, or class of a distribution.
            given: Arguments by name; anything else is the first argument.
            path: Where they are.
        """
        check_depth(path)
        known = naming.parameters(cls)
        given, places = self._by_name(cls, known, given, path)
        weights = None
        steps = given.get("transforms")
        if "weights" in known and isinstance(steps, Sequence) and not isinstance(steps, str):
            given["transforms"], weights = _weights(steps, places["transforms"])
        values = {
            name: self._argument(value, places[name], kind_of(known[name]))
            for name, value in given.items()
        }
        if weights is not None:
            if "weights" in given:
                problem = "weights must be given once, not at the transforms as well"
                raise DescriptionError(problem, places["weights"])
            values["weights"] = weights
        if issubclass(cls, Distribution):
            values = {name: number(v, name, places[name]) for name, v in values.items()}
            values["validate_args"] = True  # torch.compile turns the default off
        try:
            return cls(**values)
        # readers of files that an argument names raise what they like
        except Exception as error:
            problem = str(error.args[0] if isinstance(error, KeyError) else error).split("\n")[0]
            about = problem.partition(" ")[0]
            place = places.get(about, path)
            kind = "" if isinstance(error, (TypeError, ValueError)) else type(error).__name__ + ": "
            raise DescriptionError(f"{cls.__name__}: {kind}{problem}", place) from error

    def _by_name(
        self, cls: Any, known: Mapping[str, Any], given: Any, path: Path
    ) -> tuple[dict[str, Any], dict[str, Path]]:
        """Return arguments by name, and the place of each."""
        name = cls.__name__
        if given is None:
            given = {}
        first = naming.first_parameter(cls)
        if (
            not isinstance(given, Mapping)
            or _has_class(given)
            or self._is_step(given, known, first)
        ):
            if first is None:
                problem = f"{name} takes no argument without its name, got {brief(given)}"
                raise DescriptionError(problem, path)
            return {first: given}, {first: path}
        for argument in given:
            if argument not in known or argument == "validate_args":
                own = [n for n in known if n not in naming.COMMON] or list(known)
                hint = names.nearest(argument, known) if isinstance(argument, str) else ""
                hint = hint or f"; it takes {', '.join(own)}"
                problem = f"{name} has no argument {brief(argument)}{hint}"
                raise DescriptionError(problem, (*path, argument))
        missing = [n for n, p in known.items() if p.default is p.empty and n not in given]
        if missing:
            raise DescriptionError(f"{name} needs {', '.join(missing)}", path)
        return dict(given), {argument: (*path, argument) for argument in given}

    def _is_step(self, given: Mapping[Any, Any], known: Mapping[str, Any], first: Any) -> bool:
        """Return True for a transform by its name, where the first argument is a transform."""
        takes_one = first is not None and kind_of(known[first]) == "transform"
        return takes_one and len(given) == 1 and set(given) <= set(self._transforms) - set(known)

    def _argument(self, value: Any, path: Path, kind: str) -> Any:
        """Return an argument as constructors take it: lists become tuples.

        Args:
            value: Plain value.
            path: Where it is.
            kind: Kind of the argument, as of :func:`kind_of`.
        """
        check_depth(path)
        if isinstance(value, Mapping) and _has_class(value):
            return self._of_class(value, path)
        if kind in ("transform", "transforms"):
            return self._transforms_of(value, path, kind)
        if isinstance(value, Mapping):
            (name, *more) = value or ("",)
            if kind == "range" and not more and name in self._ranges:
                return self._construct(self._ranges[name], value[name], (*path, name))
            return {
                check_key(key, path): self._argument(each, (*path, key), kind)
                for key, each in value.items()
            }
        if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
            return tuple(self._argument(each, (*path, n), kind) for n, each in enumerate(value))
        return check_plain(value, path)

    def _transforms_of(self, value: Any, path: Path, kind: str) -> Any:
        """Return the transforms of an argument of a composition, or of a class of the user."""
        if value is None:
            return None
        if isinstance(value, Sequence) and not isinstance(value, str):
            return [self.transform(each, (*path, n)) for n, each in enumerate(value)]
        if kind == "transform":
            return self.transform(value, path)
        if not isinstance(value, Mapping):
            raise DescriptionError(f"transforms must be a list, got {brief(value)}", path)
        return {
            check_key(key, path): self.transform(each, (*path, key)) for key, each in value.items()
        }

    def _record(self, value: Mapping[str, Any], path: Path) -> Recorded:
        """Return the recorded transform of an entry of a history."""
        try:
            return self._checked_record(value, path)
        except DescriptionError:
            raise
        except ValueError as error:
            raise DescriptionError(str(error), path) from error

    def _checked_record(self, value: Mapping[str, Any], path: Path) -> Recorded:
        checked = records.check(value)
        classes = [cls for cls in _subclasses(Params) if cls.__module__.startswith(self._modules)]
        params: dict[str, Any] = {cls.__name__: cls for cls in classes}
        for name, allowed in ((checked.transform, self._recorded), (checked.params_type, params)):
            if name not in allowed:
                raise ValueError(f"record names an unknown {name!r}; known are {sorted(allowed)}")
        cls = self._recorded[checked.transform]
        transform = self._construct(cls, checked.arguments, (*path, "arguments"))
        try:
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


def nearest_of(value: Mapping[Any, Any]) -> str:
    """Return a hint if a key of a description looks like the name of a transform."""
    words = [key for key in value if isinstance(key, str)]
    return (
        ""
        if any(word in CLASSES for word in words)
        else "".join(names.nearest(word, CLASSES) for word in words[:1])
    )


def _weights(steps: Sequence[Any], path: Path) -> tuple[list[Any], tuple[Any, ...] | None]:
    """Return steps without the weights that stand beside their names, and these."""
    # beside _target_ are arguments
    weighted = [
        isinstance(step, Mapping) and "weight" in step and "_target_" not in step for step in steps
    ]
    if not any(weighted):
        return list(steps), None
    weights = [step["weight"] if has else 1 for step, has in zip(steps, weighted, strict=True)]
    for n, weight in enumerate(weights):
        if isinstance(weight, bool) or not isinstance(weight, (int, float)):
            problem = f"weight must be a number, got {brief(weight)}"
            raise DescriptionError(problem, (*path, n, "weight"))
    rest = [
        {key: each for key, each in step.items() if key != "weight"} if has else step
        for step, has in zip(steps, weighted, strict=True)
    ]
    return rest, tuple(weights)


def kind_of(parameter: Any) -> str:
    """Return what an argument holds, from its annotation: transforms, ranges or plain values."""
    annotation = str(parameter.annotation)
    if "SubjectCallable" in annotation:
        return "transforms"
    if "Transform" in annotation:
        return "transform"
    return "range" if "Range" in annotation or "Mapping[str, object]" in annotation else "plain"


def _has_class(value: Mapping[Any, Any]) -> bool:
    return "_target_" in value or "class_path" in value


def _is_record(value: Mapping[Any, Any]) -> bool:
    return "params" in value or "params_type" in value


def _subclasses(cls: Any) -> list[Any]:
    return [leaf for sub in cls.__subclasses__() for leaf in (sub, *_subclasses(sub))]


__all__ = ["CLASSES", "Builder", "from_dict", "kind_of"]

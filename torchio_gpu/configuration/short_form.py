"""Transforms in the short form of files: a name, or a name with its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.distributions import Distribution

from ..transforms import Choice, Recorded, Transform
from ..transforms.building import kind_of
from ..transforms.descriptions import describe
from ..transforms.naming import COMMON, parameters


class Step(dict[str, Any]):
    """Transform in the short form, or what stands for one in a list."""


def shortened(transform: Transform) -> Any:
    """Return a transform in the short form: its name, or a :class:`Step`.

    Raises:
        TypeError: An argument cannot be written.
    """
    if isinstance(transform, Recorded):
        return Step(transform.to_dict())
    cls: Any = type(transform)
    known = parameters(cls)
    given = {
        name: _argument(value, kind_of(known[name]), f"{name} of {cls.__name__}")
        for name, value in transform.arguments().items()
    }
    weights = given.get("weights")
    if weights is not None and isinstance(given.get("transforms"), list):
        del given["weights"]
        given["transforms"] = [
            Step({**({step: {}} if isinstance(step, str) else step), "weight": weight})
            for step, weight in zip(given["transforms"], weights, strict=True)
        ]
    return _named(cls.__name__, given, known)


def _named(name: str, given: dict[str, Any], known: Mapping[str, Any]) -> Any:
    """Return a name with its arguments, without that of a lone first argument."""
    if not given:
        return name
    first = next((n for n in known if n not in COMMON), None)
    (lone, *more) = given
    alone = lone == first and not more and not isinstance(given[lone], (dict, type(None)))
    return Step({name: given[lone] if alone else given})


def _argument(value: Any, kind: str, owner: str) -> Any:
    if kind in ("transform", "transforms"):
        if isinstance(value, Transform):
            return shortened(value)
        if isinstance(value, Mapping):
            return {name: shortened(each) for name, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [shortened(each) for each in value]
    if kind == "range":
        if isinstance(value, (Choice, Distribution)):
            plain: Any = describe(value, owner=owner)
            cls: Any = type(value)
            name = plain.pop("_target_").rpartition(".")[2]
            return dict(_named(name, plain, parameters(cls)))
        if isinstance(value, (list, tuple)):
            return [_argument(each, kind, owner) for each in value]
        if isinstance(value, Mapping):
            return {name: _argument(each, kind, owner) for name, each in value.items()}
    return describe(value, owner=owner)


__all__ = ["Step", "shortened"]

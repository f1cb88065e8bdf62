"""Transforms in the short form of files: a name, or a name with its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.distributions import Distribution

from ..transforms import Choice, Recorded, Transform
from ..transforms.building import kind_of
from ..transforms.descriptions import check_keys, describe
from ..transforms.naming import first_parameter, parameters


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
    check_keys(given, cls.__name__)
    weights = given.get("weights")
    if weights is not None and isinstance(given.get("transforms"), list):
        del given["weights"]
        given["transforms"] = [
            Step({**({step: {}} if isinstance(step, str) else step), "weight": _brief(weight)})
            for step, weight in zip(given["transforms"], weights, strict=True)
        ]
    return _named(cls, given)


def _named(cls: Any, given: dict[str, Any]) -> Any:
    """Return a name with its arguments, without that of a lone first argument."""
    if not given:
        return cls.__name__
    first = first_parameter(cls)
    (lone, *more) = given
    alone = lone == first and not more and not isinstance(given[lone], (dict, type(None)))
    return Step({cls.__name__: given[lone] if alone else given})


def _brief(weight: float) -> float:
    return int(weight) if weight == int(weight) else weight


def _argument(value: Any, kind: str, owner: str) -> Any:
    if isinstance(value, Mapping):
        check_keys(value, owner)
    if kind in ("transform", "transforms"):
        if isinstance(value, Transform):
            return shortened(value)
        if isinstance(value, Mapping):
            return {name: shortened(each) for name, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [shortened(each) for each in value]
    if kind == "range":
        if isinstance(value, (Choice, Distribution)):
            plain = describe(value, owner=owner)
            del plain["_target_"]
            return dict(_named(type(value), plain))
        if isinstance(value, (list, tuple)):
            return [_argument(each, kind, owner) for each in value]
        if isinstance(value, Mapping):
            return {name: _argument(each, kind, owner) for name, each in value.items()}
    return describe(value, owner=owner)


__all__ = ["Step", "shortened"]

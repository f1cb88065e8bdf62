"""JSON schema of pipelines in the short form, from the signatures of transforms."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch.distributions import Distribution

from .. import transforms
from ..data import Image
from ..docstrings import meaning, plain_text
from ..functional.ultrasound.geometry import BeamGeometry
from ..transforms import Choice, Transform
from ..transforms.building import CLASSES, kind_of
from ..transforms.descriptions import DISTRIBUTIONS
from ..transforms.naming import COMMON, first_parameter, parameters

_NUMBERS = {"anyOf": [{"type": "number"}, {"type": "array", "items": {"$ref": "#/$defs/numbers"}}]}
#: Schemas of plain types; None for values that no file holds.
_TYPES: dict[Any, Any] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    object: {},
    type(None): {"type": "null"},
    np.integer: {"type": "integer"},
    np.floating: {"type": "number"},
    np.ndarray: {"$ref": "#/$defs/numbers"},
    torch.Tensor: {"$ref": "#/$defs/numbers"},
    torch.dtype: {"type": "string"},
    torch.device: {"type": "string"},
    Path: {"type": "string"},
    Choice: {"$ref": "#/$defs/range"},
    Distribution: {"$ref": "#/$defs/range"},
    Transform: {"$ref": "#/$defs/step"},
    Image: None,
    BeamGeometry: None,  # but its arguments
}


def schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of pipelines in the short form.

    Editors that know it complete names and arguments, and show their meaning: begin a YAML file
    with ``# yaml-language-server: $schema=pipeline.schema.json``.

    >>> sorted(schema()["properties"])
    ['pipeline', 'torchio_gpu']
    """
    public = [name for name in CLASSES if hasattr(transforms, name)]
    names = [name for name in public if _is_writable(getattr(transforms, name))]
    alone = [name for name in names if not _needed(getattr(transforms, name))]
    named = {name: {"$ref": f"#/$defs/{name}"} for name in names}
    step = {"anyOf": [{"enum": sorted(alone)}, _keys(named, 1), {"$ref": "#/$defs/long"}]}
    weight = {"weight": {"type": "number", "minimum": 0}}
    weighted = {**_keys({**named, **weight}, 2), "required": ["weight"]}
    common = {f"common.{name}": _argument(Transform, name) for name in COMMON}
    steps = {"type": "array", "items": {"$ref": "#/$defs/step"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Pipeline of torchio-gpu",
        "type": "object",
        "properties": {
            "torchio_gpu": {"const": 1, "description": "Version of the form of this file."},
            "pipeline": {"anyOf": [steps, {"$ref": "#/$defs/step"}]},
        },
        "required": ["torchio_gpu", "pipeline"],
        "additionalProperties": False,
        "$defs": {
            "step": step,
            "weighted": {"anyOf": [{"$ref": "#/$defs/step"}, weighted]},
            "long": _long(),
            "numbers": _NUMBERS,
            "range": _range(),
            **common,
            **{name: _transform(getattr(transforms, name)) for name in names},
        },
    }


def _keys(properties: dict[str, Any], count: int) -> dict[str, Any]:
    """Return the schema of a dict with as many keys, among some."""
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "minProperties": count,
        "maxProperties": count,
    }


def _long() -> dict[str, Any]:
    """Return the schema of the long forms, whose arguments are not looked at."""
    text = {"type": "string"}
    return {
        "anyOf": [
            {"type": "object", "properties": {"_target_": text}, "required": ["_target_"]},
            {
                "type": "object",
                "properties": {"class_path": text, "init_args": {"type": "object"}},
                "required": ["class_path"],
                "additionalProperties": False,
            },
        ]
    }


def _range() -> dict[str, Any]:
    """Return the schema of choices and distributions."""
    values = {"anyOf": [{"type": "array"}, {"type": "object"}]}
    known = ("Choice", *(name for name in DISTRIBUTIONS if hasattr(torch.distributions, name)))
    short = _keys(dict.fromkeys(known, values), 1)
    return {"anyOf": [short, {"$ref": "#/$defs/long"}]}


def _needed(cls: Any) -> list[str]:
    return [name for name, p in parameters(cls).items() if p.default is p.empty]


def _is_writable(cls: Any) -> bool:
    """Return False for a transform that needs what no file holds, such as a function."""
    return all(_of_type(_hints(cls)[name]) is not None for name in _needed(cls))


def _transform(cls: Any) -> dict[str, Any]:
    """Return the schema of what stands after the name of a transform."""
    known = parameters(cls)
    properties = {
        name: {"$ref": f"#/$defs/common.{name}"} if name in COMMON else _argument(cls, name)
        for name in known
    }
    needed = _needed(cls)
    named = {
        "type": "object",
        "properties": properties,
        "required": needed,
        "additionalProperties": False,
    }
    forms: list[dict[str, Any]] = [named]
    if not needed:
        forms.append({"type": "null"})
    first = first_parameter(cls)
    if first is not None and set(needed) <= {first}:
        lone = {key: each for key, each in properties[first].items() if key != "default"}
        # a dict is arguments by name
        forms.append({"allOf": [lone, {"not": {"type": ["object", "null"]}}]})
    summary = inspect.getdoc(cls) or ""
    return {"description": plain_text(summary.partition("\n\n")[0]), "anyOf": forms}


def _hints(cls: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in cls.__mro__:
        if "__init__" in vars(each) and issubclass(each, Transform):
            found = {**get_type_hints(each.__init__), **found}
    return found


def _argument(cls: Any, name: str) -> dict[str, Any]:
    """Return the schema of an argument: its meaning, default and type."""
    parameter = parameters(cls)[name]
    text = plain_text(meaning(cls, name, transforms))
    found: dict[str, Any] = {"description": text} if text else {}
    if parameter.default is not parameter.empty:
        default = parameter.default
        found["default"] = list(default) if isinstance(default, tuple) else default
    if kind_of(parameter) == "transforms":
        item = "#/$defs/weighted" if "weights" in parameters(cls) else "#/$defs/step"
        steps: list[Any] = [{"type": "array", "items": {"$ref": item}}]
        if item.endswith("step"):
            steps.append({"type": "object", "additionalProperties": {"$ref": item}})
        return {**found, "anyOf": steps}
    return {**found, **(_of_type(_hints(cls)[name]) or {})}


def _of_type(hint: Any) -> dict[str, Any] | None:
    """Return the schema of an annotation; None for one of values that no file holds."""
    if isinstance(hint, type) and hint in _TYPES:
        return _TYPES[hint]  # type: ignore[no-any-return]
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        found = [each for each in map(_of_type, parts) if each is not None]
        if _TYPES[float] in found:  # which whole numbers are, too
            found = [each for each in found if each != _TYPES[int]]
        if _TYPES[np.ndarray] in found:  # numbers in any shape, which are most alternatives
            found = [each for each in found if not _is_numbers(each)] + [_TYPES[np.ndarray]]
        unique = [each for n, each in enumerate(found) if each not in found[:n]]
        return unique[0] if len(unique) == 1 else {"anyOf": unique}
    if origin is tuple:
        inner = [_of_type(each) or {} for each in parts]
        return {"type": "array", "prefixItems": inner, "minItems": len(inner)}
    if origin in (Sequence, Iterable):
        return {"type": "array", "items": _of_type(parts[0]) or {}}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _of_type(parts[1]) or {}}
    if origin is Callable or hint is Callable:
        return None
    return {}


def _is_numbers(found: Any) -> bool:
    """Return True if a schema describes some of what ``#/$defs/numbers`` does.

    >>> _is_numbers({"type": "array", "items": {"anyOf": [{"type": "integer"}]}})
    True
    """
    if "anyOf" in found:
        return all(_is_numbers(each) for each in found["anyOf"])
    if found.get("type") == "array":
        return set(found) == {"type", "items"} and _is_numbers(found["items"])
    return found in (_TYPES[int], _TYPES[float], _TYPES[np.ndarray])


__all__ = ["schema"]

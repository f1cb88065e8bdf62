"""Validation of records from files: a damaged record raises a ValueError."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, get_origin, get_type_hints

import numpy as np

from ..geometry import Space, check_affine
from ..shapes import brief
from .parameters.params import Params

#: Numbers in an array of a record, at most: far more than control points of any lattice in use.
_MAX_NUMBERS = 10_000_000
_FIELDS = ("transform", "arguments", "params", "params_type", "names", "untouched")


class CheckedRecord(NamedTuple):
    """Validated fields of a record."""

    transform: str
    arguments: dict[str, Any]
    params: dict[str, Any]
    params_type: str
    names: tuple[str, ...]
    untouched: tuple[str, ...]
    spaces: tuple[Space, ...]
    fuse: bool
    follows: dict[str, tuple[str | None, ...]]


def check(record: Any) -> CheckedRecord:
    """Return the validated fields of a record.

    Raises:
        ValueError: A field is missing or has another type.
    """
    if not isinstance(record, Mapping):
        raise ValueError(f"record must be a dict, got {type(record).__name__}")
    missing = [name for name in _FIELDS if name not in record]
    if missing:
        raise ValueError(f"record must have {', '.join(_FIELDS)}; {', '.join(missing)} is missing")
    for name in ("transform", "params_type"):
        if not isinstance(record[name], str):
            raise ValueError(f"{name} of a record must be a name, got {brief(record[name])}")
    for name in ("arguments", "params"):
        value = record[name]
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise ValueError(f"{name} of a record must be a dict by name, got {brief(value)}")
    params = {name: _check_param(name, value) for name, value in record["params"].items()}
    names, untouched = (_check_names(record[name], name) for name in ("names", "untouched"))
    spaces = tuple(_check_space(value) for value in _check_list(record.get("spaces", []), "spaces"))
    fuse = record.get("fuse", True)
    if not isinstance(fuse, bool):
        raise ValueError(f"fuse of a record must be True or False, got {brief(fuse)}")
    return CheckedRecord(
        *(record["transform"], dict(record["arguments"]), params, record["params_type"]),
        *(names, untouched, spaces),
        fuse,
        _check_follows(record.get("follows", {})),
    )


def check_fields(params: Params, images: int) -> None:
    """Raise a ValueError unless parameters match the annotations of their class and are finite.

    Parameters whose neutral value is infinite, as the ends of a range are, may be infinite.

    Args:
        params: The parameters; see :class:`Params` for the annotations.
        images: Number of images that they are for.
    """
    _check_fields(params, {"M": images})
    params.check()


def _check_fields(params: Params, sizes: dict[str, int]) -> None:
    try:
        hints = get_type_hints(type(params), include_extras=True)
    except NameError:  # annotations of a user's class may be for type checkers only
        hints = {}
    for name, value in vars(params).items():
        hint = hints.get(name)
        array = get_origin(hint) is Annotated
        if (array and not isinstance(value, np.ndarray)) or (
            hint in (bool, str) and type(value) is not hint
        ):
            wish = "list of numbers" if array else hint.__name__  # type: ignore[union-attr]
            raise ValueError(f"{name} must be a {wish}, got {brief(value)}")
        if isinstance(value, np.ndarray):
            axes, kind = (*getattr(hint, "__metadata__", ()), None, None)[:2]
            _check_array(name, value, axes, kind, sizes)
            _check_finite(name, value, params.neutral.get(name, 0))
        elif isinstance(value, Params):
            _check_fields(value, sizes)


def _check_array(
    name: str, value: np.ndarray, axes: str | None, kind: type | None, sizes: dict[str, int]
) -> None:
    """Raise a ValueError unless an array has its declared axes and a letter has one size."""
    letters = ("B", *("" for _ in value.shape[1:])) if axes is None else axes.split()
    fits = value.ndim == len(letters)
    for letter, n in zip(letters, value.shape, strict=False):
        fits = fits and n == (int(letter) if letter.isdigit() else sizes.setdefault(letter, n))
        if not letter:
            del sizes[letter]
    if not fits or 0 in value.shape[:1]:
        expected = " ".join(f"{letter}={n}" for letter, n in sizes.items())
        raise ValueError(
            f"{name} must be of shape ({', '.join(letters)}), with {expected}, got {value.shape}"
        )
    kinds = {int: "i", bool: "b"}.get(kind, "iuf") if axes else "biuf"  # type: ignore[arg-type]
    if value.size and value.dtype.kind not in kinds:
        wish = kind.__name__ if kind else "number"
        raise ValueError(f"{name} must hold {wish}s, got {brief(value.tolist())}")


def _check_finite(name: str, value: np.ndarray, neutral: float) -> None:
    usable = ~np.isnan(value) if math.isinf(neutral) else np.isfinite(value)
    if not usable.all():
        raise ValueError(f"{name} must be finite, got {brief(value.tolist())}")


def _check_param(name: str, value: Any) -> Any:
    """Check a parameter: a number, a flag, a name, or a rectangular list of numbers."""
    if isinstance(value, Mapping) and value and "shape" not in value:  # parameters within others
        if not all(isinstance(key, str) for key in value):
            raise ValueError(f"{name} must be a dict by name, got {brief(value)}")
        return {key: _check_param(key, each) for key, each in value.items()}
    if isinstance(value, Mapping):  # an array without entries
        shape = _check_list(value.get("shape"), f"shape of {name}")
        whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape)
        if (
            not whole
            or 0 not in shape
            or len(shape) > 8
            or math.prod(n or 1 for n in shape) > _MAX_NUMBERS
        ):
            raise ValueError(f"{name} must have a shape with no entries, got {brief(value)}")
        return {"shape": shape}
    if isinstance(value, list):
        try:
            array = np.array(value)
        except ValueError as error:
            raise ValueError(f"{name} must be a rectangular list, got {brief(value)}") from error
        if array.dtype.kind not in "biuf" or array.size > _MAX_NUMBERS:
            raise ValueError(f"{name} must be a list of numbers, got {brief(value)}")
        return value  # check_fields checks that it is finite
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ValueError(f"{name} must be numbers, flags or a name, got {brief(value)}")


def _check_names(value: Any, name: str) -> tuple[str, ...]:
    names = _check_list(value, name)
    if not all(isinstance(each, str) for each in names):
        raise ValueError(f"{name} of a record must be names of images, got {brief(value)}")
    return tuple(names)


def _check_follows(value: Any) -> dict[str, tuple[str | None, ...]]:
    try:
        follows = {name: tuple(images) for name, images in value.items()}
        names = [*follows, *(image for images in follows.values() for image in images)]
    except (AttributeError, TypeError):
        names = [0]
    if not all(name is None or isinstance(name, str) for name in names):
        raise ValueError(f"follows of a record must be lists of names by name, got {brief(value)}")
    return follows


def _check_list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{name} of a record must be a list, got {brief(value)}")
    return list(value)


def _check_space(value: Any) -> Space:
    pair = _check_list(value, "spaces")
    if len(pair) != 2:
        raise ValueError(f"spaces of a record must be pairs, got {brief(value)}")
    shape, affines = _check_list(pair[0], "spaces"), _check_list(pair[1], "spaces")
    whole = len(shape) == 3 and all(isinstance(n, int) and 0 < n < 2**31 for n in shape)
    if not whole or not affines:
        raise ValueError(f"spaces of a record must be a shape and affines, got {brief(value)}")
    try:
        matrices = [check_affine(affine, "an affine of a record") for affine in affines]
    except TypeError as error:
        raise ValueError(f"spaces of a record must hold affines, got {brief(value)}") from error
    return Space((shape[0], shape[1], shape[2]), np.stack(matrices))

"""Descriptions: transforms as plain values, which JSON and YAML can hold."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributions import Distribution

from ..names import NAMES, TRANSFORMS
from . import naming
from .parameters.ranges import Choice

_PACKAGE = __name__.partition(".")[0]
#: Spellings of a class with its arguments.
STYLES = ("_target_", "class_path")
#: Distributions of one number, which can be ranges.
DISTRIBUTIONS = (
    *("Bernoulli", "Beta", "Binomial", "Categorical", "Cauchy", "Chi2", "ContinuousBernoulli"),
    *("Exponential", "FisherSnedecor", "Gamma", "GeneralizedPareto", "Geometric", "Gumbel"),
    *("HalfCauchy", "HalfNormal", "InverseGamma", "Kumaraswamy", "Laplace", "LogNormal"),
    *("MixtureSameFamily", "NegativeBinomial", "Normal", "Pareto", "Poisson", "StudentT"),
    *("Uniform", "VonMises", "Weibull"),
)
#: Arguments of distributions that say the same as others, or how it is computed.
_LEFT_OUT = ("logits", "validate_args", "lims")


def class_name(cls: type) -> str:
    """Return the name by which a class is imported, as ``torchio_gpu.RandomAffine``."""
    public = naming.is_own(cls) and cls.__name__ in (*TRANSFORMS, *NAMES)
    return f"{_PACKAGE if public else cls.__module__}.{cls.__qualname__}"


def describe(value: Any, style: str = "_target_", owner: str = "") -> Any:
    """Return a transform, a choice or a distribution as a dict of its class and arguments.

    Other values, of which arguments are made, become plain ones: arrays and tuples become lists.

    Args:
        value: The transform, or an argument of one.
        style: One of :data:`STYLES`.
        owner: Argument and class that it is of, for errors.

    Raises:
        TypeError: A value cannot be written.
    """
    if isinstance(value, Distribution):
        name, given = f"torch.distributions.{type(value).__name__}", _parameters(value, owner)
        return _with_class(name, given, style, type(value).__name__)
    if isinstance(value, Choice):
        return describe_object(value, style)
    if hasattr(value, "arguments"):  # a transform; a recorded one writes its parameters, too
        return value.to_dict(style)
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        return value.tolist()
    if hasattr(value, "_asdict"):  # of a named tuple, whose values have names
        value = value._asdict()
    if isinstance(value, (tuple, list)):
        return [describe(each, style, owner) for each in value]
    if isinstance(value, dict) and all(isinstance(key, (str, int)) for key in value):
        check_keys(value, owner)
        return {key: describe(each, style, owner) for key, each in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (Path, torch.dtype, torch.device)):
        return str(value)
    raise TypeError(
        f"{owner} must be a number, a string, a transform or made of these to be written, "
        f"got {value!r}"
    )


def check_keys(value: Mapping[Any, Any], owner: str) -> None:
    """Raise a TypeError if a dict would be read as the description of an object.

    Args:
        value: A dict of an argument, or arguments by name.
        owner: What it is of, for errors.
    """
    taken = [key for key in STYLES if key in value]
    if taken:
        raise TypeError(
            f"{owner} must not hold the name {taken[0]!r} to be written, under which files have a "
            "class"
        )


def describe_object(value: Any, style: str) -> dict[str, Any]:
    """Return the class and the arguments of a transform or a choice as plain values."""
    if style not in STYLES:
        raise ValueError(f"style must be one of {', '.join(STYLES)}, got {style!r}")
    cls = type(value)
    return _with_class(class_name(cls), value.arguments(), style, cls.__name__)


def _with_class(name: str, given: dict[str, Any], style: str, owner: str) -> dict[str, Any]:
    check_keys(given, owner)
    plain = {n: describe(value, style, f"{n} of {owner}") for n, value in given.items()}
    if style == "class_path":
        return {"class_path": name, **({"init_args": plain} if plain else {})}
    return {"_target_": name, **plain}


def _parameters(distribution: Distribution, owner: str) -> dict[str, Any]:
    """Return the constructor arguments of a distribution, without those that others stand for.

    Raises:
        TypeError: It is none of :data:`DISTRIBUTIONS`, or a number of it is no float32, which it
            would be once it is read.
    """
    cls = type(distribution)
    if cls.__name__ not in DISTRIBUTIONS or cls.__module__.partition(".")[0] != "torch":
        raise TypeError(
            f"{owner} must be one of the distributions {', '.join(DISTRIBUTIONS)} to be written, "
            f"got {distribution!r}"
        )
    names = [n for n in inspect.signature(cls).parameters if n not in _LEFT_OUT]
    found = {name: getattr(distribution, name) for name in names}
    for name, value in found.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            kept = value.to(torch.get_default_dtype())
            if not torch.equal(kept.to(value.dtype), value):
                raise TypeError(
                    f"{name} of {owner} must be a number of {kept.dtype} to be written, got {value}"
                )
            # the shortest digits that are read as the same number: 0.1, not 0.10000000149011612
            found[name] = kept.detach().cpu().numpy().astype(str).astype(float)
    return found


__all__ = ["DISTRIBUTIONS", "STYLES", "check_keys", "class_name", "describe", "describe_object"]

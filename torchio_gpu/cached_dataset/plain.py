"""Metadata as values that JSON has, and back, without pickles."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..shapes import brief

#: Key of a dict that stands for a value of another type.
_TYPE = "$type"


def encoded(value: Any, name: str) -> Any:
    """Return a value as numbers, strings, lists and dicts.

    Args:
        value: None, a number, a string, a path, an array, a tensor, or a list, tuple or dict of
            these.
        name: What it is, for errors.

    Raises:
        TypeError: It is, or holds, anything else.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        return [encoded(each, name) for each in value]
    if type(value) is dict and _TYPE not in value and all(type(key) is str for key in value):
        return {key: encoded(each, f"{name}[{key!r}]") for key, each in value.items()}
    if type(value) is dict:
        pairs = [[encoded(k, name), encoded(v, name)] for k, v in value.items()]
        return {_TYPE: "dict", "pairs": pairs}
    if type(value) is tuple:
        return {_TYPE: "tuple", "values": [encoded(each, name) for each in value]}
    if isinstance(value, Path):
        return {_TYPE: "path", "path": str(value)}
    if isinstance(value, Tensor) and type(value) is Tensor and not value.is_quantized:
        kept = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        dtype = str(value.dtype).removeprefix("torch.")
        return {_TYPE: "tensor", "dtype": dtype, **_bytes(kept, value.shape)}
    exact = (np.ndarray, value.dtype.type) if isinstance(value, (np.ndarray, np.generic)) else ()
    if type(value) in exact and value.dtype.kind in "biufcUSmM":  # no masked arrays
        kind = "array" if type(value) is np.ndarray else "scalar"
        array = np.ascontiguousarray(value)
        return {_TYPE: kind, "dtype": array.dtype.str, **_bytes(array, np.shape(value))}
    raise TypeError(
        f"{name} must be None, a number, a string, a path, an array, a tensor, or a list, tuple or "
        f"dict of these, to be kept in a folder, got {brief(value)}"
    )


def decoded(value: Any) -> Any:
    """Return the value that :func:`encoded` was given."""
    if isinstance(value, list):
        return [decoded(each) for each in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(_TYPE)
    if kind is None:
        return {key: decoded(each) for key, each in value.items()}
    if kind == "dict":
        return {decoded(key): decoded(each) for key, each in value["pairs"]}
    if kind == "tuple":
        return tuple(decoded(each) for each in value["values"])
    if kind == "path":
        return Path(value["path"])
    content = bytearray(base64.b64decode(value["data"]))  # writable
    if kind == "tensor":
        dtype = dtype_named(value["dtype"])
        if not content:
            return torch.empty(value["shape"], dtype=dtype)
        return torch.frombuffer(content, dtype=dtype).reshape(value["shape"])
    array = np.frombuffer(content, np.dtype(value["dtype"])).reshape(value["shape"])
    return array if kind == "array" else array[()]


def dtype_named(name: str) -> torch.dtype:
    """Return a dtype of torch by its name."""
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"dtype must be one of torch, got {name!r}")
    return dtype


def _bytes(array: np.ndarray, shape: Any) -> dict[str, Any]:
    return {"shape": list(shape), "data": base64.b64encode(array.tobytes()).decode()}


__all__ = ["decoded", "dtype_named", "encoded"]

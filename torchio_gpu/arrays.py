"""Functions for numpy arrays and tensors alike.

The parameters of a pipeline are a few numbers per sample. As numpy arrays in float64 they cost a
third of the overhead of torch for such sizes. If a user gives a tensor instead, which is on a
device or needs a gradient, :func:`common` moves the other operands there, and the formula runs in
torch. Formulas use only functions that have the same name in both libraries.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

Array: TypeAlias = np.ndarray | Tensor
Number: TypeAlias = float | np.integer | np.floating
#: One number, or several in a row.
Numbers: TypeAlias = Number | Sequence[Number] | Array


def common(*arrays: Array) -> tuple[Any, ...]:
    """Return the library to compute with, numpy or torch, and the arrays as its float64 arrays.

    >>> xp, a, b = common(np.ones(2), torch.ones(2))
    >>> xp.__name__, a.dtype, b.dtype
    ('torch', torch.float64, torch.float64)
    """
    for array in arrays:
        if isinstance(array, Tensor):
            break
    else:
        return (np, *arrays)
    tensors = [a for a in arrays if isinstance(a, Tensor)]
    device = next((t.device for t in tensors if t.device.type != "cpu"), tensors[0].device)
    # arrays may be read-only, which torch does not support
    copies = (a if isinstance(a, Tensor) else torch.from_numpy(np.array(a)) for a in arrays)
    return (torch, *(send(a, device, torch.float64) for a in copies))


def send(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Move a tensor to a device, and to a dtype if given; asynchronously if it is on the host.

    >>> send(torch.ones(2), torch.device("cpu"), torch.float64).dtype
    torch.float64
    """
    # from a device to the host, values could be read before they have arrived
    return tensor.to(device, dtype, non_blocking=tensor.device.type == "cpu")


def on_host(array: Array) -> bool:
    """Return True if values can be read without waiting for a device or losing a gradient."""
    return not isinstance(array, Tensor) or (array.device.type == "cpu" and not array.requires_grad)


def as_array(value: Any, name: str = "value") -> Array:
    """Return tensors unchanged; numbers, sequences and arrays as float64 arrays.

    >>> as_array("a", "scales")
    Traceback (most recent call last):
    TypeError: scales must be made of numbers, got 'a'
    """
    if isinstance(value, Tensor):
        if value.is_complex():
            raise TypeError(f"{name} must be made of real numbers, got {value!r}")
        return value
    try:
        # arrays of traces are no arrays for asarray
        array = value if isinstance(value, np.ndarray) else np.asarray(value)
        if array.dtype.kind in "bc":
            raise TypeError(f"dtype must be real and not bool, got {array.dtype}")
        return array.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be made of numbers, got {value!r}") from error


def host(array: Array) -> np.ndarray:
    """Return values as a numpy array; waits for the device of a tensor."""
    if not isinstance(array, Tensor):
        return array
    array = array.detach().cpu()
    return (array.float() if array.dtype == torch.bfloat16 else array).numpy()  # numpy has none


def per_sample(value: Any, shape: tuple[int, ...], name: str) -> Array:
    """Return an argument that is given once for all samples, or once for each.

    Args:
        value: Number, sequence, array or tensor that broadcasts to ``shape``, with or without a
            leading axis of samples.
        shape: Shape of the values of one sample.
        name: Name of the argument, for errors.

    Returns:
        [1 or B, \\*shape]; tensors keep their device and gradient.
    """
    array = as_array(value, name)
    if on_host(array) and not np.isfinite(host(array)).all():
        raise ValueError(f"{name} must be finite, got {value!r}")
    if array.ndim <= len(shape):
        try:
            single = array.expand if isinstance(array, Tensor) else partial(np.broadcast_to, array)
            return single(shape)[None]
        except (RuntimeError, ValueError):
            pass
    elif tuple(array.shape[1:]) == shape:
        return array
    raise ValueError(
        f"{name} must have shape {shape}, or (B, {', '.join(map(str, shape))}) for one set per "
        f"sample, got {tuple(array.shape)}"
    )

"""Small host-side numbers are numpy arrays; the same formulas run on tensors when asked to.

A pipeline's parameters are a few numbers per sample. Handled as numpy arrays in float64 they cost a
third of what torch's dispatcher takes for such sizes. Where a user gives a tensor instead, one that
lives on a device or wants a gradient, :func:`common` moves its companions there, and the formula
runs in torch. Formulas use only what both libraries spell alike.
"""

from __future__ import annotations

from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

Array: TypeAlias = np.ndarray | Tensor


def common(*arrays: Array) -> tuple[Any, ...]:
    """Return the library to compute with (numpy or torch), and the arrays as float64 of that library.

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
    # arrays may be views that numpy will not let anybody write to, which torch does not know
    copies = (a if isinstance(a, Tensor) else torch.from_numpy(np.array(a)) for a in arrays)
    return (torch, *(send(a, device, torch.float64) for a in copies))


def send(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Move a tensor to a device, and to a dtype if there is one; no wait if it comes from the host.

    >>> send(torch.ones(2), torch.device("cpu"), torch.float64).dtype
    torch.float64
    """
    # the other way, values could be read before they have arrived
    return tensor.to(device, dtype, non_blocking=tensor.device.type == "cpu")


def on_host(array: Array) -> bool:
    """Whether values can be looked at without waiting for a device or losing a gradient."""
    return not isinstance(array, Tensor) or (array.device.type == "cpu" and not array.requires_grad)


def as_array(value: Any, name: str = "value") -> Array:
    """Tensors as they are; numbers, sequences and arrays as float64 on the host.

    >>> as_array("a", "scales")
    Traceback (most recent call last):
    TypeError: scales must be made of numbers, got 'a'
    """
    if isinstance(value, Tensor):
        if value.is_complex():
            raise TypeError(f"{name} must be made of real numbers, got {value!r}")
        return value
    try:
        array = np.asarray(value)
        if array.dtype.kind in "bc":
            raise TypeError("neither flags nor complex numbers are meant")
        return array.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be made of numbers, got {value!r}") from error


def host(array: Array) -> np.ndarray:
    """Values as a numpy array, read from wherever they are."""
    return array.detach().cpu().numpy() if isinstance(array, Tensor) else array


def per_sample(value: Any, shape: tuple[int, ...], name: str) -> Array:
    """Return an argument given once for all samples, or once for each.

    Args:
        value: Number, sequence, array or tensor that broadcasts to ``shape``, with or without a
            leading axis of samples.
        shape: Of one sample's values.
        name: Of the argument, for errors.

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

"""Transforms under ``torch.compile``: each call is one node of the graph.

Parameters and passes of a transform are decided on the host, from random numbers and from the
structure of the pipeline, and its kernels are fused already, so a compiler could gain nothing. The
node, see :mod:`torchio_gpu.functional.compiled`, is a function of the voxels and of seeds, which
the graph draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from .. import random
from ..functional.compiled import (
    allow_in_graphs,
    as_node,
    constant,
    draw_seeds,
    in_graph,
    is_traced,
)
from .convert import to_batch
from .pipeline.executor import run

#: Transforms, and their classes, by the numbers by which graphs refer to them.
_registered: WeakValueDictionary[int, Any] = WeakValueDictionary()
_numbers = count()
#: Transforms that were constructed in graphs, from constants, by their descriptions.
_constructed: dict[str, Any] = {}
#: Attributes of a module, which are looked for when it is called.
_OF_MODULES = tuple(vars(nn.Module()))
_NUMBER, _GIVEN = "number of transform", "arguments"


def register(transform: Any) -> int:
    """Register a transform or a class, and return the number by which a graph refers to it."""
    number = next(_numbers)
    _registered[number] = transform
    return number


def construct(transform: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Construct a transform in a graph that is being traced: keep its arguments for its call."""
    for name in _OF_MODULES:
        object.__setattr__(transform, name, {})
    object.__setattr__(transform, "_given", (args, kwargs))


def complete(transform: Any) -> None:
    """Construct a transform that was constructed in a graph, and has left it."""
    args, kwargs = transform._given
    vars(transform).clear()
    transform.__init__(*args, **kwargs)


def call(transform: Any, x: Any) -> Any:
    """Call a transform as one node of the graph that is being traced.

    Args:
        transform: The transform.
        x: Tensor (C, I, J, K) or (B, C, I, J, K), or a dict of these, whose other values are
            passed through.

    Raises:
        TypeError: ``x`` has another type, which a node of a graph cannot take.
    """
    if isinstance(x, Tensor):
        keys, voxels = [], [x]
    elif isinstance(x, dict):
        keys = [key for key, value in x.items() if isinstance(value, Tensor) and value.ndim > 3]
        voxels = [x[key] for key in keys]
    else:
        raise TypeError(
            "under torch.compile a transform takes tensors, or a dict of tensors, got "
            f"{type(x).__name__}: transform it outside of the compiled function"
        )
    allow_in_graphs()
    out = _node(voxels, keys, _described(transform))
    return {**x, **dict(zip(keys, out, strict=True))} if isinstance(x, dict) else out[0]


def _described(value: Any) -> Any:
    """Return a transform, or arguments of one, as what a graph can hold."""
    if isinstance(value, nn.Module):
        return {_NUMBER: value._number, _GIVEN: _described(value._given)}
    if isinstance(value, tuple):
        return tuple([_described(each) for each in value])
    if isinstance(value, list):
        return [_described(each) for each in value]
    if isinstance(value, dict):
        return {key: _described(each) for key, each in value.items()}
    if value is None or isinstance(value, (Tensor, np.ndarray, int, float, str)):
        return value
    raise TypeError(
        "under torch.compile the constructor of a transform takes tensors, numbers and names, got "
        f"{type(value).__name__}: construct it outside of the compiled function"
    )


def _from_description(value: Any) -> Any:
    """Return what :func:`_described` was given, with transforms constructed."""
    if isinstance(value, dict) and _NUMBER in value:
        registered, given = _registered[value[_NUMBER]], _from_description(value[_GIVEN])
        return registered if given is None else registered(*given[0], **given[1])
    if isinstance(value, (tuple, list)):
        return type(value)(_from_description(each) for each in value)
    if isinstance(value, dict):
        return {key: _from_description(each) for key, each in value.items()}
    return value


@in_graph
def _node(voxels: list[Tensor], keys: list[str], transform: Any) -> list[Tensor]:
    transform = pytree.tree_map(constant, transform)
    if not any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(transform)):
        text = repr(transform)
        made = _constructed.get(text) or _from_description(transform)
        if transform[_GIVEN] is not None:
            _constructed[text] = made
        _check_parameters(made)
        transform = {_NUMBER: made._number, _GIVEN: None}
    batch = voxels[0].shape[0] if voxels[0].ndim == 5 else 1
    arguments = {"voxels": voxels, "keys": keys, "transform": transform, "seeds": draw_seeds(batch)}
    return as_node(_run, arguments, ("seeds",))  # type: ignore[no-any-return]


def _run(voxels: Sequence[Tensor], keys: Sequence[str], transform: Any, seeds: Tensor) -> Any:
    made = _from_description(transform)
    x = dict(zip(keys, voxels, strict=True)) if keys else voxels[0]
    batch, restore = to_batch(x, made.include, made.label_keys)
    batch.streams = random.Streams(seeds.numpy())
    out = restore(run(made.plan(), batch))
    if not keys:
        return [out]
    if list(out) != list(keys):
        raise ValueError(
            f"under torch.compile a transform must not add images: {made.name} returns "
            f"{list(out)} for {list(keys)}"
        )
    return list(out.values())


def _check_parameters(transform: Any) -> None:
    """Raise a ValueError if a parameter requires a gradient, which the node does not return."""
    for module in transform.modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor) and value.requires_grad:
                raise ValueError(
                    f"under torch.compile gradients reach the voxels alone, not {name} of "
                    f"{type(module).__name__}: construct it in the compiled function, or use "
                    "torchio_gpu.functional there"
                )


__all__ = ["call", "complete", "construct", "is_traced", "register"]

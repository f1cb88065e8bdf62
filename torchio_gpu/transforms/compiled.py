"""Transforms under ``torch.compile``: each call is one opaque node of the graph.

Parameters and passes of a transform are decided on the host, from random numbers and from the
structure of the pipeline, and its kernels are fused already, so a compiler could gain nothing. The
node is a function of the voxels and of seeds, which the graph draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from .. import random
from .convert import to_batch
from .pipeline.executor import run

#: Transforms by the number that a node of a graph holds.
_transforms: WeakValueDictionary[int, Any] = WeakValueDictionary()
_numbers = count()


def register(transform: Any) -> int:
    """Register a transform, and return the number by which a node of a graph refers to it."""
    number = next(_numbers)
    _transforms[number] = transform
    return number


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
    batch = voxels[0].shape[0] if voxels[0].ndim == 5 else 1
    words = torch.randint(0, 2**32, (2, batch), device="cpu")  # whatever the default device is
    seeds = words[0] | (words[1] << 32)
    out = torch.ops.torchio_gpu.transform(voxels, seeds, transform._number, keys)
    return {**x, **dict(zip(keys, out, strict=True))} if isinstance(x, dict) else out[0]


def _run(voxels: Sequence[Tensor], seeds: Tensor, number: int, keys: Sequence[str]) -> list[Tensor]:
    transform = _transforms[number]
    x = dict(zip(keys, voxels, strict=True)) if keys else voxels[0]
    batch, restore = to_batch(x, transform.include, transform.label_keys)
    batch.streams = random.Streams(seeds.numpy())
    out = restore(run(transform.plan(), batch))
    if not keys:
        return [out]
    if list(out) != list(keys):
        raise ValueError(
            f"under torch.compile a transform must not add images: {transform.name} returns "
            f"{list(out)} for {list(keys)}"
        )
    return list(out.values())


def _forward(
    voxels: Sequence[Tensor], seeds: Tensor, number: int, keys: Sequence[str]
) -> list[Tensor]:
    # torch requires that outputs of a node share no memory with its inputs
    inputs = {x.untyped_storage().data_ptr() for x in voxels}
    out = _run(voxels, seeds, number, keys)
    return [y.clone() if y.untyped_storage().data_ptr() in inputs else y for y in out]


def _fake(
    voxels: Sequence[Tensor], seeds: Tensor, number: int, keys: Sequence[str]
) -> list[Tensor]:
    """Return empty tensors like those of :func:`_forward`; shapes must not depend on the seeds."""
    from torch._subclasses.fake_tensor import unset_fake_temporarily

    _check_parameters(_transforms[number])
    shapes = [tuple(map(int, x.shape)) for x in voxels]
    with unset_fake_temporarily(), torch.no_grad():
        meta = [
            torch.empty(shape, dtype=x.dtype, device="meta")
            for shape, x in zip(shapes, voxels, strict=True)
        ]
        out = _run(meta, torch.zeros(len(seeds), dtype=torch.int64), number, keys)
        kinds = [(tuple(y.shape), y.dtype) for y in out]
    device = voxels[0].device
    return [torch.empty(shape, dtype=dtype, device=device) for shape, dtype in kinds]


def _check_parameters(transform: Any) -> None:
    """Raise a ValueError if a parameter requires a gradient, which the node does not return."""
    for module in transform.modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor) and value.requires_grad:
                raise ValueError(
                    f"under torch.compile gradients reach the voxels alone, not {name} of "
                    f"{type(module).__name__}: use torchio_gpu.functional there"
                )


def _backward(
    grads: Sequence[Tensor],
    voxels: Sequence[Tensor],
    seeds: Tensor,
    number: int,
    keys: Sequence[str],
) -> list[Tensor]:
    """Return the gradients of the voxels; the transform is executed again to save memory."""
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_(x.is_floating_point()) for x in voxels]
        out = _run(leaves, seeds, number, keys)
    pairs = [(y, g) for y, g in zip(out, grads, strict=True) if y.requires_grad]
    wanted = [x for x in leaves if x.requires_grad]
    ys, gs = zip(*pairs, strict=True) if pairs else ((), ())
    found = iter(torch.autograd.grad(ys, wanted, gs, materialize_grads=True)) if ys else iter(())
    return [
        next(found).contiguous() if x.requires_grad and ys else torch.zeros_like(x) for x in leaves
    ]


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: Sequence[Tensor]) -> None:
    voxels, seeds, ctx.number, ctx.keys = inputs
    ctx.save_for_backward(seeds, *voxels)


def _differentiate(ctx: Any, grads: Sequence[Tensor]) -> tuple[Any, ...]:
    seeds, *voxels = ctx.saved_tensors
    back = torch.ops.torchio_gpu.transform_backward(grads, voxels, seeds, ctx.number, ctx.keys)
    return back, None, None, [None] * len(ctx.keys)  # as nested as the inputs


_LIBRARY: Any = torch.library.Library("torchio_gpu", "FRAGMENT")  # type: ignore[no-untyped-call]
_LIBRARY.define("transform(Tensor[] voxels, Tensor seeds, int number, str[] keys) -> Tensor[]")
_LIBRARY.define(
    "transform_backward(Tensor[] grads, Tensor[] voxels, Tensor seeds, int number, str[] keys) "
    "-> Tensor[]"
)
_LIBRARY.impl("transform", _forward, "CompositeExplicitAutograd")
_LIBRARY.impl("transform_backward", _backward, "CompositeExplicitAutograd")
torch.library.register_fake("torchio_gpu::transform", _fake, lib=_LIBRARY)
torch.library.register_fake(
    "torchio_gpu::transform_backward",
    lambda grads, voxels, seeds, number, keys: [torch.empty_like(x) for x in voxels],
    lib=_LIBRARY,
)
torch.library.register_autograd(
    "torchio_gpu::transform", _differentiate, setup_context=_save_inputs, lib=_LIBRARY
)

__all__ = ["call", "register"]

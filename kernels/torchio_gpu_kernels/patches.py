"""Cutting patches out of volumes, and adding them up: each is the other's gradient.

Both go by a table with a row for each patch: where in memory the voxels are that are read, those of
its volume or its own, and where the patch lies. So volumes may differ in shape, and batches of
patches in strides: one launch serves them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .gather import gather
from .library import differentiate, register
from .scatter import divide, scatter


def _gather(
    volumes: Sequence[Tensor], places: Tensor, weights: Sequence[Tensor], size: Sequence[int]
) -> Tensor:
    out = _patches_like(volumes, places, weights, size)
    gather(out, volumes, places, weights)
    return out


def _patches_like(
    volumes: Sequence[Tensor], places: Tensor, weights: Sequence[Tensor], size: Sequence[int]
) -> Tensor:
    first = volumes[0]
    shape = (places.shape[0], first.shape[1], *size)
    return torch.empty(shape, dtype=first.dtype, device=first.device)


def _scatter(
    patches: Sequence[Tensor],
    places: Tensor,
    weights: Sequence[Tensor],
    shape: Sequence[int],
    overwrite: bool,
    onto: Tensor | None,
) -> Tensor:
    out = _volume_like(patches, places, weights, shape, overwrite, onto)
    if onto is not None:
        out.copy_(onto)
    scatter(out, patches, places, weights, overwrite, fresh=onto is None)
    return out


def _volume_like(
    patches: Sequence[Tensor],
    places: Tensor,
    weights: Sequence[Tensor],
    shape: Sequence[int],
    overwrite: bool,
    onto: Tensor | None,
) -> Tensor:
    like = patches[0] if onto is None else onto
    return torch.empty(shape, dtype=like.dtype, device=like.device)


def _nothing(*_: Any) -> None:
    """What an operator returns that changes what it is given."""


#: Cut patches of a size out of volumes, (N, C, I, J, K); what is outside, or does not count, is 0.
#:
#: ``volumes`` are batches (B, C, I, J, K) of one type, whose shapes may differ along I, J, K.
#: ``places`` are ten whole numbers for each patch, int64 [N, 10] on the host: the volume it is of,
#: counted through all batches; where the patch begins, the first voxel that counts and the one
#: after the last, along I, J, K, in voxels of the volume. The latter two lie within both. By
#: ``weights`` along each axis, none or three, the voxels of patches are multiplied.
gather_patches = register(
    "gather_patches(Tensor[] volumes, Tensor places, Tensor[] weights, SymInt[] size) -> Tensor",
    _gather,
    _patches_like,
)

#: Add patches to volumes (B, C, I, J, K), or put them there, later ones in the place of others.
#:
#: ``patches`` are batches (N, C, i, j, k) of any strides; the rest as above. The volumes are new
#: ones of a ``shape``: copies of ``onto``, else zeros of the type of the patches.
scatter_patches = register(
    "scatter_patches(Tensor[] patches, Tensor places, Tensor[] weights, SymInt[] shape, "
    "bool overwrite, Tensor? onto) -> Tensor",
    _scatter,
    _volume_like,
)

#: The same, in place, to contiguous volumes.
scatter_patches_ = register(
    "scatter_patches_(Tensor(a!) volume, Tensor[] patches, Tensor places, Tensor[] weights, "
    "bool overwrite) -> ()",
    scatter,
    _nothing,
)

#: Divide a contiguous volume (C, I, J, K), in place, by the product of three numbers for each
#: voxel, of which 0 counts as 1.
divide_by_product_ = register(
    "divide_by_product_(Tensor(a!) volume, Tensor i, Tensor j, Tensor k) -> ()", divide, _nothing
)


def _remember_gather(ctx: Any, inputs: Any, output: Tensor) -> None:
    volumes, places, weights, _ = inputs
    ctx.save_for_backward(places, *weights)
    ctx.shapes = [volume.shape for volume in volumes]


def _gather_back(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    places, *weights = ctx.saved_tensors
    grads: list[Tensor | None] = []
    before = 0
    for shape, wanted in zip(ctx.shapes, ctx.needs_input_grad[0], strict=True):
        if not wanted:
            grads.append(None)
            before += shape[0]
            continue
        own = places.clone()
        own[:, 0] -= before
        others = (own[:, 0] < 0) | (own[:, 0] >= shape[0])
        own[others, 0] = 0
        own[others, 7:] = own[others, 4:7]  # nothing of them counts
        grads.append(scatter_patches([grad], own, weights, shape, False, None))
        before += shape[0]
    return grads, None, [None] * len(weights), None


def _remember_scatter(ctx: Any, inputs: Any, output: Tensor) -> None:
    patches, places, weights, _, ctx.overwrite, _ = inputs
    ctx.save_for_backward(places, *weights)
    ctx.patches = [(len(batch), batch.dtype) for batch in patches]
    ctx.size = patches[0].shape[2:]


def _scatter_back(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    places, *weights = ctx.saved_tensors
    part = gather_patches([grad], places, weights, ctx.size)
    if ctx.overwrite:  # only of the patch that came last
        n = torch.arange(1, len(places) + 1, dtype=torch.int32, device=grad.device)
        numbers = n.view(-1, 1, 1, 1, 1)
        one = numbers.expand(-1, 1, *ctx.size)
        shape = (grad.shape[0], 1, *grad.shape[2:])
        last = scatter_patches([one], places, [], shape, True, None)
        part = part.where(gather_patches([last], places, [], ctx.size) == numbers, 0)
    lengths, types = zip(*ctx.patches, strict=True)
    parts = part.split(lengths)
    grads = [
        each.to(dtype) if dtype.is_floating_point else None
        for each, dtype in zip(parts, types, strict=True)
    ]
    return grads, None, [None] * len(weights), None, None, None


differentiate("gather_patches", _remember_gather, _gather_back)
differentiate("scatter_patches", _remember_scatter, _scatter_back)

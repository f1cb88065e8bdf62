"""Extraction of patches from volumes, and aggregation of patches: each is the other's gradient.

Both read a table with one entry per patch: the address of the voxels to read and the position of
the patch. So volumes may differ in shape, and batches of patches in strides, within one launch.
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
    scatter(out, patches, places, weights, overwrite=overwrite, fresh=onto is None)
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


def _fake_in_place(*_: Any) -> None:
    """Return None, as an operator that works in place does."""


#: Extract patches of one size from volumes, (N, C, I, J, K); voxels outside, or that do not count,
#: are 0.
#:
#: ``volumes`` are batches (B, C, I, J, K) of one dtype, whose shapes may differ along I, J, K.
#: ``places`` has ten integers for each patch, int64 [N, 10] on the host: the number of its volume
#: among those of all batches; then, along I, J, K, in voxels of the volume, the first voxel of the
#: patch, the first one that counts and the one after the last that counts. The latter two lie
#: within patch and volume. ``weights`` along each axis, none or three, multiply the voxels of
#: patches.
gather_patches = register(
    "gather_patches(Tensor[] volumes, Tensor places, Tensor[] weights, SymInt[] size) -> Tensor",
    _gather,
    _patches_like,
)

#: Add patches to volumes (B, C, I, J, K), or overwrite voxels, where the last patch counts.
#:
#: ``patches`` are batches (N, C, i, j, k) of any strides; other arguments as above. The volumes are
#: new, of a ``shape``: copies of ``onto``, or zeros in the dtype of the patches.
scatter_patches = register(
    "scatter_patches(Tensor[] patches, Tensor places, Tensor[] weights, SymInt[] shape, "
    "bool overwrite, Tensor? onto) -> Tensor",
    _scatter,
    _volume_like,
)

#: In-place form of ``scatter_patches``, for contiguous volumes.
scatter_patches_ = register(
    "scatter_patches_(Tensor(a!) volume, Tensor[] patches, Tensor places, Tensor[] weights, "
    "bool overwrite) -> ()",
    scatter,
    _fake_in_place,
)

#: Divide a contiguous volume (C, I, J, K), in place, at each voxel by the product of a number for
#: its plane, its row and its column, in which 0 is 1.
divide_by_product_ = register(
    "divide_by_product_(Tensor(a!) volume, Tensor i, Tensor j, Tensor k) -> ()",
    divide,
    _fake_in_place,
)


def _setup_gather(ctx: Any, inputs: Any, output: Tensor) -> None:
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
        own[others, 7:] = own[others, 4:7]  # no voxel of them counts
        grads.append(
            scatter_patches(
                patches=[grad],
                places=own,
                weights=weights,
                shape=shape,
                overwrite=False,
                onto=None,
            )
        )
        before += shape[0]
    return grads, None, [None] * len(weights), None


def _setup_scatter(ctx: Any, inputs: Any, output: Tensor) -> None:
    patches, places, weights, _, ctx.overwrite, _ = inputs
    ctx.save_for_backward(places, *weights)
    ctx.patches = [(len(batch), batch.dtype) for batch in patches]
    ctx.size = patches[0].shape[2:]


def _scatter_back(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    places, *weights = ctx.saved_tensors
    part = gather_patches(volumes=[grad], places=places, weights=weights, size=ctx.size)
    if ctx.overwrite:  # the gradient of a voxel belongs to the last patch that has it
        n = torch.arange(1, len(places) + 1, dtype=torch.int32, device=grad.device)
        numbers = n.view(-1, 1, 1, 1, 1)
        one = numbers.expand(-1, 1, *ctx.size)
        shape = (grad.shape[0], 1, *grad.shape[2:])
        last = scatter_patches(
            patches=[one], places=places, weights=[], shape=shape, overwrite=True, onto=None
        )
        latest = gather_patches(volumes=[last], places=places, weights=[], size=ctx.size)
        part = part.where(latest == numbers, 0)
    lengths, types = zip(*ctx.patches, strict=True)
    parts = part.split(lengths)
    grads = [
        each.to(dtype) if dtype.is_floating_point else None
        for each, dtype in zip(parts, types, strict=True)
    ]
    return grads, None, [None] * len(weights), None, None, None


differentiate("gather_patches", _setup_gather, _gather_back)
differentiate("scatter_patches", _setup_scatter, _scatter_back)

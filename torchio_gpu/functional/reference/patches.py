"""Cutting patches out of volumes, and adding them up: each is the other's gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from ...shapes import Triple, Volume
from .slabs import slab_rows

#: Of a Gaussian window, the standard deviation as a share of the patch: Isensee et al. 2021,
#: doi:10.1038/s41592-020-01008-z.
_GAUSSIAN = 1 / 8


class Place(NamedTuple):
    """Where a patch lies in a volume: what of the one is what in the other."""

    inner: tuple[slice, slice, slice]  # of the patch
    outer: tuple[slice, slice, slice]  # of the volume

    def of(self, patch: Tensor) -> Tensor:
        """The part of a patch [..., i, j, k] that lies in the volume."""
        i, j, k = self.inner
        return patch[..., i, j, k]

    def on(self, volume: Tensor) -> Tensor:
        """The part of a volume [..., I, J, K] that the patch holds."""
        i, j, k = self.outer
        return volume[..., i, j, k]


def places(
    first: np.ndarray,
    size: Triple,
    shape: Triple,
    low: np.ndarray | None = None,
    high: np.ndarray | None = None,
) -> list[Place]:
    """Where patches lie in a volume, cut off where they leave it.

    Args:
        first: First voxels, [N, 3]; they may lie outside.
        size: Voxels of a patch.
        shape: Voxels of the volume.
        low, high: Ends of the part of each patch that counts, in voxels of the volume, [N, 3].
    """
    start = np.maximum(first if low is None else np.maximum(first, low), 0)
    stop = np.minimum(first + size if high is None else np.minimum(first + size, high), shape)
    stop = np.maximum(start, stop)
    found = []
    for a, b, c in zip(start.tolist(), stop.tolist(), first.tolist(), strict=True):
        outer = [slice(*ends) for ends in zip(a, b, strict=True)]
        inner = [slice(s.start - n, s.stop - n) for s, n in zip(outer, c, strict=True)]
        found.append(Place((inner[0], inner[1], inner[2]), (outer[0], outer[1], outer[2])))
    return found


def profile(mode: str, size: int) -> np.ndarray:
    """Weights of the voxels of a patch along one axis, [size], symmetric about its middle.

    They are positive everywhere: a voxel that only one patch holds is that patch's.
    """
    middle = (size - 1) / 2
    at = abs(np.arange(size) - middle)  # the same on both sides, and so are the weights
    if mode == "hann":
        return np.cos(np.pi * at / (size + 1)) ** 2
    if mode == "gaussian":
        return np.exp(-0.5 * (at / (size * _GAUSSIAN)) ** 2)
    return np.ones(size)


def cube(profiles: Sequence[Tensor]) -> Tensor:
    """Weights of all voxels of a patch, [I, J, K], as the product of those along each axis."""
    i, j, k = profiles
    return i[:, None, None] * (j[:, None] * k)


def scatter(
    volume: Tensor, patches: Tensor, where: Sequence[Place], weights: Tensor | None
) -> Tensor:
    """Add patches to a volume, in place; without weights the later ones take the place of others.

    Args:
        volume: [C, I, J, K].
        patches: [N, C, i, j, k].
        where: The place of each patch.
        weights: Of the voxels of a patch, [i, j, k].
    """
    for patch, place in zip(patches, where, strict=True):
        part, here = place.of(patch), place.on(volume)
        if weights is None:
            here.copy_(part)
        else:
            here.addcmul_(part.to(volume), place.of(weights))
    return volume


def gather(x: Volume, sample: Sequence[int], where: Sequence[Place], size: Triple) -> Volume:
    """Cut patches out of volumes, 0 where they leave them.

    Args:
        x: [B, C, I, J, K].
        sample: The volume that each patch is of.
        where: The place of each patch.
        size: Voxels of a patch.
    """
    volumes = [x[n] for n in sample]
    return cut(volumes, where, size)


def cut(volumes: Sequence[Tensor], where: Sequence[Place], size: Triple) -> Volume:
    """Cut a patch out of each of some volumes [C, I, J, K], whose shapes may differ."""
    inside = all(
        s.stop - s.start == n for place in where for s, n in zip(place.outer, size, strict=True)
    )
    shape = (len(volumes), volumes[0].shape[0], *size)
    out = torch.empty(shape, dtype=volumes[0].dtype, device=volumes[0].device)
    out = out if inside else out.zero_()
    for n, (volume, place) in enumerate(zip(volumes, where, strict=True)):
        place.of(out[n]).copy_(place.on(volume))
    return out


class Gather(Function):
    """:func:`gather` with a gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Volume, sample: Sequence[int], where: Sequence[Place], size: Triple
    ) -> Volume:
        ctx.sample, ctx.where, ctx.shape = sample, where, x.shape
        return gather(x, sample, where, size)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        return Spread.apply(grad, ctx.sample, ctx.where, ctx.shape), None, None, None  # type: ignore[no-untyped-call]


class Spread(Function):
    """The gradient of :class:`Gather`: patches are added to the volumes they are of."""

    @staticmethod
    def forward(
        ctx: Any,
        patches: Volume,
        sample: Sequence[int],
        where: Sequence[Place],
        shape: Sequence[int],
    ) -> Volume:
        ctx.sample, ctx.where, ctx.size = sample, where, patches.shape[2:]
        out = torch.zeros(shape, dtype=patches.dtype, device=patches.device)
        for patch, n, place in zip(patches, sample, where, strict=True):
            place.on(out[n]).add_(place.of(patch))
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        return Gather.apply(grad, ctx.sample, ctx.where, ctx.size), None, None, None  # type: ignore[no-untyped-call]


class Scatter(Function):
    """:func:`scatter` of batches of patches into a volume or into zeros, with a gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        onto: Tensor,
        where: Sequence[Sequence[Place]],
        weights: Tensor | None,
        *batches: Tensor,
    ) -> Tensor:
        ctx.where, ctx.weights = where, weights
        ctx.like = [(batch.shape, batch.dtype, batch.device) for batch in batches]
        for batch, some in zip(batches, where, strict=True):
            scatter(onto, batch, some, weights)
        ctx.mark_dirty(onto)
        return onto

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        if ctx.weights is None:
            grad = grad.clone()
        grads = []
        for (shape, dtype, device), some in reversed(list(zip(ctx.like, ctx.where, strict=True))):
            part = torch.zeros(shape, dtype=grad.dtype, device=grad.device)
            for n, place in reversed(list(enumerate(some))):
                seen = place.on(grad)
                if ctx.weights is None:
                    place.of(part[n]).copy_(seen)
                    seen.zero_()  # what was there before was overwritten
                else:
                    place.of(part[n]).copy_(seen * place.of(ctx.weights))
            grads.append(part.to(device, dtype))
        return (None, None, None, *reversed(grads))


def weight_sums(
    first: np.ndarray, profiles: Sequence[np.ndarray], shape: Triple
) -> list[np.ndarray] | None:
    """Sums of the weights of all patches along each axis, three of [N], whose product is the sum.

    Returns:
        None where they are no such product: patches are no full grid.

    Args:
        first: First voxels of the patches, [N, 3].
        profiles: Weights along each axis.
        shape: Voxels of the volume.
    """
    if not len(first):
        return [np.zeros(n) for n in shape]
    known, times = np.unique(first, axis=0, return_counts=True)
    starts = [np.unique(column) for column in first.T]
    if len(known) != np.prod([len(s) for s in starts]) or np.ptp(times):
        return None
    sums = [_along(s, p, n) for s, p, n in zip(starts, profiles, shape, strict=True)]
    return [sums[0] * times[0], *sums[1:]]


def _along(starts: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    total = np.zeros(size)
    for start in starts.tolist():
        low, high = max(start, 0), min(start + len(weights), size)
        total[low:high] += weights[low - start : high - start]
    return total


def divide(volume: Tensor, sums: Sequence[Tensor]) -> Tensor:
    """Divide a volume by the product of three numbers for each voxel, which is 0 where it is 0 too.

    In place, unless it has a gradient.

    Args:
        volume: [C, I, J, K].
        sums: One number for each voxel along I, J, K.
    """
    work = volume.real.dtype
    i, j, k = (torch.where(s > 0, s, 1).to(work) for s in sums)
    plane = j[:, None] * k
    if volume.requires_grad:
        return volume / (i[:, None, None] * plane)
    rows = volume.shape[1]
    slab = slab_rows(rows, volume[:, 0].numel(), volume.device)
    for n in range(0, rows, slab):
        volume[:, n : n + slab] /= i[n : n + slab, None, None] * plane
    return volume

"""Extraction and accumulation of patches: each is the gradient of the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from ...memory import empty, zeros
from ...shapes import Triple, Volume
from .slabs import slab_planes

#: Standard deviation of Gaussian weights, as a share of the patch: Isensee et al. 2021,
#: doi:10.1038/s41592-020-01008-z.
_GAUSSIAN = 1 / 8


class Place(NamedTuple):
    """Overlap of a patch and a volume, as slices of both."""

    inner: tuple[slice, slice, slice]  # of the patch
    outer: tuple[slice, slice, slice]  # of the volume

    def of(self, patch: Tensor) -> Tensor:
        """Return the part of a patch [..., i, j, k] inside the volume."""
        i, j, k = self.inner
        return patch[..., i, j, k]

    def on(self, volume: Tensor) -> Tensor:
        """Return the part of a volume [..., I, J, K] inside the patch."""
        i, j, k = self.outer
        return volume[..., i, j, k]


@dataclass(frozen=True)
class Places:
    """Overlaps of patches and volumes: an iterable of :class:`Place`.

    Args:
        first: First voxels of the patches, in voxels of the volumes, [N, 3]; they may lie outside.
        low: First voxels of the overlap, in voxels of the volumes, [N, 3].
        high: Voxels after the last ones; equal to ``low`` where the overlap is empty.
    """

    first: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def __iter__(self) -> Iterator[Place]:
        ends = (array.tolist() for array in (self.first, self.low, self.high))
        for first, low, high in zip(*ends, strict=True):
            i, j, k = (slice(*ends) for ends in zip(low, high, strict=True))
            inner = [slice(s.start - n, s.stop - n) for s, n in zip((i, j, k), first, strict=True)]
            yield Place((inner[0], inner[1], inner[2]), (i, j, k))

    def __getitem__(self, chosen: Any) -> Places:
        return Places(self.first[chosen], self.low[chosen], self.high[chosen])

    @staticmethod
    def joined(some: Sequence[Places]) -> Places:
        """Concatenate the places of several batches of patches."""
        first, low, high = zip(*((each.first, each.low, each.high) for each in some), strict=True)
        return Places(np.concatenate(first), np.concatenate(low), np.concatenate(high))

    def moved(self, by: Sequence[int]) -> Places:
        """Shift by ``by`` voxels."""
        return Places(self.first + by, self.low + by, self.high + by)

    def restrict(self, mask: np.ndarray) -> Places:
        """Return the places with an empty overlap for patches outside ``mask``, [N] bool."""
        return Places(self.first, self.low, np.where(mask[:, None], self.high, self.low))


def places(
    first: np.ndarray,
    size: Triple,
    shape: Triple | np.ndarray,
    low: np.ndarray | None = None,
    high: np.ndarray | None = None,
) -> Places:
    """Compute the overlaps of patches and volumes.

    Args:
        first: First voxels, [N, 3]; they may lie outside.
        size: Shape of a patch.
        shape: Shape of the volume, or of the volume of each patch, [N, 3].
        low, high: Ends of the part of each patch to keep, in voxels of the volume, [N, 3].
    """
    start = np.maximum(first if low is None else np.maximum(first, low), 0)
    stop = np.minimum(first + size if high is None else np.minimum(first + size, high), shape)
    return Places(first, start, np.maximum(start, stop))


def profile(mode: str, size: int) -> np.ndarray:
    """Return weights of the voxels of a patch along one axis, [size], symmetric about its centre.

    They are positive everywhere: a voxel in a single patch takes the value of that patch.
    """
    middle = (size - 1) / 2
    at = abs(np.arange(size) - middle)  # the same on both sides, and so are the weights
    if mode == "hann":
        return np.cos(np.pi * at / (size + 1)) ** 2
    if mode == "gaussian":
        return np.exp(-0.5 * (at / (size * _GAUSSIAN)) ** 2)
    return np.ones(size)


def cube(profiles: Sequence[Tensor]) -> Tensor:
    """Return weights of all voxels of a patch, [i, j, k]: the product of those along each axis."""
    i, j, k = profiles
    return i[:, None, None] * (j[:, None] * k)


def scatter(volume: Tensor, patches: Tensor, where: Places, weights: Tensor | None) -> Tensor:
    """Add patches to a volume, in place; without weights, later patches overwrite earlier ones.

    Args:
        volume: [C, I, J, K].
        patches: [N, C, i, j, k].
        where: The places of the patches.
        weights: Weights of the voxels of a patch, [i, j, k].
    """
    for patch, place in zip(patches, where, strict=True):
        part, here = place.of(patch), place.on(volume)
        if weights is None:
            here.copy_(part)
        else:
            here.addcmul_(part.to(volume), place.of(weights))
    return volume


def gather(sample: np.ndarray, where: Places, size: Triple, *volumes: Volume) -> Volume:
    """Cut patches out of volumes; 0 outside.

    Args:
        sample: Sample of each patch, counted through all volumes, [N].
        where: The places of the patches.
        size: Shape of a patch.
        volumes: [B, C, I, J, K] each; along I, J, K they may differ.
    """
    known = [(volume, n) for volume in volumes for n in range(len(volume))]
    whole = (where.high - where.low == size).all()
    first = volumes[0]
    new = empty if whole else zeros
    patches = new((len(where), first.shape[1], *size), first.dtype, first.device)
    for patch, n, place in zip(patches, sample.tolist(), where, strict=True):
        volume, item = known[n]
        place.of(patch).copy_(place.on(volume[item]))
    return patches


class Gather(Function):
    """:func:`gather` with a gradient."""

    @staticmethod
    def forward(
        ctx: Any, sample: np.ndarray, where: Places, size: Triple, *volumes: Volume
    ) -> Volume:
        ctx.sample, ctx.where = sample, where
        ctx.shapes = [volume.shape for volume in volumes]
        return gather(sample, where, size, *volumes)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        grads, before = [], 0
        for shape, wanted in zip(ctx.shapes, ctx.needs_input_grad[3:], strict=True):
            own = (before <= ctx.sample) & (ctx.sample < before + shape[0])
            sample = np.where(own, ctx.sample - before, 0)
            spread = (grad, sample, ctx.where.restrict(own), shape)
            grads.append(Spread.apply(*spread) if wanted else None)  # type: ignore[no-untyped-call]
            before += shape[0]
        return (None, None, None, *grads)


class Spread(Function):
    """The gradient of :class:`Gather`: patches are added to the volumes they are of."""

    @staticmethod
    def forward(
        ctx: Any, patches: Volume, sample: np.ndarray, where: Places, shape: Sequence[int]
    ) -> Volume:
        ctx.sample, ctx.where, ctx.size = sample, where, patches.shape[2:]
        out = zeros(shape, patches.dtype, patches.device)
        for patch, n, place in zip(patches, sample.tolist(), where, strict=True):
            place.on(out[n]).add_(place.of(patch))
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        return Gather.apply(ctx.sample, ctx.where, ctx.size, grad), None, None, None  # type: ignore[no-untyped-call]


class Scatter(Function):
    """:func:`scatter` of batches of patches into a volume or into zeros, with a gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        onto: Tensor,
        where: Sequence[Places],
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
                here = place.on(grad)
                if ctx.weights is None:
                    place.of(part[n]).copy_(here)
                    here.zero_()  # earlier patches were overwritten here: no gradient
                else:
                    place.of(part[n]).copy_(here * place.of(ctx.weights))
            grads.append(part.to(device, dtype))
        return (None, None, None, *reversed(grads))


def weight_sums(
    first: np.ndarray, profiles: Sequence[np.ndarray], shape: Triple
) -> list[np.ndarray] | None:
    """Return sums of weights along each axis, three of [N], whose product is the sum of weights.

    Args:
        first: First voxels of the patches, [N, 3].
        profiles: Weights along each axis.
        shape: Shape of the volume.

    Returns:
        The sums; None if the patches are not a full grid, whose sum of weights is not separable.
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
    """Divide a volume by the separable sum of weights; voxels without weight stay 0.

    In place, unless it has a gradient.

    Args:
        volume: [C, I, J, K].
        sums: From :func:`weight_sums`, on the device.
    """
    work = volume.real.dtype
    i, j, k = (torch.where(s > 0, s, 1).to(work) for s in sums)
    plane = j[:, None] * k
    if volume.requires_grad:
        return volume / (i[:, None, None] * plane)
    planes = volume.shape[1]
    slab = slab_planes(planes, volume[:, 0].numel(), volume.device)
    for n in range(0, planes, slab):
        volume[:, n : n + slab] /= i[n : n + slab, None, None] * plane
    return volume

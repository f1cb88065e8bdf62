"""Label maps: one-hot, remapping, contours, connected components.

Components are found among runs, which are sequences of foreground voxels along K. There are some
tens of times fewer runs than voxels; only the first and the last step read voxels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as nn
from torch import Tensor

from ...memory import empty
from ...shapes import Volume
from .slabs import slab_planes

#: Dtypes with so few values that a lookup table has an entry for each.
_SMALL = (torch.bool, torch.uint8, torch.int8, torch.int16)


def one_hot(x: Volume, num_classes: int) -> Volume:
    """Return masks of labels 0 to ``num_classes - 1``, [B, N, I, J, K], in the dtype of ``x``."""
    # compare in the dtype of the labels, several times as fast, if it represents all classes
    dtype = x.dtype if num_classes <= _countable(x.dtype) else torch.float64
    labels = torch.arange(num_classes, device=x.device).to(dtype).view(1, -1, 1, 1, 1)
    out = empty((len(x), num_classes, *x.shape[2:]), x.dtype, x.device)
    # on a CPU this takes an eighth of the time of a result in bool (uint8, AVX-512, torch 2.13)
    return torch.eq(x, labels, out=out)


def remap(x: Volume, old: Tensor, new: Tensor) -> Volume:
    """Replace labels, all of them at once.

    Args:
        x: Volume.
        old, new: Labels and their replacements, [1 or B, N] in the dtype of ``x``; entries that are
            equal in ``old`` must be equal in ``new``.
    """
    voxels = x.flatten(1)  # [B, C I J K]
    if x.dtype in _SMALL:
        first = 0 if x.dtype == torch.bool else torch.iinfo(x.dtype).min
        table = torch.arange(first, _countable(x.dtype), device=x.device).to(x.dtype)
        table = table.repeat(len(old), 1).scatter(1, old.long() - first, new)  # [1 or B, labels]
        start = torch.arange(len(old), device=x.device, dtype=torch.int32) * table.shape[1] - first
        slab, table = slab_planes(voxels.shape[1], len(voxels), x.device), table.flatten()
        out = empty(voxels.shape, x.dtype, x.device)
        pairs = zip(torch.split(voxels, slab, 1), torch.split(out, slab, 1), strict=True)
        for some, target in pairs:
            at = some.int() + start[:, None]
            target.copy_(table.index_select(0, at.flatten()).view(at.shape))
        return out.view(x.shape)
    old, order = old.sort(1)
    new = new.gather(1, order)
    old, new = (labels.expand(len(x), -1).contiguous() for labels in (old, new))
    at = torch.searchsorted(old, voxels.contiguous()).clamp(max=old.shape[1] - 1)
    return torch.where(old.gather(1, at) == voxels, new.gather(1, at), voxels).view(x.shape)


def contour(x: Volume) -> Volume:
    """Keep labels of voxels that share a face with a voxel of another label; 0 elsewhere."""
    border = torch.zeros_like(x, dtype=torch.bool, memory_format=torch.contiguous_format)
    for axis in (2, 3, 4):
        count = x.shape[axis] - 1
        differ = x.narrow(axis, 0, count) != x.narrow(axis, 1, count)
        border.narrow(axis, 0, count).logical_or_(differ)
        border.narrow(axis, 1, count).logical_or_(differ)
    return torch.where(border, x, x.new_zeros(()))


class Components(NamedTuple):
    """Runs of foreground voxels along K, and the components that they form.

    Runs are in C order. Their ends are flat indices into a volume with a margin of background, one
    voxel wide, before K and after I and J. The margin ends every run within its row, and makes a
    neighbour outside the image background, in whichever row of whichever sample its index lies.
    """

    start: Tensor  # [R] int64
    stop: Tensor  # [R], after the last voxel
    root: Tensor  # [R], number of the first run of the component
    shape: torch.Size  # [B, I + 1, J + 1, K + 1]

    @property
    def sample(self) -> Tensor:
        """Sample of each run, [R]."""
        return torch.div(self.start, self.shape[1:].numel(), rounding_mode="floor")

    def paint(self, values: Tensor) -> Tensor:
        """Return a volume [B, 1, I, J, K] with values [R] at the voxels of runs, 0 elsewhere."""
        ends = torch.stack((self.start, self.stop), 1).flatten()
        total = self.shape.numel()
        lengths = ends.diff(prepend=ends.new_zeros(1), append=ends.new_full((1,), total))
        segments = nn.pad(torch.stack((torch.zeros_like(values), values), 1).flatten(), (0, 1))
        voxels = segments.repeat_interleave(lengths, output_size=total).view(self.shape)
        return voxels[:, None, :-1, :-1, 1:]


def components(x: Volume) -> Components:
    """Find components of nonzero voxels that share faces; waits for the device.

    Args:
        x: Volume of one channel.
    """
    voxels = nn.pad(x[:, 0] != 0, (1, 0, 0, 1, 0, 1))  # [B, I + 1, J + 1, K + 1]
    flat = voxels.flatten()
    ends = (flat[1:] != flat[:-1]).nonzero()[:, 0] + 1  # the margin makes every run begin and end
    start, stop = ends[::2].contiguous(), ends[1::2]
    parent = torch.arange(len(start), device=x.device)
    line, slab = voxels.shape[3], voxels.shape[2:].numel()
    one, other = [], []
    # If two runs touch, one contains the neighbour of the first voxel of the other.
    for step in (-line, -slab, line, slab):
        beside = (start + step).clamp(min=0)  # voxel 0 is margin
        touching = flat[beside].nonzero()[:, 0]
        run = torch.searchsorted(start, beside[touching], right=True) - 1
        if step < 0:
            parent[touching] = run  # an earlier run: initial parent
        one.append(touching)
        other.append(run)
    return Components(start, stop, _roots(parent, torch.cat(one), torch.cat(other)), voxels.shape)


def _roots(parent: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Return the lowest node that each node is connected to, [R].

    Roots are hooked to the lowest root beside them, and all nodes then point to their root by
    pointer jumping (Shiloach & Vishkin 1982, doi:10.1016/0196-6774(82)90008-6), until no edge
    is left between two trees.

    Args:
        parent: A node of the same component and not above it, for each node, [R].
        one, other: The ends of each edge, [E].
    """
    while True:
        jump = parent[parent]
        while not torch.equal(jump, parent):
            parent, jump = jump, jump[jump]
        one, other = parent[one], parent[other]
        apart = one != other
        one, other = one[apart], other[apart]
        if not len(one):
            return parent
        low, high = torch.minimum(one, other), torch.maximum(one, other)
        parent = parent.scatter_reduce(0, high, low, "amin")


def connected_components(x: Volume) -> Tensor:
    """Number of the component of each voxel in its sample, [B, 1, I, J, K] int64; 0 for none."""
    found = components(x)
    first = found.root == torch.arange(len(found.root), device=x.device)  # one run a component
    number, sample = first.cumsum(0), found.sample
    count = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    count.scatter_add_(0, sample, first.long())
    before = count.cumsum(0) - count  # number of components of previous samples
    return found.paint(number[found.root] - before[sample]).contiguous()


def largest_component(x: Volume) -> Volume:
    """Return the voxels of each sample's largest component, 0 elsewhere."""
    found = components(x)
    length, sample = found.stop - found.start, found.sample
    size = torch.zeros_like(length).scatter_add_(0, found.root, length)  # at roots
    # Among components of equal size, ITK takes the first one, with I the fastest axis.
    voxels = found.shape[1:].numel()
    _, i, j, k = found.shape
    at = found.start - sample * voxels
    met = at % k * (i * j) + at // k % j * i + at // (j * k)  # [R]
    met = torch.full_like(met, voxels).scatter_reduce_(0, found.root, met, "amin")
    score = (size * voxels - met)[found.root]
    best = score.new_zeros(len(x)).scatter_reduce_(0, sample, score, "amax")
    return torch.where(found.paint(score == best[sample]), x, x.new_zeros(()))


def _countable(dtype: torch.dtype) -> int:
    """Return n such that ``dtype`` represents all integers from 0 to n - 1."""
    if dtype == torch.bool:
        return 2
    if dtype.is_floating_point:
        return int(2 / torch.finfo(dtype).eps)
    return torch.iinfo(dtype).max + 1

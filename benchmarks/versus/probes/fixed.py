"""Operations whose result is known: against numpy or float64."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot as memberships
from torch.nn.functional import pad

from .. import workloads as w
from .asking import ODD, Op, ask, noise

#: Linear weights in float32 of places that are known to about 37 halves of an epsilon, a few times
#: rounded; percentiles between the same two numbers.
_CLOSE = 1e-4
#: Conventions of percentiles differ by less than a gap between neighbours, of some 37 000 numbers.
_GAP = 5e-4


def _batch(*shape: int) -> Tensor:
    """Samples of numbers in [0, 1), cubed; each has a mean and a range of its own."""
    x = noise((3, *shape)) ** 3
    at = torch.arange(3).view(-1, *[1] * len(shape))
    return x * (1 + at) + at


def _labels() -> Tensor:
    return (noise((3, 1, *ODD)) * w.LABELS).byte()


def _differs(y: Tensor, right: Tensor, tolerance: float) -> str | None:
    off = (y - right).abs()
    if off.max() <= tolerance:
        return None
    share = 100 * (off > tolerance).double().mean().item()
    return f"{share:.3g} % of the numbers are wrong, by up to {off.max().item():.2g}"


def flip(op: Op, device: torch.device) -> str | None:
    """All axes mirrored: of flip, and of a batch that is to become RAS+."""
    x = _batch(2, *ODD)
    return _differs(ask(op, x, device=device), x.flip(2, 3, 4).double(), 0)


def resample(op: Op, device: torch.device) -> str | None:
    """Linear between voxels, at places about the same centre; all lie between voxels' centres."""
    x = _batch(2, *ODD)
    right = x.double()
    for axis, (n, m) in enumerate(zip(ODD, w.resampled(ODD), strict=True), start=2):
        at = (n - 1) / 2 + w.SPACING * (torch.arange(m, dtype=torch.float64) - (m - 1) / 2)
        low = at.floor().long().clamp(0, n - 2)
        above = (at - low).view(-1, *[1] * (4 - axis))
        ends = (right.index_select(axis, end) for end in (low, low + 1))
        right = torch.lerp(*ends, above)
    return _differs(ask(op, x, device=device), right, 5 * _CLOSE)  # numbers reach 5


def crop_or_pad(op: Op, device: torch.device) -> str | None:
    """About the centre, with zeros; an odd voxel may be on either side."""
    x = _batch(2, *ODD)
    y = ask(op, x, device=device)
    found = []
    for sides in product((0, 1), repeat=3):
        ends: list[int] = []
        for n, m, side in zip(ODD, w.crop_or_pad(ODD), sides, strict=True):
            first = (m - n + side) // 2  # negative where voxels are cut off
            ends = [first, m - n - first, *ends]
        found.append(_differs(y, pad(x.double(), ends), 0))
    return None if None in found else "is not the middle of the batch, in zeros"


def z_normalization(op: Op, device: torch.device) -> str | None:
    """Divided by the standard deviation with n or n - 1: apart by 1.4e-5, times 3 at most."""
    x = _batch(1, *ODD)
    flat = x.double().flatten(1)
    right = (flat - flat.mean(1, keepdim=True)) / flat.std(1, keepdim=True)
    return _differs(ask(op, x, device=device), right.view(x.shape), _CLOSE)


def rescale(op: Op, device: torch.device) -> str | None:
    """Percentiles of each sample to 0 and 1, what lies beyond clipped."""
    x = _batch(1, *ODD)
    low, high = np.percentile(x.double().flatten(1), w.PERCENTILES, axis=1)
    low, high = (torch.from_numpy(end).view(-1, 1, 1, 1, 1) for end in (low, high))
    right = ((x - low) / (high - low)).clamp(0, 1)
    return _differs(ask(op, x, device=device), right, _GAP)


def remap_labels(op: Op, device: torch.device) -> str | None:
    """Label for label."""
    table = torch.tensor([w.REMAPPING[label] for label in range(w.LABELS)])
    labels = _labels()
    return _differs(ask(op, labels, device=device), table[labels.long()].double(), 0)


def one_hot(op: Op, device: torch.device) -> str | None:
    """One channel for each label, from 0 up."""
    labels = _labels()
    right = memberships(labels[:, 0].long(), w.LABELS).movedim(-1, 1)
    return _differs(ask(op, labels, device=device), right.double(), 0)


def largest_component(op: Op, device: torch.device) -> str | None:
    """A thread of 433 voxels; boxes of 343, two of which share a corner, are smaller."""
    thread = torch.zeros(ODD, dtype=torch.bool)
    thread[1:29:2, 1:31, 1] = True  # 14 rows of 30, joined at alternate ends
    thread[2:28:4, 30, 1] = thread[4:28:4, 1, 1] = True
    boxes = torch.zeros_like(thread)
    boxes[3:10, 3:10, 6:13] = boxes[10:17, 10:17, 13:20] = boxes[20:27, 20:27, 6:13] = True
    mask = (thread | boxes).byte()[None, None]
    return _differs(ask(op, mask, device=device), thread[None, None].double(), 0)


def percentile(op: Op, device: torch.device) -> str | None:
    """Linear between neighbours, as numpy's; numbers are float32, below 4."""
    x = torch.randn(1, 1, *ODD, generator=torch.Generator().manual_seed(0))
    right = np.percentile(x.double().flatten(1), w.PERCENTILES, axis=1).T
    return _differs(ask(op, x, device=device), torch.from_numpy(right), 1e-6)

"""Operations whose result is known: against numpy or float64."""

from functools import partial
from itertools import product

import numpy as np
import torch
from torch.nn.functional import one_hot as memberships
from torch.nn.functional import pad

from .. import workloads as w
from ..inputs import grid_patches
from .asking import Op, ask, need, noise, row, same, voxels

asks, timed = partial(row, "Preprocessing and labels"), partial(row, "")

#: Odd ones, and odd differences to what they are cropped, padded and resampled to.
_ODD = (30, 33, 37)
#: Linear weights in float32 of places that are known to about 37 halves of an epsilon, a few times
#: rounded; percentiles between the same two numbers.
_CLOSE = 1e-4
#: Conventions of percentiles differ by less than a gap between neighbours, of some 37 000 numbers.
_GAP = 5e-4
#: A weighted mean of up to 8 equal voxels, at most 1: some 30 roundings of half an epsilon.
_ROUNDED = 20 * torch.finfo(torch.float32).eps


#: Samples of numbers in [0, 1), cubed, each with a mean and a range of its own, and labels.
_AT = torch.arange(3).view(-1, 1, 1, 1, 1)
_X = noise(3, 2, *_ODD) ** 3 * (1 + _AT) + _AT
_ONE, _LABELS = _X[:, :1], (noise(3, 1, *_ODD) * w.LABELS).byte()


@asks("flip", "flip", "mirror")
@timed("reorientation of an image with mirrored axes", key="to_canonical")
def flip(op: Op) -> None:
    """The volume, with all axes mirrored."""
    same(ask(op, _X), _X.flip(2, 3, 4))


@asks("resampling to a spacing", "resample", "spacing")
def resample(op: Op) -> None:
    """Linear between voxels, at places about the same centre; all lie between voxels' centres."""
    weights = []
    for n, m in zip(_ODD, w.resampled(_ODD), strict=True):
        at = (n - 1) / 2 + w.SPACING * (torch.arange(m, dtype=torch.float64) - (m - 1) / 2)
        weights.append((1 - (at[:, None] - torch.arange(n)).abs()).clamp(min=0))
    right = torch.einsum("bcijk,xi,yj,zk->bcxyz", _X.double(), *weights)
    same(ask(op, _X), right, 5 * _CLOSE)  # numbers reach 5


@asks("crop or pad", "crop", "pad")
def crop_or_pad(op: Op) -> None:
    """About the centre, with zeros; an odd voxel may be on either side."""
    y, found = ask(op, _X), []
    for sides in product((0, 1), repeat=3):
        ends: list[int] = []
        for n, m, side in zip(_ODD, w.crop_or_pad(_ODD), sides, strict=True):
            first = (m - n + side) // 2  # negative where voxels are cut off
            ends = [first, m - n - first, *ends]
        found.append(torch.equal(y, pad(_X.double(), ends)))
    need(any(found), "is not the middle of the batch, in zeros")


@asks("z-normalization", "normaliz", "standardiz")
def z_normalization(op: Op) -> None:
    """Divided by the standard deviation with n or n - 1: apart by 1.4e-5, times 3 at most."""
    std, mean = torch.std_mean(_ONE.double(), (1, 2, 3, 4), keepdim=True)
    same(ask(op, _ONE), (_ONE - mean) / std, _CLOSE)


@asks("intensities rescaled between percentiles", "percentile", "quantile")
def rescale(op: Op) -> None:
    """Percentiles 0.5 and 99.5 of each sample to 0 and 1, what lies beyond clipped."""
    ends = np.percentile(_ONE.double().flatten(1), w.PERCENTILES, axis=1)
    low, high = torch.from_numpy(ends)[..., None, None, None, None]
    same(ask(op, _ONE), ((_ONE - low) / (high - low)).clamp(0, 1), _GAP)


@asks("labels replaced by others", "remap", "maplabel", "relabel")
def remap_labels(op: Op) -> None:
    """Label for label."""
    table = torch.tensor([w.REMAPPING[label] for label in range(w.LABELS)])
    same(ask(op, _LABELS), table[_LABELS.long()])


@asks("one-hot label maps", "onehot")
def one_hot(op: Op) -> None:
    """One channel for each label, from 0 up."""
    same(ask(op, _LABELS), memberships(_LABELS[:, 0].long(), w.LABELS).movedim(-1, 1))


@asks("largest component of labels", "component", "largest")
def largest_component(op: Op) -> None:
    """A thread of 433 voxels; boxes of 343, two of which share a corner, are smaller."""
    thread = torch.zeros(1, 1, *_ODD, dtype=torch.uint8)
    thread[..., 1:29:2, 1:31, 1] = 1  # 14 rows of 30, joined at alternate ends
    thread[..., 2:28:4, 30, 1] = thread[..., 4:28:4, 1, 1] = 1
    x = thread.clone()
    x[..., 3:10, 3:10, 6:13] = x[..., 10:17, 10:17, 13:20] = x[..., 20:27, 20:27, 6:13] = 1
    same(ask(op, x), thread)


@timed("percentiles")
def percentile(op: Op) -> None:
    """Linear between neighbours, as numpy's; numbers are float32, below 4."""
    x = torch.randn(1, 1, *_ODD, generator=torch.Generator().manual_seed(0))
    right = np.percentile(x.double().flatten(1), w.PERCENTILES, axis=1).T
    same(ask(op, x), torch.from_numpy(right), 1e-6)


@asks("overlapping patches put together with Hann weights", "aggregat")
def aggregate(op: Op) -> None:
    """Patches cut out of a volume become that volume, to rounding."""
    x = noise(1, 2, 64, 64, 64)
    same(ask(op, *grid_patches(x)), x, _ROUNDED)


@asks("dense inference with Gaussian weights", "sliding", "aggregat", key="infer_gaussian")
@asks("dense inference with Hann weights", "sliding", "aggregat")
def infer_hann(op: Op) -> None:
    """A network that returns what it is given returns the volume, to rounding."""
    x = noise(1, 2, 64, 64, 64)
    same(ask(op, x), x, _ROUNDED)


@asks("histogram standardization by landmarks", "landmark", "histogramstandard")
def landmarks(op: Op) -> None:
    """Learnt from images (1, I, J, K) of different contrast, it makes them alike."""
    x = noise(1, 12, 12, 12)
    y, z = op([x, 3 * x + 5])
    apart = (y - z).abs().mean() / y.std()
    need(apart < 0.05, f"they differ by {apart:.2f} sd")


@asks("labels grown and shrunk by a radius", "dilate", "erode", "morpholog")
def morphology(ops: dict[str, Op]) -> None:
    """A cube of 8³ voxels gains some, and loses some."""
    x = torch.zeros(1, 1, 24, 24, 24, dtype=torch.int64)
    x[..., 8:16, 8:16, 8:16] = 1
    grown, shrunk = ((ask(ops[name], x) == 1).sum() for name in ("grown", "shrunk"))
    need(grown > 512, "nothing grows")
    need(512 > shrunk > 0, "nothing shrinks")


@timed("prep6")
def prep6(op: Op) -> None:
    """A raw ellipsoid (1, I, J, K), brighter towards one end of I, and its labels, are prepared."""
    # About as many millimetres along each axis; 3/4 of it stays as far from the centre as `reach`.
    raw, reach = (80, 88, 60), 50
    at, middle = voxels(raw), (torch.tensor(raw).view(3, 1, 1, 1) - 1) / 2
    inside = ((at - middle) / (0.75 * middle)).square().sum(0) <= 1
    y = ask(op, ((100 + 10 * at[0]) * inside).float()[None], inside.byte()[None])[0]
    y = y[tuple(slice(n // 2 - reach, n // 2 + reach) for n in y.shape)]
    content = (y - y.median()).abs() > 1e-3  # the ellipsoid is an eighth of it
    size = content.sum() / inside.sum() / abs(w.RAW[0][0] * w.RAW[1][1] * w.RAW[2][2])
    # all axes may be scaled alike, and the surface be a voxel wider
    need(0.68 < size < 1.5, f"the subject is {size:.2g} times as large as it was")
    std, mean = torch.std_mean(y[content])
    # Its surface is blended with what is around it, by each interpolation.
    need(abs(mean) <= 1 and 0.6 < std < 2, f"numbers have mean {mean:.2g} and std {std:.2g}")
    places = voxels(tuple(y.shape))[:, content] - (reach - 0.5)
    longer = places[2].std() / places[0].std()  # 1, but for scales and bends
    need(0.77 < longer < 1.3, f"the subject is {longer:.2g} times as long along K as along I")
    away = places.mean(1).norm()
    most = w.AFFINE["translation"] * 3**0.5 / (1 - w.AFFINE["scales"]) + 3  # 3 for what bends
    need(away <= most, f"the subject is {away:.2g} mm away from the centre, not at most {most:.2g}")
    brighter = torch.corrcoef(torch.stack([y[content], places[0]]))[0, 1]
    need(brighter <= 0, "the first axis is not mirrored, so not from left to right")


@asks("prediction on the grid of the original image")
def infer_original(op: Op) -> None:
    """A blob brought to RAS+ and 1 mm, predicted by a network that returns it, and brought back."""
    at = voxels((64, 60, 48)) - torch.tensor([31.5, 29.5, 23.5]).view(3, 1, 1, 1)
    image = (-(at / 16).square().sum(0)).exp().float()[None]
    y = ask(op, image, (image > 0.3).byte())
    off = (y - image)[image > 0.3].abs().max()
    need(off < 0.1, f"wrong by up to {off:.2g} of the peak")

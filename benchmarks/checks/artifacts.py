"""Artifacts of k-space and of slices, and patches that change places."""

import math
from functools import partial

import torch
from torch import Tensor

from .. import workloads as w
from .asking import SIZE, Op, alike, ask, beyond, happened, need, noise, often, one, row, voxels

asks, _spectrum = partial(row, "MRI"), partial(torch.fft.fftn, dim=(-3, -2, -1))


@asks("MRI motion", "motion")
def motion(op: Op) -> None:
    """A ball changes, and neither the mean nor the centre of the image does."""
    centre = (torch.tensor(SIZE).view(3, 1, 1, 1) - 1) / 2
    x = (((voxels(SIZE) - centre) / 9).square().sum(0) < 1).float()[None]
    y = often(op, x)[:, 0]
    change = 100 * (y.sum((1, 2, 3)) / x.sum() - 1).abs().max()
    need(change <= 10, f"changes the mean by up to {change:.0f} %")  # what rings about 0 adds to it
    far = 100 * ((y - x).square().mean((1, 2, 3)) / x.square().mean()).sqrt().max()
    need(far >= 12, f"hardly moves: {far:.2g} % rms at most")
    weight = y.clamp(min=0).flatten(1)
    middle = weight @ (voxels(SIZE) - centre).flatten(1).T / weight.sum(1, keepdim=True)
    drift = middle.norm(dim=1).max()
    need(drift <= 2, f"the centre of the image drifts, by up to {drift:.2g} voxels")
    alike(y[:, ::4, ::4, ::4], 1e-4)


@asks("MRI ghosts", "ghost")
def ghosting(op: Op) -> None:
    """Planes of k-space along one axis, at equal distances, lose a share; others stay."""
    x = 2 + noise(1, *SIZE)  # so far above 0 that no ghost makes it negative
    before, parameters = _spectrum(x)[0], w.ghosting(SIZE)
    low, high = parameters["num_ghosts"]
    periods, lost = [], []
    for y in often(op, x)[:, 0]:
        after = _spectrum(y)
        need(0.98 < (after[0, 0, 0] / before[0, 0, 0]).abs() < 1.02, "changes the mean")
        left, kept = min((_kept(before, after, axis) for axis in range(3)), key=lambda k: k[0])
        need(left <= 2, f"is not a change of planes along one axis: {left:.2g} % rms is left over")
        period = _period(kept)
        # Of a real image a comb and its mirror image, each of half the loss, may interleave.
        if period < low and (1 - kept)[kept < 0.9].median() < 0.51:
            period *= 2
        periods.append(period)
        lost.append((1 - kept).mean() * period)
    right = low <= min(periods) and max(periods) <= high
    need(right, f"every n-th plane is changed, n of {periods}, not {low} to {high}")
    beyond("planes lose a share of", torch.stack(lost), 1.25 * parameters["intensity"][1])


def _kept(before: Tensor, after: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return the percentage unexplained, and what planes along an axis keep, lowest first."""
    b, a = (torch.view_as_real(v.movedim(axis, 0)).flatten(1) for v in (before, after))
    kept = (a * b).sum(1) / b.square().sum(1)
    left = (a - kept[:, None] * b).square().sum() / (a - b).square().sum()
    return 100 * left.sqrt(), torch.fft.fftshift(kept)


def _period(kept: Tensor) -> int:
    """Return the planes from one that is changed to the next of its comb."""
    changed, n = kept < 0.9, len(kept)
    changed[n // 2] = True  # the central one is never changed, and may be of the comb
    for period in range(1, n // 2):
        possible = changed[:-period].sum()
        if possible and (changed[:-period] & changed[period:]).sum() >= 0.7 * possible:
            return period
    return n


@asks("MRI spikes", "spike")
def spike(op: Op) -> None:
    """One plane wave whose amplitude in k-space is 1 to 3 of the largest there was."""
    x = noise(1, *SIZE)  # its mean is 1/2, as that of the batch: a contender may rely on it
    waves = _spectrum(often(op, x)[:, 0] - x).abs().flatten(1)
    top = waves.topk(2)  # the second is 0 where the first is its own mirror image
    share = 100 * (top.values.square().sum(1) / waves.square().sum(1)).min()
    need(not share < 99, f"is not one plane wave, which has {share:.3g} % of the power at least")
    heights = top.values.sum(1) / _spectrum(x).abs().max()
    low, high = w.SPIKE["intensity"]
    least, most = heights.min(), heights.max()
    right = least >= 0.95 * low and most <= 1.05 * high
    need(right, f"is {least:.2g} to {most:.2g} of the largest magnitude, not {low} to {high}")
    alike(torch.stack([top.indices[:, 0], heights], 1), 1e-3)


@asks("Gibbs ringing", "gibbs")
def gibbs(op: Op) -> None:
    """High frequencies of noise are cut off, others kept."""
    x = noise(1, 16, 16, 16)
    before, after = (torch.fft.fftshift(_spectrum(v)[0]).abs() for v in (x, one(op, x)))
    kept, lost = (after[s, s, s].norm() / before[s, s, s].norm() for s in (slice(7, 10), slice(3)))
    need(abs(kept - 1) < 0.05 and lost < 0.2, "high frequencies remain")


@asks("MRI wrap-around", "wraparound", "aliasing")
def wrap(op: Op) -> None:
    """A plane is seen again along J, half a field of view away."""
    x = torch.zeros(1, 16, 16, 16)
    x[:, :, 3] = 1
    found = one(op, x)[0].mean((0, 2)).abs()
    need(found[11] > 0.2 * found[3], "nothing folds over")


@asks("MRI partial Fourier", "partialfourier")
def partial_fourier(op: Op) -> None:
    """Half of a wave along J is left where lines of negative frequencies are missing."""
    wave = torch.cos(2 * torch.pi * 7 * torch.arange(16) / 16)[:, None].expand(1, 16, 16, 16)
    need((one(op, wave).abs() - 0.5).abs().max() < 0.05, "lines of both signs are kept")


@asks("MRI chemical shift of fat", "fat", "chemical")
def fat(op: Op) -> None:
    """Voxels of a mask move along I, others stay."""
    x, mask = torch.ones(1, 1, 16, 16, 16), torch.zeros(1, 1, 16, 16, 16, dtype=torch.uint8)
    mask[:, :, 4:8] = 1
    y = ask(op, x, mask)
    happened(y, x, 0.5)
    need((y[:, :, 12:] - 1).abs().max() < 0.3, "all voxels move")


@asks("MRI zipper", "zipper")
def zipper(op: Op) -> None:
    """Noise in one plane, all other voxels are left."""
    x = noise(1, 16, 16, 16) + 2
    changed = one(op, x)[0] != x[0]
    count = min(changed.movedim(axis, 0).flatten(1).any(1).sum() for axis in range(3))
    need(count == 1, f"{count} planes are changed")


@asks("MRI distortion by B0 that conserves intensity", "b0", "susceptib")
def b0(op: Op) -> None:
    """A blob changes, and its sum along each line of one axis does not, to 3 %."""
    x = (-(voxels((32, 32, 32)) - 16).square().sum(0) / 32).exp().float()[None]
    y = one(op, x)
    happened(y, x, 0.02)
    least = min((y - x).sum(axis).abs().max() / x.sum(axis).max() for axis in (1, 2, 3))
    need(least < 0.03, f"sums along lines change by {least:.0%}")


@asks("MRI motion between slices", "slicewise", "slicemotion")
def slices(op: Op) -> None:
    """A straight rod is displaced from slice to slice."""
    found = []
    for axis in (1, 2, 3):
        x = torch.zeros(1, 24, 24, 24)
        x.movedim(axis, 1)[:, :, 9:15, 9:15] = 1
        weight = one(op, x).movedim(axis, 1)[0, 4:-4]
        for place in (torch.arange(24.0)[:, None], torch.arange(24.0)):
            centre = (weight * place).sum((1, 2)) / weight.sum((1, 2)).clamp(min=1e-6)
            found.append(centre.diff(n=2).abs().max())  # 0 after any affine motion
    need(max(found) > 0.3, "slices move together")


@asks("thick slices", "anisotrop", "lowres")
def anisotropy(op: Op) -> None:
    """Fewer voxels along one axis, 1 of 1.5 to 5, and back: a linear map of rows, of that rank."""
    x, found = noise(1, *SIZE), []
    low, high = w.ANISOTROPY["downsampling"]
    for y in often(op, x)[:, 0]:
        left, axis, matrix = min(_along(x[0].double(), y, axis) for axis in range(3))
        need(left <= 0.1, f"changes more than one axis: {left:.2g} % rms is left over")
        at = torch.arange(n := SIZE[axis], dtype=torch.float64)
        # The nearest of two that are as far away: half a voxel.
        shift = (matrix @ at - at)[6:-6].mean()
        need(abs(shift) <= 0.75, f"moves the image by {shift:.2g} voxels")
        rank = int((torch.linalg.svdvals(matrix) > 1e-3).sum())
        right = n / high - 1.01 < rank < n / low + 1.01
        need(right, f"leaves {rank} of {n} voxels, which is not 1 of {low} to {high}")
        found.append([axis, n / rank])
    axes, factors = torch.tensor(found).T
    need(axes.unique().numel() > 1, f"always changes axis {'IJK'[int(axes[0])]}")
    beyond("downsampling of", factors, high * 1.2)
    alike(torch.tensor(found), 1e-3)


def _along(x: Tensor, y: Tensor, axis: int) -> tuple[float, int, Tensor]:
    """Return the map of rows along an axis that explains a change best, after what it leaves."""
    a, b = x.movedim(axis, 0).flatten(1), y.movedim(axis, 0).flatten(1)
    matrix = torch.linalg.lstsq(a.T, b.T).solution.T
    left = (b - matrix @ a).square().sum() / (b - a).square().sum()
    return 100 * left.sqrt().item(), axis, matrix


@asks("patches change places", "swap")
def swap(op: Op) -> None:
    """Every voxel is still there, as many moved as by a hundred exchanges of patches of 15³."""
    size = (40, 44, 48)
    x = torch.arange(math.prod(size), dtype=torch.float64).view(1, *size)
    y = often(op, x.float())[:, 0]
    need((y.flatten(1).sort().values == x.flatten()).all(), "is no exchange: some numbers are gone")
    right = torch.stack([_swapped(x[0], **w.swap(size), seed=n) for n in range(4)])
    moved, expected = (100 * (v != x).double().mean() for v in (y, right))
    need(abs(moved - expected) <= 10, f"moves {moved:.0f} % of voxels, not {expected:.0f} %")
    kept, expected = (100 * (v.diff(dim=3) == 1).double().mean() for v in (y, right))
    need(
        abs(kept - expected) <= 10, f"{kept:.0f} % of neighbours stay together, not {expected:.0f}"
    )
    alike(y[:, ::5, ::5, ::5], 0.5)


def _swapped(x: Tensor, patch_size: int, num_iterations: int, seed: int) -> Tensor:
    """Return an image in which two patches that do not overlap changed places, again and again."""
    y, random = x.clone(), torch.Generator().manual_seed(seed)
    room = torch.tensor(x.shape) - patch_size + 1
    for _ in range(num_iterations):
        a = b = room
        while (a - b).abs().max() < patch_size:
            a, b = (torch.rand(2, 3, generator=random) * room).long()
        one, other = (tuple(slice(i, i + patch_size) for i in corner) for corner in (a, b))
        y[one], y[other] = y[other].clone(), y[one].clone()
    return y

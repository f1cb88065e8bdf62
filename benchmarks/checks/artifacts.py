"""Artifacts of k-space and of slices, and patches that change places."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .. import workloads as w
from .asking import (
    SIZE,
    SPACE,
    Op,
    alike,
    ask,
    ask_often,
    beyond,
    group,
    happened,
    noise,
    one,
    voxels,
)

asks = group("MRI")


def _spectrum(x: Tensor) -> Tensor:
    return torch.fft.fftn(x.double(), dim=SPACE)


@asks("MRI motion", "motion")
def motion(op: Op) -> str | None:
    """A ball in several poses within k-space: no rigid motion of the whole, and neither the mean
    nor the centre of the image moves."""
    centre = (torch.tensor(SIZE).view(3, 1, 1, 1) - 1) / 2
    x = (((voxels(SIZE) - centre) / 9).square().sum(0) < 1).float()[None]
    y = ask_often(op, x)[:, 0]
    change = (y.sum((1, 2, 3)) / x.sum() - 1).abs().max().item()
    if change > 0.1:  # magnitudes of what rings about 0 add to it
        return f"changes the mean by up to {100 * change:.0f} %"
    far = ((y - x).square().mean((1, 2, 3)) / x.double().square().mean()).sqrt().max().item()
    if far < 0.12:
        return f"hardly moves: {100 * far:.2g} % rms at most"
    # A ball that was moved as a whole has the magnitudes that it had; parts do not fit together.
    before, after = _spectrum(x).abs(), _spectrum(y).abs()
    if ((after - before).square().sum((1, 2, 3)) / before.square().sum()).sqrt().max() < 0.02:
        return "moves the image as a whole"
    weight = y.clamp(min=0)
    middle = (weight[:, None] * voxels(SIZE)).sum(SPACE) / weight.sum(SPACE)[:, None]
    if (drift := (middle - centre.flatten()).norm(dim=1).max()) > 2:
        return f"the centre of the image drifts, by up to {drift:.2g} voxels"
    return alike(y[:, ::4, ::4, ::4], 1e-4)


@asks("MRI ghosts", "ghost")
def ghosting(op: Op) -> str | None:
    """Planes of k-space along one axis, at equal distances, lose a share; others and the mean
    stay."""
    x = 2 + noise(1, *SIZE)  # so far above 0 that no ghost makes it negative
    before, parameters = _spectrum(x)[0], w.ghosting(SIZE)
    low, high = parameters["num_ghosts"]
    found = []
    for y in ask_often(op, x)[:, 0]:
        after = _spectrum(y)
        if not 0.98 < (after[0, 0, 0] / before[0, 0, 0]).abs() < 1.02:
            return "changes the mean"
        kept, left = min((_kept(before, after, axis) for axis in range(3)), key=lambda k: k[1])
        if left > 0.02:
            return f"is not a change of planes along one axis: {100 * left:.2g} % rms is left over"
        period = _period(kept)
        # Of a real image a comb and its mirror image, each of half the loss, may interleave.
        if period < low and (1 - kept)[kept < 0.9].median() < 0.51:
            period *= 2
        found.append((kept, period))
    periods = [period for _, period in found]
    if min(periods) < low or max(periods) > high:
        between = f"{min(periods)} to {max(periods)}"
        return f"every n-th plane is changed, n from {between}, not {low} to {high}"
    lost = torch.tensor([(1 - kept).sum().item() / len(kept) * n for kept, n in found])
    return beyond("planes lose a share of", lost, 1.25 * parameters["intensity"][1])


def _kept(before: Tensor, after: Tensor, axis: int) -> tuple[Tensor, float]:
    """Return what planes along an axis keep, lowest frequency first, and the share unexplained."""
    b, a = (torch.view_as_real(v.movedim(axis, 0)).flatten(1) for v in (before, after))
    kept = (a * b).sum(1) / b.square().sum(1)
    left = (a - kept[:, None] * b).square().sum() / (a - b).square().sum()
    return torch.fft.fftshift(kept), left.sqrt().item()


def _period(kept: Tensor) -> int:
    """Return the planes from one that is changed to the next of its comb."""
    changed, n = kept < 0.9, len(kept)
    changed[n // 2] = True  # the central one is never changed, and may be of the comb
    for period in range(1, n // 2):
        possible = changed[:-period].sum().item()
        if possible and (changed[:-period] & changed[period:]).sum() >= 0.7 * possible:
            return period
    return n


@asks("MRI spikes", "spike")
def spike(op: Op) -> str | None:
    """One plane wave whose amplitude in k-space is 1 to 3 of the largest there was."""
    x = noise(1, *SIZE)  # its mean is 1/2, as that of the batch: a contender may rely on it
    waves = _spectrum(ask_often(op, x)[:, 0] - x).abs()
    opposite = waves.flip(SPACE).roll((1, 1, 1), SPACE)
    at = waves.flatten(1).argmax(1, keepdim=True)
    place = torch.stack(torch.unravel_index(at[:, 0], SIZE), 1)
    alone = ((-place) % torch.tensor(SIZE) == place).all(1)  # its own mirror image
    height, mirror = (v.flatten(1).gather(1, at)[:, 0] for v in (waves, opposite))
    mirror[alone] = 0
    share = ((height**2 + mirror**2) / waves.square().sum(SPACE)).min().item()
    if share < 0.99:
        return f"is not one plane wave, which has {100 * share:.3g} % of the power at least"
    heights = (height + mirror) / _spectrum(x).abs().max()
    low, high = w.SPIKE["intensity"]
    if heights.min() < 0.95 * low or heights.max() > 1.05 * high:
        between = f"{heights.min().item():.2g} to {heights.max().item():.2g}"
        return f"is {between} of the largest magnitude in k-space, not {low} to {high}"
    return alike(torch.cat([place, heights[:, None]], 1), 1e-3)


@asks("Gibbs ringing", "gibbs")
def gibbs(op: Op) -> str | None:
    """High frequencies of noise are cut off, others kept."""
    x = noise(1, 16, 16, 16)
    before, after = (torch.fft.fftshift(_spectrum(v)[0]).abs() for v in (x, one(op, x)))
    centre, corner = (slice(7, 10),) * 3, (slice(0, 3),) * 3
    kept = after[centre].norm() / before[centre].norm()
    lost = after[corner].norm() / before[corner].norm()
    return None if abs(kept - 1) < 0.05 and lost < 0.2 else "high frequencies remain"


@asks("MRI wrap-around", "wraparound", "aliasing")
def wrap(op: Op) -> str | None:
    """A plane is seen again along J, half a field of view away."""
    x = torch.zeros(1, 16, 16, 16)
    x[:, :, 3] = 1
    found = one(op, x)[0].mean((0, 2)).abs()
    return None if found[11] > 0.2 * found[3] else "nothing folds over"


@asks("MRI partial Fourier", "partialfourier")
def partial_fourier(op: Op) -> str | None:
    """Of a wave along J whose lines of negative frequencies are missing, half of its magnitude is
    left everywhere."""
    wave = torch.cos(2 * torch.pi * 7 * torch.arange(16) / 16)[:, None].expand(1, 16, 16, 16)
    even = (one(op, wave).abs() - 0.5).abs().max() < 0.05
    return None if even else "lines of both signs are kept"


@asks("MRI chemical shift of fat", "fat", "chemical")
def fat(op: Op) -> str | None:
    """Voxels of a mask move along I, others stay."""
    x, mask = torch.ones(1, 1, 16, 16, 16), torch.zeros(1, 1, 16, 16, 16, dtype=torch.uint8)
    mask[:, :, 4:8] = 1
    y = ask(op, x, mask)
    happened(y, x, 0.5)
    kept = abs(y.sum() - x.sum()) < 0.02 * x.sum()
    return None if kept and (y[:, :, 12:] - 1).abs().max() < 0.3 else "all voxels move"


@asks("MRI zipper", "zipper")
def zipper(op: Op) -> str | None:
    """Noise in one plane, all other voxels are left."""
    x = noise(1, 16, 16, 16) + 2
    y = one(op, x)
    happened(y, x)
    changed = y[0] != x[0]
    counts = [int(changed.movedim(axis, 0).flatten(1).any(1).sum()) for axis in range(3)]
    return None if min(counts) == 1 else f"{min(counts)} planes are changed"


@asks("MRI distortion by B0 that conserves intensity", "b0", "susceptib")
def b0(op: Op) -> str | None:
    """A blob changes, and its sum along each line of one axis does not, to 3 %."""
    at = voxels((32, 32, 32)) - 16
    x = (-at.square().sum(0) / 32).exp().float()[None]
    y = one(op, x)
    happened(y, x, 0.02)
    sums = [(x.sum(axis), y.sum(axis)) for axis in (1, 2, 3)]
    least = min(float((b - a).abs().max() / a.max()) for a, b in sums)
    return None if least < 0.03 else f"sums along lines change by {least:.0%}"


@asks("MRI motion between slices", "slicewise", "slicemotion")
def slices(op: Op) -> str | None:
    """A straight rod is displaced from slice to slice."""
    found = []
    for axis in range(3):
        x = torch.zeros(1, 24, 24, 24)
        x.movedim(1 + axis, 1)[:, :, 9:15, 9:15] = 1
        y = one(op, x)[0].movedim(axis, 0)
        weight = y / y.sum((1, 2), keepdim=True).clamp(min=1e-6)
        for place in (torch.arange(24.0)[:, None], torch.arange(24.0)):
            centre = (weight * place).sum((1, 2))[4:-4]
            found.append(float(centre.diff(n=2).abs().max()))  # 0 after any affine motion
    return None if max(found) > 0.3 else "slices move together"


@asks("thick slices", "anisotrop", "lowres")
def anisotropy(op: Op) -> str | None:
    """Fewer voxels along one axis, 1 of 1.5 to 5, and back: a linear map of rows, of that rank."""
    x = noise(1, *SIZE)
    found = []
    low, high = w.ANISOTROPY["downsampling"]
    for y in ask_often(op, x)[:, 0]:
        left, matrix, axis = min(_along(x[0].double(), y, axis) for axis in range(3))
        if left > 1e-3:
            return f"changes more than one axis: {100 * left:.2g} % rms is left over"
        n, inside = SIZE[axis], slice(6, -6)
        at = torch.arange(n, dtype=torch.float64)
        if (matrix.sum(1) - 1)[inside].abs().max() > 1e-3:
            return "changes the mean"
        # The nearest of two that are as far away: half a voxel.
        if abs(shift := (matrix @ at - at)[inside].mean().item()) > 0.75:
            return f"moves the image by {shift:.2g} voxels"
        rank = int((torch.linalg.svdvals(matrix) > 1e-3).sum())
        if not n / high - 1.01 < rank < n / low + 1.01:
            return f"leaves {rank} of {n} voxels, which is not 1 of {low} to {high}"
        found.append([axis, n / rank])
    axes, factors = torch.tensor(found, dtype=torch.float64).T
    if axes.unique().numel() == 1:
        return f"always changes axis {'IJK'[int(axes[0])]}"
    return beyond("downsampling of", factors, high * 1.2) or alike(torch.tensor(found), 1e-3)


def _along(x: Tensor, y: Tensor, axis: int) -> tuple[float, Tensor, int]:
    """Return the map of rows along an axis that explains a change best, after what it leaves."""
    a, b = x.movedim(axis, 0).flatten(1), y.movedim(axis, 0).flatten(1)
    matrix = torch.linalg.lstsq(a.T, b.T).solution.T
    left = (b - matrix @ a).square().sum() / (b - a).square().sum()
    return left.sqrt().item(), matrix, axis


@asks("patches change places", "swap")
def swap(op: Op) -> str | None:
    """Every voxel is still there, as many moved as by a hundred exchanges of patches of 15³."""
    size = (40, 44, 48)
    x = torch.arange(math.prod(size), dtype=torch.float32).view(1, *size)
    y = ask_often(op, x)[:, 0]
    if not torch.equal(y.flatten(1).sort().values, x.double().flatten().expand(len(y), -1)):
        return "is no exchange: some numbers are gone"
    right = torch.stack([_swapped(x[0].double(), **w.swap(size), seed=n) for n in range(4)])
    moved, expected = ((v != x[0]).double().mean().item() for v in (y, right))
    if abs(moved - expected) > 0.1:
        return f"moves {100 * moved:.0f} % of voxels, not {100 * expected:.0f} %"
    kept, expected = ((v.diff(dim=3) == 1).double().mean().item() for v in (y, right))
    if abs(kept - expected) > 0.1:
        return f"{100 * kept:.0f} % of neighbours stay together, not {100 * expected:.0f} %"
    return alike(y[:, ::5, ::5, ::5], 0.5)


def _swapped(x: Tensor, patch_size: int, num_iterations: int, seed: int) -> Tensor:
    """Return an image in which two patches that do not overlap changed places, again and again."""
    y, p, done = x.clone(), patch_size, 0
    random = torch.Generator().manual_seed(seed)
    while done < num_iterations:
        corners = torch.stack(
            [torch.randint(n - p + 1, (2,), generator=random) for n in x.shape], 1
        ).tolist()
        if any(abs(a - b) >= p for a, b in zip(*corners, strict=True)):
            first, second = (tuple(slice(a, a + p) for a in corner) for corner in corners)
            y[first], y[second] = y[second].clone(), y[first].clone()
            done += 1
    return y

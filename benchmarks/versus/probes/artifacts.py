"""Artifacts of k-space, of blur and of coarse slices, and patches that change places."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import workloads as w
from .asking import SIZE, Op, alike, ask_often, beyond, noise, voxels

_SPACE = (-3, -2, -1)
_VOXELS = SIZE[0] * SIZE[1] * SIZE[2]


def _textured() -> Tensor:
    """So far above 0 that no ghost of its texture makes it negative, (1, I, J, K)."""
    return 2 + noise((1, *SIZE))


def motion(op: Op, device: torch.device) -> str | None:
    """A ball in poses of its own for parts of k-space; the middle of it keeps the mean."""
    centre = (torch.tensor(SIZE).view(3, 1, 1, 1) - 1) / 2
    x = (((voxels(SIZE) - centre) / 9).square().sum(0) < 1).float()[None]
    y = ask_often(op, x, device)[:, 0]
    total = y.sum((1, 2, 3)) / x.sum() - 1
    if total.abs().max() > 0.1:  # magnitudes of what rings about 0 add to it
        return f"changes the mean by up to {100 * total.abs().max().item():.0f} %"
    far = (y - x.double()).square().mean((1, 2, 3)).sqrt() / x.double().square().mean().sqrt()
    if far.max() < 0.12:
        return f"hardly moves: {100 * far.max().item():.2g} % rms at most"
    # A ball that was moved as a whole has the magnitudes that it had; parts do not fit together.
    before, after = (torch.fft.fftn(v.double(), dim=_SPACE).abs() for v in (x, y))
    ghosts = ((after - before).square().sum((1, 2, 3)) / before.square().sum()).sqrt()
    if ghosts.max() < 0.02:
        return "moves the image as a whole"
    weight = y.clamp(min=0)
    middle = (weight[:, None] * voxels(SIZE)).sum((2, 3, 4)) / weight.sum((1, 2, 3))[:, None]
    drift = (middle - centre.flatten()).norm(dim=1).max().item()
    if drift > 2:
        return f"the centre of the image drifts, by up to {drift:.2g} voxels"
    return alike(y[:, ::4, ::4, ::4], 1e-4)


def ghosting(op: Op, device: torch.device) -> str | None:
    """Planes of k-space along one axis, at equal distances, lose a share; the mean is kept."""
    x = _textured()
    before = torch.fft.fftn(x.double(), dim=_SPACE)[0]
    parameters = w.ghosting(SIZE)
    low, high = parameters["num_ghosts"]
    found = []
    for y in ask_often(op, x, device)[:, 0]:
        after = torch.fft.fftn(y, dim=_SPACE)
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
    """What planes along an axis keep, from the lowest frequency, and the share not explained."""
    b, a = (torch.view_as_real(v.movedim(axis, 0)).flatten(1) for v in (before, after))
    kept = (a * b).sum(1) / b.square().sum(1)
    left = (a - kept[:, None] * b).square().sum()
    return torch.fft.fftshift(kept), (left / (a - b).square().sum()).sqrt().item()


def _period(kept: Tensor) -> int:
    """Planes from one that is changed to the next of its comb; a real image may have two combs."""
    changed, n = kept < 1 - 0.1, len(kept)
    changed[n // 2] = True  # the central one is never changed, and may be of the comb
    for period in range(1, n // 2):
        ahead = changed[:-period] & changed[period:]
        possible = changed[:-period].sum().item()
        if possible and ahead.sum() >= 0.7 * possible:
            return period
    return n


def spike(op: Op, device: torch.device) -> str | None:
    """One plane wave; its amplitude in k-space is 1 to 3 of the largest there was."""
    x = noise((1, *SIZE))  # its mean is 1/2, as that of the batch: a contender may rely on it
    waves = torch.fft.fftn(ask_often(op, x, device)[:, 0] - x.double(), dim=_SPACE).abs()
    power = waves.square().flatten(1)
    at = power.argmax(1)
    i, j, k = torch.unravel_index(at, SIZE)
    opposite = ((-i % SIZE[0]) * SIZE[1] + (-j % SIZE[1])) * SIZE[2] + (-k % SIZE[2])
    rows = torch.arange(len(at))
    both = power[rows, at] + power[rows, opposite] * (opposite != at)
    share = (both / power.sum(1)).min().item()
    if share < 0.99:
        return f"is not one plane wave, which has {100 * share:.3g} % of the power at least"
    largest = torch.fft.fftn(x.double(), dim=_SPACE).abs().max()
    height = waves.flatten(1)[rows, at] + waves.flatten(1)[rows, opposite] * (opposite != at)
    low, high = w.SPIKE["intensity"]
    heights = height / largest
    if heights.min() < 0.95 * low or heights.max() > 1.05 * high:
        between = f"{heights.min().item():.2g} to {heights.max().item():.2g}"
        return f"is {between} of the largest magnitude in k-space, not {low} to {high}"
    return alike(torch.stack([i, j, k, heights], 1), 1e-3)


def blur(op: Op, device: torch.device) -> str | None:
    """A point becomes a Gaussian with a width of its own along each axis."""
    n = 33
    x = torch.zeros(1, n, n, n)
    x[0, n // 2, n // 2, n // 2] = 1
    y = ask_often(op, x, device)[:, 0]
    total = y.sum((1, 2, 3))
    if (total - 1).abs().max() > 0.01:
        return f"changes the sum by up to {100 * (total - 1).abs().max().item():.2g} %"
    at = torch.arange(n, dtype=torch.float64) - n // 2
    profiles = torch.stack([y.sum((2, 3)), y.sum((1, 3)), y.sum((1, 2))], 1)  # [S, 3, n]
    if (profiles @ at).abs().max() > 0.01:
        return f"moves a point by up to {(profiles @ at).abs().max().item():.2g} voxels"
    std = (profiles @ at**2).sqrt()
    # A Gaussian averaged over voxels is wider: its variance grows by 1/12.
    remark = beyond("standard deviation of", std, 1.02 * w.BLUR["std"][1])
    if remark:
        return remark
    if ((std.amax(1) - std.amin(1)) < 0.01).all():
        return "blurs all axes alike"
    wide = std > 1
    kurtosis = ((profiles @ at**4) / std**4)[wide]
    if not kurtosis.min() > 2.5 or not kurtosis.max() < 3.2:  # one cut off at 3 of its widths: 2.8
        extreme = f"{kurtosis.min().item():.2g} to {kurtosis.max().item():.2g}"
        return f"is no Gaussian: kurtosis of {extreme}, not 3"
    apart = torch.einsum("si,sj,sk->sijk", *profiles.unbind(1)) - y
    if apart.abs().max() > 0.01 * y.max():
        return "is no product of three profiles"
    return alike(std, 1e-3)


def anisotropy(op: Op, device: torch.device) -> str | None:
    """Fewer voxels along one axis, and back: a linear map of rows, of that rank."""
    x = noise((1, *SIZE))
    found, axes = [], []
    for y in ask_often(op, x, device)[:, 0]:
        best = min((_along(x[0].double(), y, axis) for axis in range(3)), key=lambda a: a[0])
        left, matrix, axis = best
        if left > 1e-3:
            return f"changes more than one axis: {100 * left:.2g} % rms is left over"
        n = SIZE[axis]
        at = torch.arange(n, dtype=torch.float64)
        inside = slice(6, -6)
        if (matrix.sum(1) - 1)[inside].abs().max() > 1e-3:
            return "changes the mean"
        # The nearest of two that are as far away: half a voxel.
        if abs(shift := (matrix @ at - at)[inside].mean().item()) > 0.75:
            return f"moves the image by {shift:.2g} voxels"
        rank = int((torch.linalg.svdvals(matrix) > 1e-3).sum())
        low, high = w.ANISOTROPY["downsampling"]
        if not n / high - 1.01 < rank < n / low + 1.01:
            return f"leaves {rank} of {n} voxels, which is not 1 of {low} to {high}"
        found.append([float(axis), n / rank])
        axes.append(axis)
    if len(set(axes)) == 1:
        return f"always changes axis {'IJK'[axes[0]]}"
    factors = torch.tensor(found)
    remark = beyond("downsampling of", factors[:, 1], w.ANISOTROPY["downsampling"][1] * 1.2)
    return remark or alike(factors, 1e-3)


def _along(x: Tensor, y: Tensor, axis: int) -> tuple[float, Tensor, int]:
    """The map of rows along an axis that explains a change best, and the share it does not."""
    a, b = x.movedim(axis, 0).flatten(1), y.movedim(axis, 0).flatten(1)
    matrix = torch.linalg.lstsq(a.T, b.T).solution.T
    left = (b - matrix @ a).square().sum() / (b - a).square().sum()
    return left.sqrt().item(), matrix, axis


def swap(op: Op, device: torch.device) -> str | None:
    """Every voxel is still there, as many moved as they should be, in patches as large."""
    size = (40, 44, 48)
    x = torch.arange(size[0] * size[1] * size[2], dtype=torch.float32).view(1, *size)
    y = ask_often(op, x, device)[:, 0]
    if not torch.equal(y.flatten(1).sort().values, x.double().flatten().expand(len(y), -1)):
        return "is no exchange: some numbers are gone"
    parameters = w.swap(size)
    right = torch.stack([_swapped(x[0].double(), **parameters, seed=n) for n in range(4)])
    moved, expected = ((v != x[0]).double().mean().item() for v in (y, right))
    if abs(moved - expected) > 0.1:
        return f"moves {100 * moved:.0f} % of voxels, not {100 * expected:.0f} %"
    kept, expected = ((v.diff(dim=3) == 1).double().mean().item() for v in (y, right))
    if abs(kept - expected) > 0.1:
        return f"{100 * kept:.0f} % of neighbours stay together, not {100 * expected:.0f} %"
    return alike(y[:, ::5, ::5, ::5], 0.5)


def _swapped(x: Tensor, patch_size: int, num_iterations: int, seed: int) -> Tensor:
    """Two patches that do not overlap change places, again and again."""
    y, p = x.clone(), patch_size
    random = torch.Generator().manual_seed(seed)
    done = 0
    while done < num_iterations:
        corners = [
            [int(torch.randint(n - p + 1, (), generator=random)) for n in x.shape] for _ in range(2)
        ]
        if all(abs(a - b) < p for a, b in zip(*corners, strict=True)):
            continue
        one, two = (tuple(slice(a, a + p) for a in corner) for corner in corners)
        y[one], y[two] = y[two].clone(), y[one].clone()
        done += 1
    return y

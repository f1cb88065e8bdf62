"""Operations that change numbers, artifacts of MRI, and images that are made of label maps."""

import math
from functools import partial
from itertools import product

import torch
from torch import Tensor

from .. import workloads as w
from .asking import SIZE, Op, alike, ask, beyond, happened, need, often, one, row, voxels
from .asking import noise as uniform

asks, mri, timed = partial(row, "Intensities"), partial(row, "MRI"), partial(row, "")

_spectrum = partial(torch.fft.fftn, dim=(-3, -2, -1))
_VOXELS = math.prod(SIZE)
#: Estimates of that many normal numbers are off by less than 5 of their standard deviations.
_SURE = 5 / _VOXELS**0.5


@mri("MRI bias field", "bias")
def bias_field(op: Op) -> None:
    """Multiplies by the exponential of a polynomial of order 3, of ones and twos."""
    x = 1 + uniform(1, *SIZE).round()
    logs = (often(op, x) / x).flatten(1).log()  # [S, V], NaN where the field is not positive
    rms = logs.square().mean().sqrt()
    ones = x.flatten() == 1  # scattered, so that they see as much of a field as the twos
    apart = (logs[:, ones].mean(1) - logs[:, ~ones].mean(1)).abs().max()
    need(apart <= 0.1 * rms, "does not multiply: ones and twos get fields of their own")
    order, end = w.BIAS_FIELD["order"], w.BIAS_FIELD["coefficients"]
    at = 2 * voxels(SIZE).flatten(1).T / (torch.tensor(SIZE) - 1) - 1
    powers = [each for each in product(range(order + 1), repeat=3) if sum(each) <= order]
    terms = torch.stack([(at ** torch.tensor(each)).prod(1) for each in powers], 1)
    q = torch.linalg.qr(terms).Q
    left = 100 * (logs - logs @ q @ q.T).square().mean().sqrt() / rms
    # float32 rounds to 1e-7, of logarithms of about 1
    need(left <= 0.1, f"log field is no polynomial of order {order}: a fit leaves {left:.2g} % rms")
    right = end * (terms.square().mean(0).sum() / 3).sqrt()
    need(right / 2 < rms < 2 * right, f"log field of {rms:.2g} rms, not {right:.2g}")
    alike(logs[:, ::997], 1e-3)


@asks("gamma", "gamma", "adjustcontrast")
def gamma(op: Op) -> None:
    """One exponent for each sample, e^-0.3 to e^0.3, of a ramp from 0 to 1."""
    x = torch.linspace(0, 1, _VOXELS).view(1, *SIZE)
    inner = (x > 0.05) & (x < 0.95)  # where logarithms are not 0
    logs = (often(op, x)[:, inner].log() / x[inner].log()).log()  # of the exponents, [S, V]
    exponents = logs.mean(1)
    off = (logs - exponents[:, None]).abs().max()
    need(off <= 1e-3, "is no power: exponents differ between voxels")
    beyond("log gamma of", exponents.abs(), 1.001 * w.GAMMA["log_gamma"][1])
    alike(exponents, 1e-5)


@asks("noise", "noise")
def noise(op: Op) -> None:
    """White normal noise, with a standard deviation of its own for each sample."""
    x = uniform(1, *SIZE)
    d = (often(op, x) - x).flatten(1)
    std, mean = torch.std_mean(d, 1, keepdim=True)
    need((mean.abs() <= _SURE * std).all(), "noise has a mean")
    z = (d - mean) / std  # NaN where there is no noise
    off = z.pow(4).mean(1) - 3
    need(
        off.abs().max() <= 24**0.5 * _SURE, f"noise is not normal: kurtosis of {3 + off.mean():.3g}"
    )
    volumes = z.unflatten(1, SIZE)
    near = [(volumes * volumes.roll(1, axis)).mean((1, 2, 3)).abs().max() for axis in (1, 2, 3)]
    need(max(near) <= 1.1 * _SURE, "noise is not white: neighbours are alike")
    between = (z @ z.T / _VOXELS).fill_diagonal_(0).abs().max()
    need(between <= _SURE, f"samples share their noise: correlation of {between:.2g}")
    bright = x.flatten() > 0.5
    ratio = d[:, bright].std(1) / d[:, ~bright].std(1)
    need((ratio - 1).abs().max() <= 2 * _SURE, "noise depends on the image")
    most = w.NOISE["std"][1] * (1 + _SURE)
    beyond("standard deviation of", std, most)
    alike(std, _SURE / 2 * most)


@asks("Gaussian blur", "blur", "smooth")
def blur(op: Op) -> None:
    """A point becomes a Gaussian with a standard deviation of its own along each axis, up to 2."""
    x = torch.zeros(1, 33, 33, 33)
    x[0, 16, 16, 16] = 1
    y, at = often(op, x)[:, 0], torch.arange(33, dtype=torch.float64) - 16
    change = (y.sum((1, 2, 3)) - 1).abs().max()
    need(change <= 0.01, f"changes the sum by up to {100 * change:.2g} %")
    profiles = torch.stack([y.sum((2, 3)), y.sum((1, 3)), y.sum((1, 2))], 1)  # [S, 3, 33]
    shift = (profiles @ at).abs().max()
    need(shift <= 0.01, f"moves a point by up to {shift:.2g} voxels")
    std = (profiles @ at**2).sqrt()
    beyond("standard deviation of", std, 1.02 * w.BLUR["std"][1])
    need((std.amax(1) - std.amin(1)).max() >= 0.01, "blurs all axes alike")
    kurtosis = ((profiles @ at**4) / std**4)[std > 1]
    low, high = kurtosis.min(), kurtosis.max()  # 2.8 where it is cut off at 3 of its widths
    need(low > 2.5 and high < 3.2, f"is no Gaussian: kurtosis of {low:.2g} to {high:.2g}, not 3")
    apart = (torch.einsum("si,sj,sk->sijk", *profiles.unbind(1)) - y).abs().max()
    need(apart <= 0.01 * y.max(), "is no product of three profiles")
    alike(std, 1e-3)


@mri("images from label maps, as SynthSeg", "labelsto", "labels_to", "synth", "mixture")
def labels_to_image(op: Op) -> None:
    """Normal numbers whose mean and standard deviation are drawn for each label and sample."""
    labels = (uniform(1, *SIZE) * w.LABELS).byte()
    y = often(op, labels)
    found = [torch.stack(torch.std_mean(y[:, labels == n], 1)) for n in range(w.LABELS)]
    reach = _SURE * w.LABELS**0.5 * w.LABELS_TO_IMAGE["default_std"][1]
    for what, each in zip(("std", "mean"), torch.stack(found, 1), strict=True):  # each: [L, S]
        low, high = w.LABELS_TO_IMAGE[f"default_{what}"]
        for label, (least, most) in enumerate(zip(each.amin(1), each.amax(1), strict=True)):
            where = f"{what} of label {label} from {least:.2g} to {most:.2g}"
            need(low - reach <= least and most <= high + reach, f"{where}, not {low} to {high}")
            need(most - least >= (high - low) / 4, f"{where}: it hardly differs")
    need(each.std(0).min() >= 1e-2, "labels share their mean")
    alike(each.T, 1e-4)


#: Log field of pipe6 as it should be, rms: away from the borders, where it is strongest.
_FIELD = 0.44


def _noise_and_field(y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the standard deviation of the noise and the root mean square of the log field of ones
    that went through pipe6, [S, I, J, K]."""
    inner = y[:, 4:-4, 4:-4, 4:-4]
    # Third differences hardly see what is smooth: 1 + 9 + 9 + 1 variances of noise.
    std = (inner.diff(n=3, dim=3).square().mean((1, 2, 3)) / 20).sqrt()
    blocks = torch.nn.functional.avg_pool3d(inner, 4)
    return std, blocks.clamp(min=0.05).log().square().mean().sqrt()  # 0 where there was no image


@timed("pipe6")
def pipe6(op: Op) -> None:
    """Noise and bias field that a batch of ones comes out with."""
    std, rms = _noise_and_field(often(op, torch.ones(1, *SIZE))[:, 0])
    beyond("noise of", std, 1.2 * w.NOISE["std"][1])  # a sixth is for edges that moved into view
    need(0.6 * _FIELD < rms < 1.7 * _FIELD, f"log field of {rms:.2g} rms after it, not {_FIELD}")
    alike(std, 0.004)  # as well as it is known


@timed("one patch")
@timed("four patches", key="four_patches")
def one_patch(op: Op) -> None:
    """Noise and bias field of eight patches of volumes of ones: some may be of one volume."""
    size = tuple(3 * n // 2 for n in SIZE)
    image, labels = torch.ones(1, *size), torch.ones(1, *size, dtype=torch.uint8)
    y = ask(op, image, labels)
    y = torch.cat([y, *(ask(op, image, labels) for _ in range(1, 8 // len(y)))])
    std, rms = _noise_and_field(y[:, 0])
    most = w.NOISE["std"][1]
    need(0.02 * most < std.max() < 1.2 * most, f"noise of up to {std.max():.2g}, not {most}")
    need(_FIELD / 8 < rms < 4 * _FIELD, f"log field of {rms:.2g} rms after it, not {_FIELD}")


@mri("MRI noise of several coils", "coil", "chinoise")
def coils(op: Op) -> None:
    """Zeros get a mean over deviation above that of one coil, 1.91."""
    std, mean = torch.std_mean(one(op, torch.zeros(1, 24, 24, 24)))
    need(mean / std > 2.2, f"mean over deviation is {mean / std:.2f}")


@mri("MRI of a weaker magnet", "lowfield", "field_strength")
def low_field(op: Op) -> None:
    """Mean over deviation of ones falls from 100 to 10 at a tenth of the field, to 10 %."""
    std, mean = torch.std_mean(one(op, torch.ones(1, 24, 24, 24)))
    need(abs(mean / std - 10) < 1, f"mean over deviation is {mean / std:.1f}")


@asks("cuts boxes out", "dropout", "cutout", "erasing", "rectangle")
def dropout(op: Op) -> None:
    """Some voxels change, more than a tenth do not."""
    x = uniform(1, 24, 24, 24) + 1
    y = one(op, x)
    happened(y, x)
    need((y != x).double().mean() < 0.9, "all voxels are changed")


@asks("mixes samples", "mixup", "cutmix", "transplant")
def mixing(op: Op) -> None:
    """Samples between zeros and ones are made of a batch of both."""
    x = torch.stack([torch.zeros(1, 8, 8, 8), torch.ones(1, 8, 8, 8)])
    means = torch.stack([ask(op, x).flatten(1).mean(1) for _ in range(5)])  # some may mix nothing
    need(((means > 0.01) & (means < 0.99)).any(), "samples are not mixed")


@asks("random monotone curves of intensities", "histogramshift", "curve")
def curves(op: Op) -> None:
    """Order and range of the values are kept, and differences between them are not."""
    x = torch.linspace(0, 1, 4096).view(1, 16, 16, 16)
    y = one(op, x).flatten()
    need(y.diff().min() >= -1e-4, "the order of values changes")
    need(max(abs(y[0]), abs(y[-1] - 1)) <= 1e-3, "the range of values changes")
    need((y - x.flatten()).abs().max() > 0.01, "differences are kept")


@mri("MRI motion", "motion")
def motion(op: Op) -> None:
    """A ball changes, and neither the mean nor the centre of the image does."""
    centre = (torch.tensor(SIZE).view(3, 1, 1, 1) - 1) / 2
    x = (((voxels(SIZE) - centre) / 9).square().sum(0) < 1).float()[None]
    y = often(op, x)[:, 0]
    change = 100 * (y.sum((1, 2, 3)) / x.sum() - 1).abs().max()
    need(change <= 10, f"changes the mean by up to {change:.0f} %")  # what rings about 0 adds to it
    far = 100 * ((y - x).square().mean((1, 2, 3)) / x.square().mean()).sqrt().max()
    need(far >= 12, f"hardly moves: {far:.2g} % rms at most")
    # A ball that was moved as a whole has the magnitudes that it had; parts do not fit together.
    before, after = (torch.fft.fftn(v.double(), dim=(-3, -2, -1)).abs() for v in (x, y))
    apart = ((after - before).square().sum((1, 2, 3)) / before.square().sum()).sqrt().max()
    need(apart >= 0.02, "moves the image as a whole")
    weight = y.clamp(min=0).flatten(1)
    middle = weight @ (voxels(SIZE) - centre).flatten(1).T / weight.sum(1, keepdim=True)
    drift = middle.norm(dim=1).max()
    need(drift <= 2, f"the centre of the image drifts, by up to {drift:.2g} voxels")
    alike(y[:, ::4, ::4, ::4], 1e-4)


@mri("MRI ghosts", "ghost")
def ghosting(op: Op) -> None:
    """Planes of k-space along one axis, at equal distances, lose a share; others stay."""
    x = 2 + uniform(1, *SIZE)  # so far above 0 that no ghost makes it negative
    before, parameters = _spectrum(x.double())[0], w.ghosting(SIZE)
    low, high = parameters["num_ghosts"]
    periods, lost = [], []
    for y in often(op, x)[:, 0]:
        after = _spectrum(y)
        need(0.98 < (after[0, 0, 0] / before[0, 0, 0]).abs() < 1.02, "changes the mean")
        left, _, matrix = min(_along(before, after, axis) for axis in range(3))
        need(left <= 2, f"is not a change of planes along one axis: {left:.2g} % rms is left over")
        kept = torch.fft.fftshift(matrix.diagonal().real)
        period = _period(kept)
        # Of a real image a comb and its mirror image, each of half the loss, may interleave.
        if period < low and (1 - kept)[kept < 0.9].median() < 0.51:
            period *= 2
        periods.append(period)
        lost.append((1 - kept).mean() * period)
    right = low <= min(periods) and max(periods) <= high
    need(right, f"every n-th plane is changed, n of {periods}, not {low} to {high}")
    beyond("planes lose a share of", torch.stack(lost), 1.25 * parameters["intensity"][1])


def _period(kept: Tensor) -> int:
    """Return the planes from one that is changed to the next of its comb."""
    changed, n = kept < 0.9, len(kept)
    changed[n // 2] = True  # the central one is never changed, and may be of the comb
    for period in range(1, n // 2):
        possible = changed[:-period].sum()
        if possible and (changed[:-period] & changed[period:]).sum() >= 0.7 * possible:
            return period
    return n


@mri("MRI spikes", "spike")
def spike(op: Op) -> None:
    """One plane wave whose amplitude in k-space is 1 to 3 of the largest there was."""
    x = uniform(1, *SIZE)  # its mean is 1/2, as that of the batch: a contender may rely on it
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


@mri("Gibbs ringing", "gibbs")
def gibbs(op: Op) -> None:
    """High frequencies of noise are cut off, others kept."""
    x = uniform(1, 16, 16, 16)
    before, after = (torch.fft.fftshift(_spectrum(v)[0]).abs() for v in (x, one(op, x)))
    kept, lost = (after[s, s, s].norm() / before[s, s, s].norm() for s in (slice(7, 10), slice(3)))
    need(abs(kept - 1) < 0.05 and lost < 0.2, "high frequencies remain")


@mri("MRI wrap-around", "wraparound", "aliasing")
def wrap(op: Op) -> None:
    """A plane is seen again along J, half a field of view away."""
    x = torch.zeros(1, 16, 16, 16)
    x[:, :, 3] = 1
    found = one(op, x)[0].mean((0, 2)).abs()
    need(found[11] > 0.2 * found[3], "nothing folds over")


@mri("MRI partial Fourier", "partialfourier")
def partial_fourier(op: Op) -> None:
    """Half of a wave along J is left where lines of negative frequencies are missing."""
    wave = torch.cos(2 * torch.pi * 7 * torch.arange(16) / 16)[:, None].expand(1, 16, 16, 16)
    need((one(op, wave).abs() - 0.5).abs().max() < 0.05, "lines of both signs are kept")


@mri("MRI chemical shift of fat", "fat", "chemical")
def fat(op: Op) -> None:
    """Voxels of a mask move along I, others stay; the sum stays, to 2 %."""
    x, mask = torch.ones(1, 1, 16, 16, 16), torch.zeros(1, 1, 16, 16, 16, dtype=torch.uint8)
    mask[:, :, 4:8] = 1
    y = ask(op, x, mask)
    happened(y, x, 0.5)
    need((y[:, :, 12:] - 1).abs().max() < 0.3, "all voxels move")
    need(abs(y.mean() - 1) < 0.02, f"the sum changes by {y.mean() - 1:.0%}")


@mri("MRI zipper", "zipper")
def zipper(op: Op) -> None:
    """Noise in one plane, all other voxels are left."""
    x = uniform(1, 16, 16, 16) + 2
    changed = one(op, x)[0] != x[0]
    count = min(changed.movedim(axis, 0).flatten(1).any(1).sum() for axis in range(3))
    need(count == 1, f"{count} planes are changed")


@mri("MRI distortion by B0 that conserves intensity", "b0", "susceptib")
def b0(op: Op) -> None:
    """A blob changes, and its sum along each line of one axis does not, to 3 %."""
    x = (-(voxels((32, 32, 32)) - 16).square().sum(0) / 32).exp().float()[None]
    y = one(op, x)
    happened(y, x, 0.02)
    least = min((y - x).sum(axis).abs().max() / x.sum(axis).max() for axis in (1, 2, 3))
    need(least < 0.03, f"sums along lines change by {least:.0%}")


@mri("MRI motion between slices", "slicewise", "slicemotion")
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


@mri("thick slices", "anisotrop", "lowres")
def anisotropy(op: Op) -> None:
    """Fewer voxels along one axis, 1 of 1.5 to 5, and back: a linear map of rows, of that rank."""
    x, found = uniform(1, *SIZE), []
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
    left = 100 * (b - matrix @ a).norm() / (b - a).norm()
    return left.item(), axis, matrix


@mri("patches change places", "swap")
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

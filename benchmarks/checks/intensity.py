"""Operations that change numbers where they are, and those that start with a label map."""

import math
from functools import partial
from itertools import product

import torch
from torch import Tensor

from .. import workloads as w
from .asking import SIZE, Op, alike, ask, beyond, happened, need, often, one, row, voxels
from .asking import noise as uniform

asks, mri, timed = partial(row, "Intensities"), partial(row, "MRI"), partial(row, "")

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
    beyond(
        "noise of", std, 1.2 * w.NOISE["std"][1]
    )  # a sixth for edges of what was moved into view
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
    """Of zeros: mean over deviation is above that of one coil, 1.91."""
    std, mean = torch.std_mean(one(op, torch.zeros(1, 24, 24, 24)))
    need(mean / std > 2.2, f"mean over deviation is {mean / std:.2f}")


@mri("MRI of a weaker magnet", "lowfield", "field_strength")
def low_field(op: Op) -> None:
    """Of ones at a tenth of the field, mean over deviation is 100 before and 10, to 10 %, after."""
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
    """Of a batch of zeros and ones, samples between them are made."""
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

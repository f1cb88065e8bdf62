"""Operations that change numbers where they are, and those that start with a label map."""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor

from .. import workloads as w
from .asking import (
    BATCH,
    CALLS,
    SIZE,
    SPACE,
    Op,
    alike,
    ask,
    ask_often,
    beyond,
    group,
    happened,
    one,
)
from .asking import noise as uniform

asks = group("Intensities")
mri, timed = group("MRI"), group("")

_VOXELS = math.prod(SIZE)
#: Estimates of that many normal numbers are off by less than 5 of their standard deviations.
_SURE = 5 / _VOXELS**0.5


@mri("MRI bias field", "bias")
def bias_field(op: Op) -> str | None:
    """Multiplies by the exponential of a polynomial of order 3, of ones and twos."""
    x = 1 + uniform(1, *SIZE).round()
    fields = (ask_often(op, x) / x.double()).flatten(1)  # [S, V]
    if (fields <= 0).any():
        return "is no field: not positive everywhere"
    logs = fields.log()
    rms = logs.square().mean().sqrt().item()
    ones = x.flatten() == 1  # scattered, so that they see as much of a field as the twos
    if (logs[:, ones].mean(1) - logs[:, ~ones].mean(1)).abs().max() > 0.1 * rms:
        return "does not multiply: ones and twos get fields of their own"
    order, end = w.BIAS_FIELD["order"], w.BIAS_FIELD["coefficients"]
    along = (torch.linspace(-1, 1, n, dtype=torch.float64) for n in SIZE)
    i, j, k = (axis.flatten() for axis in torch.meshgrid(*along, indexing="ij"))
    powers = [each for each in product(range(order + 1), repeat=3) if sum(each) <= order]
    terms = torch.stack([i**a * j**b * k**c for a, b, c in powers], 1)
    q = torch.linalg.qr(terms).Q
    left = (logs - logs @ q @ q.T).square().mean().sqrt().item() / rms
    if left > 1e-3:  # float32 rounds to 1e-7, of logarithms of about 1
        return f"log field is no polynomial of order {order}: a fit leaves {100 * left:.2g} % rms"
    right = end * (terms.square().mean(0).sum() / 3).sqrt().item()
    if not right / 2 < rms < 2 * right:
        return f"log field of {rms:.2g} rms, not {right:.2g}"
    return alike(logs[:, ::997], 1e-3)


@asks("gamma", "gamma", "adjustcontrast")
def gamma(op: Op) -> str | None:
    """One exponent for each sample, e^-0.3 to e^0.3, of a ramp from 0 to 1."""
    x = torch.linspace(0, 1, _VOXELS).view(1, *SIZE)
    inner = (x > 0.05) & (x < 0.95)  # where logarithms are not 0
    y = ask_often(op, x)[:, inner]
    if (y <= 0).any():
        return "is no power: not positive where it was"
    logs = (y.log() / x[inner].double().log()).log()  # of the exponents, [S, V]
    exponents = logs.mean(1)
    if (logs - exponents[:, None]).abs().max() > 1e-3:
        return "is no power: exponents differ between voxels"
    most = 1.001 * w.GAMMA["log_gamma"][1]
    return beyond("log gamma of", exponents.abs(), most) or alike(exponents, 1e-5)


@asks("noise", "noise")
def noise(op: Op) -> str | None:
    """White normal noise, independent of the image, of a standard deviation drawn for each
    sample."""
    x = uniform(1, *SIZE)
    d = (ask_often(op, x) - x.double()).flatten(1)
    std = d.std(1)
    if (std == 0).any():
        return "leaves a sample without noise"
    if (d.mean(1).abs() > _SURE * std).any():
        return "noise has a mean"
    z = (d - d.mean(1, keepdim=True)) / std[:, None]
    kurtosis = z.pow(4).mean(1)
    if (kurtosis - 3).abs().max() > 24**0.5 * _SURE:
        return f"noise is not normal: kurtosis of {kurtosis.mean():.3g}, not 3"
    volumes = z.unflatten(1, SIZE)
    for axis, n in enumerate(SIZE, 1):
        pairs = volumes.narrow(axis, 0, n - 1) * volumes.narrow(axis, 1, n - 1)
        if pairs.mean((1, 2, 3)).abs().max() > 1.1 * _SURE:
            return "noise is not white: neighbours are alike"
    if (between := (z @ z.T / _VOXELS).fill_diagonal_(0).abs().max()) > _SURE:
        return f"samples share their noise: correlation of {between:.2g}"
    bright = x.flatten() > 0.5
    if (d[:, bright].std(1) / d[:, ~bright].std(1) - 1).abs().max() > 2 * _SURE:
        return "noise depends on the image"
    most = w.NOISE["std"][1] * (1 + _SURE)
    return beyond("standard deviation of", std, most) or alike(std, _SURE / 2 * most)


@asks("Gaussian blur", "blur", "smooth")
def blur(op: Op) -> str | None:
    """A point becomes a Gaussian with a standard deviation of its own along each axis, up to 2."""
    n = 33
    x = torch.zeros(1, n, n, n)
    x[0, n // 2, n // 2, n // 2] = 1
    y = ask_often(op, x)[:, 0]
    if (change := (y.sum((1, 2, 3)) - 1).abs().max()) > 0.01:
        return f"changes the sum by up to {100 * change:.2g} %"
    at = torch.arange(n, dtype=torch.float64) - n // 2
    profiles = torch.stack([y.sum((2, 3)), y.sum((1, 3)), y.sum((1, 2))], 1)  # [S, 3, n]
    if (shift := (profiles @ at).abs().max()) > 0.01:
        return f"moves a point by up to {shift:.2g} voxels"
    std = (profiles @ at**2).sqrt()
    if wrong := beyond("standard deviation of", std, 1.02 * w.BLUR["std"][1]):
        return wrong
    if ((std.amax(1) - std.amin(1)) < 0.01).all():
        return "blurs all axes alike"
    kurtosis = ((profiles @ at**4) / std**4)[std > 1]
    if not kurtosis.min() > 2.5 or not kurtosis.max() < 3.2:  # one cut off at 3 of its widths: 2.8
        return f"is no Gaussian: kurtosis of {kurtosis.min():.2g} to {kurtosis.max():.2g}, not 3"
    apart = torch.einsum("si,sj,sk->sijk", *profiles.unbind(1)) - y
    if apart.abs().max() > 0.01 * y.max():
        return "is no product of three profiles"
    return alike(std, 1e-3)


@mri("images from label maps, as SynthSeg", "labelsto", "labels_to", "synth", "mixture")
def labels_to_image(op: Op) -> str | None:
    """Normal numbers whose mean and standard deviation are drawn for each label and sample."""
    labels = (uniform(BATCH, 1, *SIZE) * w.LABELS).byte()
    members = torch.stack([labels == label for label in range(w.LABELS)], 1).double()
    means, stds = [], []
    for _ in range(CALLS):
        y = ask(op, labels)[:, None]
        count = members.sum(SPACE)[..., 0]
        mean = (y * members).sum(SPACE)[..., 0] / count
        square = ((y - mean[..., None, None, None, None]) * members).square().sum(SPACE)[..., 0]
        means.append(mean)
        stds.append((square / count).sqrt())
    mean, std = torch.cat(means), torch.cat(stds)  # [S, L]
    reach = _SURE * w.LABELS**0.5 * w.LABELS_TO_IMAGE["default_std"][1]
    for what, found in (("mean", mean), ("std", std)):
        low, high = w.LABELS_TO_IMAGE[f"default_{what}"]
        least, most = found.amin(0), found.amax(0)
        for label in range(w.LABELS):
            where = f"{what} of label {label} from {least[label]:.2g} to {most[label]:.2g}"
            if least[label] < low - reach or most[label] > high + reach:
                return f"{where}, not {low} to {high}"
            if most[label] - least[label] < (high - low) / 4:
                return f"{where}: it hardly differs"
    return "labels share their mean" if (mean.std(1) < 1e-2).any() else alike(mean, 1e-4)


#: Log field of pipe6 as it should be, rms: away from the borders, where it is strongest.
_FIELD = 0.44


def _noise_and_field(y: Tensor) -> tuple[Tensor, float]:
    """Return, of ones that went through pipe6, [S, I, J, K], the standard deviation of the noise of
    each, and the root mean square of the logarithm of what is left without noise."""
    inner = y[:, 4:-4, 4:-4, 4:-4]
    # Third differences hardly see what is smooth: 1 + 9 + 9 + 1 variances of noise.
    std = (inner.diff(n=3, dim=3).square().mean((1, 2, 3)) / 20).sqrt()
    blocks = inner.unfold(1, 4, 4).unfold(2, 4, 4).unfold(3, 4, 4).mean((4, 5, 6))
    logs = blocks.clamp(min=0.05).log()  # zeros, where there was no image
    return std, logs.square().mean().sqrt().item()


@timed("pipe6")
def pipe6(op: Op) -> str | None:
    """Noise and bias field that a batch of ones comes out with."""
    std, rms = _noise_and_field(ask_often(op, torch.ones(1, *SIZE))[:, 0])
    # A sixth is for edges of what was moved into view.
    if wrong := beyond("noise of", std, 1.2 * w.NOISE["std"][1]):
        return wrong
    if not 0.6 * _FIELD < rms < 1.7 * _FIELD:
        return f"log field of {rms:.2g} rms after it, not {_FIELD}"
    return alike(std, 0.004)  # as well as it is known


@timed("one patch")
def one_patch(op: Op) -> str | None:
    """Noise and bias field of eight patches of volumes of ones: some may be of one volume."""
    size = tuple(3 * n // 2 for n in SIZE)
    image, labels = torch.ones(1, *size), torch.ones(1, *size, dtype=torch.uint8)
    y = ask(op, image, labels)
    y = torch.cat([y, *(ask(op, image, labels) for _ in range(1, 8 // len(y)))])
    std, rms = _noise_and_field(y[:, 0])
    most = w.NOISE["std"][1]
    if not 0.02 * most < std.max() < 1.2 * most:
        return f"noise of up to {std.max():.2g}, not {most}"
    if not _FIELD / 8 < rms < 4 * _FIELD:
        return f"log field of {rms:.2g} rms after it, not about {_FIELD}"
    return None


@timed("four patches")
def four_patches(op: Op) -> str | None:
    """Noise and bias field of patches, four of a volume of ones."""
    return one_patch(op)


@mri("MRI noise of several coils", "coil", "chinoise")
def coils(op: Op) -> str | None:
    """Of zeros: mean over deviation is above that of one coil, 1.91."""
    y = one(op, torch.zeros(1, 24, 24, 24))
    ratio = float(y.mean() / y.std())
    return None if ratio > 2.2 else f"mean over deviation is {ratio:.2f}"


@mri("MRI of a weaker magnet", "lowfield", "field_strength")
def low_field(op: Op) -> str | None:
    """Of ones at a tenth of the field and a signal-to-noise ratio of 100: mean over deviation
    becomes 10, to 10 %."""
    y = one(op, torch.ones(1, 24, 24, 24))
    ratio = float(y.mean() / y.std())
    return None if abs(ratio - 10) < 1 else f"mean over deviation is {ratio:.1f}"


@asks("cuts boxes out", "dropout", "cutout", "erasing", "rectangle")
def dropout(op: Op) -> str | None:
    """Some voxels change, more than a tenth do not."""
    x = uniform(1, 24, 24, 24) + 1
    y = one(op, x)
    happened(y, x)
    return None if (y != x).double().mean() < 0.9 else "all voxels are changed"


@asks("mixes samples", "mixup", "cutmix", "transplant")
def mixing(op: Op) -> str | None:
    """Of a batch of zeros and ones, samples between them are made."""
    x = torch.stack([torch.zeros(1, 8, 8, 8), torch.ones(1, 8, 8, 8)])
    means = torch.stack([ask(op, x).flatten(1).mean(1) for _ in range(5)])  # some may mix nothing
    return None if ((means > 0.01) & (means < 0.99)).any() else "samples are not mixed"


@asks("random monotone curves of intensities", "histogramshift", "curve")
def curves(op: Op) -> str | None:
    """Order and range of the values are kept, and differences between them are not."""
    x = torch.linspace(0, 1, 4096).view(1, 16, 16, 16)
    y = one(op, x).flatten()
    if (y.diff() < -1e-4).any():
        return "the order of values changes"
    if abs(y[0]) > 1e-3 or abs(y[-1] - 1) > 1e-3:
        return "the range of values changes"
    return None if (y - x.flatten()).abs().max() > 0.01 else "differences are kept"

"""Operations that change numbers where they are, and those that start with a label map."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from .. import workloads as w
from .asking import BATCH, CALLS, SIZE, Op, alike, ask, ask_often, beyond, noise

_VOXELS = SIZE[0] * SIZE[1] * SIZE[2]
#: Estimates of that many normal numbers are off by less than 5 of their standard deviations.
_SURE = 5 / _VOXELS**0.5


def _monomials(order: int) -> Tensor:
    """Of coordinates from -1 to 1, [I J K, N] float64."""
    along = (torch.linspace(-1, 1, n, dtype=torch.float64) for n in SIZE)
    i, j, k = (axis.flatten() for axis in torch.meshgrid(*along, indexing="ij"))
    powers = [each for each in product(range(order + 1), repeat=3) if sum(each) <= order]
    return torch.stack([i**a * j**b * k**c for a, b, c in powers], 1)


def bias_field(op: Op, device: torch.device) -> str | None:
    """Multiplies by the exponential of a polynomial; asked with ones and twos, voxel by voxel."""
    x = 1 + noise((1, *SIZE)).round()
    fields = (ask_often(op, x, device) / x.double()).flatten(1)  # [S, V]
    if (fields <= 0).any():
        return "is no field: not positive everywhere"
    logs = fields.log()
    rms = logs.square().mean().sqrt().item()
    ones = x.flatten() == 1  # scattered, so that they see as much of a field as the twos
    apart = logs[:, ones].mean(1) - logs[:, ~ones].mean(1)
    if apart.abs().max() > 0.1 * rms:
        return "does not multiply: ones and twos get fields of their own"
    order, end = w.BIAS_FIELD["order"], w.BIAS_FIELD["coefficients"]
    terms = _monomials(order)
    right = end * (terms.square().mean(0).sum() / 3).sqrt().item()
    q = torch.linalg.qr(terms).Q
    left = (logs - logs @ q @ q.T).square().mean().sqrt().item() / rms
    if left > 1e-3:  # float32 rounds to 1e-7, of logarithms of about 1
        share = f"{100 * left:.2g} % rms"
        return f"log field is no polynomial of order {order}: a fit leaves {share}"
    if not right / 2 < rms < 2 * right:
        return f"log field of {rms:.2g} rms, not {right:.2g}"
    return alike(logs[:, ::997], 1e-3)


def gamma(op: Op, device: torch.device) -> str | None:
    """One exponent for each sample, of a ramp from 0 to 1."""
    x = torch.linspace(0, 1, _VOXELS).view(1, *SIZE)
    inner = (x > 0.05) & (x < 0.95)  # where logarithms are not 0
    y = ask_often(op, x, device)[:, inner]
    if (y <= 0).any():
        return "is no power: not positive where it was"
    logs = (y.log() / x[inner].double().log()).log()  # of the exponents, [S, V]
    exponents = logs.mean(1)
    if (logs - exponents[:, None]).abs().max() > 1e-3:
        return "is no power: exponents differ between voxels"
    low, high = w.GAMMA["log_gamma"]
    remark = beyond("log gamma of", exponents.abs(), 1.001 * max(-low, high))
    return remark or alike(exponents, 1e-5)


def _is_noise(d: Tensor, x: Tensor) -> str | None:
    """Whether differences, (S, V), are white, normal, and independent of the image."""
    std = d.std(1)
    if (std == 0).any():
        return "leaves a sample without noise"
    z = (d - d.mean(1, keepdim=True)) / std[:, None]
    if (d.mean(1).abs() > _SURE * std).any():
        return "noise has a mean"
    kurtosis = z.pow(4).mean(1)
    off = (kurtosis - 3).abs().max().item()
    if off > 24**0.5 * _SURE:
        return f"noise is not normal: kurtosis of {kurtosis.mean().item():.3g}, not 3"
    volumes = z.unflatten(1, SIZE)
    for axis in (1, 2, 3):
        n = SIZE[axis - 1] - 1
        pairs = volumes.narrow(axis, 0, n) * volumes.narrow(axis, 1, n)
        if pairs.mean((1, 2, 3)).abs().max() > 1.1 * _SURE:
            return "noise is not white: neighbours are alike"
    between = (z @ z.T / z.shape[1]).fill_diagonal_(0).abs().max().item()
    if between > _SURE:
        return f"samples share their noise: correlation of {between:.2g}"
    bright = x.flatten() > 0.5
    ratio = (d[:, bright].std(1) / d[:, ~bright].std(1) - 1).abs().max().item()
    return "noise depends on the image" if ratio > 2 * _SURE else None


def additive(op: Op, device: torch.device) -> str | None:
    """Normal noise whose standard deviation is drawn for each sample."""
    x = noise((1, *SIZE))
    d = (ask_often(op, x, device) - x.double()).flatten(1)
    most = w.NOISE["std"][1] * (1 + _SURE)
    remark = _is_noise(d, x) or beyond("standard deviation of", d.std(1), most)
    return remark or alike(d.std(1), _SURE / 2 * most)  # twice as well as it is known


def labels_to_image(op: Op, device: torch.device) -> str | None:
    """Normal numbers whose mean and standard deviation are drawn for each label and sample."""
    labels = (noise((BATCH, 1, *SIZE)) * w.LABELS).byte()
    means, stds = [], []
    for _ in range(CALLS):
        y = ask(op, labels, device=device)
        for image, of in zip(y, labels, strict=True):
            voxels = [image[of == label] for label in range(w.LABELS)]
            means.append(torch.stack([each.mean() for each in voxels]))
            stds.append(torch.stack([each.std() for each in voxels]))
    mean, std = torch.stack(means), torch.stack(stds)  # [S, L]
    sure = _SURE * w.LABELS**0.5
    for what, found, (low, high) in (
        ("means", mean, w.LABELS_TO_IMAGE["default_mean"]),
        ("standard deviations", std, w.LABELS_TO_IMAGE["default_std"]),
    ):
        reach = sure * w.LABELS_TO_IMAGE["default_std"][1]
        least, most = found.min(0).values, found.max(0).values
        off = (least < low - reach) | (most > high + reach)
        if off.any():
            label = int(off.nonzero()[0])
            where = f"from {least[label]:.2g} to {most[label]:.2g}"
            return f"{what} of label {label} are {where}, not {low} to {high}"
        if (most - least).min() < (high - low) / 4:
            label = int((most - least).argmin())
            return f"{what} of label {label} hardly differ: {least[label]:.2g} to {most[label]:.2g}"
    if (mean.std(1) < 1e-2).any():
        return "labels share their mean"
    return alike(mean, 1e-4)


def _noise_and_field(y: Tensor) -> tuple[Tensor, float]:
    """Of ones that went through pipe6, [S, I, J, K]: standard deviation of the noise of each, and
    root mean square of the logarithm of what is left when noise is averaged away."""
    inner = y[:, 4:-4, 4:-4, 4:-4]
    # Third differences hardly see what is smooth: 1 + 9 + 9 + 1 variances of noise.
    std = (inner.diff(n=3, dim=3).square().mean((1, 2, 3)) / 20).sqrt()
    blocks = inner.unfold(1, 4, 4).unfold(2, 4, 4).unfold(3, 4, 4).mean((4, 5, 6))
    logs = blocks.clamp(min=0.05).log()  # zeros, where there was no image
    return std, logs.square().mean().sqrt().item()


#: Log field of pipe6 as it should be, rms: away from the borders, where it is strongest.
_FIELD = 0.44


def pipe6(op: Op, device: torch.device) -> str | None:
    """Noise and field that a batch of ones comes out with; both are those of 16 samples."""
    std, rms = _noise_and_field(ask_often(op, torch.ones(1, *SIZE), device)[:, 0])
    # A sixth is for edges of what was moved into view.
    if remark := beyond("noise of", std, 1.2 * w.NOISE["std"][1]):
        return remark
    if not 0.6 * _FIELD < rms < 1.7 * _FIELD:
        return f"log field of {rms:.2g} rms after it, not {_FIELD}"
    return alike(std, 0.004)  # as well as it is known


def patches(op: Op, device: torch.device) -> str | None:
    """The same of at least 8 patches of volumes of ones, some of one volume: two draws, perhaps."""
    size = tuple(3 * n // 2 for n in SIZE)
    image, labels = torch.ones(1, *size), torch.ones(1, *size, dtype=torch.uint8)
    y = ask(op, image, labels, device=device)
    more = [ask(op, image, labels, device=device) for _ in range(1, 8 // len(y))]
    y = torch.cat([y, *more])
    std, rms = _noise_and_field(y[:, 0])
    most = w.NOISE["std"][1]
    if not 0.02 * most < std.max() < 1.2 * most:
        return f"noise of up to {std.max().item():.2g}, not {most}"
    if not _FIELD / 8 < rms < 4 * _FIELD:
        return f"log field of {rms:.2g} rms after it, not about {_FIELD}"
    return None

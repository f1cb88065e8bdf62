"""Intensity operations on volumes (B, C, I, J, K): bias field, contrast, noise, clamp."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array, as_array, host, on_host
from ..shapes import Volume, check_count, check_volume, with_voxel_axes
from .compiled import traceable
from .dispatch.arguments import as_given, check_real, check_seeds, per_item, real
from .dispatch.launch import to_device
from .eager.intensity import root
from .operations import BiasField, Clamp, Gamma, Linear, Noise
from .pointwise import pointwise

__all__ = [
    "bias_field",
    "brightness",
    "channel_ends",
    "check_bounds",
    "clamp",
    "contrast",
    "gamma",
    "noise",
    "per_channel",
    "rician_noise",
]


@traceable
def bias_field(x: Volume, coefficients: Array, order: int = 3) -> Volume:
    """Multiply by the exponential of a polynomial: the intensity drift of an MRI coil.

    ``x exp(sum c_ijk X^i Y^j Z^k)`` over i + j + k <= order, where X, Y, Z run from -1 to 1
    between the outermost voxel centres (Van Leemput et al. 1999, doi:10.1109/42.811268).

    Args:
        x: Volume, (B, C, I, J, K).
        coefficients: One per monomial, (B, M) or (M,) for all samples; i runs slowest and k
            fastest. Order 3 has 20. Zeros leave the sample as it is.
        order: Largest total exponent.

    Returns:
        Volume; integers become float32.

    Raises:
        ValueError: The number of coefficients does not fit the order.

    >>> bias_field(torch.ones(1, 1, 1, 1, 3), torch.tensor([0., 1., 0., 0.]), order=1).flatten()
    tensor([0.3679, 1.0000, 2.7183])
    """
    check_volume(x)
    check_count(order, "order", 0, 30)
    coefficients = as_array(coefficients, "coefficients")
    if coefficients.ndim == 1:
        coefficients = coefficients[None]
    return pointwise(x, [BiasField(coefficients, order)])


@traceable
def brightness(x: Volume, factor: float | Array = 1.0, offset: float | Array = 0.0) -> Volume:
    """Change the brightness: ``factor x + offset``.

    Args:
        x: Volume, (B, C, I, J, K).
        factor, offset: A number, one per sample (B), or per channel (B, C); the offset in the
            image's own units.

    Returns:
        Volume; integers become float32.

    >>> brightness(torch.tensor([-1., 3]).view(1, 1, 1, 1, 2), 2, 1).flatten()
    tensor([-1.,  7.])
    """
    check_real(x)
    scale, shift = per_channel(factor, x, "factor"), per_channel(offset, x, "offset")
    return pointwise(x, [Linear(scale, shift, np.zeros(1))])


@traceable
def contrast(x: Volume, factor: float | Array, preserve_range: bool = True) -> Volume:
    """Scale the differences from the mean of each channel: ``mean + factor (x - mean)``.

    Args:
        x: Volume, (B, C, I, J, K).
        factor: A number, one per sample (B), or per channel (B, C); 1 changes nothing.
        preserve_range: Clamp to the minimum and the maximum that the channel has in ``x``.

    Returns:
        Volume; integers become float32. One voxel that is not finite makes its channel NaN, unless
        the factor is 1.

    Raises:
        ValueError: The volume is complex.

    >>> x = torch.tensor([0., 2, 4]).view(1, 1, 1, 1, 3)
    >>> contrast(x, 1.5, preserve_range=False).flatten()
    tensor([-1.,  2.,  5.])
    >>> contrast(x, 1.5).flatten()
    tensor([0., 2., 4.])
    """
    check_real(x)
    given = per_channel(factor, x, "factor")
    (scale,) = to_device(x.device, given[:, None] if given.ndim == 1 else given)
    # what is not changed must not depend on statistics, which may be NaN
    same = torch.zeros_like(scale, dtype=torch.bool) if scale.requires_grad else scale == 1
    mean = _means(real(x)).masked_fill(same, 0)
    changes: list[Linear | Clamp] = [Linear(scale, mean * (1 - scale), np.zeros(1))]
    if preserve_range:
        low, high = channel_ends(x)
        changes.append(Clamp(low.masked_fill(same, -torch.inf), high.masked_fill(same, torch.inf)))
    return pointwise(x, changes)


@traceable
def gamma(
    x: Volume,
    log_gamma: float | Array,
    *,
    rescale: bool = False,
    invert: bool = False,
    retain_stats: bool = False,
) -> Volume:
    """Change the contrast: ``sign(x) |x| ** exp(log_gamma)``.

    Args:
        x: Volume, (B, C, I, J, K); usually scaled to [0, 1] beforehand.
        log_gamma: A number, one per sample (B), or per channel (B, C); 0 changes nothing.
        rescale: Raise ``(x - min) / (max - min)`` to the power instead, and scale the result back
            to the range of the channel.
        invert: With ``rescale``, raise ``(max - x) / (max - min)`` to the power, so that bright
            intensities change as dark ones do otherwise.
        retain_stats: Give each channel of the result the mean and the standard deviation that it
            has in ``x``. Its range may change.

    Returns:
        Volume; integers become float32. Where the base of the power is 0, so is the gradient with
        respect to it (for exponents below 1 the true slope there is infinite). With ``rescale`` or
        ``retain_stats``, one voxel that is not finite makes its channel NaN, unless 0 leaves it.

    Raises:
        ValueError: ``invert`` is given without ``rescale``, which is the same as without both; or
            a statistic is asked of a complex volume.

    >>> gamma(torch.full((1, 1, 1, 1, 1), -4.), math.log(0.5)).item()
    -2.0
    >>> x = torch.tensor([2., 3, 4]).view(1, 1, 1, 1, 3)
    >>> gamma(x, math.log(2), rescale=True).flatten()
    tensor([2.0000, 2.5000, 4.0000])
    """
    check_volume(x)
    log_gamma = per_channel(log_gamma, x, "log_gamma")
    if invert and not rescale:
        raise ValueError("invert must come with rescale, got rescale=False: x and -x change alike")
    if not (rescale or retain_stats):
        return pointwise(x, [Gamma(log_gamma)])
    y = real(x)
    out = pointwise(y, _within_range(y, log_gamma, invert) if rescale else [Gamma(log_gamma)])
    if retain_stats:
        (mean, spread), (new_mean, new_spread) = _moments(y), _moments(out)
        varies = new_spread > 0
        scale = (spread / new_spread.where(varies, 1.0)).where(varies, 1.0)
        out = pointwise(out, [Linear(scale, mean - new_mean * scale, np.zeros(1))])
    out = as_given(out, x)
    if on_host(log_gamma) and not host(log_gamma).all():  # these would change by rounding
        (exponent,) = to_device(x.device, host(log_gamma))
        out = torch.where(with_voxel_axes(exponent == 0), x, out)
    return out


def _within_range(x: Volume, log_gamma: Array, invert: bool) -> list[Linear | Gamma]:
    """Return a power of intensities scaled to [0, 1], and scaled back, as operations."""
    low, high = channel_ends(x)
    span = high - low
    scale = 1 / span.where(span != 0, 1.0)
    none = np.zeros(1)
    if invert:
        return [Linear(-scale, none, high), Gamma(log_gamma), Linear(-span, high, none)]
    return [Linear(scale, none, low), Gamma(log_gamma), Linear(span, low, none)]


def channel_ends(x: Volume) -> tuple[Tensor, Tensor]:
    """Return minimum and maximum of each channel, [B, C] float64."""
    return x.amin((2, 3, 4)).double(), x.amax((2, 3, 4)).double()


def _means(x: Volume) -> Tensor:
    """Return the mean of each channel of a volume in float32 or float64, [B, C] float64."""
    return x.mean((2, 3, 4)).double()


def _moments(x: Volume) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (over n voxels, not n - 1) as :func:`_means`."""
    mean = _means(x)
    apart = x - with_voxel_axes(mean.to(x.dtype))
    apart = apart.square() if apart.requires_grad else apart.square_()
    return mean, root(_means(apart))


def per_channel(value: float | Array, x: Volume, name: str) -> Array:
    """Return a parameter as [1 or B], or as [1 or B, 1 or C] if it was given per channel.

    Raises:
        ValueError: It has another shape, or is not finite.
    """
    if not (isinstance(value, (Tensor, np.ndarray)) and value.ndim == 2):
        return per_item(value, x, name)
    batch, channels = x.shape[:2]
    if value.shape[0] not in (1, batch) or value.shape[1] not in (1, channels):
        raise ValueError(
            f"{name} must hold one value per sample [{batch}] or per channel "
            f"[{batch}, {channels}], got {list(value.shape)}"
        )
    return per_item(value, x, name, tuple(value.shape[1:]))


@traceable
def clamp(x: Volume, low: float | Array | None = None, high: float | Array | None = None) -> Volume:
    """Keep values within a range: those outside become its nearer end.

    Args:
        x: Volume, (B, C, I, J, K).
        low, high: Ends of the range, in the image's own units: a number or one per sample (B);
            None for no end.

    Returns:
        Volume; integers become float32. The gradient reaches a voxel within the range, ends
        included, and the end that stands in for a voxel outside.

    Raises:
        ValueError: ``low`` is above ``high``.

    >>> clamp(torch.tensor([-2000., 7, 3000]).view(1, 1, 1, 1, 3), -1000, 1000).flatten()
    tensor([-1000.,     7.,  1000.])
    """
    check_volume(x)
    least = np.full(1, -np.inf) if low is None else per_item(low, x, "low")
    greatest = np.full(1, np.inf) if high is None else per_item(high, x, "high")
    check_bounds(least, greatest, "low", "high")
    return pointwise(x, [Clamp(least, greatest)])


def check_bounds(low: Array, high: Array, name_low: str, name_high: str) -> None:
    """Raise if a lower bound is above its upper bound, unless the values are on a device."""
    if on_host(low) and on_host(high) and (host(low) > host(high)).any():
        raise ValueError(
            f"{name_low} must not be above {name_high}, got {host(low).tolist()} and "
            f"{host(high).tolist()}"
        )


@traceable
def noise(
    x: Volume,
    mean: float | Array = 0.0,
    std: float | Array = 1.0,
    seeds: Array | None = None,
) -> Volume:
    """Add Gaussian noise ``n ~ N(mean, std^2)`` to every voxel.

    Args:
        x: Volume, (B, C, I, J, K).
        mean, std: Mean and standard deviation, in the image's own units; a number, one per sample
            (B), or per channel (B, C).
        seeds: int64 seeds, (B): a sample's noise is a function of its seed, the same on all devices
            up to rounding; :mod:`torchio_gpu.random.gaussian` defines it. By default drawn from
            torch's CPU generator.

    >>> torch.manual_seed(0) and noise(torch.zeros(1, 1, 8, 8, 8), 5, 0).mean()
    tensor(5.)
    """
    return _noise(x, mean, std, seeds, rician=False)


@traceable
def rician_noise(
    x: Volume,
    std: float | Array = 1.0,
    seeds: Array | None = None,
    mean: float | Array = 0.0,
) -> Volume:
    """Add the noise of a magnitude image: ``sqrt((x + n1)^2 + n2^2)``.

    The two parts are the noise of the real and the imaginary channel of an MRI scanner
    (Gudbjartsson & Patz 1995, doi:10.1002/mrm.1910340618).

    Args:
        x: Volume, (B, C, I, J, K), a magnitude: not negative.
        std, mean: Standard deviation and mean of both parts, in the image's own units; a number,
            one per sample (B), or per channel (B, C).
        seeds: As for :func:`noise`.

    >>> bool((rician_noise(torch.zeros(1, 1, 8, 8, 8)) >= 0).all())
    True
    """
    return _noise(x, mean, std, seeds, rician=True)


def _noise(
    x: Volume,
    mean: float | Array,
    std: float | Array,
    seeds: Array | None,
    rician: bool,
) -> Volume:
    check_volume(x)
    seeds = check_seeds(seeds, x)
    mean, std = per_channel(mean, x, "mean"), per_channel(std, x, "std")
    return pointwise(x, [Noise(mean, std, seeds, rician)])

"""Intensity operations on volumes (B, C, I, J, K): bias field, gamma, noise, clamp."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ..arrays import Array, as_array, host, on_host
from ..shapes import Volume, check_count, check_volume
from .compiled import traceable
from .dispatch.arguments import check_seeds, per_item
from .operations import BiasField, Clamp, Gamma, Noise
from .pointwise import pointwise

__all__ = ["bias_field", "check_bounds", "clamp", "gamma", "noise", "rician_noise"]


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
def gamma(x: Volume, log_gamma: float | Array) -> Volume:
    """Change the contrast: ``sign(x) |x| ** exp(log_gamma)``.

    Args:
        x: Volume, (B, C, I, J, K); usually scaled to [0, 1] beforehand.
        log_gamma: A number, one per sample (B), or per channel (B, C); 0 changes nothing.

    Returns:
        Volume; integers become float32. Where x is 0, so is the result, and so is its gradient
        with respect to x (for exponents below 1 the true slope there is infinite).

    >>> gamma(torch.full((1, 1, 1, 1, 1), -4.), math.log(0.5)).item()
    -2.0
    """
    check_volume(x)
    if not (isinstance(log_gamma, (Tensor, np.ndarray)) and log_gamma.ndim == 2):
        log_gamma = per_item(log_gamma, x, "log_gamma")
    return pointwise(x, [Gamma(log_gamma)])


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
        mean, std: Mean and standard deviation, in the image's own units; a number or one per
            sample (B).
        seeds: int64 seeds, (B): a sample's noise is a function of its seed. By default drawn from
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
        std, mean: Standard deviation and mean of the noise of each channel, in the image's own
            units; a number or one per sample.
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
    mean = per_item(mean, x, "mean")
    std = per_item(std, x, "std")
    return pointwise(x, [Noise(mean, std, seeds, rician)])

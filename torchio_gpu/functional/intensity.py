"""Intensity operations on volumes (B, C, I, J, K): bias field, gamma, noise."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ..arrays import Array
from ..shapes import Volume, check_volume
from . import program
from .arguments import check_seeds, per_item
from .program import pointwise

__all__ = ["bias_field", "gamma", "noise", "rician_noise"]


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
    if coefficients.ndim == 1:
        coefficients = coefficients[None]
    return pointwise(x, [program.BiasField(coefficients, order)])


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
    return pointwise(x, [program.Gamma(log_gamma)])


def noise(
    x: Volume,
    mean: float | Array = 0.0,
    std: float | Array = 1.0,
    seeds: Array | None = None,
) -> Volume:
    """Add Gaussian noise ``n ~ N(mean, std^2)`` to every voxel.

    Args:
        x: Volume, (B, C, I, J, K).
        mean, std: In the image's own units; a number or one per sample (B).
        seeds: int64 seeds, (B): a sample's noise is a function of its seed. By default drawn from
            torch's CPU generator.

    >>> torch.manual_seed(0) and noise(torch.zeros(1, 1, 8, 8, 8), 5, 0).mean()
    tensor(5.)
    """
    return _noise(x, mean, std, seeds, rician=False)


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
        std, mean: Of each channel's noise, in the image's own units; a number or one per sample.
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
    return pointwise(x, [program.Noise(mean, std, seeds, rician)])

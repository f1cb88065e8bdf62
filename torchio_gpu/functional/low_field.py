"""Low field on volumes (B, C, I, J, K): the noise, blur and contrast of a weaker magnet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..arrays import Array, common, host, on_host
from ..shapes import Volume, with_voxel_axes
from .compiled import traceable
from .dispatch.arguments import as_given, at_least, check_seeds, per_item, real
from .dispatch.launch import to_device
from .filters import blur as blurred
from .operations import Gamma, Linear, Noise
from .pointwise import pointwise


@traceable
def low_field(
    x: Volume,
    field_strength: float | Array,
    from_field: float | Array = 3.0,
    seeds: Array | None = None,
    *,
    exponent: float | Array = 1.0,
    snr: float | Array = 200.0,
    blur: float | Array = 0.0,
    contrast_exponent: float | Array = 0.1,
    spacing: float | Array = 1.0,
) -> Volume:
    """Simulate a weaker magnet: less signal to noise, less resolution, less contrast of tissues.

    With the field strength B of the magnet, that of the image, B0, and the signal s of a channel,
    the mean of its voxels above half of its mean:

    1. The image is blurred by a Gaussian.
    2. The contrast shrinks: ``x = s (x / s)^c``, ``c = (B / B0)^contrast_exponent``, as the ratio
       of the signals of two tissues does where their T1 approach each other: T1 grows with a power
       of the field strength from 0.3 to 0.4 (Bottomley et al. 1984, doi:10.1118/1.595535), from
       which an adapted repetition time recovers most. Air stays dark.
    3. Rician noise is added, so that the signal-to-noise ratio shrinks by the factor
       ``r = (B / B0)^exponent``, if the image has the signal-to-noise ratio ``snr`` by itself:
       of standard deviation ``s / snr sqrt(1 / r^2 - c^2)``, as its own noise is c times what it
       was. See Marques et al. 2019, Low-field MRI: an MR physics perspective,
       doi:10.1002/jmri.26637.

    Args:
        x: Volume, (B, C, I, J, K), a magnitude: not negative.
        field_strength: Field strength B in tesla, > 0 and at most ``from_field``.
        from_field: Field strength B0 at which the image was acquired, in tesla.
        seeds: int64 seeds, (B), as for :func:`rician_noise`. By default drawn from torch's CPU
            generator.
        exponent: Power of the field strength with which the signal-to-noise ratio grows, >= 0: 1
            where the body is the source of the noise; up to 7/4 where the coil is.
        snr: Signal-to-noise ratio of the image, its signal s over the standard deviation of its
            noise, > 0. More than it has, for a scan of the weaker magnet that takes longer.
        blur: Standard deviation of the Gaussian along I, J, K in mm: a number, (3,) or (B, 3). It
            smoothes the noise of the image, too, so that the ratio then is an upper bound.
        contrast_exponent: Power of the field strength with which contrast grows, >= 0; 0 for none.
        spacing: Distance of voxels along I, J, K in mm, shaped as ``blur``.

    Where no shape is said, a number or one per sample (B). Where B is B0, the image is only
    blurred; so is a channel without positive voxels, or with one that is not finite.

    Returns:
        Volume; integers become float32.

    Raises:
        ValueError: A parameter is not as above, or the volume is complex.

    >>> y = low_field(torch.full((1, 1, 32, 32, 32), 80.0), 0.3, snr=100, seeds=np.array([1]))
    >>> round((y.mean() / y.std()).item())
    10
    """
    y = real(x)
    numbers = [
        at_least(per_item(value, x, name), 0, name)
        for value, name in (
            (field_strength, "field_strength"),
            (from_field, "from_field"),
            (exponent, "exponent"),
            (snr, "snr"),
            (contrast_exponent, "contrast_exponent"),
        )
    ]
    check_fields(*numbers[:2])
    check_snr(numbers[3])
    width = at_least(per_item(blur, x, "blur", (3,)), 0, "blur")
    seeds = check_seeds(seeds, x)
    if not on_host(width) or host(width).any():
        y = blurred(y, width, spacing)
    else:
        per_item(spacing, x, "spacing", (3,))
    return as_given(pointwise(y, _changes(y, numbers, seeds)), x)


def _changes(x: Volume, numbers: Sequence[Array], seeds: Array) -> list[Linear | Gamma | Noise]:
    """Return contrast and noise as operations, whose parameters are [B, C].

    Args:
        x: Volume in float32 or float64.
        numbers: Field strength, that of the image, exponent, signal-to-noise ratio and exponent of
            the contrast, [1 or B] each.
        seeds: [B].
    """
    xp, field, from_field, exponent, snr, contrast = common(*numbers)
    ratio = field / from_field
    power = ratio**contrast
    square = ratio ** (-2 * exponent) - power**2
    added = square > 0  # the root has no slope at 0
    noise = xp.where(added, xp.where(added, square, 1.0) ** 0.5, 0.0) / snr
    log_power, noise = (each[:, None] for each in to_device(x.device, xp.log(power), noise))
    signal = mean_signal(x).double()
    known = (signal > 0) & ((noise != 0) | (log_power != 0))
    signal = signal.where(known, 1.0)
    none = signal.new_zeros(1)  # arrays beside tensors would be copied by themselves
    return [
        Linear(1 / signal, none, none),
        Gamma(log_power.where(known, 0.0)),
        Linear(signal, none, none),
        Noise(none, (signal * noise).where(known, 0.0), seeds, True, known & (noise != 0)),
    ]


def mean_signal(x: Volume) -> Tensor:
    """Return the mean of the voxels of each channel above half of its mean, [B, C].

    NaN if there are none, or if the mean is not finite.

    >>> mean_signal(torch.tensor([0.0, 0, 0, 0, 7, 9]).view(1, 1, 1, 1, 6)).item()
    8.0
    """
    mean = x.detach().mean((2, 3, 4))
    bright = x > with_voxel_axes(mean / 2)
    signal = x.where(bright, 0).sum((2, 3, 4)) / bright.sum((2, 3, 4))
    return signal.where(mean.isfinite(), math.nan)


def check_fields(field_strength: Array, from_field: Array) -> None:
    """Raise a ValueError unless 0 < field_strength <= from_field, or they are on a device."""
    if not (on_host(field_strength) and on_host(from_field)):
        return
    field, whole = host(field_strength), host(from_field)
    if not ((field > 0) & (field <= whole)).all():
        raise ValueError(
            f"field_strength must be > 0 and at most from_field, {whole.tolist()} T, "
            f"got {field.tolist()}"
        )


def check_snr(snr: Any) -> None:
    """Raise a ValueError unless signal-to-noise ratios are > 0, or on a device."""
    if on_host(snr) and not (host(snr) > 0).all():
        raise ValueError(f"snr must be > 0, got {host(snr).tolist()}")


__all__ = ["check_fields", "check_snr", "low_field", "mean_signal"]

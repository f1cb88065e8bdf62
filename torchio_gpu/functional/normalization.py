"""Normalization of the intensities of volumes (B, C, I, J, K).

Statistics are those of each sample, of all of its channels together. No voxel is read on the host:
a sample that cannot be normalized gives the documented result, never NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array, Numbers, as_array, host
from ..shapes import PerItem, Volume
from .compiled import traceable
from .dispatch import limits
from .dispatch.arguments import as_given, real
from .dispatch.launch import to_device
from .eager import normalization as eager
from .eager.statistics import extremes
from .operations import Clamp, Linear, Operation
from .pointwise import pointwise
from .statistics import Moments, check_mask, moments, percentile

__all__ = [
    "LANDMARKS",
    "check_components",
    "check_landmarks",
    "check_outside",
    "check_range",
    "cutoffs",
    "mask_voxels",
    "match_landmarks",
    "principal_components",
    "rescale",
    "standardize",
]

#: Percentiles at which histograms are matched, between the two cutoffs.
DECILES = (10, 20, 30, 40, 50, 60, 70, 80, 90)
#: Percentiles of the landmarks, between the two cutoffs: TorchIO 1.x learns both quartiles as well,
#: and does not match them.
LANDMARKS = (10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90)
#: Percentiles of the cutoffs when histograms are matched.
CUTOFF = (1, 99)
#: Smallest distance between landmarks of an image, in its own units, as in TorchIO 1.x.
LEAST_WIDTH = 1e-5

Pair = tuple[float, float]


def check_range(
    value: Numbers,
    name: str,
    around: float | None = 0.0,
    least: float = -np.inf,
    greatest: float = np.inf,
    proper: bool = True,
) -> Pair:
    """Return a range that is given as a pair (a, b) or as a number; raise if it is invalid.

    Args:
        value: The pair or number.
        name: Name of the argument, for errors.
        around: A number d stands for (around - d, around + d); for (0, d) if None.
        least, greatest: Bounds of both ends.
        proper: Require a < b; otherwise a == b is allowed.
    """
    ends = host(as_array(value, name))
    if ends.shape == ():
        d = float(ends)
        if d < 0:
            raise ValueError(f"{name} as a single number must be >= 0, got {value!r}")
        ends = np.array((0.0 if around is None else around - d, (around or 0.0) + d))
    if ends.shape != (2,) or not (np.abs(ends) <= torch.finfo(torch.float32).max).all():
        raise ValueError(f"{name} must be a number or a pair of finite numbers, got {value!r}")
    low, high = (float(end) for end in ends)
    if low > high or (proper and low == high):
        sign = "<" if proper else "<="
        raise ValueError(f"{name} must be a range (a, b) with a {sign} b, got {value!r}")
    if low < least or high > greatest:
        raise ValueError(f"{name} must lie between {least:g} and {greatest:g}, got {value!r}")
    return low, high


def cutoffs(
    x: Volume, percentiles: Sequence[float] = (0, 100), mask: Tensor | None = None
) -> tuple[PerItem, PerItem]:
    """Return two percentiles of each sample, (B) each; NaN where the mask is empty.

    They are NaN as well where they are not finite, as where a voxel is NaN, and where their
    difference overflows the dtype.
    """
    if tuple(percentiles) != (0, 100):
        low, high = percentile(x, percentiles, mask).unbind(1)
    else:
        low, high = extremes(x, check_mask(mask, x))
    width = (high - low).to(torch.float64 if x.dtype == torch.float64 else torch.float32)
    fine = (low <= high) & (width < torch.inf)
    return low.where(fine, torch.nan), high.where(fine, torch.nan)


@traceable
def rescale(
    x: Volume,
    out_min_max: float | Sequence[float] = (0, 1),
    percentiles: float | Sequence[float] = (0, 100),
    mask: Tensor | None = None,
    in_min_max: float | Sequence[float] | None = None,
    *,
    known: tuple[PerItem, PerItem] | None = None,
) -> Volume:
    """Clamp to two percentiles, and map the interval between them to a range.

    Args:
        x: Volume, (B, C, I, J, K).
        out_min_max: Range to map to; d means (-d, d).
        percentiles: Percentiles, from 0 to 100; d means (0, d).
        mask: Voxels from which percentiles are computed, (B, 1 or C, I, J, K) bool. All voxels are
            mapped.
        in_min_max: Range to map, in place of that between the percentiles; d means (-d, d).
            Values outside of it are mapped to values outside of ``out_min_max``.
        known: Values of the percentiles, if :func:`cutoffs` has computed them already.

    Returns:
        Volume; integers become float32. A sample whose percentiles are equal, as those of a
        constant one, is left as it is unless ``in_min_max`` is given; so is one whose mask is
        empty, or whose percentiles or their difference are not finite.

    Raises:
        ValueError: A range is empty or the volume complex.

    >>> x = torch.tensor([0., 1, 2, 3, 100]).view(1, 1, 1, 1, 5)
    >>> rescale(x, (-1, 1), percentiles=(0, 75)).flatten()
    tensor([-1.0000, -0.3333,  0.3333,  1.0000,  1.0000])
    """
    check_mask(mask, x)
    out = check_range(out_min_max, "out_min_max", proper=False)
    share = check_range(percentiles, "percentiles", None, 0, 100)
    if in_min_max is None:
        low, high = cutoffs(x, share, mask) if known is None else known
        low = low.where(low < high, torch.nan)
        # all voxels lie between their extremes already
        bounds = (low, high)
        return _rescale(x, bounds, bounds, out)
    pair = check_range(in_min_max, "in_min_max")
    start, end = (x.new_full((len(x),), each, dtype=torch.float64) for each in pair)
    if known is None and share == (0, 100) and mask is None:
        return _rescale(x, None, (start, end), out)
    bounds = cutoffs(x, share, mask) if known is None else known
    return _rescale(x, bounds, (start, end), out)


@traceable
def standardize(x: Volume, mask: Tensor | None = None, *, known: Moments | None = None) -> Volume:
    """Subtract the mean of each sample and divide by its standard deviation.

    Args:
        x: Volume, (B, C, I, J, K).
        mask: Voxels from which mean and standard deviation (with n - 1) are computed,
            (B, 1 or C, I, J, K) bool. All voxels are changed.
        known: Mean and standard deviation, if :func:`moments` has computed them already.

    Returns:
        Volume; integers become float32. A standard deviation of 0 counts as 1, so that a constant
        sample becomes 0; a sample whose mask is empty is left as it is.

    Raises:
        ValueError: The mask is of another shape, or the volume complex.

    >>> standardize(torch.tensor([1., 2, 3]).view(1, 1, 1, 1, 3)).flatten()
    tensor([-1.,  0.,  1.])
    """
    check_mask(mask, x)
    known = moments(x, mask) if known is None else known
    if limits.kernels_of_voxels(x) is None:
        return eager.standardize(x, known)
    mean, rest, std = eager.standard(known, torch.float32)
    return pointwise(x, [Linear(1 / std, -rest / std, mean)])


def _rescale(
    x: Volume, bounds: eager.Ends | None, ends: eager.Ends, out: tuple[float, float]
) -> Volume:
    """Clamp, then map an interval to another; see :func:`eager.rescale`."""
    if limits.kernels_of_voxels(x) is None:
        return eager.rescale(x, bounds, ends, out)
    start, end = (each.float() for each in ends)
    low, high = (start, end) if bounds is None else bounds
    # rounded up, so that the upper end is reached, and not passed where values are clamped
    scale = (end - start).double().reciprocal() * ((out[1] - out[0]) * (1 + 2**-23))
    # if a sample is to be kept, and otherwise: low, high, scale, centre, shift, least, most
    rows = [[-np.inf, np.inf, 1, 0, 0, -np.inf, np.inf], [np.nan] * 4 + [out[0], *out]]
    (given,) = to_device(x.device, np.array(rows))
    found = torch.stack([each.double() for each in (low, high, scale, start)], 1)  # [B, 4]
    found = torch.cat((found, given[1, 4:].expand(len(x), -1)), 1)
    table = torch.where(low.isnan()[:, None], given[0], found).unbind(1)
    low, high, scale, centre, shift, least, most = table
    operations: list[Operation] = [Linear(scale, shift, centre)]
    if bounds is not None:
        operations.insert(0, Clamp(low, high))
    if bounds is ends:
        operations.append(Clamp(least, most))
    return pointwise(x, operations)


def check_landmarks(landmarks: Array | Sequence[float]) -> np.ndarray:
    """Return landmarks as an array of 13 ascending numbers, or raise."""
    values = host(as_array(landmarks, "landmarks")).astype(np.float64)
    count = len(LANDMARKS) + 2
    if values.shape != (count,) or not np.isfinite(values).all() or (np.diff(values) < 0).any():
        raise ValueError(
            f"landmarks must be {count} finite numbers, none below the one before, "
            f"got {values.tolist()} of shape {values.shape}"
        )
    return values


@traceable
def match_landmarks(
    x: Volume, landmarks: Array | Sequence[float], mask: Tensor | None = None
) -> Volume:
    """Map percentiles of each sample to given landmarks, linearly in between.

    The standard scale of Nyul et al. 2000, doi:10.1109/42.836373: percentiles 1, 10, 20 ... 90, 99.
    The outer pieces of the map reach beyond these two.

    Args:
        x: Volume, (B, C, I, J, K).
        landmarks: For percentiles 1, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 99: (13) on the
            host. Those for 25 and 75 are not used, as in TorchIO 1.x.
        mask: Voxels from which percentiles are computed, (B, 1 or C, I, J, K) bool. All voxels are
            mapped.

    Returns:
        Volume; integers become float32. Between percentiles that are closer than 1e-5, the map is
        flat. A sample whose mask is empty, or that has a NaN voxel, is left as it is.

    Raises:
        ValueError: ``landmarks`` are not 13 ascending numbers, or the volume is complex.

    >>> x = torch.arange(101.).view(1, 1, 1, 1, 101)
    >>> landmarks = 2 * np.array([1, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 99])
    >>> bool(torch.allclose(match_landmarks(x, landmarks), 2 * x, atol=1e-4))
    True
    """
    check_mask(mask, x)
    used = [n for n, each in enumerate((CUTOFF[0], *LANDMARKS, CUTOFF[1])) if each not in (25, 75)]
    (wanted,) = to_device(x.device, check_landmarks(landmarks)[used])
    found = percentile(x, (CUTOFF[0], *DECILES, CUTOFF[1]), mask)
    return eager.map_pieces(x, eager.pieces(found, wanted, LEAST_WIDTH))


@traceable
def mask_voxels(x: Volume, mask: Tensor, outside_value: float = 0) -> Volume:
    """Set voxels outside a mask to a value; the dtype is kept.

    Args:
        x: Volume, (B, C, I, J, K), of any dtype but complex.
        mask: Voxels to keep, (B, 1 or C, I, J, K) bool.
        outside_value: Value of the other voxels, in the image's own units.

    Raises:
        ValueError: Integer voxels cannot hold the value, or the mask is of another shape.

    >>> x = torch.tensor([1, 2, 3]).view(1, 1, 1, 1, 3)
    >>> mask_voxels(x, x > 1, -1).flatten()
    tensor([-1,  2,  3])
    """
    check_mask(mask, x)
    return torch.where(mask, x, x.new_full((), check_outside(outside_value, x.dtype)))


def check_outside(value: float, dtype: torch.dtype) -> float:
    """Return ``value`` if voxels of ``dtype`` can hold it; raise otherwise."""
    if dtype.is_floating_point:
        return value
    low, high = (0, 1) if dtype == torch.bool else (torch.iinfo(dtype).min, torch.iinfo(dtype).max)
    if not low <= value <= high or value != int(value):
        raise ValueError(
            f"outside_value must be a whole number from {low} to {high} for voxels of {dtype}, "
            f"got {value!r}"
        )
    return int(value)


@traceable
def principal_components(
    x: Volume,
    num_components: int = 3,
    *,
    whiten: bool = True,
    normalize: bool = True,
    make_skewness_positive: bool = True,
) -> Volume:
    """Project the channels of each sample on the directions in which they vary most.

    Args:
        x: Volume, (B, C, I, J, K); each voxel is one observation of C variables.
        num_components: Number of directions, largest variance first.
        whiten: Divide each component by its standard deviation (with n - 1).
        normalize: Divide all components by the standard deviation of the first (with n).
        make_skewness_positive: Negate each component whose third moment is negative. Otherwise the
            sign is such that the channel with the largest weight has a positive one.

    Returns:
        (B, num_components, I, J, K), with mean 0; integers become float32. A component without
        variance is 0. The gradient is that of eigenvectors: not finite where variances are equal.

    Raises:
        ValueError: There are fewer channels than components, or the volume is complex.

    On a GPU, torch's eigensolver makes the host wait.

    >>> x = torch.tensor([[0., 1, 2], [0, -2, -4]]).view(1, 2, 1, 1, 3)
    >>> principal_components(x, 1, normalize=False, make_skewness_positive=False).flatten()
    tensor([ 1.,  0., -1.])
    """
    y = real(x)
    check_components(num_components, x.shape[1])
    flags = whiten, normalize, make_skewness_positive
    return as_given(eager.principal_components(y, num_components, *flags), x)


def check_components(number: int, channels: int | None = None) -> int:
    """Return a number of components if it is >= 1 and at most ``channels``; raise otherwise."""
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"num_components must be an integer >= 1, got {number!r}")
    if channels is not None and number > channels:
        raise ValueError(
            f"num_components must not be above the number of channels, {channels}, got {number}"
        )
    return number

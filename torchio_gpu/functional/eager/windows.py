"""Weights of windowed sinc and Gaussian interpolation along one axis."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from ..maps import WINDOW_RADIUS
from .interpolation import by_voxel, without_tails

#: Standard deviation of 'gaussian', and distance at which it is cut off, in voxels: four of them,
#: less the rounding of a position, which must not decide about a voxel that just touches it.
_SIGMA, _CUTOFF = 0.8, 4 * 0.8 - 1e-6


def _windowed_weights(
    position: np.ndarray, size: int, window: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return weights of the sinc times a window at positions [B, N] on an axis, [B, N, size].

    Beyond the ends of the axis, the outermost voxels are repeated. Weights are not divided by
    their sum, as in ITK.

    Args:
        position: Positions in voxels.
        size: Number of voxels.
        window: Function of the distance as a share of the radius, from -1 to 1.
    """
    position = position.clip(-1, size)  # farther out is fill
    first = np.floor(position) - (WINDOW_RADIUS - 1)
    taps = first[..., None] + np.arange(2 * WINDOW_RADIUS)
    distance = position[..., None] - taps
    share = np.sinc(distance) * window(distance / WINDOW_RADIUS)
    return without_tails(by_voxel(share, taps.clip(0, size - 1), size))


def _gaussian_weights(position: np.ndarray, size: int) -> np.ndarray:
    """Return the integral of a Gaussian over each voxel near a position, [B, N, size].

    Weights are divided by their sum: nothing lies beyond the ends of the axis.
    """
    position = position.clip(-1, size)[..., None]  # farther out is fill
    ends = np.arange(size + 1) - 0.5 - position  # of voxels, [B, N, size + 1]
    below = torch.erf(torch.from_numpy(ends / (np.sqrt(2) * _SIGMA))).numpy()
    near = (ends[..., 1:] > -_CUTOFF) & (ends[..., :-1] < _CUTOFF)
    weights = np.diff(below) * near
    return weights / weights.sum(-1, keepdims=True)  # type: ignore[no-any-return]


def _hamming(x: np.ndarray) -> np.ndarray:
    return 0.54 + 0.46 * np.cos(np.pi * x)


def _cosine(x: np.ndarray) -> np.ndarray:
    return np.cos(np.pi / 2 * x)  # type: ignore[no-any-return]


def _welch(x: np.ndarray) -> np.ndarray:
    return 1 - x**2


def _blackman(x: np.ndarray) -> np.ndarray:
    return 0.42 + 0.5 * np.cos(np.pi * x) + 0.08 * np.cos(2 * np.pi * x)


#: Weights [B, N, size] at positions [B, N] on an axis of ``size`` voxels, by mode.
WEIGHTS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "lanczos": partial(_windowed_weights, window=np.sinc),
    "hamming": partial(_windowed_weights, window=_hamming),
    "cosine": partial(_windowed_weights, window=_cosine),
    "welch": partial(_windowed_weights, window=_welch),
    "blackman": partial(_windowed_weights, window=_blackman),
    "gaussian": _gaussian_weights,
}

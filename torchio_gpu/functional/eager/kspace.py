"""Definitions of k-space artifacts: a 3D Fourier transform, a change, and the inverse transform.

k-space is *centred* here: frequency 0 is at index n // 2 of each axis. The public functions run
:mod:`torchio_gpu.functional.eager.phase_encode`, which avoids most of the transforms and agrees
with these functions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.fft import fftn, fftshift, ifftn, ifftshift

from ...arrays import host, send
from ...shapes import Volume
from .phase_encode import SPACE, WeakenedPlanes, spike_frequencies


def frequencies(lines: int) -> np.ndarray:
    """Return frequencies of the lines of centred k-space, in cycles per field of view."""
    return np.arange(lines, dtype=np.float64) - lines // 2


def along(values: Tensor, axis: int) -> Tensor:
    """Reshape values along one axis, [..., N], to broadcast with volumes: [..., 1, N, 1] etc."""
    shape = [1, 1, 1]
    shape[axis] = values.shape[-1]
    return values.reshape(*values.shape[:-1], *shape)


def ghosting(x: Volume, planes: WeakenedPlanes, axis: int) -> Volume:
    """Weaken planes of k-space periodically along the phase-encode axis."""
    lines = x.shape[2 + axis]
    missing = send(torch.as_tensor(planes.missing(frequencies(lines), lines)), x.device, x.dtype)
    spectrum = fftshift(fftn(x, dim=SPACE), dim=SPACE)
    spectrum = spectrum * (1 - along(missing, axis))[:, None]
    return ifftn(ifftshift(spectrum, dim=SPACE), dim=SPACE).real.to(x.dtype)


def spike(x: Volume, positions: Tensor, intensity: Tensor) -> Volume:
    """Add bright points to k-space, each a plane wave in the image.

    Args:
        x: Volume.
        positions: Relative positions in centred k-space, from 0 to 1, [B, P, 3].
        intensity: Magnitude of each spike, relative to the largest magnitude in k-space, [B, P].
    """
    spectrum = fftshift(fftn(x, dim=SPACE), dim=SPACE)
    peak = spectrum.abs().amax(SPACE)  # [B, C]
    at = send(torch.from_numpy(spike_frequencies(x.shape[2:], host(positions))), x.device)
    added = 0.0
    for p in range(positions.shape[1]):
        here = torch.ones((), dtype=torch.bool, device=x.device)
        for axis in range(3):
            line = send(torch.from_numpy(frequencies(x.shape[2 + axis])), x.device)
            hit = line == at[:, p, axis, None]  # [B, N]
            here = here & along(hit, axis)
        added = added + here[:, None] * (intensity[:, p, None] * peak)[:, :, None, None, None]
    return ifftn(ifftshift(spectrum + added, dim=SPACE), dim=SPACE).real.to(x.dtype)


def motion(x: Volume, moved: Tensor, owner: Tensor, axis: int, magnitude: bool) -> Volume:
    """Combine lines of k-space from several poses of the content.

    Args:
        x: Volume in the reference pose.
        moved: Volumes in the other poses, [B, C, P, I, J, K].
        owner: Pose of each line of centred k-space along ``axis``, [B, N]: 0 for the reference, p
            for ``moved[:, :, p - 1]``.
        axis: The phase-encode axis.
        magnitude: Return the magnitude of the image; otherwise its real part.
    """
    poses = torch.cat([x[:, :, None], moved], 2)  # [B, C, 1 + P, I, J, K]
    dims = (3, 4, 5)
    spectra = fftshift(fftn(poses, dim=dims), dim=dims)
    number = torch.arange(poses.shape[2], device=x.device)
    owns = along(owner[:, None] == number[:, None], axis)  # [B, 1 + P, ...]
    image = ifftn(ifftshift((spectra * owns[:, None]).sum(2), dim=SPACE), dim=SPACE)
    return (image.abs() if magnitude else image.real).to(x.dtype)

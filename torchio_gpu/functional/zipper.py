"""Zipper artifact on volumes (B, C, I, J, K): interference at one frequency of the readout.

It is computed in float32, or float64 where the volume is. Integers become float32. A gradient flows
to the volume and to intensities.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array, as_array, common
from ..random import normals
from ..shapes import Volume, check_volume, rectangular, with_voxel_axes
from .compiled import traceable
from .dispatch.arguments import as_given, at_least, check_seeds, per_item, real, within
from .dispatch.launch import indices, to_device
from .kspace import check_output
from .kspace_lines import Axis
from .samples import by_axis, samples_by_axis


@traceable
def zipper(
    x: Volume,
    intensity: float | Array = 0.3,
    position: float | Array = 0.5,
    axis: Axis = 2,
    phase_axis: Axis = 1,
    seeds: Array | None = None,
    output: str = "magnitude",
) -> Volume:
    """Add radio-frequency interference at one frequency: a zipper, noise in a plane of voxels.

    A transmitter beside the scanner adds a tone to what is received, which the readout places in
    one plane across its axis. The phase of the tone at each phase-encode line and slice is random,
    so that along the plane there is the discrete Fourier transform of random phasors: Graves and
    Mitchell 2013, Body MRI artifacts in clinical practice, doi:10.1002/jmri.24288.

    Args:
        x: Volume, (B, C, I, J, K).
        intensity: Root mean square of the complex noise along each line of the plane, relative to
            the largest magnitude of the channel, >= 0: a number or one per sample (B). The unitary
            transform keeps it exactly.
        position: Place of the plane along the readout axis, from 0 to 1: that of the frequency in
            the bandwidth. A number or one per sample (B). It has no gradient.
        axis: The readout axis: 0, 1, 2, or one per sample (B) on the host.
        phase_axis: The phase-encode axis, another one, given likewise.
        seeds: int64 seeds, (B): a sample's noise is a function of its seed. By default drawn from
            torch's CPU generator.
        output: 'magnitude' of the plane as a scanner shows it, or 'real' for its real part. Of
            real voxels only; complex ones get the complex sum.

    Voxels outside the plane keep their bits; so do all of a sample of intensity 0, which has no
    gradient there.

    Returns:
        Volume; integers become float32.

    Raises:
        ValueError: A parameter is not as above, or the two axes are one.

    >>> y = zipper(torch.ones(1, 1, 4, 5, 6), intensity=0.5, position=0.99, axis=2, phase_axis=0)
    >>> (y != 1).any(2).any(2).flatten().tolist()
    [False, False, False, False, False, True]
    """
    check_volume(x)
    height = at_least(per_item(intensity, x, "intensity"), 0, "intensity")
    place = check_position(position, x)
    magnitude = check_output(output) == "magnitude"
    phase_axes = check_different_axes(axis, phase_axis, x)
    y = x if x.is_complex() else real(x)
    # once for all axes: a shorter stream is the beginning of a longer one
    most = x.shape[1] * max(math.prod(x.shape[2:]) // n for n in x.shape[2:])
    seeds = check_seeds(seeds, x)
    known = seeds if isinstance(seeds, Tensor) else indices(seeds, x.device)
    numbers = normals(known, 2 * most, x.device)

    def across(part: Volume, readout: int, phases: np.ndarray, *each: Array) -> Volume:
        def add(part: Volume, phase: int, *each: Any) -> Volume:
            return _add(part, readout, phase, magnitude, *each)

        return by_axis(part, phases, add, *each)

    return as_given(by_axis(y, axis, across, phase_axes, height, place, numbers), x)


def _add(
    x: Volume,
    axis: int,
    phase_axis: int,
    magnitude: bool,
    height: Array,
    place: Array,
    numbers: Tensor,
) -> Volume:
    """Add noise in the plane of each sample; the axes are those of all."""
    size = x.shape[2 + axis]
    xp, at, height = common(place, height)
    at = xp.clip(xp.floor(at * size), 0, size - 1)
    at, strength = (with_voxel_axes(each) for each in to_device(x.device, at, height))
    plane_shape = [1 if n == axis else x.shape[2 + n] for n in range(3)]
    at = at.long().expand(*x.shape[:2], *plane_shape)
    plane = x.gather(2 + axis, at)
    noise = phasors(x, axis, phase_axis, numbers)
    peak = x.abs().amax((2, 3, 4), keepdim=True)
    new = plane + noise * (peak * strength.to(peak.dtype))
    if not x.is_complex():
        new = new.abs() if magnitude else new.real
    return x.scatter(2 + axis, at, torch.where(strength == 0, plane, new))


def phasors(x: Volume, axis: int, phase_axis: int, numbers: Tensor) -> Tensor:
    """Return the transform of random phasors, whose mean square is 1 along the phase-encode axis.

    The phase of channel c, line p and slice q of C, P, Q of them is the angle of the normal numbers
    n and n + C P Q of the sample's stream, where n = (c P + p) Q + q.

    Args:
        x: Volume.
        axis, phase_axis: The readout axis, and the phase-encode axis.
        numbers: Normal numbers of the streams, [B, N].

    Returns:
        Complex, [B, C, I, J, K] with one voxel along ``axis``.
    """
    slices = 3 - axis - phase_axis
    shape = x.shape[1], x.shape[2 + phase_axis], x.shape[2 + slices]
    one, two = numbers[:, : 2 * math.prod(shape)].view(-1, 2, *shape).unbind(1)
    angle = torch.atan2(two, one).to(x.real.dtype)  # of two numbers that may be 0
    noise = torch.fft.fft(torch.polar(torch.ones_like(angle), angle), dim=2, norm="ortho")
    return (noise if phase_axis < slices else noise.mT).unsqueeze(2 + axis)


def check_position(position: Any, x: Volume) -> Array:
    """Return positions, without their gradients, if they lie in [0, 1]; raise otherwise."""
    array = within(per_item(as_array(position, "position"), x, "position"), 0, 1, "position")
    return array.detach() if isinstance(array, Tensor) else array


def check_different_axes(axis: Axis, phase_axis: Axis, x: Volume) -> np.ndarray:
    """Return the phase-encode axis of each sample, [B]; raise if it is the readout axis."""
    try:
        samples_by_axis(phase_axis, len(x))
    except ValueError as error:
        raise ValueError(f"phase_{error}") from error
    samples_by_axis(axis, len(x))
    readout = rectangular(axis, "axis")
    phase = np.broadcast_to(rectangular(phase_axis, "phase_axis"), len(x))
    if x.device.type == "meta":  # axes may be stand-ins for others, with which a shape is found
        return np.where(phase == readout, (phase + 1) % 3, phase)
    if (phase == readout).any():
        raise ValueError(f"phase_axis must differ from axis, the readout axis, got {phase_axis!r}")
    return phase


__all__ = ["phasors", "zipper"]

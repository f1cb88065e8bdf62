"""Functions on ultrasound images against the formula of each, in float64 at odd shapes."""

import math

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.functional.formulas import (
    SHAPES,
    agree,
    every_shape,
    numbers_of_voxels,
    plain_torch,  # noqa: F401
    rand,
)
from torchio_gpu import functional as F
from torchio_gpu.functional.definitions import ultrasound
from torchio_gpu.functional.ultrasound.geometry import Fan

PROBES = {
    "linear": tio.BeamGeometry("linear", width=5.3, depth=4.1, center=(0.3, -0.2)),
    "convex": tio.BeamGeometry("convex", angle=80, radius=3.5, depth=4.3, center=(-0.2, 0.9)),
    "phased": tio.BeamGeometry("phased", angle=100, depth=5.2, center=(0.1, 0.0)),
}
GREY = {"dynamic_range": 50.0, "white": 2.0}
every_probe = pytest.mark.parametrize("probe", PROBES)
every_axes = pytest.mark.parametrize("axes", [(0, 1), (2, 0), (1, 2)])


def planes_of(shape, axes):
    """Return grey values in float64, and functions to planes, [B, C, S, P, Q], and from these."""
    order = [0, 1, *(2 + axis for axis in (3 - sum(axes), *axes))]
    return (
        rand(*shape, high=2),
        lambda x: x.permute(order),
        lambda x: x.permute(np.argsort(order).tolist()),
    )


def by_definition(x, axes, probe, spacing, gain):
    """Change the level of each sample by ``gain(sample, planes, beam, depth)``, in dB."""
    _, to_planes, from_planes = planes_of(x.shape, axes)
    out = []
    for n, planes in enumerate(to_planes(x)):
        found = ultrasound.places(planes.shape[2:], spacing[n, list(axes)], PROBES[probe])
        change = gain(n, planes, found[0], found[1])
        out.append(ultrasound.grey(planes, change, found[2], *GREY.values()))
    return from_planes(torch.stack(out))


@every_shape
@every_probe
@every_axes
def test_attenuate_and_time_gain(shape, probe, axes):
    x, spacing = planes_of(shape, axes)[0], rand(shape[0], 3, low=0.5, high=2)
    spacing = spacing.round(decimals=3)  # six digits of it are used
    rates, gains = rand(shape[0], low=-30, high=30), rand(shape[0], 4, low=-20, high=20)
    out = F.attenuate(x, rates, PROBES[probe], spacing, axes, **GREY)
    agree(out, by_definition(x, axes, probe, spacing,
                             lambda n, _, __, d: ultrasound.attenuate(d, rates[n])), share=1e-6,
          reason="spacing in float32")  # fmt: skip
    out = F.time_gain(x, gains, PROBES[probe], spacing, axes, **GREY)
    longest = PROBES[probe].depth
    agree(out, by_definition(x, axes, probe, spacing,
                             lambda n, _, __, d: ultrasound.time_gain(d, gains[n], longest)),
          share=1e-6, reason="spacing in float32")  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES[:3])
@every_probe
@every_axes
def test_speckle_and_haze(shape, probe, axes):
    x, batch, seeds = planes_of(shape, axes)[0], shape[0], torch.arange(shape[0]) * 7 - 3
    spacing = rand(batch, 3, low=0.7, high=1.6).round(decimals=3)
    strength, bright, texture = rand(batch), rand(batch), rand(batch)
    decay, size = rand(batch, low=2, high=9), rand(batch, high=3)
    axial, lateral = rand(batch, low=0.2, high=3), rand(batch, low=0.2, high=3)

    def patches(n, beam, width_along, width_across):
        fan = Fan(PROBES[probe], shape[2:], axes, tuple(spacing[n, list(axes)].tolist()))
        count = shape[2 + fan.plane_axis]
        noise = numbers_of_voxels(seeds[n : n + 1], (1, 2, fan.beams, fan.points, count))[0]
        whole = {"linear": 5.3}.get(probe, math.radians(PROBES[probe].angle))
        middle = {"linear": 1, "convex": 3.5 + 4.3 / 2, "phased": 5.2 / 2}[probe]
        step = min(fan.spacing)
        widths = width_across / (whole * middle / (fan.beams - 1)), width_along / step
        place = (beam[0] / whole + 0.5) * (fan.beams - 1), beam[1] / step
        return torch.stack([
            ultrasound.intensity(noise[..., k], *place, widths) for k in range(count)
        ])  # fmt: skip

    def speckled(n, _, beam, depth):
        return ultrasound.speckle(patches(n, (beam, depth), axial[n], lateral[n]), strength[n])

    def hazy(n, planes, beam, depth):
        numbers = bright[n], decay[n], texture[n]
        found = patches(n, (beam, depth), size[n], size[n])
        return ultrasound.haze(planes, found, depth, numbers, tuple(GREY.values()))

    out = F.speckle(
        x,
        strength,
        PROBES[probe],
        spacing=spacing,
        axes=axes,
        axial=axial,
        lateral=lateral,
        seeds=seeds,
        **GREY,
    )
    agree(out, by_definition(x, axes, probe, spacing, speckled), share=1e-6, reason="float32 noise")
    out = F.haze(
        x,
        bright,
        PROBES[probe],
        spacing=spacing,
        axes=axes,
        decay=decay,
        texture=texture,
        size=size,
        seeds=seeds,
        **GREY,
    )
    agree(out, by_definition(x, axes, probe, spacing, hazy), share=1e-6, reason="float32 noise")

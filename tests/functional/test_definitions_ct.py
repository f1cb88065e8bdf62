"""Functions on CT images against the formula of each, in float64 at odd shapes."""

import numpy as np
import pytest
import torch

from tests.functional.formulas import (
    agree,
    every_shape,
    mixed_axes,
    numbers_of_voxels,
    plain_torch,  # noqa: F401
    rand,
    volume,
)
from torchio_gpu import functional as F
from torchio_gpu import random
from torchio_gpu.functional.definitions import ct_filters, ct_scans, ct_views, projection


@every_shape
@pytest.mark.parametrize("ends", [(0, 1), (-3, 5)])
def test_ct_window(shape, ends):
    x, center, width = volume(shape), rand(shape[0], low=-1), rand(shape[0], low=0.5, high=2)
    agree(F.ct_window(x, center, width, ends), ct_filters.ct_window(x, center, width, ends))


@every_shape
@pytest.mark.parametrize("start", [0, 1, 2])
def test_reconstruction_kernel(shape, start):
    x, axis, batch = volume(shape), mixed_axes(shape[0], start), shape[0]
    ratio, frequency = rand(batch, low=0.2, high=4), rand(batch, low=0.2, high=0.8)
    spacing = rand(batch, 3, low=0.5, high=2)
    out = F.reconstruction_kernel(x, ratio, frequency, np.array(axis), spacing=spacing)
    agree(out, ct_filters.reconstruction_kernel(x, ratio, frequency, axis, spacing))


@every_shape
@pytest.mark.parametrize("start", [0, 1, 2])
@pytest.mark.parametrize("longest", [1, 8, 40])
def test_slice_thickness(shape, start, longest):
    x, axis, batch = volume(shape), mixed_axes(shape[0], start), shape[0]
    thickness, spacing = rand(batch, high=longest), rand(batch, 3, low=0.5, high=2)
    out = F.slice_thickness(x, thickness, np.array(axis), spacing=spacing)
    agree(out, ct_filters.slice_thickness(x, thickness, axis, spacing))


CT_VIEWS = 15


def ct_scan(shape):
    """Return a volume in Hounsfield units, the axis and the spacing of each sample."""
    spacing = rand(shape[0], 3, low=0.5, high=2).mul(100).round() / 100  # few digits are kept
    return 500 * volume(shape), mixed_axes(shape[0], 1), spacing


@every_shape
def test_rings(shape):
    (x, axis, spacing), batch = ct_scan(shape), shape[0]
    # most of the rings are within the range of HU
    strength, share, planes = rand(batch, high=0.1), rand(batch), torch.randint(1, 4, (batch,))
    seeds, errors = torch.arange(5, 5 + batch), []
    for b, a in enumerate(axis):
        slices, (one, two) = shape[2 + a], (n for n in range(3) if n != a)
        sides = spacing[b, one].item(), spacing[b, two].item()
        space = torch.empty(1, shape[2 + one], shape[2 + two], slices)
        count = len(ct_views.detectors(space, sides))
        half = (count + 1) // 2
        drawn = random.normals(seeds[b : b + 1].numpy(), slices * 2 * half)[0].double()
        rows = torch.zeros(slices, count, dtype=torch.float64)
        for plane in range(slices):
            chosen, error = drawn.view(-1, 2, half)[plane // int(planes[b])]
            for d in range(count):
                distance = int(abs(d - (count - 1) / 2))
                if torch.special.ndtr(chosen[distance]) <= share[b]:
                    rows[plane, d] = strength[b] * error[distance]
        errors.append(rows)
    out = F.rings(x, strength, share, planes, seeds, np.array(axis), spacing=spacing.numpy())
    expected = ct_views.rings(x, errors, axis, spacing)
    agree(out, expected, "the integral over angles is a sum of 20000", 1e-5)


@every_shape
@pytest.mark.parametrize("first", [0, 3])
def test_sparse_views(shape, first):
    x, axis, spacing = ct_scan(shape)
    count = [1, 4, 15, 5, 7, 2][first : first + shape[0]]
    out = F.sparse_views(x, count, np.array(axis), CT_VIEWS, spacing=spacing.numpy())
    agree(out, ct_views.sparse_views(x, count, axis, CT_VIEWS, spacing))


@every_shape
def test_limited_angle(shape):
    x, axis, spacing = ct_scan(shape)
    degrees, start = torch.tensor([120.0, 180, 50])[: shape[0]], rand(shape[0], low=-90, high=90)
    out = F.limited_angle(x, degrees, start, np.array(axis), CT_VIEWS, spacing=spacing.numpy())
    agree(out, ct_views.limited_angle(x, degrees, start, axis, CT_VIEWS, spacing))


@every_shape
@pytest.mark.parametrize("channels", [1, 2])
def test_metal(shape, channels):
    (x, axis, spacing), batch = ct_scan(shape), shape[0]
    mask = volume((batch, min(channels, shape[1]), *shape[2:])) > 1
    hu, ratio = rand(batch, low=1000, high=12000), rand(batch, low=0.1)
    scatter = rand(batch, low=1e-4, high=1e-2)
    parameters = torch.stack([hu, ratio, scatter], 1)
    out = F.metal(
        x, mask, hu, ratio, scatter, np.array(axis), CT_VIEWS, 2000, spacing=spacing.numpy()
    )
    every = mask.expand(shape)
    agree(out, ct_views.metal(x, every, parameters, axis, CT_VIEWS, 2000, spacing))


def rays_of(seeds, x, axis, spacing, views):
    """Return the normal number of each ray, of each sample."""
    numbers = []
    for seed, a, mm in zip(seeds, axis, spacing, strict=True):
        shape = (1, *ct_scans.line_integrals(x[0] * 0, a, mm, views).shape)
        numbers.append(numbers_of_voxels(seed[None], shape, 0)[0])
    return numbers


def scan(shape, start):
    """Return voxels in HU, of which some are air, and axes, spacings, views and seeds."""
    batch = shape[0]
    spacing = rand(batch, 3, low=1, high=9).round(decimals=3)
    return 400 * volume(shape) - 300, mixed_axes(batch, start), spacing, 5, torch.arange(batch) - 1


@every_shape
@pytest.mark.parametrize("start", [0, 1, 2])
def test_low_dose(shape, start):
    x, axis, spacing, views, seeds = scan(shape, start)
    dose, photons = rand(shape[0], low=0.01), rand(shape[0], low=3, high=300)
    electronic = rand(shape[0], high=9)
    out = F.low_dose(x, dose, photons, electronic, seeds, axis, views, spacing=spacing)
    numbers = rays_of(seeds, x, axis, spacing, views)
    agree(out, ct_scans.low_dose(x, dose, photons, electronic, numbers, axis, spacing))


@every_shape
@pytest.mark.parametrize("start", [0, 1, 2])
def test_streaks(shape, start):
    x, axis, spacing, views, seeds = scan(shape, start)
    photons, threshold = rand(shape[0], low=3, high=40), rand(shape[0], low=20, high=80)
    electronic = rand(shape[0], high=9)
    out = F.streaks(x, photons, electronic, threshold, seeds, axis, views, spacing=spacing)
    numbers = rays_of(seeds, x, axis, spacing, views)
    agree(out, ct_scans.streaks(x, photons, electronic, threshold, numbers, axis, spacing))


@every_shape
@pytest.mark.parametrize("start", [0, 1, 2])
@pytest.mark.parametrize("corrected", [True, False])
def test_beam_hardening(shape, start, corrected):
    x, axis, spacing, views, _ = scan(shape, start)
    strength, least = rand(shape[0], high=2), rand(shape[0], low=-200, high=300)
    out = F.beam_hardening(x, strength, least, corrected, axis, views, spacing=spacing)
    agree(out, ct_scans.beam_hardening(x, strength, least, corrected, views, axis, spacing))


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.7, 1.9), (2.1, 0.8)])
@every_shape
def test_project(shape, spacing):
    x, angles = volume(shape), [0.0, 20, 45, 77, 90, 130, 168, -30]
    got = F.project(x, angles, (*spacing, 1.0))
    turns = np.radians(angles).tolist()
    agree(got, projection.project(x, turns, spacing, got.shape[3]), share=1e-9)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.7, 1.9), (2.1, 0.8)])
@every_shape
def test_filtered_back_projection(shape, spacing):
    angles = np.arange(0, 180, 20.0)
    beams = torch.randn_like(F.project(volume(shape), angles, (*spacing, 1.0)))
    got = F.filtered_back_projection(beams, angles, shape[2:], (*spacing, 1.0))
    turns = np.radians(angles).tolist()
    want = projection.filtered_back_projection(beams, turns, shape[2:4], spacing)
    agree(got, want, share=1e-9)

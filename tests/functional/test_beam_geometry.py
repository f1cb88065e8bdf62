"""Beams of ultrasound probes: where they lie, and interpolation on them and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from torchio_gpu.functional.ultrasound.geometry import (
    BeamGeometry,
    Fan,
    by_fans,
    check_geometry,
    check_plane_axes,
    fans_of,
)

CONVEX = BeamGeometry("convex", angle=60.0, radius=40.0, depth=120.0, center=(0.0, 5.0))
PHASED = BeamGeometry("phased", angle=80.0, depth=140.0, center=(3.0, 0.0))
LINEAR = BeamGeometry("linear", width=90.0, depth=130.0)
PROBES = pytest.mark.parametrize("geometry", [CONVEX, PHASED, LINEAR], ids=lambda g: g.probe)
#: Voxels along I, J, K, lateral and axial axis, and their spacing.
GRIDS = pytest.mark.parametrize(
    ("shape", "axes", "spacing"),
    [
        ((200, 150, 1), (0, 1), (1.0, 1.0)),
        ((150, 3, 130), (2, 0), (1.3, 1.0)),
        ((4, 301, 110), (2, 1), (1.5, 0.5)),
    ],
    ids=str,
)


def _coordinates(fan):
    """Return lateral and axial distance of each voxel from where the middle beam enters, mm."""
    (p, q), (dp, dq) = fan.size, fan.spacing
    lateral = (np.arange(p) - (p - 1) / 2)[:, None] * dp - fan.geometry.center[0]
    axial = (np.arange(q) + 0.5)[None] * dq - fan.geometry.center[1]
    return np.broadcast_arrays(lateral, axial)


@PROBES
@GRIDS
def test_voxels_inside_are_between_the_outer_beams(geometry, shape, axes, spacing):
    fan = Fan(geometry, shape, axes, spacing)
    got = fan.inside(torch.device("cpu"))
    lateral, axial = _coordinates(fan)
    if geometry.probe == "linear":
        want = (abs(lateral) <= 45) & (axial >= 0) & (axial <= geometry.depth)
    else:
        radius = 40.0 if geometry.probe == "convex" else 0.0
        distance = np.hypot(lateral, axial + radius)
        want = (distance >= radius) & (distance <= radius + geometry.depth)
        want &= abs(np.degrees(np.arctan2(lateral, axial + radius))) <= geometry.angle / 2
    if axes[0] > axes[1]:
        want = want.T
    assert got.shape == tuple(1 if a not in axes else n for a, n in enumerate(shape))
    assert torch.equal(got.squeeze(), torch.from_numpy(want))
    assert 0.2 < want.mean() < 0.95


@PROBES
@GRIDS
def test_linear_functions_are_found_on_beams_exactly(geometry, shape, axes, spacing):
    fan = Fan(geometry, shape, axes, spacing)
    lateral, axial = (torch.from_numpy(np.array(each)) for each in _coordinates(fan))
    value = 2 * lateral - 3 * axial
    planes = torch.arange(shape[3 - sum(axes)]).double() * 100
    x = fan.over_volume(value) + planes.view([-1 if a not in axes else 1 for a in range(3)])
    got = fan.to_beams(x[None, None])[0, 0]
    assert got.shape == (fan.beams, fan.points, len(planes))
    depth = torch.arange(fan.points).double() * fan.step
    if geometry.probe == "linear":
        across = torch.linspace(-45, 45, fan.beams).double()[:, None]
        along, down = across.expand(-1, fan.points), depth.expand(fan.beams, -1)
    else:
        radius = 40.0 if geometry.probe == "convex" else 0.0
        half = math.radians(geometry.angle / 2)
        angle = torch.linspace(-half, half, fan.beams, dtype=torch.float64)[:, None]
        along, down = angle.sin() * (radius + depth), angle.cos() * (radius + depth) - radius
    (p, q), (dp, dq) = fan.size, spacing
    within = (along + geometry.center[0]).abs() <= (p - 1) / 2 * dp
    within &= (down + geometry.center[1] >= dq / 2) & (down + geometry.center[1] <= (q - 0.5) * dq)
    assert within.double().mean() > 0.6
    want = (2 * along - 3 * down)[..., None] + planes
    torch.testing.assert_close(got[within], want[within], rtol=0, atol=1e-3)


@PROBES
@GRIDS
def test_smooth_images_come_back_from_beams(geometry, shape, axes, spacing):
    fan = Fan(geometry, shape, axes, spacing)
    lateral, axial = (torch.from_numpy(np.array(each)) for each in _coordinates(fan))
    value = fan.over_volume(torch.sin(lateral / 9) * torch.cos(axial / 11))
    x = value.expand(shape)[None, None]
    back = fan.from_beams(fan.to_beams(x))
    assert back.shape == x.shape
    inside = fan.inside(x.device).expand(shape)
    # one voxel from the edge of the image, where its values end; interpolated linearly twice
    assert (back - x)[0, 0][inside].abs().quantile(0.99) < 0.01


@PROBES
def test_points_outside_of_the_image_are_black(geometry):
    away = geometry._replace(center=(12.0, -20.0))
    fan = Fan(away, (60, 50, 1), (0, 1), (1.0, 1.0))
    got = fan.to_beams(torch.ones(1, 1, 60, 50, 1))[0, 0, ..., 0]
    assert ((got == 0) | ((got - 1).abs() < 1e-5)).all()
    got = got.round()
    at = fan.nearest_on_beams(torch.ones(1, 1, 60, 50, 1, dtype=torch.long), 7)[0, 0, ..., 0]
    assert 0.1 < got.mean() < 0.9
    assert torch.equal(at, torch.where(got > 0, 1, 7))
    down = torch.arange(fan.points) * fan.step - 20  # on the middle beam, from the upper edge
    middle = got[fan.beams // 2]
    assert torch.equal(middle[down < -1], torch.zeros(19))
    assert (middle[(down > 1) & (down < 49)] == 1).all()


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0)])
def test_a_fan_of_next_to_no_width_is_no_image(spacing):
    for probe in (LINEAR._replace(width=1e-9), PHASED._replace(angle=1e-9, center=(0, 0))):
        fan = Fan(probe, (20, 30, 1), (0, 1), spacing)
        assert fan.beams == 2
        assert not fan.inside(torch.device("cpu")).any()


def test_tolerance_of_the_depth_does_not_grow_with_it():
    deep = LINEAR._replace(depth=2e6, center=(0.0, 1.0))
    inside = Fan(deep, (20, 30, 1), (0, 1), (1.0, 1.0)).inside(torch.device("cpu"))
    assert not inside[:, 0].any()  # half a voxel before the surface
    assert inside[:, 1:].all()


@PROBES
def test_gradients(geometry):
    small = geometry._replace(depth=5.0, radius=4.0, width=5.0, center=(0.3, -0.2))
    fan = Fan(small, (6, 2, 7), (0, 2), (1.0, 0.9))
    x = torch.rand(1, 2, 6, 2, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(fan.to_beams, x)
    y = fan.to_beams(x).detach().requires_grad_()
    assert torch.autograd.gradcheck(fan.from_beams, y)


def test_what_lies_outside_the_fan_stays():
    x = torch.rand(2, 1, 40, 50, 2)
    small = BeamGeometry("phased", angle=40, depth=30)
    out = by_fans(x, small, np.ones((1, 3)), (0, 1), lambda part, fan: part + 1)
    mask = Fan(small, (40, 50, 2), (0, 1), (1.0, 1.0)).inside(x.device).expand_as(x)
    assert torch.equal(out, torch.where(mask, x + 1, x))
    assert 0.1 < mask.float().mean() < 0.5


def test_samples_have_fans_of_their_own():
    x = torch.rand(3, 1, 40, 50, 1)
    spacing = np.array([[1, 1, 1.0], [1, 1, 1], [0.5, 0.7, 1]])
    each = [PHASED, CONVEX, PHASED]
    assert len(fans_of(x, each, spacing, (0, 1))) == 3
    gains = np.array([1.0, 2.0, 3.0])

    def change(part, fan, gain):
        return fan.from_beams(fan.to_beams(part)) * torch.from_numpy(gain).float().view(
            -1, 1, 1, 1, 1
        )

    whole = by_fans(x, each, spacing, (0, 1), change, gains)
    for n in range(3):
        alone = by_fans(x[n : n + 1], each[n], spacing[n : n + 1], (0, 1), change, gains[n : n + 1])
        torch.testing.assert_close(whole[n : n + 1], alone)


def test_depth_and_width_are_those_of_the_image_by_default():
    fan = Fan(BeamGeometry("linear"), (30, 20, 1), (0, 1), (0.5, 2.0))
    assert (fan.span, fan.depth) == (15.0, 39.0)
    assert fan.inside(torch.device("cpu")).all()
    assert (fan.beams, fan.points) == (31, 79)


def test_geometry_is_given_by_its_arguments_too():
    want = BeamGeometry("phased", angle=75.0)
    assert check_geometry({"probe": "phased", "angle": 75.0}) == want
    assert check_geometry(["phased", None, 75.0]) == want
    assert check_geometry(want) == want
    assert check_geometry("phased").probe == "phased"


@pytest.mark.parametrize(
    ("geometry", "error", "message"),
    [
        ({"probe": "round"}, ValueError, "probe of the geometry must be one of"),
        ({"angle": 0}, ValueError, "angle of the geometry must be a number > 0 and < 180, got 0"),
        ({"angle": 180}, ValueError, "angle of the geometry must be a number > 0 and < 180"),
        ({"depth": -1}, ValueError, "depth of the geometry must be a number > 0, got -1"),
        ({"width": math.nan}, ValueError, "width of the geometry must be a number > 0"),
        ({"radius": None}, ValueError, "radius of the geometry must be a number > 0, got None"),
        ({"center": (1,)}, ValueError, "center of the geometry must be two numbers"),
        ({"opening": 4}, TypeError, "geometry must be a BeamGeometry or its arguments"),
        (5, TypeError, "geometry must be a BeamGeometry or its arguments"),
    ],
)
def test_bad_geometries_are_refused(geometry, error, message):
    with pytest.raises(error, match=message):
        check_geometry(geometry)


@pytest.mark.parametrize("axes", [(0, 0), (0,), 1, "ab", (0, 3), (0, 1, 2)])
def test_bad_axes_are_refused(axes):
    with pytest.raises(ValueError, match="axes must be two of 0, 1, 2"):
        check_plane_axes(axes)

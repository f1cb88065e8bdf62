"""Projection along parallel rays, and filtered back-projection."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool3d

from torchio_gpu.functional.ct import filtered_back_projection, project
from torchio_gpu.functional.ct.beams import beams_of, equal_angles

_CENTRE, _RADIUS = (30.0, -20.0), 50.0


def _places(size, spacing):
    """Return the distances of voxels from the centre along two axes, in mm."""
    return [
        (torch.arange(n).double() - (n - 1) / 2) * s for n, s in zip(size, spacing, strict=True)
    ]


def _disc(size=(256, 256), spacing=(1.0, 1.0), centre=_CENTRE, radius=_RADIUS):
    """Return the mean of a disc over each voxel, [1, 1, P, Q, 1] in float32."""
    fine = 8
    p, q = _places([n * fine for n in size], [s / fine for s in spacing])
    inside = (p[:, None] - centre[0]) ** 2 + (q - centre[1]) ** 2 < radius**2
    return avg_pool3d(inside.float()[None, None, :, :, None], (fine, fine, 1))


def _chords(count, pitch, angles, centre=_CENTRE, radius=_RADIUS):
    """Return the lengths of rays in a disc, [A, D]."""
    angles = torch.tensor(angles).double().deg2rad()[:, None]
    (places,) = _places([count], [pitch])
    off = places - centre[0] * angles.cos() - centre[1] * angles.sin()
    return 2 * (radius**2 - off**2).clamp(min=0).sqrt()


@pytest.mark.parametrize(
    ("size", "spacing", "views"),
    [
        ((256, 256), (1.0, 1.0), 360),
        ((255, 200), (1.0, 1.0), 90),
        ((360, 180), (0.7, 1.4), 90),
        ((170, 300), (1.3, 0.8), 91),
    ],
)
def test_projections_of_a_disc_are_its_chords(size, spacing, views):
    got = project(_disc(size, spacing), views, (*spacing, 3.0))[0, 0, ..., 0]
    want = _chords(got.shape[1], min(spacing), equal_angles(views))
    assert (got - want).abs().mean() < 0.001 * 2 * _RADIUS


@pytest.mark.parametrize(
    ("size", "spacing"), [((256, 256), (1.0, 1.0)), ((200, 310), (1.2, 0.8))], ids=str
)
def test_reconstruction_of_a_disc_is_the_disc(size, spacing):
    x = _disc(size, spacing)
    beams = project(x, 360, (*spacing, 1.0))
    got = filtered_back_projection(beams, 360, x.shape[2:], (*spacing, 1.0))[0, 0, ..., 0]
    p, q = _places(size, spacing)
    distance = ((p[:, None] - _CENTRE[0]) ** 2 + (q - _CENTRE[1]) ** 2).sqrt()
    inside = got[distance < _RADIUS - 4]
    assert abs(inside.mean() - 1) < 0.005
    assert inside.std() < 0.01
    assert abs(got[distance > _RADIUS + 4].mean()) < 0.005


def test_reconstruction_of_chords_is_the_disc():
    beams = _chords(364, 1.0, equal_angles(360)).float()[None, None, :, :, None]
    got = filtered_back_projection(beams, 360, (256, 256, 1), 1.0)[0, 0, ..., 0]
    p, q = _places((256, 256), (1, 1))
    inside = got[(p[:, None] - _CENTRE[0]) ** 2 + (q - _CENTRE[1]) ** 2 < (_RADIUS - 4) ** 2]
    assert abs(inside.mean() - 1) < 0.005


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_planes_lie_across_any_axis(axis):
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 9, 12, 4, generator=rng)
    spacing = [0.9, 1.3, 2.0]
    moved = [*(n for n in range(3) if n != axis), axis]
    turned = project(x.permute(0, 1, *(2 + n for n in moved)), 11, [spacing[n] for n in moved])
    got = project(x, 11, spacing, axis)
    assert torch.equal(got, turned)
    want = filtered_back_projection(
        turned, 11, [x.shape[2 + n] for n in moved], [spacing[n] for n in moved]
    )
    back = filtered_back_projection(got, 11, x.shape[2:], spacing, axis)
    torch.testing.assert_close(back.movedim(2 + axis, 4), want, rtol=0, atol=1e-6)


def test_angles_are_of_the_first_axis_towards_the_second():
    p, q = _places((31, 31), (1, 1))
    blob = torch.exp(-((p[:, None] - 5) ** 2 + (q + 7) ** 2) / 8)[None, None, :, :, None]
    angles = [0, 90, 30, 200, -45]
    beams = project(blob, angles, 1.0)[0, 0, ..., 0]
    (place,) = _places([beams.shape[1]], [1.0])
    turn = np.radians(angles)
    want = torch.from_numpy(5 * np.cos(turn) - 7 * np.sin(turn))
    torch.testing.assert_close((beams * place).sum(1) / beams.sum(1), want, rtol=0, atol=0.01)


@pytest.mark.parametrize("axis", [0, 2])
def test_gradients_are_the_adjoint(axis):
    rng = torch.Generator().manual_seed(1)
    x = torch.rand(1, 2, 5, 6, 4, dtype=torch.float64, generator=rng, requires_grad=True)
    angles, spacing = [0.0, 33, 45, 90, 121], [1.0, 1.5, 0.8]
    assert torch.autograd.gradcheck(lambda x: project(x, angles, spacing, axis), x)
    angles = [33.0, 69, 105, 141, 177]
    beams = project(x, angles, spacing, axis).detach().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda y: filtered_back_projection(y, angles, x.shape[2:], spacing, axis), beams
    )


def test_samples_are_those_of_the_batch():
    x = torch.rand(3, 2, 17, 14, 5, generator=torch.Generator().manual_seed(2))
    whole = project(x, 20, (1, 1.2, 3))
    for sample in range(3):
        part = project(x[sample : sample + 1], 20, (1, 1.2, 3))
        torch.testing.assert_close(whole[sample : sample + 1], part, rtol=1e-6, atol=1e-6)


def test_few_weights_at_a_time_change_nothing(monkeypatch):
    x = torch.rand(1, 1, 20, 31, 3, generator=torch.Generator().manual_seed(3))
    beams = project(x, 30, 1.0)
    whole = filtered_back_projection(beams, 30, x.shape[2:], 1.0)
    monkeypatch.setattr("torchio_gpu.functional.eager.sums._WEIGHTS", 1000)
    assert torch.equal(project(x, 30, 1.0), beams)
    assert torch.equal(filtered_back_projection(beams, 30, x.shape[2:], 1.0), whole)


def test_spacings_with_rounding_errors_are_one_geometry():
    spacing = np.array([[0.7, 0.7, 1.0], [0.7 + 1e-12, 0.7, 1.0]])
    x = torch.zeros(2, 1, 4, 4, 1)
    assert len(beams_of(x, 2, spacing, (0.0,))) == 1
    assert len(beams_of(x, 2, spacing * [[1], [1.1]], (0.0,))) == 2
    assert len(beams_of(x, [0, 2], spacing, (0.0,))) == 2


def test_rays_see_all_of_a_plane():
    x = torch.ones(1, 1, 23, 9, 1)
    beams = project(x, 36, (0.5, 2.0, 1.0))
    # what rays see, times their distance, is the area
    torch.testing.assert_close(
        beams.sum((3, 4)) * 0.5, torch.full((1, 1, 36), 207.0), rtol=0.03, atol=0
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1.0), "angles must be a whole number >= 1, got 0"),
        ((2.5, 1.0), "angles must be a whole number >= 1, got 2.5"),
        (([0, math.nan], 1.0), "angles must be finite numbers"),
        (([], 1.0), "angles must be finite numbers"),
        (([0, 1j], 1.0), "angles must be finite numbers"),
        ((4, (1.0, 1e-5, 1)), "spacing within the planes across axis 2 must let 16384 detectors"),
        ((4, 0.0), "spacing must be > 0"),
        ((4, [[1, 1, 1], [2, 1, 1.0]]), "spacing must be one number or three"),
        ((4, 1.0, 3), "axis must be 0, 1 or 2"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        project(torch.zeros(2, 1, 4, 4, 4), *arguments)


def test_tensors_of_spacing_are_refused():
    with pytest.raises(TypeError, match="spacing must be one number or three, got a tensor"):
        project(torch.zeros(2, 1, 4, 4, 4), 4, torch.ones(3))


def test_projections_of_another_geometry_are_refused():
    beams = project(torch.zeros(1, 1, 4, 4, 2), 5, 1.0)
    for views, shape in ((6, (4, 4, 2)), (5, (9, 4, 2)), (5, (4, 4, 3))):
        with pytest.raises(ValueError, match="projections must have"):
            filtered_back_projection(beams, views, shape, 1.0)


@pytest.mark.parametrize(
    "angles", [[0, 90, 135], [0, 1, 2, 3], [10, 70, 130.01], [0, 60, 60], [0, 180, 60]]
)
def test_angles_that_do_not_cover_half_a_turn_evenly_are_refused(angles):
    beams = project(torch.zeros(1, 1, 4, 4, 2), angles, 1.0)
    with pytest.raises(ValueError, match="angles must be equally spaced over 180 degrees, "):
        filtered_back_projection(beams, angles, (4, 4, 2), 1.0)


def test_angles_in_any_order_and_of_the_other_side_are_views():
    x = torch.rand(1, 1, 9, 8, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    turned = [120.0, 180.0, 240.0 + 1e-9]
    got, want = (
        filtered_back_projection(project(x, angles, 1.0), angles, (9, 8, 2), 1.0)
        for angles in (turned, 3)
    )
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


def test_projections_and_shapes_that_are_none_are_named():
    beams = project(torch.zeros(1, 1, 4, 4, 2), 5, 1.0)
    for wrong in (beams[0], beams + 1j):
        with pytest.raises(ValueError, match=r"projections must be real and have shape"):
            filtered_back_projection(wrong, 5, (4, 4, 2), 1.0)
    for shape in ((4, 4), (4, 4.0, 2), (4, 4, 0)):
        with pytest.raises(ValueError, match="shape must be"):
            filtered_back_projection(beams, 5, shape, 1.0)


def test_complex_voxels_are_refused():
    with pytest.raises(ValueError, match="x must be real"):
        project(torch.zeros(1, 1, 4, 4, 4, dtype=torch.complex64), 4, 1.0)


@pytest.mark.parametrize("shape", [(1, 1, 1, 4, 5), (2, 1, 3, 1, 5), (1, 2, 4, 3, 1)])
def test_voxels_may_lie_in_any_order_in_memory(shape):
    for order in permutations(range(5)):
        x = torch.rand([shape[n] for n in order]).permute([order.index(n) for n in range(5)])
        for axis in (0, 1, 2):
            beams = project(x, 3, 1.0, axis)
            assert torch.equal(beams, project(x.contiguous(), 3, 1.0, axis))
            back = filtered_back_projection(beams.mT.contiguous().mT, 3, shape[2:], 1.0, axis)
            assert torch.equal(back, filtered_back_projection(beams, 3, shape[2:], 1.0, axis))

"""k-space artifacts: against their definitions, closed forms, TorchIO where it is right."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torchio

from tests.close import assert_close, interior
from tests.volumes import oblique_affine, smooth
from torchio_gpu import functional as F
from torchio_gpu import geometry
from torchio_gpu.functional.definitions import kspace as definition
from torchio_gpu.functional.eager import phase_encode, slabs
from torchio_gpu.functional.eager.slabs import last
from torchio_gpu.functional.eager.spatial import Source, reader, separable
from torchio_gpu.functional.fields_of_view import FieldOfView

SHAPES = [(3, 2, 12, 9, 7), (3, 1, 8, 8, 8), (3, 1, 1, 6, 5), (3, 1, 2, 1, 4)]
DEGREES = [[12.0, -7.0, 5.0], [-4.0, 9.0, -15.0]]
TRANSLATION = [[1.0, -2.0, 0.5], [-1.5, 0.5, 2.0]]
TIMES = np.array([[0.3, 0.7], [0.1, 0.35], [0.55, 0.9]])


def volume(shape, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype)


def poses(shape, affine=None):
    """Output voxel to input voxel of the two poses above, [3, 2, 4, 4]."""
    affine = np.eye(4) if affine is None else affine
    space = geometry.Space(shape, np.broadcast_to(affine, (6, 4, 4)))
    d, t = (np.array(values * 3) for values in (DEGREES, TRANSLATION))
    motion = geometry.motion_in(space, np.ones(3), d, t, space.centre)
    matrix = space.to_voxel @ geometry.pull_back(motion) @ space.affine
    if 1 in shape:
        matrix = geometry.within_slice(matrix, shape, shape)
    return matrix.reshape(3, 2, 4, 4)


def moved(x, matrix, fill):
    return [F.affine_warp(x, matrix[:, p], fill=fill) for p in range(matrix.shape[1])]


# What runs is what is defined


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("dtype", "share"), [(torch.float64, 1e-13), (torch.float32, 2e-6)])
def test_kspace_artifacts_agree_with_their_definitions(shape, axis, dtype, share):
    x = volume(shape, dtype)
    reason = "sums of as many terms as a line has, in the volume's dtype"
    planes = torch.tensor([[2, 3, 4], [0.4, 1, 1.3], [0, 0.2, 0.5]], dtype=torch.float64)
    expected = definition.ghosting(x, *planes, [axis] * 3)
    assert_close(F.ghosting(x, *planes, axis), expected, share=share, reason=reason)

    positions = torch.rand(3, 4, 3, dtype=torch.float64)
    intensity = torch.rand(3, 4, dtype=torch.float64) - 0.3
    expected = definition.spike(x, positions, intensity)
    assert_close(F.spike(x, positions, intensity), expected, share=share, reason=reason)

    owner = F.motion_owner(TIMES, shape[2 + axis]).tolist()
    other = moved(x, poses(shape[2:]), F.fill_value(x, "minimum"))
    for output in ("real", "magnitude"):
        expected = definition.of_poses([x, *other], owner, [axis] * 3, output)
        out = F.motion(x, np.array(DEGREES), np.array(TRANSLATION), TIMES, axis, output=output)
        assert_close(out, expected, share=3 * share, reason=reason + "; interpolated coordinates")


@pytest.mark.parametrize("size", [(6, 7, 8), (7, 7, 7)])
def test_axes_may_differ_by_sample(size):
    x = volume((3, 2, *size))
    for function in (
        lambda x, axis, samples: F.ghosting(x, 3, 0.8, 0.1, axis),
        lambda x, axis, samples: F.motion(x, 10.0, 1.0, TIMES[samples], axis),
        lambda x, axis, samples: F.motion(x, 10.0, 1.0, TIMES[samples], axis, output="magnitude"),
    ):
        together = function(x, np.array([2, 0, 1]), [0, 1, 2])
        for n, axis in enumerate((2, 0, 1)):
            alone = function(x[n : n + 1], axis, [n])
            assert_close(together[n : n + 1], alone, share=1e-13, reason="products round by size")


# Ghosting


@pytest.mark.parametrize("ghosts", [2, 4, 8])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_ghosts_of_a_point_have_the_closed_form_amplitude(ghosts, axis):
    size, intensity, where = 64, 0.7, 5
    shape, place = [1, 1, 4, 4, 4], [0, 0, 1, 2, 3]
    shape[2 + axis], place[2 + axis] = size, where
    x = torch.zeros(shape, dtype=torch.float64)
    x[tuple(place)] = 1
    line = F.ghosting(x, ghosts, intensity, axis=axis).movedim(2 + axis, -1)
    at = [p for n, p in enumerate(place[2:]) if n != axis]
    line = line[0, 0, at[0], at[1]]
    # 1 - s (comb - centre): a comb of n lines per period is 1/n at n places, the centre 1/N
    expected = torch.full((size,), intensity / size, dtype=torch.float64)
    expected[(where + size // ghosts * torch.arange(ghosts)) % size] -= intensity / ghosts
    expected[where] += 1
    torch.testing.assert_close(line, expected, atol=1e-14, rtol=0)


@pytest.mark.parametrize("size", [15, 16])
def test_ghosting_keeps_the_mean_and_a_constant_image(size):
    x = volume((2, 1, size, 5, 4)) + 3
    out = F.ghosting(x, 3, 1.0, axis=0)
    torch.testing.assert_close(out.mean((2, 3, 4)), x.mean((2, 3, 4)), rtol=1e-12, atol=0)
    flat = torch.full((1, 1, size, 5, 4), 7.0)
    assert_close(F.ghosting(flat, 2, 1.0, axis=0), flat, share=1e-6, reason="float32")


def test_ghosting_decreases_with_the_restored_share():
    x = volume((1, 1, 40, 12, 10))
    errors = [
        (F.ghosting(x, 3, 1.0, restore, 0) - x).square().mean().item()
        for restore in (None, 0, 0.02, 0.15, 0.3, 0.5, 0.8, 1)
    ]
    assert errors[0] == errors[1]
    assert all(a >= b for a, b in pairwise(errors))
    assert errors[2] > errors[3] > errors[4] > errors[5] > errors[6] > errors[7] == 0


def test_ghosting_agrees_with_torchio_where_both_count_from_the_centre():
    """With 48 lines, every 4th line from the edge is every 4th from the centre."""
    x = smooth((1, 1, 48, 10, 12)).float()
    image = torchio.ScalarImage(tensor=x[0])
    for axis, ghosts, size in ((0, 4, 48), (2, 3, 12), (2, 2, 12)):
        theirs = torchio.Ghosting(num_ghosts=ghosts, axis=axis, intensity=0.6, restore=None)(image)
        if (size // 2) % ghosts:
            continue
        ours = F.ghosting(x, ghosts, 0.6, None, axis)
        assert_close(ours[0], theirs.data, share=1e-5, reason="float32 transforms")


# Spikes


def test_a_spike_is_a_plane_wave_of_the_largest_magnitude():
    x = volume((2, 1, 8, 9, 6)) + 2
    out = F.spike(x, torch.tensor([[6 / 8, 4.5 / 9, 0.99]]), 0.25)
    frequency = (2, 0, 2)  # 6 - 4, 4 - 4, 5 - 3
    i, j, k = torch.meshgrid(*(torch.arange(n).double() / n for n in (8, 9, 6)), indexing="ij")
    wave = torch.cos(2 * math.pi * (i * frequency[0] + j * frequency[1] + k * frequency[2]))
    peak = torch.fft.fftn(x, dim=(2, 3, 4)).abs().amax((2, 3, 4), keepdim=True)
    expected = x + 0.25 * peak / x[0].numel() * wave
    torch.testing.assert_close(out, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("count", [1, 2])
def test_spikes_agree_with_torchio(count):
    x = smooth((1, 2, 12, 11, 10)).float()
    positions = np.array([[0.31, 0.52, 0.74], [0.9, 0.1, 0.45]])[:count]
    theirs = torchio.Spike(positions, 0.4)(torchio.ScalarImage(tensor=x[0]))
    ours = F.spike(x, positions, 0.4)[0]
    assert_close(ours, theirs.data, share=1e-5, reason="float32 transforms")


def test_spikes_are_relative_to_their_channel_and_sample():
    x = volume((2, 2, 6, 6, 6)) + 3
    scaled = x * torch.tensor([[1.0, 10.0], [100.0, 1000.0]])[:, :, None, None, None]
    position = torch.tensor([[0.2, 0.3, 0.9]])
    change = (F.spike(x, position, 1.0) - x) * (scaled / x)
    torch.testing.assert_close(F.spike(scaled, position, 1.0) - scaled, change)


def test_no_spikes_change_nothing():
    x = volume((1, 1, 3, 4, 5))
    assert torch.equal(F.spike(x, np.zeros((0, 3)), np.zeros(0)), x)
    assert torch.equal(F.spike(x, np.full((2, 3), 0.3), 0.0), x)


# Motion


@pytest.mark.parametrize("lines", [7, 8, 64])
@pytest.mark.parametrize("times", [[0.6, 0.8], [0.2, 0.7], [0.1, 0.2], [0.5, 0.7]])
def test_the_segment_with_the_centre_line_is_the_reference(lines, times):
    (owner,) = F.motion_owner(np.array([times]), lines)
    begin = [0, *(int(lines * time) for time in times), lines]
    (reference,) = (s for s in range(3) if begin[s] <= lines // 2 < begin[s + 1])
    others = iter((1, 2))  # in order of time; lines are in centred order, so segments hold together
    for s in range(3):
        expected = 0 if s == reference else next(others)
        assert (owner[begin[s] : begin[s + 1]] == expected).all()


def test_one_pose_over_all_lines_is_a_rigid_warp():
    x = smooth((2, 1, 10, 12, 14))
    matrix = poses((10, 12, 14))[:2, :1]
    for axis in range(3):
        order = last(axis)
        size = tuple((10, 12, 14)[a] for a in order)
        flat = matrix[..., [*order, 3]].reshape(-1, 4, 4)
        factors = separable((10, 12, 14), flat, None, None, size, "linear")
        owner = np.ones((2, size[2]), dtype=int)
        halves = [torch.from_numpy(half) for half in phase_encode.halves(owner, 1)]
        factors = [torch.from_numpy(factor) for factor in factors]
        read = reader([Source(x, "linear", [FieldOfView.whole((10, 12, 14), 2, 0.0)])])
        out = phase_encode.motion(x, factors, halves[0], None, [(slice(None), order)], read)
        expected = F.affine_warp(x, matrix[:, 0])
        torch.testing.assert_close(out, expected, atol=1e-12, rtol=0)
        magnitude = phase_encode.motion(x, factors, *halves, [(slice(None), order)], read)
        torch.testing.assert_close(magnitude, expected.abs(), atol=1e-12, rtol=0)


def test_the_image_does_not_drift():
    """Poses of lines far from the centre of k-space do not move the content."""
    axes = torch.meshgrid(*(torch.arange(n) - (n - 1) / 2 for n in (32, 32, 32)), indexing="ij")
    x = torch.exp(-sum(a**2 for a in axes) / 50)[None, None].double()
    for times in ([0.1, 0.9], [0.05, 0.1], [0.9, 0.95]):
        out = F.motion(x, 0.0, (6.0, 6.0, 6.0), np.array(times), axis=1)
        weight = out.clip(0) / out.clip(0).sum()
        for a in axes:
            assert abs((weight * a).sum().item()) < 0.1  # of 6 voxels of motion
        torch.testing.assert_close(out.mean(), x.mean(), rtol=1e-9, atol=0)


def test_poses_rotate_about_the_centre_of_the_image():
    """The centre is fixed for any origin of the image."""
    affine = oblique_affine(origin=(100.0, -200.0, 300.0))
    here = oblique_affine(origin=(-3.0, 2.0, 1.0))
    x = smooth((1, 1, 12, 14, 16))
    outs = [F.motion(x, 20.0, 0.0, np.array([0.3]), 0, affine=a) for a in (affine, here)]
    torch.testing.assert_close(*outs, atol=1e-9, rtol=0)
    centre = torch.zeros(1, 1, 13, 13, 13, dtype=torch.float64)
    centre[0, 0, 6, 6, 6] = 1
    out = F.motion(centre, (90.0, 180.0, 90.0), 0.0, np.array([0.4]), 1)
    torch.testing.assert_close(out, centre, atol=1e-9, rtol=0)


def test_poses_are_rigid_in_millimetres():
    """On anisotropic voxels a rotation must not shear: agree with the warp of the same pose."""
    affine = oblique_affine((1, 2, 3))
    x = smooth((3, 1, 20, 12, 9))
    owner = F.motion_owner(TIMES, 12).tolist()
    other = moved(x, poses((20, 12, 9), affine), F.fill_value(x, "minimum"))
    expected = definition.of_poses([x, *other], owner, [1] * 3, "real")
    out = F.motion(x, np.array(DEGREES), np.array(TRANSLATION), TIMES, 1, affine=affine)
    torch.testing.assert_close(out, expected, atol=1e-9, rtol=0)


def test_a_single_slice_moves_within_its_plane_and_has_no_lines_across():
    x = smooth((1, 1, 20, 18, 1)).float()
    times = np.array([0.3, 0.8])
    out = F.motion(x, (30.0, 40.0, 0.0), (0.0, 0.0, 7.0), times, 0)
    assert_close(out, x, share=1e-5, reason="float32 transforms; none of it is in the plane")
    out = F.motion(x, (0.0, 0.0, 10.0), (2.0, 0.0, 0.0), times, 0)
    assert (out - x).abs().max() > 0.1
    assert torch.equal(F.motion(x, 10.0, 5.0, times, 2), x)
    assert torch.equal(F.ghosting(x, 2, 1.0, axis=2), x)


def test_motion_agrees_with_torchio_where_it_is_right():
    """Conditions: an image at the world origin, the last axis, and times about the centre."""
    x = smooth((1, 1, 24, 26, 28)).float()
    affine = np.eye(4)
    affine[:3, 3] = [-11.5, -12.5, -13.5]
    degrees, translation = np.array([[0.0, 0, 6], [0, 0, -4]]), np.array([[0.0, 0, 0], [0, 0, 0]])
    image = torchio.ScalarImage(tensor=x[0], affine=affine)
    theirs = torchio.Motion(degrees, translation, np.array([0.3, 0.7]), "linear")(image).data
    # it turns in LPS, the other way round than it says: Euler angles map output to input points
    ours = F.motion(x, -degrees, translation, np.array([0.3, 0.7]), 2, affine=affine)[0]
    assert_close(interior(ours, 6), interior(theirs, 6), share=2e-3, reason="borders ring along K")


# What holds for all


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_result_does_not_depend_on_slabs(axis, monkeypatch):
    """Slabs bound the memory and lie along another axis than the lines."""
    x, cube = volume((2, 2, 9, 7, 8)), volume((2, 2, 8, 8, 8))
    for run in (
        lambda: F.ghosting(x, 3, 0.7, 0.1, axis),
        lambda: F.motion(x, 10.0, 1.0, TIMES[:2], axis, output="magnitude"),
        lambda: F.motion(cube, 10.0, 1.0, TIMES[:2], [axis, (axis + 1) % 3]),
    ):
        whole = run()
        with monkeypatch.context() as patch:
            patch.setattr(slabs, "VOXELS", 300)
            parts = run()
        assert_close(parts, whole, share=1e-12, reason="matrix products may round by size")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.uint8, torch.int16])
def test_dtypes(dtype):
    x = (smooth((1, 1, 7, 8, 9)) * 10 + 60).to(dtype)
    for run in (
        lambda x: F.ghosting(x, 3, 0.5),
        lambda x: F.spike(x, np.array([[0.3, 0.2, 0.6]]), 0.1),
        lambda x: F.motion(x, 5.0, 1.0, np.array([0.3])),
    ):
        out = run(x)
        assert out.dtype == (dtype if dtype.is_floating_point else torch.float32)
        share = torch.finfo(dtype).eps if dtype.is_floating_point else 1e-6
        reason = "rounded to the volume's dtype at the end, relative to about twice its range"
        assert_close(out, run(x.double()), share=3 * share, reason=reason)


def test_gradients_reach_volume_and_parameters():
    torch.manual_seed(1)
    x = volume((2, 2, 4, 5, 3)).requires_grad_()
    number = torch.tensor([2.0, 3.0], dtype=torch.float64)

    def real(*values):
        return [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values]

    (intensity,) = real([0.4, 0.9])
    for axis in range(3):
        run = lambda x, s, axis=axis: F.ghosting(x, number, s, 0.2, axis)  # noqa: E731
        assert torch.autograd.gradcheck(run, (x, intensity), fast_mode=True)
    positions = np.array([[0.1, 0.6, 0.9], [0.7, 0.3, 0.4]])
    (heights,) = real([[0.4, 0.2], [0.3, 0.8]])
    run = lambda x, s: F.spike(x, positions, s)  # noqa: E731
    assert torch.autograd.gradcheck(run, (x, heights), fast_mode=True)
    degrees, translation = real(DEGREES, TRANSLATION)
    for axis, output in ((0, "real"), (1, "magnitude"), (2, "magnitude")):

        def run(x, d, t, axis=axis, output=output):
            return F.motion(x, d / 4, t / 4, TIMES[:2], axis, output=output, fill=0.0)

        assert torch.autograd.gradcheck(run, (x, degrees, translation))


def test_the_magnitude_of_zeros_has_a_finite_gradient():
    x = torch.zeros(1, 1, 6, 6, 6, dtype=torch.float64)
    x[..., 2:4, 2:4, 2:4] = 1
    x.requires_grad_()
    F.motion(x, 0.0, 0.0, np.array([0.3]), output="magnitude").sum().backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda x: F.ghosting(x, 1), "num_ghosts must be >= 2, or 0 for none, got"),
        (lambda x: F.ghosting(x, 2.5), r"num_ghosts must be whole numbers, got \[2.5\]"),
        (lambda x: F.ghosting(x, 2, -0.1), "intensity must be >= 0"),
        (lambda x: F.ghosting(x, 2, 1, 1.2), "restore must be between 0 and 1"),
        (lambda x: F.ghosting(x, 2, 1, -0.2), "restore must be between 0 and 1"),
        (lambda x: F.ghosting(x, 2, axis=3), "axis must be 0, 1 or 2, or one of them per sample"),
        (lambda x: F.ghosting(x, 2, axis=[0, 1, 2]), "axis must be 0, 1 or 2, or one of them"),
        (lambda x: F.ghosting(x, torch.full((3,), 2.0)), "num_ghosts must hold one value per"),
        (lambda x: F.ghosting(x, 2, axis=[0.0, 1.0]), "axis must be 0, 1 or 2, or one of them"),
        (lambda x: F.ghosting(x, 2, float("nan")), "intensity must be finite"),
        (
            lambda x: F.spike(x + 1j, np.zeros((1, 3))),
            "x must be real: for complex voxels",
        ),
        (lambda x: F.spike(x, np.zeros(3)), r"positions must have shape \(P, 3\) or \(B, P, 3\)"),
        (lambda x: F.spike(x, np.full((1, 3), 1.5)), "positions must be between 0 and 1"),
        (
            lambda x: F.motion(x + 1j, 1, 1, np.array([0.5])),
            "x must be real: for complex voxels",
        ),
        (lambda x: F.motion(x, 1, 1, np.array([0.6, 0.4])), "times must increase and lie strictly"),
        (lambda x: F.motion(x, 1, 1, np.array([0.4, 0.4])), "times must increase and lie strictly"),
        (lambda x: F.motion(x, 1, 1, np.array([0.0, 0.4])), "times must increase and lie strictly"),
        (lambda x: F.motion(x, 1, 1, np.array([0.4, 1.0])), "times must increase and lie strictly"),
        (lambda x: F.motion(x, 1, 1, np.zeros((0,))), r"times must have shape \(P,\) or"),
        (lambda x: F.motion(x, np.zeros((3, 3)), 1, np.array([0.4])), r"degrees must have shape"),
        (lambda x: F.motion(x, 1, 1, np.array([0.4]), output="abs"), "output must be one of real"),
        (lambda x: F.motion(x, 1, 1, np.array([0.4]), mode="cubic"), "mode must be one of linear"),
        (lambda x: F.motion(x, 1, 1, np.array([0.4]), fill="max"), "fill must be a number or one"),
    ],
)
def test_bad_arguments_are_named(run, message):
    with pytest.raises(ValueError, match=message):
        run(torch.rand(2, 1, 4, 4, 4))

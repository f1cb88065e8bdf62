"""Public functions in plain torch against the formula of each, in float64 at odd shapes."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.functional.formulas import (
    SHAPES,
    agree,
    every_shape,
    label_map,
    mixed_axes,
    numbers_of_voxels,
    plain_torch,  # noqa: F401
    rand,
    volume,
)
from tests.volumes import oblique_affine
from torchio_gpu import functional as F
from torchio_gpu import random
from torchio_gpu.functional import definitions
from torchio_gpu.functional.definitions import (
    ct_filters,
    ct_scans,
    ct_views,
    filters,
    intensity,
    kspace,
    labels,
    morphology,
    normalization,
    pad,
    patches,
    projection,
    spatial,
    statistics,
    synthesis,
    ultrasound,
    ultrasound_beams,
)

#: Functions that are no operations: questions about a map, and a list of operations in one pass.
QUESTIONS = {"VoxelMap", "is_exact", "is_parallel", "pointwise"}
#: Cases of :func:`warp` with a name of their own.
WARPS = {"affine_warp", "bspline_warp", "warp_pair"}

# The definitions themselves


def test_each_public_function_has_a_definition():
    modules = (filters, intensity, kspace, labels, morphology, normalization, pad, patches)
    modules += (ct_filters, ct_scans, ct_views, projection, spatial, statistics, synthesis)
    modules += (ultrasound, ultrasound_beams)
    names = {name for module in modules for name in vars(module)}
    assert set(F.__all__) - names - WARPS == QUESTIONS


def test_definitions_have_at_most_15_lines():
    (folder,) = definitions.__path__
    for path in sorted(Path(folder).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1
                assert lines <= 15, f"{path.name}: {node.name} has {lines} lines"


# Spatial

#: Coordinates of plain torch are those of F.grid_sample, a few units in the last place off.
COORDINATES = "coordinates in [-1, 1] and back"
SPLINE = "shares below 1e-9 are left out"


def matrices(shape, size=None):
    """Return different affine maps for each sample; the first one leaves the volume."""
    ratio = torch.tensor(shape[2:]) / torch.tensor(size or shape[2:])
    linear = (torch.eye(3) + rand(shape[0], 3, 3, low=-0.2, high=0.2)) * ratio
    offset = rand(shape[0], 3, low=-0.4, high=0.4)
    offset[0, np.argmax(shape[2:])] = 0.5 * max(shape[2:])
    thin = torch.tensor([n == 1 for n in shape[2:]])  # stays near to single slices
    linear[:, thin] *= 0.1
    offset[:, thin] *= 0.5
    matrix = torch.eye(4, dtype=torch.float64).repeat(shape[0], 1, 1)
    matrix[:, :3, :3], matrix[:, :3, 3] = linear, offset
    return matrix


@every_shape
@pytest.mark.parametrize("size", [None, (4, 5, 3)])
@pytest.mark.parametrize("mode", ["linear", "nearest", "bspline", "label"])
def test_affine_warp(shape, size, mode):
    x = label_map(shape).double() if mode == "label" else volume(shape)
    matrix, fill = matrices(shape, size), rand(*shape[:2], low=-3, high=3)
    expected = spatial.warp(x, matrix, size=size, mode=mode, fill=fill)
    inside = spatial.warp(torch.ones_like(x), matrix, size=size)
    assert 0.1 < inside.mean() < 1  # the map leaves the volume, and not all of it
    reason, share = (SPLINE, 1e-8) if mode == "bspline" else (COORDINATES, 1e-10)
    agree(F.affine_warp(x, matrix, size, mode=mode, fill=fill), expected, reason, share)
    per_sample = spatial.warp(x, matrix, size=size, mode=mode, fill=fill[:, 0])
    out = F.affine_warp(x, matrix, size, mode=mode, fill=fill[:, 0])
    agree(out, per_sample, reason, share)


@every_shape
@pytest.mark.parametrize("mode", ["linear", "nearest", "bspline"])
def test_warp(shape, mode):
    x, matrix, size = volume(shape), matrices(shape), (5, 4, 6)
    points = rand(shape[0], 3, 4, 5, 6, low=-0.6, high=0.6)
    options = {"size": size, "mode": mode, "fill": 2.5}
    share = 1e-8 if mode == "bspline" else 1e-10
    agree(
        F.warp(x, matrix, points, **options),
        spatial.warp(x, matrix, points, **options),
        COORDINATES, share,
    )  # fmt: skip
    # control points along the voxel axes, and on a rotated lattice, at different positions
    for turn in (0.0, 0.1):
        lattice = torch.eye(4, dtype=torch.float64).repeat(shape[0], 1, 1)
        lattice[:, :3, :3] *= rand(shape[0], 1, 1, low=0.3, high=0.7)
        lattice[:, :3, :3] += turn * torch.randn(shape[0], 3, 3)
        lattice[:, :3, 3] = rand(shape[0], 3)
        out = F.warp(x, matrix, points, lattice=lattice, **options)
        expected = spatial.warp(x, matrix, points, lattice=lattice, **options)
        agree(out, expected, COORDINATES, share)
    agree(F.bspline_warp(x, points), spatial.warp(x, None, points), COORDINATES)


@every_shape
def test_inverse_of_a_displacement(shape):
    x, points = volume(shape), rand(shape[0], 3, 4, 4, 4, low=-0.05, high=0.05)
    expected = spatial.warp(x, None, points, inverse=True)
    reason = "ten steps on voxels, and two on the spline, in place of 200"
    agree(F.bspline_warp(x, points, inverse=True), expected, reason, 1e-5)


def rough(shape, largest):
    """Return displacements that differ from voxel to voxel, in voxels."""
    return rand(shape[0], 3, *shape[2:], low=-largest, high=largest)


@every_shape
@pytest.mark.parametrize("mode", ["linear", "nearest", "bspline", "label"])
def test_displacement_warp(shape, mode):
    x = label_map(shape).double() if mode == "label" else volume(shape)
    fill = rand(*shape[:2], low=-3, high=3)
    for size in (shape[2:], (4, 5, 3)):
        displacement = rough((shape[0], 3, *size), 2.0)
        expected = spatial.displacement_warp(x, displacement, mode=mode, fill=fill)
        out = F.displacement_warp(x, displacement, mode=mode, fill=fill)
        agree(out, expected, COORDINATES, 1e-8 if mode == "bspline" else 1e-10)
    shared = spatial.displacement_warp(x, displacement[:1], mode=mode, fill=fill[:, 0])
    out = F.displacement_warp(x, displacement[0], mode=mode, fill=fill[:, 0])
    agree(out, shared, COORDINATES, 1e-8 if mode == "bspline" else 1e-10)


@every_shape
@pytest.mark.parametrize("start", [0, 1, 2])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_b0_distortion(shape, start, mode):
    x, axis = volume(shape), mixed_axes(shape[0], start)
    displacement, spacing = rough(shape, 2.0)[:, 0], rand(shape[0], low=0.5, high=2)
    for field, axes in ((displacement, axis), (displacement[0], [start] * shape[0])):
        out = F.b0_distortion(x, field, np.array(axes), spacing=spacing, mode=mode, fill=0.7)
        field = field.expand(displacement.shape)
        agree(out, spatial.b0_distortion(x, field, axes, spacing, mode, 0.7), COORDINATES)


@every_shape
@pytest.mark.parametrize("steps", [0, 3, 7])
def test_exponentiate(shape, steps):
    velocity = rough(shape, 1.0)
    agree(F.exponentiate(velocity, steps), spatial.exponentiate(velocity, steps), COORDINATES)
    alone = F.exponentiate(velocity[0], steps)
    agree(alone, spatial.exponentiate(velocity[:1], steps)[0], COORDINATES)


@every_shape
def test_jacobian_determinant(shape):
    displacement = rough(shape, 1.0)
    expected = spatial.jacobian_determinant(displacement)
    agree(F.jacobian_determinant(displacement), expected)
    agree(F.jacobian_determinant(displacement[0]), expected[0])


@every_shape
def test_warp_pair(shape):
    x, regions, matrix = volume(shape), label_map(shape), matrices(shape)
    points = rand(shape[0], 3, 4, 5, 4, low=-0.6, high=0.6)
    out = F.warp_pair(x, regions, matrix, points, fill=-1, labels_fill=9)
    agree(out[0], spatial.warp(x, matrix, points, fill=-1), COORDINATES)
    expected = spatial.warp(regions, matrix, points, mode="nearest", fill=9)
    assert torch.equal(out[1], expected.to(regions.dtype))


@pytest.mark.parametrize("mode", ["linear", "nearest", "bspline", "label"])
def test_maps_from_voxels_to_voxels_among_others(mode):
    x = label_map((4, 2, 5, 6, 7)).double()
    matrix = torch.eye(4, dtype=torch.float64).repeat(4, 1, 1)
    matrix[1, :3, 3] = torch.tensor([1, -2, 3])
    matrix[2] = torch.tensor([[0, -1, 0, 4], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    matrix[3, :3, 3] = torch.tensor([0.3, -0.4, 0.2])
    expected = spatial.warp(x, matrix, mode=mode, fill=7)
    agree(F.affine_warp(x, matrix, mode=mode, fill=7), expected, SPLINE, 1e-8)
    agree(F.affine_warp(x[:3], matrix[:3], mode=mode, fill=7), expected[:3])


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize(
    ("shift", "outside"),
    [(-0.5, 0), (-0.50005, 0), (-0.5002, 1), (0.5, 1), (0.49995, 1), (0.4998, 0)],
)
def test_ends_and_ties(mode, shift, outside):
    """Positions half a voxel outside, within the tolerance of it, beyond it, and at ties."""
    x = volume((2, 1, 4, 3, 5))
    points = torch.zeros(2, 3, 4, 4, 4, dtype=torch.float64)
    matrix = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    matrix[0, :3, 3], matrix[1, 2, 3] = shift, shift
    expected = spatial.warp(x, matrix, mode=mode, fill=torch.nan)
    assert expected[1, 0, 0, 0].isnan().sum() == outside
    same = {"rtol": 0, "atol": 1e-10, "equal_nan": True}  # rounding of coordinates
    out = F.warp(x, matrix, points, mode=mode, fill=torch.nan)
    torch.testing.assert_close(out, expected, **same)
    out = F.resample(x, (4, 3, 5), matrix, mode=mode, fill=torch.nan)
    torch.testing.assert_close(out, expected, **same)


@every_shape
@pytest.mark.parametrize(
    "mode", ["linear", "nearest", "bspline", "label", *spatial.WINDOWS, "gaussian"]
)
def test_resample(shape, mode):
    x = label_map(shape).double() if mode == "label" else volume(shape)
    share = 1e-8 if mode in ("bspline", *spatial.WINDOWS) else 1e-10
    same = () if mode == "gaussian" else (shape[2:],)  # which copies voxels, and does not smooth
    for size in ((3, 7, 5), (9, 2, 11), *same):
        agree(F.resample(x, size, mode=mode), spatial.resample(x, size, mode=mode), SPLINE, share)
    matrix = torch.zeros(shape[0], 4, 4, dtype=torch.float64)
    for b in range(shape[0]):  # axes change places, differently in each sample
        order = [(b + n) % 3 for n in range(3)]
        matrix[b, range(3), order] = rand(3, low=0.4, high=0.9) * torch.tensor([1, -1, 1])
        matrix[b, :3, 3] = torch.tensor([0.2, shape[3] - 1.1, -0.3])
        matrix[b, 3, 3] = 1
    fill, size = rand(*shape[:2]), (5, 6, 4)
    expected = spatial.resample(x, size, matrix, mode=mode, fill=fill)
    agree(F.resample(x, size, matrix, mode=mode, fill=fill), expected, SPLINE, share)


@every_shape
def test_flip(shape):
    x, axes = volume(shape), torch.rand(shape[0], 3) < 0.5
    axes[0] = torch.tensor([True, False, True])
    assert torch.equal(F.flip(x, axes), spatial.flip(x, axes))


@every_shape
@pytest.mark.parametrize("mode", [1.5, *F.pad.PADDINGS])
def test_window(shape, mode):
    x, size = volume(shape), (6, 3, 8)
    first = [(-1, 0, -2), (-2, -1, 0), (0, -1, 1)][: shape[0]]
    reason = "float64 rounding of means and ramps"
    agree(F.window(x, np.array(first), size, mode), pad.window(x, first, size, mode), reason, 1e-13)


# Intensity


@every_shape
@pytest.mark.parametrize("order", [0, 1, 3, 4])
def test_bias_field(shape, order):
    count = (order + 1) * (order + 2) * (order + 3) // 6
    x, coefficients = volume(shape), rand(shape[0], count, low=-0.5, high=0.5)
    agree(F.bias_field(x, coefficients, order), intensity.bias_field(x, coefficients, order))


@every_shape
def test_gamma(shape):
    x = volume(shape)
    x[0, 0, 0, 0, 0] = 0
    for log_gamma in (rand(shape[0], low=-1), rand(*shape[:2], low=-1)):
        agree(F.gamma(x, log_gamma), intensity.gamma(x, log_gamma))


@every_shape
def test_brightness(shape):
    x = volume(shape)
    for size in (shape[:1], shape[:2]):
        factor, offset = rand(*size, high=3), rand(*size, low=-1)
        agree(F.brightness(x, factor, offset), intensity.brightness(x, factor, offset))


@every_shape
@pytest.mark.parametrize("preserve_range", [False, True])
def test_contrast(shape, preserve_range):
    x = volume(shape) + 5
    for factor in (rand(shape[0], high=3), rand(*shape[:2], high=3)):
        expected = intensity.contrast(x, factor, preserve_range)
        agree(F.contrast(x, factor, preserve_range), expected)


@every_shape
@pytest.mark.parametrize(
    "options",
    [
        {"rescale": True},
        {"rescale": True, "invert": True},
        {"retain_stats": True},
        {"rescale": True, "invert": True, "retain_stats": True},
    ],
)
def test_gamma_with_statistics(shape, options):
    x = volume(shape)
    for log_gamma in (rand(shape[0], low=-1), rand(*shape[:2], low=-1)):
        agree(F.gamma(x, log_gamma, **options), intensity.gamma(x, log_gamma, **options))


@every_shape
@pytest.mark.parametrize("count", [1, 2, 7])
def test_histogram_shift(shape, count):
    x = volume(shape)
    for size in ((count,), (shape[0], count), (*shape[:2], count)):
        shift = rand(*size, low=-0.5, high=0.5)
        whole = shift.view(*size[:-1], *(1,) * (3 - len(size)), count).expand(*shape[:2], count)
        agree(F.histogram_shift(x, shift), intensity.histogram_shift(x, whole))


@every_shape
def test_sigmoid_contrast(shape):
    x = volume(shape)
    for size in (shape[:1], shape[:2]):
        gain, cutoff = rand(*size, low=0.1, high=20), rand(*size)
        whole = (each.view(shape[0], -1).expand(shape[:2]) for each in (gain, cutoff))
        agree(F.sigmoid_contrast(x, gain, cutoff), intensity.sigmoid_contrast(x, *whole))


@every_shape
def test_clamp(shape):
    x, low, high = volume(shape), rand(shape[0], low=-1, high=0), rand(shape[0])
    for ends in ((low, high), (low, None), (None, high)):
        assert torch.equal(F.clamp(x, *ends), intensity.clamp(x, *ends))


#: The last one is computed in two slabs of planes.
@pytest.mark.parametrize("shape", [*SHAPES, (1, 1, 3, 301, 300)])
def test_noise(shape):
    x, seeds = volume(shape), torch.arange(shape[0]) * 7 - 3
    mean, std = rand(shape[0], low=-1), rand(shape[0], high=2)
    one, two = (numbers_of_voxels(seeds, shape, part) for part in (0, 1))
    agree(F.noise(x, mean, std, seeds), intensity.noise(x, mean, std, one))
    expected = intensity.rician_noise(x, std, (one, two), mean)
    agree(F.rician_noise(x, std, seeds, mean), expected)


@every_shape
def test_low_field(shape):
    x, batch, seeds = volume(shape), shape[0], torch.arange(shape[0]) * 7 - 3
    field, whole = rand(batch, low=0.1), rand(batch, low=1, high=3)
    field[-1] = whole[-1] * (1 if batch > 1 else 0.5)
    exponent, snr, contrast = rand(batch, high=2), rand(batch, low=5, high=50), rand(batch)
    blur, spacing = rand(batch, 3), rand(batch, 3, low=0.5, high=2)
    numbers = tuple(numbers_of_voxels(seeds, shape, part) for part in (0, 1))
    out = F.low_field(x, field, whole, exponent=exponent, snr=snr, contrast_exponent=contrast,
                      blur=blur, spacing=spacing, seeds=seeds)  # fmt: skip
    powers = exponent, snr, contrast
    agree(out, intensity.low_field(x, field / whole, powers, blur, spacing, numbers))


@every_shape
@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("coils", [1, 2, 5])
def test_coil_noise(shape, uniform, coils):
    x, std, axis = volume(shape), rand(shape[0], high=2), mixed_axes(shape[0], coils)
    seeds = torch.arange(shape[0]) * 7 - 3
    of_coils = [seeds.numpy()]
    for coil in range(1, coils):
        words = (np.array([[coil]]), *np.array([[[0]], [[0]], [[2]]]))
        low, high, *_ = random.philox(words, seeds.numpy()[:, None])
        of_coils.append((low | high << 32)[:, 0])
    numbers = [tuple(numbers_of_voxels(each, shape, part) for part in (0, 1)) for each in of_coils]
    out = F.coil_noise(x, std, coils, seeds, axis, 0.7, uniform)
    agree(out, intensity.coil_noise(x, std, numbers, axis, 0.7, uniform))


# k-space


@every_shape
@pytest.mark.parametrize("start", [0, 1, 2])
def test_ghosting(shape, start):
    x, axis = volume(shape), mixed_axes(shape[0], start)
    ghosts, strength = torch.tensor([2, 3, 4.0])[: shape[0]], rand(shape[0], high=1.4)
    for restore in (torch.zeros(shape[0]), rand(shape[0], high=0.7), torch.full((shape[0],), 0.5)):
        parameters = ghosts, strength, restore, axis
        agree(F.ghosting(x, *parameters), kspace.ghosting(x, *parameters))
    z = torch.complex(x, volume(shape))
    out, expected = F.ghosting(z, *parameters), kspace.ghosting(z, *parameters)
    agree(torch.view_as_real(out), torch.view_as_real(expected))


@every_shape
@pytest.mark.parametrize("start", [0, 1, 2])
def test_gibbs(shape, start):
    x, axis = volume(shape), mixed_axes(shape[0], start)
    none = torch.zeros(shape[0], dtype=torch.float64)
    for cutoff in (rand(shape[0]), torch.tensor([0.5, 1, 0.0], dtype=torch.float64)[: shape[0]]):
        for softness in (none, rand(shape[0]), none + 1):
            agree(F.gibbs(x, cutoff, axis, softness), kspace.gibbs(x, cutoff, axis, softness))
    z = torch.complex(x, volume(shape))
    out, expected = F.gibbs(z, cutoff, axis, softness), kspace.gibbs(z, cutoff, axis, softness)
    agree(torch.view_as_real(out), torch.view_as_real(expected))


@every_shape
@pytest.mark.parametrize("start", [0, 1, 2])
def test_wrap(shape, start):
    x, axis = volume(shape), mixed_axes(shape[0], start)
    every, strength = torch.tensor([2, 3, 5.0])[: shape[0]], rand(shape[0])
    for restore in (torch.zeros(shape[0]), rand(shape[0], high=0.7), torch.full((shape[0],), 0.5)):
        parameters = every, strength, restore, axis
        agree(F.wrap(x, *parameters), kspace.wrap(x, *parameters))
    z = torch.complex(x, volume(shape))
    out, expected = F.wrap(z, *parameters), kspace.wrap(z, *parameters)
    agree(torch.view_as_real(out), torch.view_as_real(expected))


@every_shape
@pytest.mark.parametrize("turn", [1, 2])
@pytest.mark.parametrize("output", ["magnitude", "real"])
def test_zipper(shape, turn, output):
    x, axis = volume(shape), mixed_axes(shape[0])
    z, phase_axis = torch.complex(x, volume(shape)), [(a + turn) % 3 for a in axis]
    seeds, phases = torch.arange(5, 5 + shape[0]), []
    for seed, a, p in zip(seeds, axis, phase_axis, strict=True):
        each = 2, shape[1], shape[2 + p], shape[2 + 3 - a - p]
        one, two = random.normals(seed[None].numpy(), int(np.prod(each))).double().view(each)
        phases.append(torch.atan2(two, one))
    axes, strength, place = list(zip(axis, phase_axis, strict=True)), rand(shape[0]), rand(shape[0])
    for y in (x, z):
        out = F.zipper(y, strength, place, axis, phase_axis, seeds, output)
        expected = kspace.zipper(y, strength, place, axes, phases, output)
        parts = (torch.view_as_real(each) if y is z else each for each in (out, expected))
        agree(*parts, "phases in float32", 1e-6)


@every_shape
@pytest.mark.parametrize("start", [0, 1, 2])
def test_chemical_shift(shape, start):
    x, axis = volume(shape), mixed_axes(shape[0], start)
    z, moved = torch.complex(x, volume(shape)), rand(shape[0], low=-3, high=3)
    for fat in (rand(*shape), (x > 0.3)[:, :1]):
        agree(F.chemical_shift(x, fat, moved, axis), kspace.chemical_shift(x, fat, moved, axis))
        out, expected = (f(z, fat, moved, axis) for f in (F.chemical_shift, kspace.chemical_shift))
        agree(torch.view_as_real(out), torch.view_as_real(expected))


@every_shape
@pytest.mark.parametrize("start", [0, 1, 2])
@pytest.mark.parametrize("reconstruction", ["zero", "conjugate"])
def test_partial_fourier(shape, start, reconstruction):
    x, axis = volume(shape), mixed_axes(shape[0], start)
    z = torch.complex(x, volume(shape))
    for share in (rand(shape[0], low=0.5), torch.tensor([0.51, 1, 0.75])[: shape[0]]):
        for output in ("real", "magnitude"):
            settings = share, axis, reconstruction, output
            agree(F.partial_fourier(x, *settings), kspace.partial_fourier(x, *settings))
            out, expected = F.partial_fourier(z, *settings), kspace.partial_fourier(z, *settings)
            agree(torch.view_as_real(out), torch.view_as_real(expected))


@every_shape
@pytest.mark.parametrize("start", [0, 1, 2])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_slice_motion(shape, start, mode):
    x, axis, slices = volume(shape), mixed_axes(shape[0], start), max(shape[2:])
    affine = oblique_affine((1, 1.3, 0.8)) if 1 not in shape else np.eye(4)
    affine = torch.from_numpy(affine).repeat(shape[0], 1, 1)
    degrees = in_plane(shape, rand(shape[0], slices, 3, low=-25, high=25), about=True)
    shift = in_plane(shape, rand(shape[0], slices, 3, low=-2, high=2), about=False)
    degrees[:, ::3], shift[:, ::3] = 0, 0
    gain = rand(shape[0], slices, low=0.5, high=1.5)
    out = F.slice_motion(x, degrees, shift, np.array(axis), gain=gain, affine=affine, mode=mode)
    expected = kspace.slice_motion(x, degrees, shift, axis, gain, affine=affine, mode=mode)
    agree(out, expected, COORDINATES)


@every_shape
def test_spike(shape):
    x, intensity = volume(shape), rand(shape[0], 4, low=-1, high=2)
    positions = rand(shape[0], 4, 3)
    positions[:, 0], positions[:, 1] = 1, 0.5
    agree(F.spike(x, positions, intensity), kspace.spike(x, positions, intensity))


def in_plane(shape, values, about):
    """Parameters of poses that keep a single slice in its plane."""
    for axis, n in enumerate(shape[2:]):
        if n == 1:
            values[..., [a for a in range(3) if (a == axis) != about]] = 0
    return values


@every_shape
@pytest.mark.parametrize("start", [0, 1, 2])
@pytest.mark.parametrize("output", ["real", "magnitude"])
def test_motion(shape, start, output):
    x, axis = volume(shape), mixed_axes(shape[0], start)
    degrees = in_plane(shape, rand(shape[0], 3, 3, low=-30, high=30), about=True)
    translation = in_plane(shape, rand(shape[0], 3, 3, low=-2, high=2), about=False)
    times = torch.tensor([[0.2, 0.5, 0.8], [0.1, 0.3, 0.45], [0.55, 0.7, 0.9]])[: shape[0]]
    thick = 1 not in shape
    affine = torch.from_numpy(oblique_affine() if thick else np.eye(4)).repeat(shape[0], 1, 1)
    parameters = degrees, translation, times.double(), axis
    for mode, fill in (("linear", "minimum"), ("nearest", 0.7)):
        options = {"affine": affine, "output": output, "mode": mode, "fill": fill}
        expected = kspace.motion(x, *parameters, **options)
        agree(F.motion(x, *parameters, **options), expected, COORDINATES)


@every_shape
def test_susceptibility_field(shape):
    x, spacing = volume(shape), rand(shape[0], 3, low=0.5, high=2)
    direction = rand(shape[0], 3, low=-1)
    out = F.susceptibility_field(x, spacing, direction)
    agree(out, kspace.susceptibility_field(x, spacing, direction))
    one = F.susceptibility_field(x, 1.5, (0, 2, 1))
    both = torch.tensor([[1.5] * 3, [0, 2, 1]]).double()[:, None].expand(2, shape[0], 3)
    agree(one, kspace.susceptibility_field(x, *both))


def test_motion_owner():
    times = np.array([[0.2, 0.5, 0.8], [0.1, 0.3, 0.45], [0.55, 0.7, 0.9], [0.49, 0.51, 0.52]])
    for lines in range(1, 12):
        expected = [kspace.motion_owner(each, lines) for each in times.tolist()]
        assert F.motion_owner(times, lines).tolist() == expected


# Filters


@every_shape
def test_blur(shape):
    x, spacing = volume(shape), rand(shape[0], 3, low=0.5, high=3)
    for widest in (1.0, 4.0, 30.0, 3000.0):
        std = rand(shape[0], 3, high=widest)
        std[0, 1] = 0
        agree(F.blur(x, std, spacing), filters.blur(x, std, spacing))
    std = rand(*shape[:2], 3, high=2)
    apart = [filters.blur(x[:, c : c + 1], std[:, c], spacing) for c in range(shape[1])]
    agree(F.blur(x, std, spacing), torch.cat(apart, 1))


@every_shape
@pytest.mark.parametrize("start", [0, 1, 2])
def test_anisotropy(shape, start):
    x, axis = volume(shape), mixed_axes(shape[0], start)
    for factor in ([1.0, 2.0, 3.0], [1.7, 2.3, 5.1], [4.0, 1.5, 2.5]):
        thickness = torch.tensor(factor, dtype=torch.float64)[: shape[0]]
        for options in ({}, {"antialias": True}, {"mode": "nearest"}):
            expected = filters.anisotropy(x, thickness, axis, **options)
            agree(F.anisotropy(x, thickness, axis, **options), expected)


@every_shape
@pytest.mark.parametrize("options", [{}, {"antialias": True}, {"mode": "nearest"}])
def test_low_resolution(shape, options):
    x = volume(shape)
    for zoom in (rand(shape[0], 3, low=0.05), rand(*shape[:2], 3, low=0.3)):
        agree(F.low_resolution(x, zoom, **options), filters.low_resolution(x, zoom, **options))


@every_shape
def test_swap(shape):
    x, size = volume(shape), tuple(max(1, n // 3) for n in shape[2:])
    positions_that_fit = torch.tensor(shape[2:]) - torch.tensor(size) + 1
    pairs = (torch.rand(shape[0], 200, 2, 3) * positions_that_fit).long()
    apart = ((pairs[:, :, 0] - pairs[:, :, 1]).abs() >= torch.tensor(size)).any(-1)
    least = int(apart.sum(1).min())
    assert least > 20
    locations = torch.stack([each[keep][:least] for each, keep in zip(pairs, apart, strict=True)])
    assert torch.equal(F.swap(x, locations, size), filters.swap(x, locations, size))


@every_shape
@pytest.mark.parametrize("fill", [2.5, "minimum", "maximum", "mean", "channels"])
def test_cutout(shape, fill):
    x = volume(shape)
    first = torch.randint(-3, 6, (shape[0], 3, 3))
    size = torch.randint(0, 6, (shape[0], 3, 3))
    value = rand(*shape[:2]) if fill == "channels" else fill
    agree(F.cutout(x, first, size, value), filters.cutout(x, first, size, value))
    alone = F.cutout(x, first[0], size[0], value)
    expected = [each[:1].expand(shape[0], -1, -1) for each in (first, size)]
    agree(alone, filters.cutout(x, *expected, value))


# Statistics and normalization


def masks(shape):
    yield None
    for channels in (1, shape[1]):
        mask = torch.rand(shape[0], channels, *shape[2:]) < 0.4
        mask[:, :, 0, 0, 0] = True
        yield mask


@every_shape
def test_moments(shape):
    x = volume(shape) + 100
    for mask in masks(shape):
        expected = statistics.moments(x, mask)
        for actual, wanted in zip(F.moments(x, mask), expected.unbind(1), strict=True):
            agree(actual, wanted)
    one = torch.zeros(shape, dtype=torch.bool)
    one[0, 0, 0, 0, 0] = True  # of the other samples, no voxel counts
    out = torch.stack(F.moments(x, one), 1)
    torch.testing.assert_close(out, statistics.moments(x, one), equal_nan=True)


@every_shape
def test_percentile(shape):
    x, q = volume(shape), torch.tensor([0, 1, 12.5, 50, 63.2, 99, 100], dtype=torch.float64)
    for mask in masks(shape):
        agree(F.percentile(x, q, mask), statistics.percentile(x, q, mask), share=1e-13)


@every_shape
@pytest.mark.parametrize("rule", ["minimum", "mean", "otsu"])
def test_fill_value(shape, rule):
    x = volume(shape) + 5 * (torch.rand(shape) < 0.3)
    agree(F.fill_value(x, rule), statistics.fill_value(x, rule), share=1e-13)
    flat = torch.full(shape, 3.0, dtype=torch.float64)
    agree(F.fill_value(flat, rule), statistics.fill_value(flat, rule))


@every_shape
def test_rescale(shape):
    x = volume(shape)
    x[-1] = 4.0 if shape[0] > 1 else x[-1]
    for mask in masks(shape):
        for options in (
            {},
            {"out_min_max": (-1, 2), "percentiles": (5, 90)},
            {"in_min_max": (-0.5, 1.5)},
            {"in_min_max": (-0.5, 1.5), "percentiles": (10, 70)},
        ):
            expected = normalization.rescale(x, mask=mask, **options)
            agree(F.rescale(x, mask=mask, **options), expected)


@every_shape
def test_standardize(shape):
    x = volume(shape) * 3 + 50
    x[-1] = 4.0 if shape[0] > 1 else x[-1]
    for mask in masks(shape):
        agree(F.standardize(x, mask), normalization.standardize(x, mask))
    none = torch.zeros(shape, dtype=torch.bool)
    assert torch.equal(F.standardize(x, none), normalization.standardize(x, none))


@every_shape
def test_match_landmarks(shape):
    x, landmarks = volume(shape), rand(13, high=100).sort().values
    x[0, 0, :1] = 0.25  # many equal voxels: percentiles that coincide
    for mask in masks(shape):
        expected = normalization.match_landmarks(x, landmarks, mask)
        agree(F.match_landmarks(x, landmarks, mask), expected)


def test_mask_voxels():
    x = volume(SHAPES[2])
    for mask in list(masks(x.shape))[1:]:
        expected = normalization.mask_voxels(x, mask, -2.5)
        assert torch.equal(F.mask_voxels(x, mask, -2.5), expected)


@pytest.mark.parametrize("flags", [(True, True, True), (False, True, False), (True, False, True)])
def test_principal_components(flags):
    mixed = torch.einsum("cd,bdijk->bcijk", rand(4, 4), volume((2, 4, 5, 1, 7)))
    names = ("whiten", "normalize", "make_skewness_positive")
    options = dict(zip(names, flags, strict=True))
    expected = normalization.principal_components(mixed, 3, **options)
    reason = "eigenvectors of squares in place of singular vectors"
    agree(F.principal_components(mixed, 3, **options), expected, reason)


# Labels


@every_shape
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float64])
def test_one_hot(shape, dtype):
    x = label_map((shape[0], 1, *shape[2:]), dtype=torch.uint8).to(dtype)
    x[0, 0, 0, 0, 0] = 4
    assert torch.equal(F.one_hot(x), labels.one_hot(x, 5))
    assert torch.equal(F.one_hot(x, 7), labels.one_hot(x, 7))


@every_shape
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float64])
def test_remap_labels(shape, dtype):
    x = label_map(shape, dtype=torch.uint8).to(dtype)
    tables = [{0: 3, 3: 0, 4: 9}, {1: 2, 2: 1, 7: 1}, {0: 0, 2: 4, 4: 4}][: shape[0]]
    pair = [[list(side) for side in zip(*table.items(), strict=True)] for table in tables]
    old, new = (np.array(side) for side in zip(*pair, strict=True))
    for mask in masks(shape):
        expected = labels.remap_labels(x, tables, mask)
        assert torch.equal(F.remap_labels(x, (old, new), mask), expected)
        expected = labels.remap_labels(x, tables[:1] * shape[0], mask)
        assert torch.equal(F.remap_labels(x, tables[0], mask), expected)


@every_shape
@pytest.mark.parametrize("count", [2, 3])
def test_borders_and_components(shape, count):
    x = label_map((shape[0], 1, *shape[2:]), count)
    x[-1] *= torch.rand(x[-1].shape) < 0.5
    assert torch.equal(F.contour(x), labels.contour(x))
    assert torch.equal(F.connected_components(x), labels.connected_components(x))
    assert torch.equal(F.largest_component(x), labels.largest_component(x))
    assert not F.largest_component(0 * x).any()


def test_the_first_of_equal_components_along_i_is_kept():
    x = torch.zeros(1, 1, 3, 3, 3, dtype=torch.uint8)
    x[0, 0, 0, 0, 1] = x[0, 0, 2, 0, 0] = 1
    kept = labels.largest_component(x)
    assert kept.nonzero().tolist() == [[0, 0, 2, 0, 0]]
    assert torch.equal(F.largest_component(x), kept)


#: Spacings whose distances are often equal, and others.
SPACINGS = torch.tensor([[1, 1, 1], [1, 2, 1.5], [0.7, 3, 1.1]], dtype=torch.float64)


@every_shape
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("chosen", [None, [1, 3]])
def test_label_morphology(shape, count, chosen):
    spacing = SPACINGS[: shape[0]]
    x = label_map(shape, count) * (torch.rand(shape) < 0.3)  # sparse, for dilation
    dense = torch.where(torch.rand(shape) < 0.1, label_map(shape, count), torch.ones_like(x))
    for radius in (torch.tensor([1.0, 2.5, 2.2]), torch.tensor([2.0, 0.0, 3.3])):
        each = radius[: shape[0]].double()
        for maps in (x, dense):
            for name in ("erode_labels", "dilate_labels", "smooth_labels"):
                expected = getattr(morphology, name)(maps, each, spacing, chosen)
                out = getattr(F, name)(maps, each, spacing, chosen)
                assert out.dtype == maps.dtype
                assert torch.equal(out, expected), name


# Synthesis


@every_shape
def test_labels_to_image(shape):
    shape = (shape[0], 1, *shape[2:])
    x, seeds, background = label_map(shape), torch.arange(shape[0]) + 5, volume(shape)
    mean, std = rand(shape[0], 3, high=100), rand(shape[0], 3, high=9)
    normals = random.normals(seeds, x[0].numel()).double().view(shape)
    reason = "means and deviations of float64, numbers of float32"
    for values in (None, [4, 1, 2]):
        for noise, spread in ((None, 0 * std), (normals, std)):
            expected = synthesis.labels_to_image(x, mean, spread, noise, values, background)
            out = F.labels_to_image(x, mean, spread, seeds, values, background)
            agree(out, expected, reason)
    out = F.labels_to_image(x, mean, std, seeds)
    agree(out, synthesis.labels_to_image(x, mean, std, normals), reason + ", all in float32", 1e-6)


@every_shape
def test_labels_to_image_from_label_shares(shape):
    shares = rand(shape[0], 4, *shape[2:], high=0.4)
    seeds, background = torch.arange(shape[0]) + 5, volume((shape[0], 1, *shape[2:]))
    mean, std = rand(shape[0], 3, high=100), rand(shape[0], 3, high=9)
    normals = random.normals(seeds, background[0].numel()).double().view(background.shape)
    for values in (None, [3, 1, 0]):
        for behind in (None, background):
            some = shares[:, :3] if values is None else shares
            expected = synthesis.labels_to_image(some, mean, std, normals, values, behind)
            agree(F.labels_to_image(some, mean, std, seeds, values, behind), expected)


# Patches

CORNERS = [(0, 0, 0), (2, 0, 3), (2, 3, 3), (0, 3, 0), (1, 1, 1), (0, 0, 3)]


@pytest.mark.parametrize("mode", ["average", "hann", "gaussian", "crop"])
@pytest.mark.parametrize("grid", [True, False])
def test_aggregate_patches(mode, grid):
    size, patch = (5, 6, 7), (3, 3, 4)
    full = [(i, j, k) for i in (0, 1, 2) for j in (0, 2, 3) for k in (0, 3)]
    first = full if grid else [*CORNERS, (-1, 4, 4)]  # of which not all fill the volume
    x = volume((len(first), 2, *patch))
    for overlap in ((0, 0, 0), (1, 2, 3)):
        options = {"mode": mode, "overlap": overlap}
        expected = patches.aggregate_patches(x, first, size, **options)
        agree(F.aggregate_patches(x, np.array(first), size, **options), expected)


def test_extract_patches():
    x = volume((1, 2, 5, 6, 7))
    first = [*CORNERS, (-2, 4, 5), (3, -1, 6)]
    out = F.extract_patches(x, first, (3, 3, 4))
    assert torch.equal(out, patches.extract_patches(x, first, (3, 3, 4)))

"""Displacements of every voxel: gradients, samples of a batch, identities of flows, bad input."""

import numpy as np
import pytest
import torch

from torchio_gpu import functional as F

SHAPE = (2, 3, 5, 6, 4)


def rand(*shape, requires_grad=False):
    return torch.rand(shape, dtype=torch.float64).requires_grad_(requires_grad)


def smooth(batch=2, size=20, largest=1.5):
    """Waves of displacements that are zero at the border, [B, 3, size, size, size]."""
    along = torch.linspace(0, torch.pi, size, dtype=torch.float64)
    window = along.sin()
    phases = 6 * torch.rand(batch, 3, 3, dtype=torch.float64)
    i, j, k = ((along + phase[..., None]).sin() * window for phase in phases.unbind(2))
    return largest * torch.einsum("bdi,bdj,bdk->bdijk", i, j, k)


def test_displacement_warp_equals_an_affine_warp():
    x = rand(2, 2, 5, 6, 4)
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3] += 0.1 * torch.randn(3, 4, dtype=torch.float64)
    voxels = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in (5, 6, 4)))
    moved = voxels @ matrix[:3, :3].T + matrix[:3, 3] - voxels
    displacement = moved.T.reshape(3, 5, 6, 4)
    for mode in ("linear", "nearest", "bspline"):
        expected = F.affine_warp(x, matrix, mode=mode, fill=3)
        out = F.displacement_warp(x, displacement, mode=mode, fill=3)
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-8)


def test_no_displacement_copies():
    x = torch.rand(2, 1, 5, 6, 4)
    u = torch.zeros(2, 3, 5, 6, 4)
    u[1, 0] = 0.25
    out = F.displacement_warp(x, u)
    assert torch.equal(out[0], x[0])
    assert not torch.equal(out[1], x[1])


def test_a_single_displaced_voxel_is_seen():
    x, u = torch.rand(1, 1, 6, 6, 6), torch.zeros(1, 3, 6, 6, 6)
    u[0, 0, 1, 1, 1] = 1
    out = F.displacement_warp(x, u)
    assert out[0, 0, 1, 1, 1] == pytest.approx(x[0, 0, 2, 1, 1].item(), abs=1e-5)
    assert (out != x).sum() >= 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.uint8, torch.complex64])
def test_dtypes_are_those_of_other_warps(dtype):
    x = (10 * torch.rand(1, 1, 5, 6, 4)).to(dtype)
    u = torch.full((3, 5, 6, 4), 0.25)
    shift = torch.eye(4)
    shift[:3, 3] = 0.25
    torch.testing.assert_close(F.displacement_warp(x, u), F.affine_warp(x, shift))


def test_gradients():
    x, u = rand(2, 2, 4, 5, 3, requires_grad=True), rand(2, 3, 4, 5, 3, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, u: F.displacement_warp(x, 0.9 * u, fill=2.0), (x, u))
    assert torch.autograd.gradcheck(lambda u: F.exponentiate(u, 3), u)
    assert torch.autograd.gradcheck(F.jacobian_determinant, u)


@pytest.mark.parametrize("function", [F.exponentiate, F.jacobian_determinant])
def test_each_sample_is_computed_by_itself(function):
    u = smooth(3)
    together = function(u)
    for n in range(3):
        torch.testing.assert_close(together[n : n + 1], function(u[n : n + 1]), rtol=0, atol=1e-13)


def test_slabs_do_not_show(monkeypatch):
    u, x = smooth(), rand(2, 1, 20, 20, 20)
    functions = (F.jacobian_determinant, F.exponentiate, lambda u: F.displacement_warp(x, u))
    whole = [function(u) for function in functions]
    monkeypatch.setattr("torchio_gpu.functional.eager.slabs.VOXELS", 2500)
    for function, expected in zip(functions, whole, strict=True):
        torch.testing.assert_close(function(u), expected, rtol=0, atol=1e-12)


def test_flow_of_a_linear_velocity():
    """The flow of v(p) = A p is the matrix exponential of A."""
    a = 0.02 * torch.randn(3, 3, dtype=torch.float64)
    size = (12, 12, 12)
    middle = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in size)) - 5.5
    velocity = (middle @ a.T).T.reshape(3, *size)
    expected = (middle @ torch.linalg.matrix_exp(a).T - middle).T.reshape(3, *size)
    inner = (slice(None), *(slice(2, -2),) * 3)
    found = F.exponentiate(velocity, 12)
    torch.testing.assert_close(found[inner], expected[inner], rtol=0, atol=1e-5)


def test_flow_back_is_the_inverse():
    v = smooth(size=32, largest=4)
    there, back = F.exponentiate(v), F.exponentiate(-v)
    # u(p) + w(p + u(p)): the displacement of both
    both = there + F.displacement_warp(back, there)
    assert there.abs().max() > 1.5
    assert both.abs().max() < 0.03  # errors of linear interpolation


def test_jacobian_is_that_of_simpleitk():
    sitk = pytest.importorskip("SimpleITK")
    u, inner = smooth(1, largest=4), (slice(1, -1),) * 3  # the ends are another matter there
    field = sitk.GetImageFromArray(u[0].permute(3, 2, 1, 0).numpy().copy(), isVector=True)
    expected = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field))
    found = F.jacobian_determinant(u)[0, 0].permute(2, 1, 0)
    np.testing.assert_allclose(
        found.numpy()[inner], expected[inner], atol=1e-5
    )  # the filter has float32


BAD = [
    (lambda: F.displacement_warp(torch.rand(2, 1, 4, 4, 4), torch.rand(2, 2, 4, 4, 4)), "shape"),
    (lambda: F.displacement_warp(torch.rand(2, 1, 4, 4, 4), torch.rand(3, 3, 4, 4, 4)), "samples"),
    (lambda: F.displacement_warp(torch.rand(2, 1, 4, 4, 4), torch.ones(3, 4, 4, 4).int()), "float"),
    (lambda: F.displacement_warp(torch.rand(2, 1, 4, 4, 4), np.zeros((3, 4, 4, 4))), "a tensor"),
    (
        lambda: F.displacement_warp(
            torch.rand(2, 1, 4, 4, 4), torch.empty(3, 4, 4, 4, device="meta")
        ),
        "must be on cpu",
    ),
    (lambda: F.exponentiate(torch.rand(4, 4, 4)), "velocity must have shape"),
    (lambda: F.exponentiate(torch.rand(3, 4, 4, 4), -1), "steps"),
    (lambda: F.exponentiate(torch.rand(3, 4, 4, 4), 31), "steps"),
    (lambda: F.exponentiate(torch.rand(3, 4, 4, 4), 2.5), "steps"),
    (lambda: F.jacobian_determinant(torch.rand(1, 3, 4, 4, 0)), "displacement must have shape"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()

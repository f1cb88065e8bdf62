"""Arguments that kernels do not support: named backends say so, 'auto' takes plain torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx

from tests.devices import needs_gpu
from tests.kernels.cases import Target, matrices, points, volume
from torchio_gpu import backend
from torchio_gpu import functional as F
from torchio_gpu.functional.dispatch import kernels
from torchio_gpu.functional.fields_of_view import FieldOfView
from torchio_gpu.functional.warping import warp_volume


def oblique() -> np.ndarray:
    lattice = np.eye(4)
    lattice[0, 1] = 0.2
    return lattice


def wanting(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, requires_grad=True)


#: What no kernel can do, how it is asked for, and what the message must say.
IMPOSSIBLE = {
    "float64": (lambda x, m: F.gamma(x.double(), 0.1), "float64"),
    "float64 warp": (lambda x, m: F.warp(x.double(), m), "float64"),
    "bspline": (lambda x, m: F.warp(x, m, mode="bspline"), "'bspline' has no kernel"),
    "lanczos": (lambda x, m: F.resample(x, (2, 3, 4), mode="lanczos"), "'lanczos' has no kernel"),
    "inverse": (
        lambda x, m: F.warp(x, m, points(), inverse=True),
        "inverse of an elastic map has no kernel",
    ),
    "oblique lattice": (
        lambda x, m: F.warp(x, m, points(), lattice=oblique()),
        "lattice must be diagonal",
    ),
    "lattice with a gradient": (
        lambda x, m: F.warp(x, m, points(), lattice=torch.eye(4, requires_grad=True)),
        "diagonal and on the host",
    ),
    "fill with a gradient": (lambda x, m: F.warp(x, m, fill=wanting(2)), "fill must have no grad"),
    "frame with a gradient": (
        lambda x, m: warp_volume(
            x, m, fields=[FieldOfView(np.zeros((2, 3)), np.ones((2, 3)), wanting(2))]
        ),
        "fill must have no grad",
    ),
}
#: What those of one backend cannot do.
IMPOSSIBLE_FOR_TRITON = {
    "gradient of labels": (
        lambda x, m: F.warp(x.clone().requires_grad_(), m, mode="label"),
        "'label' has no gradient",
    ),
    "many planes": (
        lambda x, m: F.warp(x[:, :1], m, size=(65536, 1, 1)),
        "at most 65535",
    ),
    "many volumes": (
        lambda x, m: F.gamma(torch.zeros(1, 1, 1, 1, 1).to(x).expand(65536, 1, 1, 1, 1), 0.1),
        "at most 65535",
    ),
}


def refuses_to(f, message: str, target: Target) -> None:
    x, matrix = volume().to(target.device), matrices((3, 5, 6))
    with backend(target.name), pytest.raises(RuntimeError) as error:
        f(x, matrix)
    assert str(error.value).startswith(f"backend '{target.name}' cannot run: ")
    assert message in str(error.value)
    with backend("auto"):  # which may choose
        assert len(f(x, matrix)) in (2, 65536)


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_kernels_cannot_do_is_named(name, target):
    refuses_to(*IMPOSSIBLE[name], target)


@pytest.mark.parametrize("name", IMPOSSIBLE_FOR_TRITON)
def test_what_kernels_of_triton_cannot_do_is_named(name, triton):
    refuses_to(*IMPOSSIBLE_FOR_TRITON[name], triton)


def dual(f, x):
    """Return the derivative of a function in the direction of ones, in forward mode."""
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(f(forward_ad.make_dual(x, torch.ones_like(x)))).tangent


class Subclass(torch.Tensor):
    """A tensor that knows more, as those of MONAI do."""


LOGS = torch.tensor([0.3, -0.2])
MATRIX = torch.eye(4).repeat(2, 1, 1)
IMPOSSIBLE_FOR_NUMBA = {
    "labels": (lambda x, m: F.warp(x, m, mode="label"), "mode 'label' has no kernel in numba"),
    "gradient of voxels": (
        lambda x, m: F.gamma(x.clone().requires_grad_(), 0.1),
        "no gradient, and one is wanted",
    ),
    "gradient of a parameter": (
        lambda x, m: F.gamma(x, LOGS.clone().requires_grad_()),
        "no gradient, and one is wanted",
    ),
    "gradient of a map": (
        lambda x, m: F.warp(x, MATRIX.clone().requires_grad_()),
        "no gradient, and one is wanted",
    ),
    "gradient of control points": (
        lambda x, m: F.warp(x, m, wanting(2, 3, 4, 4, 4)),
        "no gradient, and one is wanted",
    ),
    "gradient of a scaled grid": (
        lambda x, m: F.resample(x.clone().requires_grad_(), (2, 3, 4)),
        "no gradient, and one is wanted",
    ),
    "tangent of voxels": (lambda x, m: dual(lambda y: F.gamma(y, 0.1), x), "a tangent is given"),
    "tangent of a parameter": (
        lambda x, m: dual(lambda logs: F.gamma(x, logs), LOGS),
        "a tangent is given",
    ),
    "tangent of a fill": (
        lambda x, m: dual(lambda fill: F.warp(x, m, fill=fill), torch.ones(2)),
        "a tangent is given",
    ),
    "gradient by torch.func": (
        lambda x, m: torch.func.grad(lambda y: F.gamma(y, 0.1).sum())(x),
        "no gradient, and one is wanted",
    ),
    "derivative by torch.func": (
        lambda x, m: torch.func.jvp(lambda y: F.gamma(y, 0.1), (x,), (x,))[1],
        "a tangent is given",
    ),
    "subclass": (
        lambda x, m: F.gamma(x.as_subclass(Subclass), 0.1),
        "no subclass, which would be lost, got Subclass",
    ),
    "subclass of labels": (
        lambda x, m: F.warp(x.as_subclass(Subclass), m, mode="nearest"),
        "no subclass, which would be lost, got Subclass",
    ),
    "traced": (
        lambda x, m: make_fx(lambda y: F.gamma(y, 0.1))(x)(x),
        "its kernels cannot be traced",
    ),
    "many by torch.func": (
        lambda x, m: torch.func.vmap(lambda y: F.gamma(y, 0.1))(torch.stack((x, x))),
        "tensors must be in memory, got a Tensor without storage",
    ),
    "many fills by torch.func": (
        lambda x, m: torch.func.vmap(lambda fill: F.warp(x, m, fill=fill))(torch.ones(2, 2)),
        "tensors must be in memory, got a Tensor without storage",
    ),
}


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # by torch, of tangents
@pytest.mark.filterwarnings("ignore:There is a performance drop")  # by torch, in plain torch
@pytest.mark.parametrize("name", IMPOSSIBLE_FOR_NUMBA)
def test_what_kernels_of_numba_cannot_do_is_named(name, numba):
    refuses_to(*IMPOSSIBLE_FOR_NUMBA[name], numba)


@pytest.mark.gpu
@needs_gpu
def test_kernels_of_numba_run_on_cpus_alone():
    with backend("numba"), pytest.raises(RuntimeError, match="must be on the CPU, got 'cuda'"):
        F.gamma(volume().cuda(), 0.3)


def test_no_gradient_is_wanted_where_none_is_recorded(numba):
    x, logs = volume().requires_grad_(), LOGS.clone().requires_grad_()
    with backend("numba"):
        with torch.no_grad():
            F.gamma(x, logs)
        with torch.inference_mode():
            F.gamma(volume(), LOGS)


def test_tensors_without_voxels_keep_clear_of_kernels_of_numba(numba, monkeypatch):
    for name in ("warp", "pointwise"):
        monkeypatch.delattr(kernels, name)
    x = volume().to("meta")
    with backend("numba"):
        assert F.gamma(x, 0.3).shape == F.warp(x, matrices((3, 5, 6))).shape == x.shape


def test_complex_volumes_are_refused_or_warped_by_parts(target):
    x = torch.rand(1, 1, 2, 2, 2, dtype=torch.complex64, device=target.device)
    with backend(target.name):
        with pytest.raises(ValueError, match="must be real"):
            F.gamma(x, 0.1)
        matrix = matrices((2, 2, 2), batch=1)
        out = F.warp(x, matrix)
        torch.testing.assert_close(out.real, F.warp(x.real.contiguous(), matrix))
        torch.testing.assert_close(out.imag, F.warp(x.imag.contiguous(), matrix))

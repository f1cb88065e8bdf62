"""Functions inside torch.compile: the same values and gradients as outside, in one graph."""

from __future__ import annotations

import os
import re
import shutil
import threading

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils import _pytree as pytree

import torchio_gpu.functional as F
from torchio_gpu.functional import compiled
from torchio_gpu.functional.operations import Gamma

SHAPE = (2, 1, 6, 7, 5)
#: Functions that return no tensors, or take objects.
OUTSIDE = {"VoxelMap", "is_exact", "is_parallel", "motion_owner", "pointwise"}


def _grad(*shape: int) -> Tensor:
    return torch.rand(shape, requires_grad=True)


def _matrix(*batch: int) -> Tensor:
    matrix = torch.eye(4) + 0.05 * torch.randn(*batch, 4, 4)
    matrix[..., 3, :] = torch.tensor([0.0, 0, 0, 1])
    return matrix.requires_grad_()


def _labels() -> Tensor:
    return torch.randint(0, 3, SHAPE)


def _points() -> Tensor:
    return torch.randn(2, 3, 4, 4, 4).requires_grad_()


T = torch.tensor
BEAMS = {"probe": "phased", "angle": 90, "depth": 6, "center": (0.5, 0.0)}
FIRST = torch.arange(9).view(3, 3) - 4
#: Arguments of each function, with gradients where the function has some.
CASES = {
    "acoustic_shadow": lambda: (_grad(*SHAPE), _grad(2), "convex", _grad(2), _grad(2)),
    "affine_warp": lambda: (_grad(*SHAPE), _matrix(2)),
    "aggregate_patches": lambda: (_grad(3, 1, 3, 3, 3), T([[0] * 3, [2] * 3, [0, 1, 2]]), (5,) * 3),
    "anisotropy": lambda: (_grad(*SHAPE), T([2.0, 3]), T([0, 1])),
    "attenuate": lambda: (_grad(*SHAPE), _grad(2), BEAMS, 1.0, (0, 1)),
    "b0_distortion": lambda: (_grad(*SHAPE), _grad(2, *SHAPE[2:]), T([0, 1])),
    "beam_hardening": lambda: (_grad(*SHAPE), _grad(2), 0.5, False, T([0, 1]), 6),
    "bias_field": lambda: (_grad(*SHAPE), _grad(2, 20)),
    "blur": lambda: (_grad(*SHAPE), _grad(2, 3)),
    "brightness": lambda: (_grad(*SHAPE), _grad(2), _grad(2)),
    "bspline_warp": lambda: (_grad(*SHAPE), _points()),
    "chemical_shift": lambda: (_grad(*SHAPE), _grad(*SHAPE), _grad(2), T([0, 1])),
    "clamp": lambda: (_grad(*SHAPE), _grad(2), T([0.8, 0.9])),
    "coil_noise": lambda: (_grad(*SHAPE), _grad(2), 2, T([1, 2]), T([0, 1])),
    "connected_components": lambda: (_labels(),),
    "contour": lambda: (_labels(),),
    "contrast": lambda: (_grad(*SHAPE), _grad(2)),
    "ct_window": lambda: (_grad(*SHAPE), _grad(2), T([0.8, 0.9])),
    "cutout": lambda: (_grad(*SHAPE), T([[0, 1, 1]]), T([[3, 2, 2]]), _grad(2)),
    "dilate_labels": lambda: (_labels(), T([1.0, 2]), T([1.0, 2, 3])),
    "displacement_warp": lambda: (_grad(*SHAPE), _grad(2, 3, 4, 5, 6)),
    "erode_labels": lambda: (_labels(), T([1.0, 2]), T([1.0, 2, 3])),
    "exponentiate": lambda: (_grad(2, 3, 4, 5, 6), 3),
    "extract_patches": lambda: (_grad(*SHAPE), T([[0] * 3, [1] * 3]), (3, 3, 3)),
    "filtered_back_projection": lambda: (_grad(2, 1, 4, 11, 5), 4, SHAPE[2:], 1.0),
    "fill_value": lambda: (_grad(*SHAPE), "mean"),
    "flip": lambda: (_grad(*SHAPE), T([[True, False, True], [False, False, True]])),
    "gamma": lambda: (_grad(*SHAPE), _grad(2)),
    "ghosting": lambda: (_grad(*SHAPE), T([3.0, 4]), _grad(2), None, T([0, 1])),
    "gibbs": lambda: (_grad(*SHAPE), T([0.5, 0.6]), T([0, 1])),
    "haze": lambda: (_grad(*SHAPE), _grad(2), BEAMS, 5.0, _grad(2), 2.0, 1.0, (0, 1), T([1, 2])),
    "histogram_shift": lambda: (_grad(*SHAPE), T([[0.4, -0.2], [0, 0.1]]).requires_grad_()),
    "jacobian_determinant": lambda: (_grad(2, 3, 4, 5, 6),),
    "label_attenuation": lambda: (_grad(*SHAPE), _labels(), _grad(2, 2), [1, 2], "convex"),
    "labels_to_ultrasound": lambda: (
        *(_labels(), _grad(2, 3), _grad(2, 3), T([1.0, 0.9, 0.8]), _grad(2, 3)),
        *(T([1.5, 1.6, 1.7]).requires_grad_(), "convex", None, 0.8, 2.0, 0.0, 1.0, (0, 1)),
        T([1, 2]),
    ),
    "reverberation": lambda: (_grad(*SHAPE), _grad(2), T([1.2, 3.4]), "convex"),
    "labels_to_image": lambda: (_labels(), _grad(2, 3), _grad(2, 3), T([1, 2])),
    "largest_component": lambda: (_labels(),),
    "limited_angle": lambda: (_grad(*SHAPE), T([120.0, 180]), T([0.0, 20]), T([0, 1]), 6),
    "metal": lambda: (
        _grad(*SHAPE),
        torch.rand(SHAPE) > 0.9,
        T([4000.0, 9000]).requires_grad_(),
        T([0.2, 0.4]).requires_grad_(),
        T([1e-3, 1e-2]).requires_grad_(),
        T([0, 1]),
        6,
    ),
    "low_dose": lambda: (_grad(*SHAPE), _grad(2), 1e3, _grad(2), T([1, 2]), T([0, 1]), 6),
    "low_field": lambda: (_grad(*SHAPE), _grad(2), T([3.0, 1.5]), T([1, 2])),
    "low_resolution": lambda: (_grad(*SHAPE), T([[0.5, 0.6, 0.7], [0.8, 0.9, 1]])),
    "mask_voxels": lambda: (_grad(*SHAPE), _labels() > 0),
    "match_landmarks": lambda: (_grad(*SHAPE), torch.arange(13.0)),
    "moments": lambda: (_grad(*SHAPE), _labels() > 0),
    "motion": lambda: (_grad(*SHAPE), _grad(2, 1, 3), _grad(2, 1, 3), T([0.5]), T([0, 1])),
    "noise": lambda: (_grad(*SHAPE), _grad(2), _grad(2), T([1, 2])),
    "one_hot": lambda: (_labels(), 3),
    "partial_fourier": lambda: (_grad(*SHAPE), T([0.6, 0.7]), T([0, 1])),
    "percentile": lambda: (_grad(*SHAPE), T([5.0, 50])),
    "principal_components": lambda: (_grad(2, 5, 4, 4, 4),),
    "project": lambda: (_grad(*SHAPE), T([0.0, 30, 90]), (1.0, 1.2, 2.0)),
    "reconstruction_kernel": lambda: (_grad(*SHAPE), T([0.5, 2.0]), T([0.4, 0.3]), T([0, 1])),
    "remap_labels": lambda: (_labels(), (T([1, 2]), T([2, 0]))),
    "resample": lambda: (_grad(*SHAPE), (3, 4, 5), torch.diag(T([2, 1.5, 1, 1]))),
    "rescale": lambda: (_grad(*SHAPE), (0, 1), (5, 95)),
    "rician_noise": lambda: (_grad(*SHAPE), _grad(2), T([1, 2])),
    "slice_thickness": lambda: (_grad(*SHAPE), T([2.5, 3.4]), T([0, 1])),
    "rings": lambda: (_grad(*SHAPE), _grad(2), T([0.4, 0.9]), T([1.0, 2]), T([1, 2]), T([0, 1])),
    "sparse_views": lambda: (_grad(*SHAPE), T([2.0, 6]), T([0, 1]), 6),
    "streaks": lambda: (_grad(*SHAPE), _grad(2), _grad(2), 10.0, T([1, 2]), T([0, 1]), 6),
    "sigmoid_contrast": lambda: (
        _grad(*SHAPE),
        T([2.0, 5]).requires_grad_(),
        T([0.4, 0.6]).requires_grad_(),
    ),
    "smooth_labels": lambda: (_labels(), T([1.0, 2]), T([1.0, 2, 3]), [1, 2]),
    "slice_motion": lambda: (_grad(*SHAPE), _grad(2, 7, 3), _grad(2, 7, 3), T([0, 1])),
    "speckle": lambda: (_grad(*SHAPE), _grad(2), BEAMS, 1.5, T([2.0, 3]), 1.0, (0, 1), T([1, 2])),
    "spike": lambda: (_grad(*SHAPE), T([[0.2, 0.3, 0.4]]), _grad(2, 1)),
    "standardize": lambda: (_grad(*SHAPE), _labels() > 0),
    "susceptibility_field": lambda: (_grad(*SHAPE), _grad(2, 3), _grad(2, 3)),
    "swap": lambda: (_grad(*SHAPE), T([[[0, 0, 0], [3, 3, 3]]]), 2),
    "time_gain": lambda: (_grad(*SHAPE), _grad(2, 3), BEAMS, 1.0, (2, 1)),
    "warp": lambda: (_grad(*SHAPE), _matrix(2), _points()),
    "warp_pair": lambda: (_grad(*SHAPE), _labels(), _matrix(2), _points()),
    "window": lambda: (_grad(*SHAPE), T([1, -1, 1]), (4, 4, 4), "mean"),
    "zipper": lambda: (_grad(*SHAPE), _grad(2), T([0.2, 0.9]), T([0, 1]), T([2, 0]), T([1, 2])),
    "wrap": lambda: (
        _grad(*SHAPE),
        T([2.0, 3]),
        _grad(2).detach().sigmoid().requires_grad_(),
        None,
        T([0, 1]),
    ),
}


def _compiled(function, backend="aot_eager"):
    torch._dynamo.reset()
    # what is tested is the graph, not what the compiler makes of it
    return torch.compile(function, fullgraph=True, backend=backend)


def _gradients(result, arguments) -> list[Tensor | None]:
    wanted = [each for each in arguments if isinstance(each, Tensor) and each.requires_grad]
    out = [y.sin().sum() for y in pytree.tree_leaves(result) if y.requires_grad]
    return list(torch.autograd.grad(out, wanted, materialize_grads=True)) if out else []


def _assert_same(got, wanted) -> None:
    for one, other in zip(pytree.tree_leaves(got), pytree.tree_leaves(wanted), strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def test_every_function_has_a_case():
    assert set(F.__all__) == CASES.keys() | OUTSIDE


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_the_function(name):
    function, arguments = getattr(F, name), CASES[name]()
    wanted = function(*arguments)
    got = _compiled(lambda *args: function(*args))(*arguments)
    assert type(got) is type(wanted)
    _assert_same(got, wanted)
    gradients = _gradients(got, arguments)
    assert len(gradients) == sum(isinstance(a, Tensor) and a.requires_grad for a in arguments)
    _assert_same(gradients, _gradients(wanted, arguments))


@pytest.mark.parametrize("name", ["affine_warp", "warp", "flip", "resample", "noise", "percentile"])
def test_new_values_use_the_same_graph(name):
    function, counter = getattr(F, name), CompileCounterWithBackend("aot_eager")
    run = _compiled(lambda *args: function(*args), counter)
    first, second = CASES[name](), CASES[name]()
    if name == "resample":
        second[2][0, 3] = 0.5
    for arguments in (first, second):
        _assert_same(run(*arguments), function(*arguments))
    assert counter.frame_count == 1


def test_new_shapes_and_numbers_are_followed():
    run = _compiled(lambda x, m, fill: F.affine_warp(x, m, size=(4, *x.shape[3:]), fill=fill) * 2)
    for n in range(4):
        x, matrix = (
            torch.rand(2, 1 + n, 5 + n, 5, 6 - n),
            (_matrix() + 0.1 * n).detach().requires_grad_(),
        )
        wanted = F.affine_warp(x, matrix, size=(4, *x.shape[3:]), fill=0.5 * n) * 2
        _assert_same(run(x, matrix, 0.5 * n), wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int16])
def test_dtypes(dtype):
    x, matrix = (100 * torch.rand(SHAPE)).to(dtype), _matrix(2)
    if dtype.is_floating_point:
        x.requires_grad_()

    def both(x: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
        return F.affine_warp(x, matrix), F.warp(x, matrix, mode="nearest", fill=1)

    got, wanted = _compiled(both)(x, matrix), both(x, matrix)
    _assert_same(got, wanted)
    _assert_same(_gradients(got, (x, matrix)), _gradients(wanted, (x, matrix)))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.gamma(x, 0.3),
        lambda x: F.blur(x, (1, 0.5, 2), spacing=1.5),
        lambda x: F.flip(x, [0, 2]),
        lambda x: F.resample(x, (3, 4, 5), mode="bspline"),
        lambda x: F.resample(x, (3, 9, 5), mode="lanczos"),
        lambda x: F.resample(x, (3, 9, 5), mode="gaussian"),
        lambda x: F.affine_warp(x, np.diag([1.1, 1, 1, 1]), fill=float("nan")).nan_to_num(7),
        lambda x: F.affine_warp(x, torch.eye(4), fill=x.amin((2, 3, 4))),
        lambda x: F.standardize(x, known=F.moments(x)),
        lambda x: F.extract_patches(
            [x, x[..., 1:]], torch.zeros(3, 3).long(), (2,) * 3, sample=[0, 1, 2]
        ),
        lambda x: F.affine_warp(x.to(memory_format=torch.channels_last_3d), torch.eye(4) * 0.9),
        lambda x: F.affine_warp(x, torch.eye(4)) + F.flip(x, ()),  # leave x as it is
    ],
    ids=lambda _: "",
)
def test_kinds_of_arguments(function):
    x = torch.rand(2, 2, 6, 7, 5, requires_grad=True)
    got, wanted = _compiled(function)(x), function(x)
    _assert_same(got, wanted)
    _assert_same(_gradients(got, [x]), _gradients(wanted, [x]))


@pytest.fixture
def calls(monkeypatch) -> dict:
    """Calls of the nodes of the test."""
    monkeypatch.setattr(compiled, "_calls", {})
    return compiled._calls


def test_gradients_are_computed_where_they_are_wanted_alone(calls):
    x, matrix = torch.rand(SHAPE), _matrix(2)
    _gradients(_compiled(F.affine_warp)(x, matrix), [matrix])
    (text,) = calls
    gradients = torch.ops.torchio_gpu.node_backward([x], [x, matrix.detach()], text)
    assert [each.shape for each in gradients] == [matrix.shape]


def test_results_share_no_memory():
    x = torch.rand(SHAPE)
    one, two = _compiled(lambda x: (F.flip(x, ()), F.mask_voxels(x, x >= 0)))(x)
    assert torch.equal(one, x)
    assert len({x.data_ptr(), one.data_ptr(), two.data_ptr()}) == 3


def test_seeds_are_drawn_by_the_graph():
    x, std = torch.zeros(SHAPE), torch.ones(2, requires_grad=True)
    run = _compiled(lambda x, std: (F.noise(x, 0.0, std), F.noise(x, 0.0, std)))
    torch.manual_seed(0)
    one, two = run(x, std)
    torch.manual_seed(0)
    again = run(x, std)[0]
    assert torch.equal(one, again)
    assert not torch.equal(one, two)
    # the second call, for the gradient, adds the noise of the first
    torch.testing.assert_close(torch.autograd.grad(one.sum(), std)[0], one.sum((1, 2, 3, 4)))


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda x: F.affine_warp(x, torch.eye(3)), r"matrix must have shape \(4, 4\)"),
        (lambda x: F.affine_warp(x, torch.eye(4), mode="cubic"), "mode must be one of linear"),
        (lambda x: F.resample(x, 4), "size must be three integers"),
        (lambda x: F.affine_warp(x[0], torch.eye(4)), "x must have shape .B, C, I, J, K."),
        (lambda x: F.gamma(x), "missing a required argument: 'log_gamma'"),
        (lambda x: F.pointwise(x, [Gamma(torch.ones(2))]), "got Gamma for operations"),
        (lambda x: F.fill_value(x, 3.0), "fill_value must return tensors, got 3.0"),
        (lambda x: F.resample(x, (3, 4, 5), torch.ones(4, 4)), "matrix must keep axes parallel"),
        (lambda x: F.blur(x, torch.full((3,), -1.0)), "std must be >= 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_errors_are_sentences_of_the_library(function, sentence):
    with pytest.raises(Exception, match=r".") as error:
        _compiled(function)(torch.rand(SHAPE))
    message, _, _ = str(error.value).partition("from user code")  # with the line of the sentence
    assert re.search(sentence, message)


def test_other_threads_are_not_compiled(calls, monkeypatch):
    """torch.compiler.is_compiling() is true of all threads while one compiles."""
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    (x, matrix), done = CASES["affine_warp"](), []
    thread = threading.Thread(target=lambda: done.append(F.affine_warp(x, matrix)))
    thread.start()
    thread.join()
    assert done[0].requires_grad
    assert not calls


@pytest.mark.parametrize("strict", [False, True])
def test_functions_are_exported(strict):
    class Warp(nn.Module):
        def forward(self, x: Tensor, matrix: Tensor) -> Tensor:
            return F.affine_warp(x, matrix)

    x, matrix = torch.rand(SHAPE), _matrix(2).detach()
    program = torch.export.export(Warp(), (x, matrix), strict=strict).module()
    other = matrix * 0.9
    assert torch.equal(program(x, other), F.affine_warp(x, other))


@pytest.mark.parametrize("name", ["warp", "warp_pair", "moments"])
def test_operator_passes_opcheck(calls, name):
    function, arguments = getattr(F, name), CASES[name]()
    _compiled(lambda *args: function(*args))(*arguments)
    given = [each for each in arguments if isinstance(each, Tensor)], *calls
    torch.library.opcheck(torch.ops.torchio_gpu.node.default, given)


class Localise(nn.Module):
    """Spatial transformer: a layer that finds an affine map, and bends what it sees by it."""

    def __init__(self) -> None:
        super().__init__()
        self.pose = nn.Sequential(
            nn.Conv3d(1, 4, 3, stride=2, padding=1),
            nn.Flatten(),
            nn.Tanh(),
            nn.Linear(4 * 4**3, 12 + 3 * 4**3),
        )

    def forward(self, x: Tensor) -> Tensor:
        pose = 0.1 * self.pose(x)
        top = torch.eye(4)[:3] + pose[:, :12].view(-1, 3, 4)
        last = torch.eye(4)[3:].expand(len(x), 1, 4)
        points = pose[:, 12:].view(-1, 3, 4, 4, 4)
        return F.warp(x, torch.cat([top, last], 1), points) * 1.0


def _train(backend: str, steps: int) -> list[float]:
    torch.manual_seed(0)
    layer = Localise()
    run = _compiled(layer, backend)
    at = torch.arange(8.0)
    ball = torch.exp(-((at - 3.5) ** 2) / 4)
    ball = ball[:, None, None] * ball[:, None] * ball  # [8, 8, 8]
    target = torch.stack([ball, ball])[:, None]  # [2, 1, 8, 8, 8]
    moved = torch.stack([ball.roll(1, 0), ball.roll(-1, 1)])[:, None]
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    losses = []
    for _ in range(steps):
        loss = (run(moved) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters())
    return losses


def test_a_spatial_transformer_learns():
    losses = _train("aot_eager", 20)
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.filterwarnings("ignore")  # of the compiler itself
def test_a_spatial_transformer_learns_with_inductor():
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        pytest.skip(f"the compiler of torch needs {compiler}")
    losses = _train("inductor", 4)
    # what the compiler fuses is rounded differently
    assert losses == pytest.approx(_train("aot_eager", 4), rel=1e-3)

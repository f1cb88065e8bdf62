"""Transforms inside torch.compile: one node of the graph, with random numbers and gradients."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import torchio_gpu as tio
from torchio_gpu.functional.compiled import _calls
from torchio_gpu.functional.operations import Gamma
from torchio_gpu.transforms.compiled import call


def _pipeline() -> tio.Compose:
    return tio.Compose(
        [
            tio.RandomAffine(),
            tio.RandomElasticDeformation(max_displacement=0.5),
            tio.RandomFlip(),
            tio.RandomBlur(),
            tio.RandomBiasField(),
            tio.RandomGamma(),
            tio.RandomNoise(),
        ]
    )


def _compiled(function):
    torch._dynamo.reset()
    # what is tested is the graph, not what the compiler makes of it
    return torch.compile(function, fullgraph=True, backend="aot_eager")


@pytest.mark.parametrize("shape", [(2, 1, 8, 9, 7), (1, 8, 9, 7)])
def test_whole_pipeline_is_one_graph(shape):
    augment = _pipeline()
    run = _compiled(lambda x: (augment(x * 2) + 1).sin())
    x = torch.rand(shape)
    torch.manual_seed(3)
    one, two = run(x), run(x)
    torch.manual_seed(3)
    again = run(x)
    assert one.shape == x.shape
    assert torch.equal(one, again)  # the seeds come from torch's generator
    assert not torch.equal(one, two)  # and are drawn at each call
    assert torch.isfinite(one).all()


def test_two_calls_on_the_same_voxels_differ():
    augment = tio.RandomNoise(std=(1, 1))
    one, two = _compiled(lambda x: (augment(x), augment(x)))(torch.zeros(1, 1, 4, 4, 4))
    assert not torch.equal(one, two)


def test_same_as_the_transform_with_the_seeds_that_the_graph_draws():
    augment, x = _pipeline(), torch.rand(2, 1, 8, 8, 8)
    torch.manual_seed(5)
    got = _compiled(augment)(x)
    torch.manual_seed(5)
    words = torch.randint(0, 2**32, (2, 2))
    batch = tio.SubjectsBatch({"default_image_name": tio.ImagesBatch(x)})
    batch.streams = tio.random.Streams((words[0] | (words[1] << 32)).numpy())
    assert torch.equal(got, augment(batch)["default_image_name"].data)


def test_gradients_reach_the_voxels():
    augment, x = _pipeline(), torch.rand(2, 1, 8, 8, 8, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(5)
    weight = torch.randn(2, 1, 8, 8, 8, dtype=torch.float64)
    state = torch.get_rng_state()
    (_compiled(augment)(x) * weight).sum().backward()
    got, x.grad = x.grad, None
    torch.set_rng_state(state)
    words = torch.randint(0, 2**32, (2, 2))
    batch = tio.SubjectsBatch({"default_image_name": tio.ImagesBatch(x)})
    batch.streams = tio.random.Streams((words[0] | (words[1] << 32)).numpy())
    (augment(batch)["default_image_name"].data * weight).sum().backward()
    assert got.abs().sum() > 0
    torch.testing.assert_close(got, x.grad)


def test_dict_with_labels_and_other_values():
    augment = tio.Compose([tio.RandomAffine(), tio.RandomGamma()], label_keys=["seg"])
    given = {
        "t1": torch.rand(2, 1, 8, 8, 8),
        "seg": torch.randint(0, 3, (2, 1, 8, 8, 8), dtype=torch.uint8),
        "age": 7,
    }
    out = _compiled(augment)(given)
    assert list(out) == list(given)
    assert out["age"] == 7
    assert out["seg"].dtype == torch.uint8
    assert set(out["seg"].unique().tolist()) <= {0, 1, 2}
    assert not torch.equal(out["t1"], given["t1"])


def test_shape_and_dtype_follow_the_transform():
    change = tio.Compose([tio.CropOrPad((4, 6, 12)), tio.RandomGamma()])
    out = _compiled(change)(torch.ones(2, 1, 8, 8, 8, dtype=torch.int16))
    assert out.shape == (2, 1, 4, 6, 12)
    assert out.dtype == torch.float32


def test_unchanged_voxels_do_not_share_memory_with_the_input():
    x = torch.rand(1, 1, 4, 4, 4)
    out = _compiled(tio.RandomFlip(p=0))(x)
    assert torch.equal(out, x)
    assert out.data_ptr() != x.data_ptr()


def test_other_inputs_are_refused():
    subject = tio.Subject(t1=tio.ScalarImage(tensor=torch.rand(1, 4, 4, 4)))
    with pytest.raises(Exception, match=r"tensors, or a dict of tensors"):
        _compiled(tio.RandomFlip())(subject)


def test_parameters_with_gradients_are_refused():
    degrees = torch.tensor([1.0, 2, 3], requires_grad=True)
    turn = tio.Affine(scales=1, degrees=degrees, translation=0)
    with pytest.raises(Exception, match="gradients reach the voxels alone"):
        _compiled(turn)(torch.rand(1, 1, 4, 4, 4))


def test_copies_outlive_the_original():
    x = torch.zeros(1, 1, 4, 4, 4)
    for copied in (copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))):
        first = tio.RandomNoise(std=(1, 1))
        other = copied(first)
        assert other._number != first._number
        del first
        assert _compiled(other)(x).any()


def test_seeds_are_drawn_on_the_host_for_any_default_device():
    augment, x = tio.RandomNoise(std=(1, 1)), torch.zeros(1, 1, 4, 4, 4)
    with torch.device("meta"):  # what is written into the graph, without one
        out = call(augment, x)
    assert out.isfinite().all()  # what is empty is poisoned
    assert out.any()


#: Transforms as they may be constructed in a forward.
CONSTRUCTED = {
    "Affine": lambda: tio.Affine(1.1, degrees=(5, 10, 15), translation=(1, 0, 0.5)),
    "ElasticDeformation": lambda: tio.ElasticDeformation(torch.full((4, 4, 5, 3), 0.4)),
    "Flip": lambda: tio.Flip((0, 2)),
    "Blur": lambda: tio.Blur((1, 0, 2)),
    "Gamma": lambda: tio.Gamma(0.3),
    "BiasField": lambda: tio.BiasField([0.1] * 20),
    "Resample": lambda: tio.Resample((2, 1.5, 1)),
    "Compose": lambda: tio.Compose([tio.Affine(1.1), tio.Flip(1), tio.Blur(1)]),
    "existing": lambda: tio.Compose([EXISTING, tio.Flip(1)]),
    "Add": lambda: Add(0.5),
}
EXISTING = tio.Affine(degrees=20)


class Add(tio.PointwiseTransform):
    """Transform of the user."""

    def __init__(self, value: float = 1.0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.value = value

    def draw(self, context, u):
        return tio.Params()

    def operation(self, params, active):
        return Gamma(np.full(1, self.value))


@pytest.mark.parametrize("name", CONSTRUCTED)
def test_constructed_in_a_forward(name):
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))

        def forward(self, x):
            return CONSTRUCTED[name]()(x * self.scale) + 1

    layer, x = Layer(), torch.rand(2, 1, 8, 9, 7, requires_grad=True)
    wanted, got = layer(x), _compiled(layer)(x)
    assert torch.equal(got, wanted)
    inputs = [x, layer.scale]
    both = [torch.autograd.grad(y.square().sum(), inputs) for y in (got, wanted)]
    for one, other in zip(*both, strict=True):
        assert other.abs().sum() > 0
        torch.testing.assert_close(one, other)


def test_gradients_reach_parameters_of_a_transform_constructed_in_the_graph():
    def move(x, scales, degrees, points):
        both = tio.Compose([tio.Affine(scales, degrees, (1, 0, 0)), tio.ElasticDeformation(points)])
        return both(x)

    x = torch.rand(2, 1, 8, 9, 7)
    given = [
        torch.tensor([[1.1], [0.9]]).expand(2, 3),
        5 * torch.rand(2, 3),
        torch.rand(4, 4, 4, 3),
    ]
    given = [each.clone().requires_grad_() for each in given]
    wanted, got = move(x, *given), _compiled(move)(x, *given)
    assert torch.equal(got, wanted)
    both = [torch.autograd.grad(y.square().sum(), given) for y in (got, wanted)]
    for one, other in zip(*both, strict=True):
        assert other.abs().sum() > 0
        assert torch.equal(one, other)


def test_numbers_may_change_between_calls():
    run = _compiled(lambda x, degrees: tio.Affine(degrees=degrees)(x))
    x = torch.rand(1, 1, 8, 8, 8)
    for degrees in (5.0, 10.0, 20.0, (1, 2, 3)):
        assert torch.equal(run(x, degrees), tio.Affine(degrees=degrees)(x))


def test_dict_for_a_transform_constructed_in_the_graph():
    given = {"t1": torch.rand(1, 6, 6, 6), "seg": (torch.rand(1, 6, 6, 6) > 0.5).byte(), "age": 7}

    def turn(x):
        return tio.Affine(degrees=20, label_keys=["seg"])(x)

    got, wanted = _compiled(turn)(given), turn(given)
    assert got["age"] == 7
    for key in ("t1", "seg"):
        assert torch.equal(got[key], wanted[key])


def test_random_transforms_constructed_in_the_graph_draw():
    x = torch.rand(2, 1, 6, 6, 6)
    run = _compiled(lambda x: tio.Compose([tio.RandomAffine(), tio.RandomNoise(std=(1, 1))])(x))
    assert not torch.equal(run(x), run(x))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: tio.Affine(scales="a"), "scales must be made of numbers, got 'a'"),
        (lambda: tio.Affine(scales=-1), "scales must be > 0, got -1"),
        (lambda: tio.Affine(scale=1), "unexpected keyword argument 'scale'"),
        (lambda: tio.Lambda(lambda x: x), "takes tensors, numbers and names, got function"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_arguments_in_a_graph(make, sentence):
    with pytest.raises(Exception, match=r".") as error:
        _compiled(lambda x: make()(x))(torch.rand(1, 1, 4, 4, 4))
    message, _, _ = str(error.value).partition("from user code")  # with the line of the sentence
    assert sentence in message


def test_a_transform_that_leaves_the_graph_is_constructed():
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.turn = None

        def forward(self, x):
            if self.turn is None:
                self.turn = tio.Affine(degrees=20)
            return self.turn(x)

    layer, x = Late(), torch.rand(1, 1, 6, 6, 6)
    wanted = tio.Affine(degrees=20)(x)
    run = _compiled(layer)
    for _ in range(2):
        assert torch.equal(run(x), wanted)
    assert torch.equal(layer.turn(x), wanted)
    assert repr(layer.turn) == "Affine(degrees=20)"


def test_other_threads_are_not_compiled(monkeypatch):
    """torch.compiler.is_compiling() is true of all threads while one compiles."""
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    subject = tio.Subject(t1=tio.ScalarImage(tensor=torch.rand(1, 4, 4, 4)))
    assert isinstance(tio.Flip(0)(subject), tio.Subject)


def test_gradients_of_a_dict():
    x = torch.rand(1, 1, 6, 6, 6, requires_grad=True)
    turn = tio.Affine(degrees=20)
    got = _compiled(turn)({"t1": x, "t2": 2 * x.detach()})["t1"]
    both = [torch.autograd.grad(y.square().sum(), x)[0] for y in (got, turn(x))]
    torch.testing.assert_close(*both)


def test_operator_passes_opcheck():
    augment = tio.Compose([tio.RandomAffine(), tio.RandomGamma()])
    _compiled(augment)(torch.rand(2, 1, 6, 6, 6, requires_grad=True))
    text = next(text for text in reversed(_calls) if text.startswith("_run("))
    tensors = [torch.rand(2, 1, 6, 6, 6, requires_grad=True), torch.tensor([1, 2])]
    torch.library.opcheck(torch.ops.torchio_gpu.node.default, (tensors, text))

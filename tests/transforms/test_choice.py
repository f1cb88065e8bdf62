"""OneOf, SomeOf and Lambda: choices per sample, frequencies and fusion."""

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.volumes import smooth, subject


def add(number):
    """Return a transform that adds a number to every voxel."""
    return tio.Noise(mean=number, std=0)


def zeros(size):
    return torch.zeros(size, 1, 2, 2, 2)


def summed(transform, size=4000):
    return transform(zeros(size))[:, 0, 0, 0, 0].round().int()


def shares(values):
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), (counts / len(values)).tolist(), strict=True))


def check_frequencies(found, expected, size=4000):
    assert set(found) == set(expected)
    for key, share in expected.items():
        assert found[key] == pytest.approx(share, abs=4.5 * np.sqrt(share * (1 - share) / size))


def test_one_of_follows_its_weights():
    check_frequencies(
        shares(summed(tio.OneOf([add(1), add(2), add(4)]))),
        dict.fromkeys((1, 2, 4), 1 / 3),
    )
    weighted = {add(1): 3, add(2): 0, add(4): 1}
    check_frequencies(shares(summed(tio.OneOf(weighted))), {1: 0.75, 4: 0.25})
    check_frequencies(shares(summed(tio.OneOf(weighted, p=0.4))), {0: 0.6, 1: 0.3, 4: 0.1})


def test_nested_choices():
    inner = tio.OneOf({tio.Compose([add(1), add(10)]): 1, add(100): 1})
    outer = tio.Compose([tio.OneOf({inner: 0.5, add(1000): 0.5}), add(10000)])
    check_frequencies(shares(summed(outer)), {10011: 0.25, 10100: 0.25, 11000: 0.5})


def test_example_of_the_torchio_paper():
    """Example of section 2.2.3 of the TorchIO paper."""
    spatial = {tio.RandomElasticDeformation(max_displacement=1): 0.2, tio.RandomAffine(): 0.8}
    transform = tio.Compose([tio.OneOf(spatial, p=0.5), tio.RandomBlur()])
    batch = tio.SubjectsBatch.from_subjects([subject(seed=n) for n in range(60)])
    out = transform(batch)
    names = [tuple(record.transform.name for record in out.history[n]) for n in range(60)]
    found = shares([" ".join(n) for n in names])
    check_frequencies(found, {"RandomBlur": 0.5, "RandomAffine RandomBlur": 0.4,
                  "RandomElasticDeformation RandomBlur": 0.1}, 60)  # fmt: skip


def test_a_choice_shares_passes_with_its_neighbours():
    choice = tio.OneOf([tio.RandomElasticDeformation(), tio.RandomNoise(), tio.RandomAffine(),
                        tio.RandomBlur()])  # fmt: skip
    plan = tio.Compose([tio.RandomFlip(), choice, tio.RandomGamma()]).explain().splitlines()
    assert [line.split("  (")[0] for line in plan] == [
        "spatial: RandomFlip -> RandomAffine -> RandomElasticDeformation",
        "pointwise: RandomNoise",
        "volume: RandomBlur",
        "pointwise: RandomGamma",
    ]
    assert "(ends: RandomBlur needs the whole volume)" in plan[1]


def test_fused_and_unfused_pipelines_make_the_same_choices():
    steps = [tio.RandomFlip((0, 1, 2)), tio.OneOf([add(1), tio.RandomBlur(), tio.Gamma(2)]),
             tio.SomeOf([add(2), tio.RandomSwap(2), add(4)], (0, 3))]  # fmt: skip
    x = smooth((6, 1, 8, 8, 8)).float().abs()
    outs = []
    for fuse in (True, False):
        torch.manual_seed(3)
        outs.append(tio.Compose(steps, fuse=fuse)(x))
    torch.testing.assert_close(*outs)


def test_the_choice_of_a_sample_is_a_function_of_its_seed():
    transform = tio.OneOf([add(1), add(2), add(4)])
    seeds = np.arange(50)

    def run(order):
        batch = tio.SubjectsBatch({"t1": tio.ImagesBatch(zeros(len(order)))})
        batch.streams = tio.random.Streams(seeds[order])
        return transform(batch).t1.data[:, 0, 0, 0, 0]

    together = run(np.arange(50))
    reversed_order = run(np.arange(50)[::-1].copy())
    assert torch.equal(together.flip(0), reversed_order)
    assert torch.equal(run(np.array([7])), together[7:8])


def test_some_of_applies_the_requested_number_in_order():
    number = tio.SomeOf([add(1), add(2), add(4)], num_transforms=2)
    check_frequencies(shares(summed(number)), dict.fromkeys((3, 5, 6), 1 / 3))
    between = summed(tio.SomeOf([add(1), add(2), add(4)], num_transforms=(0, 2)))
    check_frequencies(shares(between), {0: 1 / 3, **dict.fromkeys((1, 2, 4, 3, 5, 6), 1 / 9)})
    every = tio.SomeOf([tio.Gamma(2), add(1)], num_transforms=2)
    assert every(torch.full((1, 1, 1, 1), 3.0)).item() == pytest.approx(10)


def test_some_of_draws_by_weight_without_replacement():
    weights = {add(1): 1, add(2): 2, add(4): 5, add(8): 0}
    drawn = shares(summed(tio.SomeOf(weights, num_transforms=2), 20000))
    # first i, then j: w_i / sum w_j / (sum - w_i), either way round
    w = {1: 1, 2: 2, 4: 5}
    pairs = {a + b: w[a] * w[b] / 8 * (1 / (8 - w[a]) + 1 / (8 - w[b])) for a, b in
             ((1, 2), (1, 4), (2, 4))}  # fmt: skip
    check_frequencies(drawn, pairs, 20000)


def test_history_of_a_choice_can_be_replayed_and_undone():
    s = subject()
    out = tio.SomeOf([tio.RandomFlip(0, 1), tio.RandomSwap(2), tio.RandomFlip(1, 1)], 2)(s)
    assert len(out.history) == 2
    assert torch.equal(out.get_composed_history()(s).t1.data, out.t1.data)
    assert torch.equal(out.apply_inverse_transform().t1.data, s.t1.data)


def test_representation_shows_the_transforms():
    assert repr(tio.OneOf([tio.RandomBlur()], p=0.5)) == "OneOf([RandomBlur()], p=0.5)"
    assert repr(tio.OneOf({tio.RandomBlur(): 2, tio.Gamma(2): 1})) == (
        "OneOf({RandomBlur(): 2, Gamma(gamma=2): 1})"
    )
    assert "num_transforms=(1, 2)" in repr(tio.SomeOf([tio.RandomFlip()] * 2, (1, 2)))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: tio.OneOf([]), ValueError, "transforms must be a sequence or a dict that is not"),
        (lambda: tio.OneOf({}), ValueError, "transforms must be a sequence or a dict that is not"),
        (lambda: tio.OneOf({add(1): 0}), ValueError, "weights must sum to more than 0"),
        (
            lambda: tio.OneOf({add(1): -1, add(2): 2}),
            ValueError,
            "weights must be numbers >= 0",
        ),
        (
            lambda: tio.OneOf({add(1): float("nan")}),
            ValueError,
            "weights must be numbers >= 0",
        ),
        (lambda: tio.OneOf([3]), TypeError, "transforms must be transforms, or other callables"),
        (
            lambda: tio.SomeOf([add(1)], 2),
            ValueError,
            "num_transforms must be a number or a range",
        ),
        (
            lambda: tio.SomeOf({add(1): 1, add(2): 0}, 2),
            ValueError,
            "within 0 and 1, got 2",
        ),
        (
            lambda: tio.SomeOf([add(1)], (1, 0)),
            ValueError,
            "num_transforms must be a number or a",
        ),
        (lambda: tio.SomeOf([add(1)], 0.5), ValueError, "a number or a range .* got 0.5"),
        (lambda: tio.Lambda(3), TypeError, "function must be a function, got 3"),
        (lambda: tio.Lambda(torch.sin, "image"), ValueError, "types_to_apply must be made of"),
    ],
)
def test_bad_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


# Lambda


def test_lambda_is_called_with_each_image_or_the_batch():
    shapes = []

    def look(x):
        shapes.append(tuple(x.shape))
        return x + 1

    x = torch.zeros(3, 1, 2, 3, 4)
    assert torch.equal(tio.Lambda(look)(x), x + 1)
    assert shapes == [(1, 2, 3, 4)] * 3
    shapes.clear()
    assert torch.equal(tio.Lambda(look, batched=True)(x), x + 1)
    assert shapes == [(3, 1, 2, 3, 4)]


def test_lambda_applies_to_the_types_given():
    s = subject()
    for types, changed in (
        (None, {"t1", "seg"}),
        ([], set()),
        ([tio.LABEL], {"seg"}),
        ("intensity", {"t1"}),
    ):
        out = tio.Lambda(lambda x: x + 1, types)(s)
        for name in ("t1", "seg"):
            assert torch.equal(out[name].data, s[name].data + (name in changed))
            assert out[name].data.dtype == s[name].data.dtype


def test_lambda_may_change_the_shape_of_all_samples_but_not_of_some():
    x = torch.rand(8, 1, 4, 4, 4)
    assert tio.Lambda(lambda x: x[:, :2])(x).shape == (8, 1, 2, 4, 4)
    assert tio.Lambda(lambda x: x.repeat(2, 1, 1, 1))(x).shape == (8, 2, 4, 4, 4)
    with pytest.raises(
        ValueError, match=r"Lambda must keep the shape of 'default_image_name' when it leaves"
    ):
        tio.Lambda(lambda x: x[:, :2], p=0.5)(x)


def test_lambda_names_the_error_of_its_function():
    x = torch.rand(1, 4, 4, 4)
    with pytest.raises(TypeError, match="function must return a tensor, got float"):
        tio.Lambda(lambda x: 1.0)(x)
    with pytest.raises(ValueError, match=r"as many dimensions as it gets: \(1, 4, 4, 4\) became"):
        tio.Lambda(lambda x: x[0])(x)
    with pytest.raises(ValueError, match="dimensions and samples as it gets"):
        tio.Lambda(lambda x: x[:1], batched=True)(torch.rand(2, 1, 4, 4, 4))

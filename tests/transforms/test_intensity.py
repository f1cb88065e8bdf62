"""Intensity transforms: parameters per sample and image, and agreement with TorchIO."""

import math

import numpy as np
import pytest
import torch
import torchio

import torchio_gpu as tio
from tests.close import assert_close
from tests.volumes import random_batch, subject


def test_agree_with_torchio_at_fixed_parameters():
    s = subject()
    coefficients = np.linspace(-0.4, 0.6, 20).tolist()
    theirs = torchio.ScalarImage(tensor=s.t1.data, affine=s.t1.affine)
    for ours, other in (
        (tio.BiasField(coefficients), torchio.BiasField(coefficients, 3)),
        (tio.Gamma(1.4), torchio.Gamma(1.4)),
    ):
        reason = "exp, pow and sums in float32"
        assert_close(ours(s).t1.data, other(theirs).data, share=1e-5, reason=reason)


def test_label_maps_are_left_alone():
    s = subject()
    for transform in (tio.RandomBiasField(), tio.RandomGamma(), tio.RandomNoise()):
        out = transform(s)
        assert torch.equal(out.seg.data, s.seg.data)
        assert not torch.equal(out.t1.data, s.t1.data)


def test_parameters_are_drawn_per_image():
    params = tio.RandomBiasField().sample_params(random_batch(3, ("t1", "t2")))
    assert params.coefficients.shape == (3, 2, 20)
    assert len(np.unique(params.coefficients)) == 120


def test_parameters_of_an_image_do_not_depend_on_other_images():
    x = torch.rand(1, 6, 6, 6)
    alone = tio.Subject(t1=tio.ScalarImage(x))
    more = tio.Subject(flair=tio.ScalarImage(x), t1=tio.ScalarImage(x), t2=tio.ScalarImage(x))
    pipeline = tio.Compose([tio.RandomBiasField(), tio.RandomGamma(), tio.RandomNoise()])
    results = []
    for s in (alone, more):
        torch.manual_seed(5)
        results.append(pipeline(s).t1.data)
    assert torch.equal(*results)


def test_drawn_parameters_lie_in_their_ranges():
    batch = random_batch(2000)
    gamma = tio.RandomGamma((-0.1, 0.3)).sample_params(batch).log_gamma
    assert -0.1 <= gamma.min() < -0.09
    assert 0.29 < gamma.max() <= 0.3
    noise = tio.RandomNoise(mean=2, std=(0.1, 0.5)).sample_params(batch)
    assert -2 <= noise.mean.min() < -1.9 < 1.9 < noise.mean.max() <= 2
    assert 0.1 <= noise.std.min() < 0.11 < 0.49 < noise.std.max() <= 0.5
    assert len(np.unique(noise.seed)) == 2000
    single = tio.RandomNoise(std=0.2).sample_params(batch).std
    assert 0 <= single.min() < 0.01 < 0.19 < single.max() <= 0.2


def test_distributions_and_choices_as_ranges():
    batch = random_batch(4000)
    normal = torch.distributions.Normal(0.0, 0.3)
    drawn = tio.RandomGamma(normal).sample_params(batch).log_gamma
    assert drawn.mean() == pytest.approx(0, abs=4 * 0.3 / 63)
    assert drawn.std() == pytest.approx(0.3, rel=0.05)
    beta = torch.distributions.Beta(2.0, 2.0)  # has no inverse of its distribution function
    few = random_batch(300)
    drawn = tio.RandomNoise(std=beta).sample_params(few).std
    assert drawn.mean() == pytest.approx(0.5, abs=4 * 0.224 / 17)
    choice = tio.Choice([0.0, math.log(2)], probabilities=[1, 3])
    drawn = tio.RandomGamma(choice).sample_params(batch).log_gamma
    assert set(np.unique(drawn)) == {0.0, math.log(2)}
    assert (drawn > 0).mean() == pytest.approx(0.75, abs=0.03)


def test_a_distribution_without_icdf_is_reproducible_and_does_not_use_the_torch_generator():
    transform = tio.RandomNoise(std=torch.distributions.Beta(2.0, 2.0))
    batch = random_batch(3)
    torch.manual_seed(1)
    first = transform.sample_params(batch).std
    after = torch.rand(1)
    torch.manual_seed(1)
    np.testing.assert_array_equal(first, transform.sample_params(batch).std)
    assert torch.equal(after, torch.rand(1))


def test_draws_outside_the_allowed_range_are_refused():
    transform = tio.RandomNoise(std=torch.distributions.Normal(0.0, 1.0))
    with pytest.raises(ValueError, match=r"std must be >= 0"):
        transform(torch.zeros(64, 1, 2, 2, 2))


def test_parameters_by_image_name():
    s = tio.Subject(
        a=tio.ScalarImage(torch.full((1, 2, 2, 2), 3.0)),
        b=tio.ScalarImage(torch.full((1, 2, 2, 2), 3.0)),
    )
    out = tio.Gamma({"a": 1.0, "b": 2.0})(s)
    assert out.a.data.unique().tolist() == [3]
    assert out.b.data.unique().item() == pytest.approx(9)
    out = tio.Noise(mean={"a": 1, "b": 2}, std=0, seed={"a": 1, "b": 2})(s)
    assert out.a.data.unique().tolist() == [4]
    assert out.b.data.unique().tolist() == [5]
    with pytest.raises(ValueError, match=r"coefficients must have an entry for each image.*'b'"):
        tio.BiasField({"a": np.zeros(20)})(s)


def test_rician_noise_on_request():
    x = torch.full((1, 32, 32, 32), 0.0)
    gaussian, rician = tio.Noise(std=1, seed=3), tio.Noise(std=1, seed=3, rician=True)
    assert gaussian(x).min() < 0
    assert rician(x).min() >= 0
    with pytest.raises(NotImplementedError, match="Rician noise cannot be undone"):
        rician.invert(rician.sample_params(random_batch(1)))


def test_gradients_reach_the_parameters():
    x = torch.rand(2, 1, 3, 4, 3, dtype=torch.float64) + 0.1
    c = torch.rand(2, 20, dtype=torch.float64, requires_grad=True)
    g = (1 + torch.rand(2, 1, dtype=torch.float64)).requires_grad_()
    m, s = (torch.rand(2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda c: tio.BiasField(c)(x), c)
    assert torch.autograd.gradcheck(lambda g: tio.Gamma(g)(x), g)
    assert torch.autograd.gradcheck(lambda m, s: tio.Noise(m, s, seed=(1, 2))(x), (m, s))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tio.RandomNoise(std=-1), r"std must be a range \(a, b\) with a <= b, got -1"),
        (lambda: tio.RandomNoise(std=(-1, 1)), "std must be >= 0"),
        (lambda: tio.RandomNoise(mean=(2, 1)), "mean must be a range"),
        (lambda: tio.RandomNoise(std=tio.Choice([-1, 1])), "std must be >= 0"),
        (lambda: tio.Noise(std=-0.1), "std must be >= 0, got -0.1"),
        (lambda: tio.RandomBiasField(order=-1), "order must be a whole number >= 0, got -1"),
        (lambda: tio.BiasField(np.zeros(19)), "coefficients must hold 20 numbers for order 3"),
        (lambda: tio.Gamma(0), "gamma must be > 0, got 0"),
        (lambda: tio.RandomGamma((1, 0)), "log_gamma must be a range"),
        (lambda: tio.Choice([]), "values of a Choice must be finite numbers"),
        (lambda: tio.Choice([1, 2], [0, 0]), "probabilities must be 2 numbers >= 0"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()

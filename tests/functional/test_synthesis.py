"""Images made of label maps: the mixture's moments, and which voxels get what."""

import numpy as np
import pytest
import torch

from torchio_gpu import functional as F
from torchio_gpu.functional.eager import slabs


def test_each_label_has_its_mean_and_spread_in_each_sample():
    labels = torch.randint(0, 4, (2, 1, 40, 40, 40), dtype=torch.uint8)
    mean = np.array([[0.0, 10, 20, -5], [7, 7, 3, 1]])
    std = np.array([[1.0, 2, 0, 0.5], [3, 0.1, 1, 1]])
    out = F.labels_to_image(labels, mean, std, np.array([5, 6]))
    assert out.dtype == torch.float32
    for b in range(2):
        for label in range(4):
            values = out[b][labels[b] == label]  # some 16,000
            assert values.mean().item() == pytest.approx(mean[b, label], abs=0.008 * 4 * 3)
            assert values.std().item() == pytest.approx(std[b, label], rel=0.03, abs=1e-6)


def test_voxels_without_a_used_label_keep_the_background():
    labels = torch.tensor([0, 3, 9, -1, 200, 3]).view(1, 1, 1, 1, 6)
    was = torch.arange(6.0).view(1, 1, 1, 1, 6) - 10
    out = F.labels_to_image(labels, [5.0, 7.0], 0.0, values=[9, 3], background=was)
    assert out.flatten().tolist() == [-10, 7, 5, -7, -6, 7]
    out = F.labels_to_image(labels, [5.0, 7.0], 0.0, values=[9, 3])
    assert out.flatten().tolist() == [0, 7, 5, 0, 0, 7]


def test_shares_of_labels_mix_their_means_and_variances():
    shares = torch.zeros(1, 3, 40, 40, 40)
    shares[:, 1], shares[:, 2] = 0.25, 0.75
    out = F.labels_to_image(shares, [100.0, 4.0, 8.0], [9.0, 2.0, 1.0], np.array([1]))
    assert out.mean().item() == pytest.approx(7, abs=4 * 0.9 / 253)
    # two independent draws, each times its share
    assert out.std().item() == pytest.approx(np.hypot(0.25 * 2, 0.75), rel=0.01)
    little = torch.full((1, 2, 2, 2, 2), 0.2)
    was = torch.full((1, 1, 2, 2, 2), 5.0)
    assert F.labels_to_image(little, [1.0, 1.0], 0.0, background=was).unique().tolist() == [5]
    half = F.labels_to_image(
        shares, [3.0], 0.0, values=[2], background=torch.zeros(1, 1, *[40] * 3)
    )
    assert half.unique().tolist() == [2.25]


def test_the_noise_is_a_function_of_the_seed():
    labels = torch.zeros(2, 1, 6, 6, 6, dtype=torch.uint8)
    one, two = F.labels_to_image(labels, [0.0], [1.0], np.array([3, 4]))
    again = F.labels_to_image(labels[:1], [0.0], [1.0], np.array([4]))
    assert torch.equal(again[0], two)
    assert not torch.equal(one, two)


def test_result_does_not_depend_on_slabs(monkeypatch):
    labels = torch.randint(-1, 4, (2, 1, 9, 7, 8))
    shares = torch.rand(2, 3, 9, 7, 8).softmax(1)
    was = torch.rand(2, 1, 9, 7, 8)
    mean, std = np.arange(3.0), np.arange(3.0) + 1
    for x in (labels, shares):
        whole = F.labels_to_image(x, mean, std, np.array([1, 2]), background=was)
        with monkeypatch.context() as patch:
            patch.setattr(slabs, "VOXELS", 300)
            parts = F.labels_to_image(x, mean, std, np.array([1, 2]), background=was)
        torch.testing.assert_close(parts, whole)


def test_gradients_reach_parameters_background_and_shares():
    labels = torch.randint(0, 4, (2, 1, 3, 4, 3))
    shares = torch.rand(2, 3, 3, 4, 3, dtype=torch.float64, requires_grad=True)
    mean, std = (torch.rand(2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    was = torch.rand(2, 1, 3, 4, 3, dtype=torch.float64, requires_grad=True)
    seeds = np.array([1, 2])
    assert torch.autograd.gradcheck(
        lambda m, s, b: F.labels_to_image(labels, m, s, seeds, background=b), (mean, std, was)
    )
    assert torch.autograd.gradcheck(
        lambda x, m, s: F.labels_to_image(x, m, s, seeds), (shares, mean, std)
    )
    empty = torch.zeros(1, 2, 2, 2, 2, requires_grad=True)
    F.labels_to_image(empty, [1.0, 2.0], [1.0, 1.0]).sum().backward()
    assert torch.isfinite(empty.grad).all()


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda x: F.labels_to_image(x, 1.0, 1.0), r"mean must have shape \(L,\) or \(B, L\)"),
        (lambda x: F.labels_to_image(x, [1.0, 2.0], [1.0]), "std must hold one value per label"),
        (lambda x: F.labels_to_image(x, [1.0], [-1.0]), "std must be >= 0"),
        (lambda x: F.labels_to_image(x, np.zeros((3, 2)), 1.0), "mean must hold one value per sam"),
        (lambda x: F.labels_to_image(x, [1.0, 2.0], 0.0, values=[1]), "values must be 2 different"),
        (lambda x: F.labels_to_image(x, [1.0, 2.0], 0.0, values=[1, 1]), "values must be 2 differ"),
        (lambda x: F.labels_to_image(x, [1.0], 0.0, values=[-1]), "values must be 1 different"),
        (
            lambda x: F.labels_to_image(x, [1.0], 0.0, background=x[:1]),
            "background must have shape",
        ),
        (lambda x: F.labels_to_image(x.float(), [1.0, 2.0], 0.0), "labels must have a chann"),
        (lambda x: F.labels_to_image(x, [1.0], 0.0, torch.zeros(2)), "seeds must be int64"),
    ],
)
def test_bad_arguments_are_named(run, message):
    with pytest.raises(ValueError, match=message):
        run(torch.zeros(2, 1, 3, 3, 3, dtype=torch.uint8))

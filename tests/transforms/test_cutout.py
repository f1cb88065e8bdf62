"""Cutout: boxes that are filled."""

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.volumes import oblique_affine, random_batch, smooth, subject
from torchio_gpu import functional as F


def boxes_of(mask):
    """Return the number of voxels of a mask, and of the smallest box about them."""
    places = mask.nonzero()
    return len(places), int((places.amax(0) - places.amin(0) + 1).prod())


def test_no_boxes_change_no_bit():
    x = torch.rand(2, 1, 5, 6, 7)
    x[0, 0, 0, 0, 0] = torch.nan
    bits = x.view(torch.int32)
    assert torch.equal(tio.RandomCutout(num_boxes=(0, 0))(x).view(torch.int32), bits)
    assert torch.equal(tio.Cutout([(1, 1, 1)], [(0, 3, 3)])(x).view(torch.int32), bits)
    assert torch.equal(F.cutout(x, np.zeros((0, 3)), np.zeros((0, 3))).view(torch.int32), bits)


@pytest.mark.parametrize("count", [7, 8, 9, 20])
def test_any_number_of_boxes_is_their_union(count):
    chance = np.random.default_rng(count)
    first, size = chance.integers(-1, 11, (2, count, 3)), chance.integers(2, 5, (2, count, 3))
    out = F.cutout(torch.zeros(2, 1, 11, 12, 13), first, size, 1.0)
    expected = np.zeros((2, 1, 11, 12, 13))
    for b in range(2):
        for at, extent in zip(first[b], size[b], strict=True):
            i, j, k = (slice(max(a, 0), max(a + n, 0)) for a, n in zip(at, extent, strict=True))
            expected[b, :, i, j, k] = 1
    np.testing.assert_array_equal(out.numpy(), expected)
    assert 0 < expected.mean() < 1


def test_boxes_are_as_long_as_asked_in_mm_and_anywhere():
    """Mean side and place of boxes in 1500 samples, within four standard errors."""
    x = tio.ImagesBatch(
        torch.zeros(1500, 1, 40, 30, 20), np.diag([1.0, 2, 4, 1])[None].repeat(1500, 0)
    )
    torch.manual_seed(0)
    out = tio.RandomCutout((1, 1), (7.2, 7.2), fill=1)(x).data[:, 0] == 1
    sides, centres = [], []
    for axis, (n, spacing) in enumerate(zip((40, 30, 20), (1, 2, 4), strict=True)):
        others = [1 + a for a in range(3) if a != axis]
        along = out.amax(others)
        inner = along[:, 0] | along[:, -1]
        whole = along[~inner & along.any(1)].double()
        sides.append(whole.sum(1).mean().item() * spacing)
        centres.append(((whole * torch.arange(n)).sum(1) / whole.sum(1)).mean().item())
    # 7.2 mm are 7 or 8, 3 or 4, 1 or 2 voxels, in the mean 7.2, 3.6 and 1.8
    np.testing.assert_allclose(sides, 7.2, rtol=0.03)
    np.testing.assert_allclose(centres, [19.5, 14.5, 9.5], atol=4 * 12 / 1000**0.5)


def test_samples_have_boxes_of_their_own_and_boxes_have_no_holes():
    x = random_batch(30, shape=(9, 10, 11)).t1.data
    out = tio.RandomCutout((1, 1), (2, 6))(x)
    masks = (out != x)[:, 0]
    found = [boxes_of(mask) for mask in masks if mask.any()]
    assert len(found) > 25
    assert all(inside == box for inside, box in found)
    assert len(set(found)) > 10


def test_fill_is_drawn_for_each_sample():
    x = torch.zeros(50, 1, 6, 6, 6)
    out = tio.RandomCutout((2, 2), (20, 20), (3, 5))(x)
    values = [set(each.unique().tolist()) - {0.0} for each in out]
    assert all(len(each) == 1 for each in values)
    drawn = [each.pop() for each in values]
    assert 3 <= min(drawn) < 3.5
    assert 4.5 < max(drawn) <= 5


@pytest.mark.parametrize("rule", ["minimum", "maximum", "mean"])
def test_rules_are_statistics_of_each_channel(rule):
    x = smooth((2, 3, 6, 7, 8)).float()
    out = tio.Cutout([(1, 2, 3)], [(2, 3, 2)], rule)(x)
    name = {"minimum": "min", "maximum": "max", "mean": "mean"}[rule]
    for b in range(2):
        for c in range(3):
            inside = out[b, c, 1:3, 2:5, 3:5]
            expected = getattr(x[b, c].double(), name)()
            torch.testing.assert_close(inside.double(), expected.expand_as(inside))


def test_integers_stay_integers():
    x = torch.arange(24, dtype=torch.int16).view(1, 1, 2, 3, 4)
    out = tio.Cutout([(0, 0, 0)], [(1, 1, 1)], "mean")(x)
    assert out.dtype == torch.int16
    assert out[0, 0, 0, 0, 0] == 12  # 11.5, rounded to the even number
    with pytest.raises(ValueError, match="fill must be from 0 to 255 for voxels of"):
        tio.Cutout([(0, 0, 0)], [(1, 1, 1)], -1)(x.byte())


def test_images_have_the_same_boxes_and_label_maps_are_kept_or_become_zero():
    s = subject()
    s.add_image(tio.ScalarImage(s.t1.data + 5, affine=s.t1.affine), "t2")
    s.seg.set_data(s.seg.data + 1)
    torch.manual_seed(3)
    out = tio.RandomCutout((2, 2), (6, 12), fill=-9)(s)
    inside = out.t1.data == -9
    assert 0 < inside.double().mean() < 1
    assert torch.equal(out.t2.data == -9, inside)
    assert torch.equal(out.seg.data, s.seg.data)
    torch.manual_seed(3)
    both = tio.RandomCutout((2, 2), (6, 12), fill=-9, scalars_only=False)(s)
    assert torch.equal(both.t1.data, out.t1.data)
    assert torch.equal(both.seg.data, s.seg.data.where(~inside, 0))
    assert both.seg.data.dtype == torch.uint8


def test_images_of_other_grids_are_refused():
    s = subject()
    s.add_image(tio.ScalarImage(s.t1.data, affine=oblique_affine((2, 2, 2))), "t2")
    message = "images must share a grid under RandomCutout, .*the grid of 't2' differs"
    with pytest.raises(ValueError, match=message):
        tio.RandomCutout()(s)
    assert torch.equal(tio.RandomCutout(exclude=["t2"])(s).t2.data, s.t2.data)


def test_values_by_image_name():
    s = subject()
    s.add_image(tio.ScalarImage(s.t1.data, affine=s.t1.affine), "t2")
    out = tio.Cutout([(1, 1, 1)], [(2, 2, 2)], {"t1": 7, "t2": 8})(s)
    assert (out.t1.data[0, 1, 1, 1], out.t2.data[0, 2, 2, 2]) == (7, 8)


def test_history_replays_the_boxes():
    s = subject()
    out = tio.RandomCutout((2, 3), (6, 12), (0, 1), scalars_only=False)(s)
    again = out.get_composed_history()(s)
    assert torch.equal(again.t1.data, out.t1.data)
    assert torch.equal(again.seg.data, out.seg.data)


@pytest.mark.parametrize("fill", [0.0, "mean", torch.tensor([0.3, 2.0], dtype=torch.float64)])
def test_gradients(fill):
    x = torch.rand(2, 2, 3, 4, 3, dtype=torch.float64, requires_grad=True)
    given = (x,)
    if isinstance(fill, torch.Tensor):
        given = (x, fill.requires_grad_())

    def run(x, fill=fill):
        return F.cutout(x, [(0, 1, 1)], [(2, 2, 9)], fill)

    assert torch.autograd.gradcheck(run, given)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tio.RandomCutout((-1, 2)), "num_boxes must be >= 0"),
        (lambda: tio.RandomCutout(2000), "num_boxes must have an upper end of at most 1000"),
        (lambda: tio.RandomCutout(size=(-1, 2)), "size must be >= 0"),
        (lambda: tio.RandomCutout(fill="otsu"), "fill must be numbers or one of minimum"),
        (lambda: tio.Cutout([(0, 0, 0.5)], [(1, 1, 1)]), "first must be whole numbers"),
        (lambda: tio.Cutout([(0, 0, 0)], [(1, -1, 1)]), "size must be >= 0"),
        (lambda: tio.Cutout([(0, 0, 0)], [(1, 1, 1)] * 2), "size must hold one for each of the 1"),
        (
            lambda: F.cutout(torch.zeros(3, 1, 1, 1, 1), np.zeros((2, 1, 3)), np.zeros((1, 3))),
            r"first must be \(N, 3\) or \(3, N, 3\), got \(2, 1, 3\)",
        ),
        (
            lambda: F.cutout(
                torch.zeros(1, 3, 1, 1, 1), [(0, 0, 0)], [(1, 1, 1)], torch.zeros(1, 2)
            ),
            r"fill must hold one value per sample \[1\] or per channel \[1, 3\], got \[1, 2\]",
        ),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_no_boxes_need_no_sizes():
    x = torch.rand(1, 4, 4, 4)
    assert torch.equal(tio.RandomCutout(num_boxes=0, size=tio.Choice([2, 4]))(x), x)

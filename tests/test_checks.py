"""Checks of operations: they accept what is right and see what is not."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

import torchio_gpu as tio
from benchmarks import workloads as w
from benchmarks.checks import CHECKS, GROUPS, Answer, tried
from benchmarks.checks.asking import BATCH, CALLS, WrongError, alike, beyond, need, parts, voxels
from benchmarks.checks.geometry import _check_pose, _interpolates_once
from benchmarks.rivals.torchio_gpu import FAMILY, OPS, STEPS

# Small volumes fold; workers of the suite are told to ignore warnings, too.
pytestmark = pytest.mark.filterwarnings("ignore:max_displacement should:RuntimeWarning")

Op = Callable[..., Any]


def said(check: Callable[..., None], *given: Any) -> str:
    """Return what a check says, '' where it says nothing."""
    return tried(lambda: check(*given), False).note


def shared(op: Op) -> Op:
    """Wrong operation: all samples share the draw of the first."""
    return lambda x: op(x[:1]).expand(len(x), *[-1] * (x.ndim - 1)).clone()


def frozen(op: Op) -> Op:
    """Wrong operation: every call draws the same."""

    def call(x: Tensor) -> Tensor:
        torch.manual_seed(0)
        return op(x)

    return call


def after(name: str, change: Callable[[Tensor], Tensor]) -> Op:
    """Return the operation of this library followed by a change."""
    return lambda *given: change(OPS[name](*given))


@pytest.mark.parametrize("name", CHECKS)
def test_this_library_passes(name: str) -> None:
    if name not in OPS:
        pytest.skip("not offered, or not on this machine")
    assert tried(lambda: CHECKS[name].run(OPS[name]), False) == Answer("✓")


def test_everything_that_is_timed_has_a_check() -> None:
    assert set(w.WORK) <= set(CHECKS)
    assert set(w.WORK) <= set(OPS)
    assert set(CHECKS) - {key for group in GROUPS.values() for key in group} <= set(w.WORK)
    for check in CHECKS.values():
        assert check.title
        assert check.asked.endswith(".")


def _corner(x: Tensor) -> Tensor:
    """Resample with aligned corners instead of the spacing."""
    return interpolate(x, w.resampled(x.shape[2:]), mode="trilinear", align_corners=True)


def _to_the_side(x: Tensor) -> Tensor:
    """Crop and pad at one end only."""
    i, j, k = w.crop_or_pad(x.shape[2:])
    return pad(x[:, :, :i, :j], (0, k - x.shape[4]))


def _faces_edges_and_corners(mask: Tensor) -> Tensor:
    """Largest component with connectivity by faces, edges and corners."""
    ndimage = pytest.importorskip("scipy.ndimage")
    components, _ = ndimage.label(mask[0, 0].numpy(), torch.ones(3, 3, 3).numpy())
    components = torch.from_numpy(components)
    return (components == components[components > 0].mode().values)[None, None].byte()


def _affine(**changes: Any) -> Op:
    return tio.RandomAffine(**{**w.AFFINE, **changes})


def _elastic(**changes: Any) -> Op:
    return tio.RandomElasticDeformation(**{**w.ELASTIC, **changes})


def _creased(x: Tensor) -> Tensor:
    """Interpolate linearly between every eighth voxel of a spline."""
    size = tuple(x.shape[2:])
    at = voxels(size).float()
    moved = _elastic(default_pad_value=0)(at.expand(len(x), -1, -1, -1, -1).contiguous()) - at
    moved = torch.where(moved.abs().amax(1, keepdim=True) < 7.5, moved, 0)
    coarse = interpolate(moved, scale_factor=0.125, mode="trilinear")
    places = at + interpolate(coarse, size, mode="trilinear")
    grid = (2 * places / (torch.tensor(size).view(3, 1, 1, 1) - 1) - 1).flip(1).movedim(1, -1)
    return torch.nn.functional.grid_sample(x, grid, align_corners=True)


def _add(x: Tensor, noise: Tensor) -> Tensor:
    return x + 0.25 * torch.rand(len(x), 1, 1, 1, 1) * noise


def _of_labels(**changes: Any) -> Op:
    step = tio.RandomLabelsToImage(**{**w.LABELS_TO_IMAGE, **changes})
    return FAMILY.of(step, "seg", made=("image_from_labels",))


def _blur(x: Tensor) -> Tensor:
    return (x + x.roll(1, 2)) / 2


def _longer(y: Tensor) -> Tensor:
    """Stretch planes along K, as if they were not resampled."""
    return interpolate(y[None], scale_factor=(1, 1, 1.5), mode="trilinear")[0, ..., 40:200]


def _larger(y: Tensor) -> Tensor:
    """Magnify about the centre."""
    return interpolate(y[None], scale_factor=1.25)[0, :, 20:180, 24:216, 20:180]


def _far(x: Tensor) -> Tensor:
    """Bend one sample of each batch by twice as much, and the others by less."""
    first = _elastic(max_displacement=2 * w.ELASTIC["max_displacement"])(x[:1])
    return torch.cat([first, _elastic(max_displacement=4)(x[1:])])


#: Operations by check, and a pattern of what is said of them.
WRONG: list[tuple[str, Any, str]] = [
    ("flip", lambda x: x.flip(2, 3), "% of the numbers are wrong"),
    ("resample", _corner, "% of the numbers are wrong"),
    ("crop_or_pad", _to_the_side, "is not the middle of the batch"),
    ("z_normalization", lambda x: (x - x.mean()) / x.std(), "% of the numbers are wrong"),
    ("rescale", tio.RescaleIntensity((0, 1), (1, 99)), "% of the numbers are wrong"),
    ("remap_labels", lambda labels: (labels + 4) % 5, "100 % of the numbers are wrong, by"),
    ("one_hot", after("one_hot", lambda y: y.flip(1)), "% of the numbers are wrong"),
    ("largest_component", _faces_edges_and_corners, "% of the numbers are wrong"),
    ("percentile", lambda x: tio.functional.percentile(x, (0.6, 99.4)), "100 % of the"),
    ("aggregate", after("aggregate", lambda y: y * 1.001), "% of the numbers"),
    ("infer_hann", lambda x: x + 1e-4, "% of the numbers are wrong"),
    ("affine", _affine(degrees=30), "turns by up to"),
    ("affine", _affine(degrees=(-15, 15, 0, 0, 0, 0)), "turns by up to"),
    ("affine", _affine(scales=0.3), "scales by a factor of up to"),
    ("affine", _affine(scales=(1, 1)), "scales by a factor of up to 1"),
    ("affine", _affine(isotropic=True), "scales all axes alike"),
    ("affine", _affine(translation=15), "from outside"),
    ("affine", _affine(translation=0), "moves the centre by up to"),
    ("affine", lambda x: _affine()(x.flip(2)), "mirrors"),
    ("affine", STEPS["affine_elastic"], "is not affine: places are off by up to"),
    ("affine", lambda x: torch.cat([_affine()(c) for c in x.split(1, 1)], 1), "channels move"),
    ("affine", shared(_affine()), "samples of a batch share their parameters"),
    ("affine", frozen(_affine()), "every call draws the same parameters"),
    ("elastic", _elastic(max_displacement=2), "bends by"),
    ("elastic", _elastic(num_control_points=8), "is no cubic B-spline"),
    ("elastic", _elastic(locked_borders=1, max_displacement=5.5), "move though they are lock"),
    ("elastic", _creased, "is no cubic B-spline"),
    ("affine_elastic", _affine(), "is no cubic B-spline|bends by"),
    ("affine_elastic", _elastic(), "turns by up to"),
    ("with_labels", lambda x, labels: (OPS["affine"](x), labels), "Dice"),
    ("with_labels", lambda x, labels: (x, labels // 2), "labels that were not there"),
    ("bias_field", tio.RandomBiasField(0.5, order=4), "is no polynomial of order 3"),
    ("bias_field", tio.RandomBiasField(0.1, order=3), "log field of 0.1"),
    ("bias_field", lambda x: x + STEPS["bias_field"](torch.ones_like(x)), "does not multiply"),
    ("gamma", tio.RandomGamma((-0.6, 0.6)), "log gamma of up to"),
    ("gamma", lambda x: STEPS["gamma"](x).mul_(0.9), "exponents differ"),
    ("noise", tio.RandomNoise(std=(0, 0.5)), "standard deviation of up to"),
    ("noise", tio.RandomNoise(mean=(0.1, 0.2), std=(0, 0.25)), "noise has a mean"),
    ("noise", lambda x: _add(x, (2 * torch.rand_like(x) - 1) * 3**0.5), "is not normal"),
    ("noise", lambda x: _add(x, 2**0.5 * _blur(torch.randn_like(x))), "is not white"),
    ("noise", lambda x: _add(x, torch.randn_like(x[:1])), "samples share their noise"),
    ("noise", lambda x: x + 0.2 * torch.randn_like(x), "samples of a batch share"),
    ("motion", tio.RandomAffine((1, 1), 10, 10), "as a whole|drifts"),
    ("motion", after("motion", lambda y: 1.2 * y), "changes the mean by up to 20 %"),
    ("motion", after("motion", lambda y: y.roll(3, -1)), "drifts, by up to"),
    ("motion", tio.RandomMotion(degrees=1, translation=0.1, num_transforms=2), "hardly moves"),
    ("ghosting", tio.RandomGhosting(num_ghosts=(12, 15)), "every n-th plane"),
    ("ghosting", tio.RandomGhosting((4, 10), intensity=(0.1, 0.2)), "planes lose|n-th plane"),
    ("ghosting", lambda x: OPS["ghosting"](x) * 0.9, "changes the mean"),
    ("ghosting", lambda x: x + 0.1 * torch.randn_like(x), "is not a change of planes"),
    ("spike", tio.RandomSpike(num_spikes=(2, 2), intensity=(1, 3)), "is not one plane wave"),
    ("spike", tio.RandomSpike(num_spikes=1, intensity=(0.2, 0.6)), "of the largest magnitude"),
    ("blur", after("blur", lambda y: y.roll(1, 3)), "moves a point by up to 1 voxels"),
    ("blur", after("blur", lambda y: 0.9 * y), "changes the sum by up to 10 %"),
    ("anisotropy", lambda x: OPS["anisotropy"](OPS["anisotropy"](x)), "more than one axis"),
    ("anisotropy", after("anisotropy", lambda y: y.roll((1, 1, 1), (2, 3, 4))), "axis|moves"),
    ("anisotropy", tio.RandomAnisotropy(axes=(1,), downsampling=(1.5, 5)), "always changes"),
    ("anisotropy", tio.RandomAnisotropy(downsampling=(7, 9)), "voxels, which is not 1 of"),
    ("swap", lambda x: torch.cat([x[..., :4], x[..., 4:].roll(15, 2).roll(1, 4)], 4), "neighbours"),
    ("swap", tio.RandomSwap(patch_size=15, num_iterations=5), "% of voxels, not"),
    ("swap", after("swap", lambda y: y.clamp(min=9)), "some numbers are gone"),
    ("labels_to_image", _of_labels(default_mean=(0.1, 1.8)), "mean of label"),
    ("labels_to_image", _of_labels(default_std=(0.1, 0.2)), "std of label"),
    ("labels_to_image", shared(OPS["labels_to_image"]), "hardly|share|std|of label"),
    (
        "noise",
        lambda x: _add(x, (1 + x / 9) * torch.randn_like(x)),
        "depends on the image",
    ),
    ("motion", lambda x: x.roll((1, 1), (2, 3)), "as a whole"),
    ("prep6", after("prep6", _longer), "times as long along K as along I"),
    ("prep6", lambda image, labels: OPS["prep6"](image.flip(1), labels), "not mirrored"),
    ("prep6", after("prep6", lambda y: 500 + 100 * y), "have mean"),
    ("prep6", after("prep6", lambda y: y.roll(30, 2)), "away from the centre"),
    ("prep6", after("prep6", _larger), "times as large"),
    ("affine", after("affine", lambda y: pad(y[:, :, 6:], (0, 0, 0, 0, 6, 0))), "from inside"),
    ("elastic", _far, "moves voxels by up to"),
    ("fat", lambda x, mask: x + mask, "the sum changes by"),
    ("beam_hardening", lambda x: 2 * x - OPS["beam_hardening"](x), "no darkness"),
    ("haze", after("haze", lambda y: y + 1), "are wrong"),
    ("infer_original", after("infer_original", lambda y: y.roll(4, 1)), "wrong by up to"),
    ("pipe6", tio.RandomNoise(**w.NOISE), "log field of"),
    ("pipe6", tio.Compose([STEPS[name] for name in w.PIPE6[:-1]]), "noise of up to"),
    ("pipe6", shared(OPS["pipe6"]), "share|noise of|log field of"),
    ("one_patch", lambda image, labels: image[None, :, :32, :32, :32].clone(), "noise of up to 0"),
    ("dense_field", lambda x, u: OPS["dense_field"](x, -u), "wrong by up to"),
    ("batch", lambda x: x + torch.rand(()), "augmented alike"),
    ("device", lambda x: torch.from_numpy(x.numpy() + 1), "through numpy"),
    ("grad_image", lambda x: x.detach() + 1, "does not require grad"),
    ("grad_params", lambda x, a: x * a.detach() + 0 * a, "they are zero"),
    ("windows", {"elastic": lambda x: lambda: (x + 1)[:, :12, :12, :12]}, "1 times the volume"),
    ("ct_kernel", {"sharp": lambda x: x, "soft": lambda x: x}, "keep their shares"),
    ("ct_kernel", {"sharp": lambda x: x + x.roll(1, 4) - 0.5}, "planes mix"),
    ("ct_kernel", {"soft": lambda x: OPS["ct_kernel"]["soft"](x) / 2}, "are wrong"),
    ("ct_thickness", _blur, "are wrong"),
    ("ct_window", lambda x: x / 80, "% of the numbers are wrong"),
    ("queue", lambda xs: [x for x in xs for _ in range(4)], "subject by subject"),
    ("dtypes", lambda x: x.float(), "uint8 becomes float32"),
    ("zipper", lambda x: x + 1, "planes are changed"),
    ("b0", lambda x: x * 1.2, "sums along lines change"),
    ("slices", lambda x: x.roll(2, 2), "slices move together"),
    ("curves", lambda x: 1 - x, "the order of values"),
    ("morphology", {"grown": lambda x: x, "shrunk": lambda x: x}, "nothing grows"),
    ("coils", lambda x: x + torch.rand_like(x), "mean over deviation is 1.7"),
    ("speckle", lambda x: x + torch.randn_like(x), "outside of the fan"),
    ("low_dose", lambda x: x + torch.randn_like(x), "in corners"),
    ("replay", lambda x: (x + 1, x + 2), "replayed, it is another"),
    ("points", lambda x, p: (x.roll(3, 1), p), "voxels from the blob"),
]


@pytest.mark.parametrize(("name", "op", "reason"), WRONG)
def test_a_wrong_operation_is_detected(name: str, op: Any, reason: str) -> None:
    words = said(CHECKS[name].run, op)
    assert re.search(reason, words), words


def test_equivalent_conventions_are_accepted() -> None:
    def other_side(x: Tensor) -> Tensor:
        return OPS["crop_or_pad"](x.flip(2, 3, 4)).flip(2, 3, 4)

    def by_n(x: Tensor) -> Tensor:
        std, mean = torch.std_mean(x, (1, 2, 3, 4), correction=0, keepdim=True)
        return (x - mean) / std

    x = torch.rand(1, 1, 30, 33, 37)
    assert not torch.equal(other_side(x), OPS["crop_or_pad"](x))
    assert said(CHECKS["crop_or_pad"].run, other_side) == ""
    assert said(CHECKS["z_normalization"].run, by_n) == ""


def test_shear_is_detected() -> None:
    maps = torch.eye(4, 3, dtype=torch.float64).repeat(2, 1, 1)
    maps[:, 2, 0] = 0.05
    with pytest.raises(WrongError, match="shears: off the diagonal"):
        _check_pose(maps)


def test_a_second_interpolation_is_detected() -> None:
    def once(x: Tensor) -> Tensor:
        for axis in (2, 3, 4):  # at a third of a voxel: 5/9 of the variance is left along each
            x = (2 * x + x.roll(1, axis)) / 3
        return x * (0.3 / (5 / 9) ** 3) ** 0.5

    assert _interpolates_once(once)
    assert not _interpolates_once(lambda x: once(_blur(x)))
    with pytest.raises(AssertionError, match="nothing was interpolated"):
        _interpolates_once(lambda x: x)


def test_a_broken_check_says_nothing_about_the_library() -> None:
    assert tried(lambda: {}["typo"], False) == Answer("!", "KeyError: 'typo'")
    assert tried(lambda: None, False) == Answer("✓")
    assert tried(lambda: need(False, "wrong"), False) == Answer("-", "wrong")
    assert tried(lambda: need(False, "something else"), True).sign == "~"
    assert tried(lambda: need(False, "half", part=True), False).sign == "~"
    assert len(tried(lambda: need(False, "a" * 300), False).note) == 100


def test_parts_of_a_question() -> None:
    right, wrong = (True, "not said"), (False, "wrong")
    run = lambda given: need(*given)  # noqa: E731
    assert said(parts, run, {"one": right, "other": right}) == ""
    assert said(parts, run, {"one": wrong, "other": (False, "too")}) == "wrong"
    half = tried(lambda: parts(run, {"the_first": right, "other": wrong}), False)
    assert half == Answer("~", "the first only; wrong")


def test_parameters_are_compared_within_batches_and_between_calls() -> None:
    each = torch.rand(CALLS, BATCH, 2)
    assert said(alike, each.flatten(0, 1), 1e-6) == ""
    same = each[:, :1].expand(-1, BATCH, -1).reshape(-1, 2)
    assert said(alike, same, 1e-6) == "samples of a batch share their parameters"
    same = each[:1].expand(CALLS, -1, -1).reshape(-1, 2)
    assert said(alike, same, 1e-6) == "every call draws the same parameters"
    assert said(beyond, "turns by", torch.tensor([0.1, 8]), 15) == ""
    assert said(beyond, "turns by", torch.tensor([0.1, 7]), 15) == "turns by up to 7, not 15"
    assert said(beyond, "turns by", torch.tensor([16.0]), 15) == "turns by up to 16, not 15"

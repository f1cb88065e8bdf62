"""Probes of the side-by-side suite: they accept what is right and see what is not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

import torchio_gpu as tio
from benchmarks.versus import harness, probes
from benchmarks.versus import workloads as w
from benchmarks.versus.peers.torchio_gpu import OPS, STEPS
from benchmarks.versus.probes import fixed
from benchmarks.versus.probes.asking import BATCH, CALLS, alike, beyond
from benchmarks.versus.worker import Runner

# Small volumes fold; workers of the suite are told to ignore warnings, too.
pytestmark = pytest.mark.filterwarnings("ignore:max_displacement should:RuntimeWarning")

Op = Callable[..., Tensor]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Use one thread, since the work is too small for more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def remark(name: str, op: Op) -> str | None:
    return probes.remark(name, op, CPU)


def shared(op: Op) -> Op:
    """Wrong operation: all samples share the draw of the first."""
    return lambda x: op(x[:1]).expand(len(x), *[-1] * (x.ndim - 1)).clone()


def frozen(op: Op) -> Op:
    """Wrong operation: every call draws the same."""

    def call(x: Tensor) -> Tensor:
        torch.manual_seed(0)
        return op(x)

    return call


def channelwise(op: Op) -> Op:
    """Wrong operation: channels have different draws."""
    return lambda x: torch.cat([op(channel) for channel in x.split(1, 1)], 1)


def after(name: str, change: Callable[[Tensor], Tensor]) -> Op:
    """Return the operation of this library followed by a change."""
    return lambda *given: change(OPS[name](*given))


# On a small batch; others are held to the same in test_benchmarks.py, before they are timed.
@pytest.mark.parametrize(
    "name", [name for name in probes.PROBES if not w.WORKLOADS["W0"].takes(name)]
)
def test_this_library_passes(name: str) -> None:
    assert remark(name, OPS[name]) is None


def test_every_operation_has_a_probe_unless_its_result_must_be_the_batch() -> None:
    identity = {name for name, work in w.WORK.items() if work.identity}
    assert set(w.OPS) - set(probes.PROBES) == identity


def _off_by_one(x: Tensor) -> Tensor:
    """Resample about a centre that is off by one voxel."""
    return OPS["resample"](x.roll(1, -1))


def _corner(x: Tensor) -> Tensor:
    """Resample with aligned corners instead of the spacing."""
    size = w.resampled(x.shape[2:])
    return interpolate(x, size, mode="trilinear", align_corners=True)


def _to_the_side(x: Tensor) -> Tensor:
    """Crop and pad at one end only."""
    i, j, k = w.crop_or_pad(x.shape[2:])
    return pad(x[:, :, :i, :j], (0, k - x.shape[4]))


def _of_the_batch(x: Tensor) -> Tensor:
    return (x - x.mean()) / x.std()


def _faces_edges_and_corners(mask: Tensor) -> Tensor:
    """Largest component with connectivity by faces, edges and corners."""
    ndimage = pytest.importorskip("scipy.ndimage")
    components, _ = ndimage.label(mask[0, 0].numpy(), torch.ones(3, 3, 3).numpy())
    components = torch.from_numpy(components)
    return (components == components[components > 0].mode().values)[None, None].byte()


@pytest.mark.parametrize(
    ("name", "op", "reason"),
    [
        ("flip", lambda x: x.flip(2, 3), "% of the numbers are wrong"),
        ("to_canonical", lambda x: x.flip(2, 3, 4).roll(1, 2), "% of the numbers are wrong"),
        ("resample", _off_by_one, "% of the numbers are wrong"),
        ("resample", _corner, "% of the numbers are wrong"),
        ("crop_or_pad", _to_the_side, "is not the middle of the batch"),
        ("crop_or_pad", after("crop_or_pad", lambda y: y.clamp(min=1e-3)), "in zeros"),
        ("z_normalization", _of_the_batch, "% of the numbers are wrong"),
        ("rescale", tio.RescaleIntensity((0, 1), (1, 99)), "% of the numbers are wrong"),
        ("rescale", tio.RescaleIntensity((0, 1), (0, 100)), "% of the numbers are wrong"),
        ("remap_labels", lambda labels: (labels + 4) % 5, "100 % of the numbers are wrong, by"),
        ("one_hot", after("one_hot", lambda y: y.flip(1)), "% of the numbers are wrong"),
        ("largest_component", _faces_edges_and_corners, "% of the numbers are wrong"),
        ("percentile", after("percentile", lambda y: y.flip(1)), "100 % of the numbers"),
        ("percentile", lambda x: tio.functional.percentile(x, (0.6, 99.4)), "100 % of the"),
    ],
)
def test_a_wrong_result_is_detected(name: str, op: Op, reason: str) -> None:
    assert reason in (remark(name, op) or "nothing")


def test_equivalent_conventions_are_accepted() -> None:
    def other_side(x: Tensor) -> Tensor:
        return OPS["crop_or_pad"](x.flip(2, 3, 4)).flip(2, 3, 4)

    def by_n(x: Tensor) -> Tensor:
        mean = x.mean((1, 2, 3, 4), keepdim=True)
        return (x - mean) / x.std((1, 2, 3, 4), correction=0, keepdim=True)

    x = torch.rand(1, 1, *fixed.ODD)
    assert not torch.equal(other_side(x), OPS["crop_or_pad"](x))
    assert remark("crop_or_pad", other_side) is None
    assert remark("z_normalization", by_n) is None


def _affine(**changes: Any) -> Op:
    return tio.RandomAffine(**{**w.AFFINE, **changes})


def _elastic(**changes: Any) -> Op:
    return tio.RandomElasticDeformation(**{**w.ELASTIC, **changes})


def _about_a_corner(x: Tensor) -> Tensor:
    """Pad with zeros so that the transform is about a corner of the image."""
    i, j, k = x.shape[2:]
    return _affine()(pad(x, (k, 0, j, 0, i, 0)))[..., i:, j:, k:]


def _creased(x: Tensor) -> Tensor:
    """Interpolate linearly between every eighth voxel of a spline."""
    at = torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in x.shape[2:]], indexing="ij"))
    moved = _elastic(default_pad_value=0)(at.expand(len(x), -1, -1, -1, -1).contiguous()) - at
    moved = torch.where(moved.abs().amax(1, keepdim=True) < 7.5, moved, 0)
    coarse = interpolate(moved, scale_factor=0.125, mode="trilinear")
    size = tuple(x.shape[2:])
    places = at + interpolate(coarse, size, mode="trilinear")
    scale = torch.tensor(size).view(3, 1, 1, 1) - 1
    grid = (2 * places / scale - 1).flip(1).movedim(1, -1)
    return torch.nn.functional.grid_sample(x, grid, align_corners=True)


@pytest.mark.parametrize(
    ("name", "op", "reason"),
    [
        ("affine", _affine(degrees=30), "turns by up to"),
        ("affine", _affine(degrees=(-15, 15, 0, 0, 0, 0)), "turns by up to"),
        ("affine", _affine(scales=0.3), "scales by a factor of up to"),
        ("affine", _affine(scales=(1, 1)), "scales by a factor of up to 1"),
        ("affine", _affine(isotropic=True), "scales all axes alike"),
        ("affine", _affine(translation=15), "the middle"),
        ("affine", _affine(translation=0), "moves the centre by up to"),
        ("affine", _about_a_corner, "the middle"),
        ("affine", lambda x: _affine()(x.flip(2)), "mirrors"),
        ("affine", STEPS["affine_elastic"], "is not affine: places are off by up to"),
        ("affine", channelwise(_affine()), "channels move apart"),
        ("affine", shared(_affine()), "samples of a batch share their parameters"),
        ("affine", frozen(_affine()), "every call draws the same parameters"),
        ("elastic", _elastic(max_displacement=2), "bends by"),
        ("elastic", _elastic(max_displacement=15, num_control_points=9), "bends by"),
        ("elastic", _elastic(num_control_points=8, max_displacement=7.5), "is no cubic B-spline"),
        ("elastic", _elastic(locked_borders=1, max_displacement=5.5), "move though they are lock"),
        ("elastic", _creased, "is no cubic B-spline"),
        ("elastic", shared(_elastic()), "samples of a batch share their parameters"),
        ("elastic", _affine(), "bends by"),
        ("affine_elastic", _affine(), "bends by"),
        ("affine_elastic", _elastic(), "turns by up to"),
        ("affine_elastic", lambda x: _creased(_affine()(x)), "is no cubic B-spline"),
        ("affine_elastic", shared(STEPS["affine_elastic"]), "samples of a batch share"),
    ],
)
def test_a_wrong_geometry_is_detected(name: str, op: Op, reason: str) -> None:
    assert reason in (remark(name, op) or "nothing")


def _times(field: Callable[[Tensor], Tensor]) -> Op:
    """Multiply by the exponential of a field of a number for each sample."""
    return lambda x: x * field(torch.randn(len(x), 1, 1, 1, 1)).exp()


def _cosine(c: Tensor) -> Tensor:
    return c * torch.linspace(0, 6, 44).cos()


def _brown(x: Tensor) -> Tensor:
    """Noise that is correlated between neighbours."""
    n = torch.randn_like(x)
    return x + 0.25 * torch.rand(len(x), 1, 1, 1, 1) * (n + n.roll(1, 2)) / 2**0.5


def _add(x: Tensor, noise: Tensor) -> Tensor:
    return x + 0.25 * torch.rand(len(x), 1, 1, 1, 1) * noise


def _not_resampled(image: Tensor, labels: Tensor) -> Tensor:
    """Image that ignores the spacing of its labels."""
    y = torch.zeros(1, *w.PREP6_SHAPE)
    first = [(n - m) // 2 for n, m in zip(w.PREP6_SHAPE, image.shape[1:], strict=True)]
    i, j, k = (slice(a, a + m) for a, m in zip(first, image.shape[1:], strict=True))
    inside = labels > 0
    y[:, i, j, k] = ((image - image[inside].mean()) / image[inside].std() * inside).flip(1)
    return y


def _of(**changes: Any) -> Op:
    """Return an operation that makes a different image of a label map."""
    transform = tio.RandomLabelsToImage(**{**w.LABELS_TO_IMAGE, **changes})

    def op(labels: Tensor) -> Tensor:
        batch = tio.SubjectsBatch({"seg": tio.ImagesBatch(labels, kind=tio.LABEL)})
        image: Tensor = transform(batch).image_from_labels.data
        return image

    return op


@pytest.mark.parametrize(
    ("name", "op", "reason"),
    [
        ("bias_field", tio.RandomBiasField(0.5, order=4), "is no polynomial of order 3"),
        ("bias_field", tio.RandomBiasField(0.1, order=3), "log field of 0.1"),
        ("bias_field", _times(_cosine), "is no polynomial of order 3"),
        ("bias_field", lambda x: x + STEPS["bias_field"](torch.ones_like(x)), "does not multiply"),
        ("bias_field", lambda x: 0 * x, "is no field"),
        ("bias_field", shared(STEPS["bias_field"]), "samples of a batch share"),
        ("gamma", tio.RandomGamma((-0.6, 0.6)), "log gamma of up to"),
        ("gamma", tio.RandomGamma((-0.1, 0.1)), "log gamma of up to"),
        ("gamma", lambda x: STEPS["gamma"](x).mul_(0.9), "exponents differ"),
        ("gamma", shared(STEPS["gamma"]), "samples of a batch share"),
        ("noise", tio.RandomNoise(std=(0, 0.5)), "standard deviation of up to"),
        ("noise", tio.RandomNoise(mean=(0.1, 0.2), std=(0, 0.25)), "noise has a mean"),
        ("noise", lambda x: _add(x, (2 * torch.rand_like(x) - 1) * 3**0.5), "is not normal"),
        ("noise", _brown, "is not white"),
        ("noise", lambda x: _add(x, torch.randn_like(x[:1])), "samples share their noise"),
        ("noise", lambda x: _add(x, (1 + x) / 2 * torch.randn_like(x)), "noise"),
        ("noise", lambda x: x + 0.2 * torch.randn_like(x), "samples of a batch share"),
        ("motion", tio.RandomAffine((1, 1), 10, 10), "as a whole|drifts"),
        ("motion", after("motion", lambda y: 1.2 * y), "changes the mean by up to 20 %"),
        ("motion", after("motion", lambda y: y.roll(3, -1)), "drifts, by up to"),
        ("motion", tio.RandomMotion(degrees=1, translation=0.1, num_transforms=2), "hardly moves"),
        ("motion", shared(OPS["motion"]), "samples of a batch share"),
        ("ghosting", tio.RandomGhosting(num_ghosts=(12, 15)), "every n-th plane"),
        ("ghosting", tio.RandomGhosting(num_ghosts=(2, 3)), "every n-th plane"),
        ("ghosting", tio.RandomGhosting((4, 10), intensity=(0.1, 0.2)), "planes lose|n-th plane"),
        ("ghosting", lambda x: OPS["ghosting"](x) * 0.9, "changes the mean"),
        ("ghosting", lambda x: x + 0.1 * torch.randn_like(x), "is not a change of planes"),
        ("spike", tio.RandomSpike(num_spikes=(2, 2), intensity=(1, 3)), "is not one plane wave"),
        ("spike", tio.RandomSpike(num_spikes=1, intensity=(0.2, 0.6)), "of the largest magnitude"),
        ("spike", shared(STEPS["spike"]), "samples of a batch share"),
        ("blur", tio.RandomBlur((0, 4)), "standard deviation of up to"),
        ("blur", tio.RandomBlur((0, 0.9)), "standard deviation of up to"),
        ("blur", after("blur", lambda y: y.roll(1, 3)), "moves a point by up to 1 voxels"),
        ("blur", after("blur", lambda y: 0.9 * y), "changes the sum by up to 10 %"),
        ("blur", shared(STEPS["blur"]), "samples of a batch share"),
        ("anisotropy", lambda x: STEPS["anisotropy"](STEPS["anisotropy"](x)), "more than one axis"),
        ("anisotropy", after("anisotropy", lambda y: y.roll((1, 1, 1), (2, 3, 4))), "axis|moves"),
        ("anisotropy", tio.RandomAnisotropy(axes=(1,), downsampling=(1.5, 5)), "always changes"),
        ("anisotropy", tio.RandomAnisotropy(downsampling=(7, 9)), "voxels, which is not 1 of"),
        ("swap", lambda x: x.roll(1, 4).roll(15, 2), "neighbours stay together"),
        ("swap", tio.RandomSwap(patch_size=15, num_iterations=5), "% of voxels, not"),
        ("swap", tio.RandomSwap(patch_size=5, num_iterations=2000), "% of neighbours|of voxels"),
        ("swap", after("swap", lambda y: y.clamp(min=9)), "some numbers are gone"),
        ("swap", shared(OPS["swap"]), "samples of a batch share"),
        ("labels_to_image", _of(default_mean=(0.1, 0.3)), "means of label"),
        ("labels_to_image", _of(default_mean=(0.1, 1.8)), "means of label"),
        ("labels_to_image", _of(default_std=(0.1, 0.2)), "standard deviations of label"),
        ("labels_to_image", shared(OPS["labels_to_image"]), "hardly|share|std|of label"),
        ("prep6", lambda image, labels: OPS["prep6"](image.flip(1), labels), "not mirrored"),
        ("prep6", after("prep6", lambda y: 500 + 100 * y), "have mean"),
        ("prep6", after("prep6", lambda y: y.roll(30, 2)), "away from the centre"),
        ("prep6", _not_resampled, "times as long along K|of its volume"),
        ("pipe6", tio.RandomNoise(**w.NOISE), "log field of"),
        ("pipe6", tio.Compose([STEPS[name] for name in w.PIPE6[:-1]]), "noise of up to"),
        ("pipe6", shared(OPS["pipe6"]), "share|noise of|log field of"),
    ],
)
def test_wrong_statistics_are_detected(name: str, op: Op, reason: str) -> None:
    found = remark(name, op) or "nothing"
    assert re.search(reason, found), found


def test_an_error_of_a_probe_becomes_a_remark() -> None:
    def stumble(x: Tensor) -> Tensor:
        if x.shape[-1] != 8:
            raise ValueError("no such size")
        return x.flip(2, 3, 4)

    runner = Runner({"flip": stumble}, torch.rand(2, 1, 8, 8, 8))
    assert runner.check("flip") == "probe failed: ValueError: no such size"
    assert len(runner.turn("flip", 2)) == 2


def test_the_remark_is_stored_with_the_time_and_made_once() -> None:
    calls: list[int] = []

    def half(x: Tensor) -> Tensor:
        calls.append(len(x))
        return x.flip(2, 3)

    remarks: dict[str, str | None] = {}
    runner = Runner({"flip": half}, torch.rand(2, 1, 8, 8, 8), remarks=remarks)
    _, row = harness.measure({"a": runner}, "flip", 2)
    assert row["remark"].endswith("% of the numbers are wrong, by up to 3")
    assert row["repeats"] == 2
    before = len(calls)
    again = Runner({"flip": half}, torch.rand(2, 1, 8, 8, 8), remarks=remarks)
    assert again.check("flip") == row["remark"]
    assert len(calls) == before + 1


def test_remarks_are_short() -> None:
    def fail(x: Tensor) -> Tensor:
        raise ValueError("a" * 300)

    assert len(remark("flip", fail) or "") == 100
    assert remark("copy", fail) is None


def test_parameters_are_compared_within_batches_and_between_calls() -> None:
    each = torch.rand(CALLS, BATCH, 2)
    assert alike(each.flatten(0, 1), 1e-6) is None
    same = each[:, :1].expand(-1, BATCH, -1)
    assert alike(same.reshape(-1, 2), 1e-6) == "samples of a batch share their parameters"
    same = each[:1].expand(CALLS, -1, -1)
    assert alike(same.reshape(-1, 2), 1e-6) == "every call draws the same parameters"


def test_ranges_have_two_ends() -> None:
    assert beyond("turns by", torch.tensor([0.1, 8]), 15, " degrees") is None
    assert beyond("turns by", torch.tensor([0.1, 7]), 15) == "turns by up to 7, not 15"
    assert beyond("turns by", torch.tensor([16.0]), 15, "°") == "turns by up to 16°, not 15"

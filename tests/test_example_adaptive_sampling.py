"""The example that segments CT by patches drawn where errors are, on few of them."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch

import torchio_gpu as tio


@pytest.fixture(scope="module")
def example():
    """Module of the example, which is in no package."""
    path = Path(__file__).parents[1] / "examples" / "adaptive_sampling.py"
    spec = spec_from_file_location("adaptive_sampling", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def phantom(example) -> tio.Subject:
    return example.chest(0)


def centres(image) -> np.ndarray:
    """Centres of the fields of view of patches in the world, [B, 3] mm."""
    middle = np.array([*((n - 1) / 2 for n in image.data.shape[2:]), 1])
    return (image.affine @ middle)[:, :3]


def ramps(subject: tio.Subject) -> tio.Subject:
    """Subject whose CT has the world coordinates of each voxel, in mm, as channels."""
    voxels = np.stack(np.meshgrid(*map(np.arange, subject.spatial_shape), indexing="ij"))
    affine = subject.ct.affine
    world = np.einsum("ab,bijk->aijk", affine[:3, :3], voxels) + affine[:3, 3, None, None, None]
    ct = tio.ScalarImage(torch.from_numpy(world).float(), affine=affine)
    weights = tio.ScalarImage(torch.ones(1, *subject.spatial_shape), affine=affine)
    return tio.Subject(ct=ct, weights=weights)


def inside(subject: tio.Subject, margin: int) -> tio.Subject:
    """Subject whose weights are 0 within so many voxels of its border."""
    weights = torch.zeros(1, *subject.spatial_shape)
    weights[(0, *[slice(margin, -margin)] * 3)] = 1
    out = tio.Subject(ct=subject.ct)
    out.add_image(tio.ScalarImage(weights, affine=subject.ct.affine), "weights")
    return out


def test_phantoms_have_all_labels_at_their_intensities(example, phantom):
    again, other = example.chest(0), example.chest(1)
    assert torch.equal(again.ct.data, phantom.ct.data)
    assert not torch.equal(other.seg.data, phantom.seg.data)
    ct, seg = phantom.ct.data, phantom.seg.data
    for label, (low, high) in {
        example.LUNG: (-870, -700),  # with some vessels
        example.BONE: (200, 500),  # partial volume included
        example.NODULE: (-250, 40),
    }.items():
        assert low < ct[seg == label].median() < high
    share = (seg == example.NODULE).float().mean()
    assert 0 < share < 0.01, "nodules are small"


def test_detail_and_context_show_the_same_place(example, phantom):
    torch.manual_seed(0)
    subject = inside(ramps(phantom), example.FIELD // 2)
    fields = list(example.sampler()(subject, 6))
    batch = tio.SubjectsBatch.from_subjects(fields)
    detail, context = (view.ct for view in example.views(batch))
    size = example.DETAIL
    assert detail.data.shape == context.data.shape == (6, 3, size, size, size)
    half = np.array(example.SPACING) / 2
    assert (np.abs(centres(detail) - centres(context)) < half).all()
    np.testing.assert_allclose(centres(detail), centres(batch.ct), atol=1e-9)
    spacing = np.linalg.norm(context.affine[:, :3, :3], axis=1)
    np.testing.assert_allclose(spacing, np.tile(example.FACTOR * 2 * half, (6, 1)))
    # voxels hold their coordinates, over 500, so that their means are the centres
    for view in (detail, context):
        mean = 500 * view.data.mean((2, 3, 4)).numpy()
        np.testing.assert_allclose(mean, centres(view), atol=0.5)
    # features of the context are brought to the voxels of the detail
    torch.testing.assert_close(example.enlarged(context.data), detail.data, atol=1e-4, rtol=0)


def test_patches_are_centred_by_the_error_map(example, phantom):
    """Frequencies of regions are within four standard deviations of their probabilities."""
    true = phantom.seg.data.long()
    # correct but for half of the nodules' probability, and a tenth of the bones'
    right = torch.ones(len(example.LABELS)).index_fill(0, torch.tensor(example.NODULE), 0.5)
    right[example.BONE] = 0.9
    right = right[true]
    scores = torch.log((1 - right) / 3).repeat(4, 1, 1, 1).scatter(0, true, right.log())

    def oracle(detail, context):
        return next(answers)

    subject = tio.Subject(ct=phantom.ct, seg=phantom.seg)
    answers = iter(details(example, subject, scores))
    example.add_error_map(oracle, subject)
    torch.testing.assert_close(subject.weights.data, 1 - right, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(subject.weights.affine, subject.ct.affine)

    torch.manual_seed(0)
    number, half = 400, example.FIELD // 2
    found = torch.zeros(len(example.LABELS))
    for field in example.sampler()(subject, number):
        centre = field.seg.data[0, half, half, half].long()
        found[centre] += 1
    mass = torch.stack([(1 - right)[true == label].sum() for label in range(4)])
    expected = mass / mass.sum()
    std = (number * expected * (1 - expected)).sqrt()
    assert expected[example.NODULE] > 0.05
    assert (found[:2] == 0).all(), "voxels without an error are never drawn"
    assert ((found - number * expected).abs() <= 4 * std).all()


def details(example, subject: tio.Subject, scores: torch.Tensor) -> list[torch.Tensor]:
    """Scores in the details of a grid without overlap, in batches as `predict` asks for them."""
    size, shape = example.DETAIL, subject.spatial_shape
    starts = [[*range(0, n - size, size), n - size] for n in shape]
    cut = [
        scores[:, i : i + size, j : j + size, k : k + size]
        for i in starts[0]
        for j in starts[1]
        for k in starts[2]
    ]
    return list(torch.stack(cut).split(2 * example.BATCH))


@pytest.mark.parametrize("overlap", [0, 4])
def test_dense_inference_reproduces_the_volume(example, phantom, overlap):
    """A network that returns the voxels of the detail returns the volume."""
    output = example.predict(lambda detail, context: 500 * detail, phantom, overlap)
    expected = phantom.ct.data.clamp(example.AIR, 1000)
    torch.testing.assert_close(output.data, expected, atol=1e-3, rtol=0)
    np.testing.assert_array_equal(output.affine, phantom.ct.affine)


def test_contexts_of_dense_inference_are_in_place(example, phantom):
    """The context of each detail is around it, and is air outside the volume."""
    affine = phantom.ct.affine.copy()
    affine[:3, 3] = (-30, 40, 15)
    moved = tio.Subject(ct=tio.ScalarImage(phantom.ct.data, affine=affine))
    subject = ramps(moved)
    output = example.predict(lambda detail, context: 500 * example.enlarged(context), subject, 0)
    np.testing.assert_array_equal(output.affine, affine)
    deep = (slice(None), *[slice(example.MARGIN, -example.MARGIN)] * 3)
    torch.testing.assert_close(output.data[deep], subject.ct.data[deep], atol=0.05, rtol=0)
    moved.add_image(tio.ScalarImage(torch.full_like(moved.ct.data, 100), affine=affine), "ct")
    seen = []

    def record(detail, context):
        seen.append(500 * context)
        return detail

    example.predict(record, moved, 0)
    first = seen[0][0, 0]  # of the patch at the corner of the volume
    assert first[0, 0, 0].item() == pytest.approx(example.AIR, abs=1)
    assert first[-1, -1, -1].item() == pytest.approx(100, abs=1)


def test_a_network_is_equal_to_itself_on_the_whole_volume(example, phantom):
    """Compare a convolution of patches with one of the volume, within the detail."""
    torch.manual_seed(0)
    convolution = torch.nn.Conv3d(1, 2, 3, padding=1).requires_grad_(False)

    def network(detail, context):
        features = convolution(detail)
        keep = torch.zeros_like(features)
        keep[(..., *[slice(1, -1)] * 3)] = 1  # borders see zeros where the volume goes on
        return torch.cat([features * keep, keep], 1)

    output = example.predict(network, phantom, overlap=4).data
    found = output[:2] / output[2:]  # Hann weights of the voxels that are kept
    whole = convolution((phantom.ct.data / 500).clamp(-2, 2)[None])[0]
    deep = (slice(None), *[slice(1, -1)] * 3)
    torch.testing.assert_close(found[deep], whole[deep], atol=1e-4, rtol=0)


def test_the_loss_falls(example, capsys):
    report = example.main(steps=24, epochs=2, training=2, test=1)
    assert set(report) == {"uniform", "adaptive"}
    first = {round(each["first loss"], 6) for each in report.values()}
    assert len(first) == 1, "both begin in the same way"
    uniform, adaptive = report["uniform"], report["adaptive"]
    assert uniform["last loss"] < uniform["first loss"] / 2  # 0.19 of 0.85 here
    assert adaptive["last loss"] < adaptive["first loss"]  # 0.60: its patches are harder
    assert uniform["Dice of rest"] > 0.9
    assert min(uniform["Dice of bone"], adaptive["Dice of bone"]) > 0.3  # 0 if not learnt
    printed = capsys.readouterr().out
    assert printed.count("24 steps") == 2
    assert printed.count("Dice of nodule") == 2


def test_error_maps_follow_an_epoch(example):
    """Uniform sampling keeps its weights; adaptive sampling gets new ones between epochs."""
    for adaptive in (False, True):
        subject = example.chest(0)
        _, losses = example.train([subject], 4, 2, adaptive, 0, "cpu")
        assert len(losses) == 4
        weights = subject.weights.data
        assert (weights == 1).all() != adaptive
        assert 0 <= weights.min() <= weights.max() <= 1

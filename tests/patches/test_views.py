"""Test-time augmentation: mean, spread and mask against a loop written here."""

import json

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.volumes import oblique_affine, smooth, subject

SHAPE = (20, 24, 18)
MOTIONS = {
    "flips": lambda: tio.RandomFlip((0, 1, 2)),
    "affine": lambda: tio.RandomAffine(0.1, 15, 3, default_pad_value=0),
    "elastic": lambda: tio.RandomElasticDeformation(max_displacement=1, default_pad_value=0),
    "all": lambda: tio.Compose(
        [MOTIONS["affine"](), MOTIONS["elastic"](), MOTIONS["flips"](),
         tio.RandomNoise(std=0.01), tio.RandomGamma(0.01)]
    ),
    "crops": lambda: tio.CropOrPad((12, 24, 10), location="random"),
    "sometimes": lambda: tio.Compose(
        [tio.RandomAffine(degrees=20, p=0.5), tio.RandomFlip(0, p=0.5)]
    ),
}  # fmt: skip


def scan(offset=0.0):
    x = smooth((1, 1, 5, 6, 4))
    x = torch.nn.functional.interpolate(x, SHAPE, mode="trilinear")[0].float()
    return tio.ScalarImage((x - x.min()) / (x.max() - x.min()) + offset, affine=oblique_affine())


def two_classes(x):
    p = x.clamp(0, 1)
    return torch.cat([p, 1 - p], 1)


@pytest.mark.parametrize("name", MOTIONS)
def test_mean_variance_and_entropy_equal_those_of_a_loop(name):
    torch.manual_seed(1)
    found = tio.test_time_augmentation(
        two_classes, scan(), MOTIONS[name](), 5, keep_predictions=True, outside=float("nan"),
        batch_size=2,
    )  # fmt: skip
    views = np.stack([each.numpy() for each in found.predictions]).astype(np.float64)
    assert len(views) == 5
    count = (~np.isnan(views)).sum(0)
    total, square, inside = np.zeros(views.shape[1:]), np.zeros(views.shape[1:]), count > 0
    for view in views:
        total += np.nan_to_num(view)
    mean = total / count.clip(1)
    for view in views:
        square += np.nan_to_num((view - mean) ** 2)
    variance = square / count.clip(1)
    entropy = -sum(m * np.log(m, where=m > 0, out=np.zeros_like(m)) for m in mean)
    np.testing.assert_allclose(found.mean.data[inside], mean[inside], atol=1e-6)
    assert found.mean.data[~inside].isnan().all()
    np.testing.assert_allclose(found.variance.data, variance * inside, atol=1e-6)
    np.testing.assert_allclose(found.std.data, np.sqrt(variance) * inside, atol=1e-3)
    np.testing.assert_allclose(found.entropy.data[0], entropy * inside[0], atol=1e-6)
    np.testing.assert_array_equal(found.mask.data[0], (count[0] == 5).astype(np.uint8))
    assert found.mask.data.dtype == torch.uint8
    for each in (found.mean, found.variance, found.entropy, found.mask, *found.predictions):
        assert np.array_equal(each.affine, scan().affine)
        assert each.spatial_shape == SHAPE


def test_views_equal_those_of_transforms_applied_by_hand():
    """Each view has the seed that torch's generator gives it."""
    given, step = subject(), tio.RandomAffine(degrees=20)
    torch.manual_seed(3)
    found = tio.test_time_augmentation(
        lambda x: 2 * x, given, step, 3, keep_predictions=True, outside=-1
    )
    torch.manual_seed(3)
    for prediction, seed in zip(found.predictions, tio.random.streams.fresh_seeds(3), strict=True):
        one = tio.Subject(t1=given.t1, seg=given.seg)
        one.streams = tio.random.Streams(np.array([seed]))
        view = step(one)
        view["found"] = tio.ScalarImage(2 * view.t1.data, affine=view.t1.affine)
        back = view.apply_inverse_transform().found.data
        seen = prediction.data != -1
        assert 0.4 < seen.float().mean() < 1
        torch.testing.assert_close(prediction.data[seen], back[seen])


@pytest.mark.parametrize("name", ["affine", "elastic", "all", "crops"])
def test_a_model_that_does_not_care_about_views_is_certain_everywhere(name):
    """No bright frame: voxels that a view filled do not count, nor what was interpolated there."""
    given = scan(offset=100)  # far from the fill
    found = tio.test_time_augmentation(lambda x: x, given, MOTIONS[name](), 6)
    seen = found.mask.data.bool()
    assert seen.float().mean() > 0.02
    assert name == "elastic" or not seen.all()  # the borders of its lattice are locked
    # at borders, views repeat the outermost voxels for half a voxel; a gamma changes all by 5 %
    tolerance = 5 if name == "all" else 0.1
    assert found.std.data.max() < tolerance
    counted = found.mean.data != 0
    assert (found.mean.data - given.data)[counted].abs().max() < 2 * tolerance

    constant = tio.test_time_augmentation(
        lambda x: torch.full_like(x, 0.25), given, MOTIONS[name](), 3
    )
    assert constant.variance.data.max() < 1e-12  # weights of an interpolation sum to 1, rounded
    assert ((constant.mean.data == 0) | ((constant.mean.data - 0.25).abs() < 1e-6)).all()


@pytest.mark.parametrize("patch_size", [None, 10])
def test_preprocessing_is_undone_at_the_end(patch_size):
    given = scan()
    steps = [
        tio.ToCanonical(),
        tio.Resample(1.5),
        tio.CropOrPad((14, 40, 40)),
        tio.ZNormalization(),
    ]
    found = tio.test_time_augmentation(
        lambda x: torch.sigmoid(x), tio.Subject(ct=given), tio.RandomFlip((0, 1, 2)), 4,
        preprocessing=steps, patch_size=patch_size, patch_overlap=0 if patch_size is None else 4,
    )  # fmt: skip
    plain = tio.predict(torch.sigmoid, given, steps)
    torch.testing.assert_close(found.mean.data, plain.data, atol=1e-6, rtol=1e-5)
    inside = tio.predict(torch.ones_like, given, steps).data > 0
    assert found.variance.data.max() < 1e-10
    assert torch.equal(found.mask.data.bool() | ~inside, torch.ones_like(inside))
    assert (found.mask.data[~inside] == 0).all()
    assert np.array_equal(found.mean.affine, given.affine)
    labels = found.labels
    assert isinstance(labels, tio.LabelMap)
    assert torch.equal(labels.data.bool(), found.mean.data > 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("steps", [tio.Resample(1.3), tio.Resample(2), tio.Resample((0.7, 2, 1))])
def test_what_no_view_shows_is_selected_and_never_blended(steps, dtype):
    """Values between those of the image and ``outside`` were at the border of what was seen."""
    given = tio.ScalarImage(torch.full((1, *SHAPE), -1000.0), affine=oblique_affine())
    torch.manual_seed(0)
    found = tio.test_time_augmentation(
        lambda x: x.to(dtype), given, tio.RandomAffine(degrees=20, translation=8), 2,
        preprocessing=steps, keep_predictions=True, outside=50,
    )  # fmt: skip
    for each in (found.mean, *found.predictions):
        values = each.data.float()
        assert each.data.dtype == dtype
        known = values != 50
        assert 0.3 < known.float().mean() < 1
        torch.testing.assert_close(values[known], torch.full_like(values[known], -1000))
    assert found.variance.data.max() < 1e-4


def test_entropy_at_the_border_of_what_was_seen_is_that_of_the_voxels_there():
    found = tio.test_time_augmentation(
        lambda x: torch.full_like(x, 0.5), scan(), tio.RandomAffine(degrees=20, translation=8), 2,
        preprocessing=tio.Resample(1.3), outside=-1,
    )  # fmt: skip
    known = found.mean.data >= 0
    assert 0.3 < known.float().mean() < 1
    torch.testing.assert_close(
        found.entropy.data[known], torch.full_like(found.entropy.data[known], np.log(2))
    )
    assert not found.entropy.data[~known].any()
    assert found.entropy_or_none is found.entropy


def test_results_do_not_depend_on_the_size_of_batches():
    results = []
    for size in (1, 4):
        torch.manual_seed(5)
        results.append(tio.test_time_augmentation(
            two_classes, scan(), MOTIONS["affine"](), 5, batch_size=size
        ))  # fmt: skip
    for other in results[1:]:
        torch.testing.assert_close(other.mean.data, results[0].mean.data, atol=1e-6, rtol=0)
        assert torch.equal(other.mask.data, results[0].mask.data)
    torch.manual_seed(6)
    another = tio.test_time_augmentation(two_classes, scan(), MOTIONS["affine"](), 5)
    assert not torch.allclose(another.mean.data, results[0].mean.data, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes(dtype):
    found = tio.test_time_augmentation(
        lambda x: two_classes(x).to(dtype), scan(), MOTIONS["flips"](), 3
    )
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert found.mean.data.dtype == dtype
    assert found.variance.data.dtype == found.entropy.data.dtype == wide


def test_dicts_coarse_outputs_and_what_has_no_entropy():
    def model(x):
        return {"half": torch.nn.functional.avg_pool3d(x, 2), "logits": 5 * x, "sure": x > 0.5}

    found = tio.test_time_augmentation(model, scan(), MOTIONS["affine"](), 3)
    assert list(found) == ["half", "logits", "sure"]
    assert found["half"].mean.spatial_shape == SHAPE
    assert found["half"].std.data.max() < 0.2
    with pytest.raises(ValueError, match="predictions must be probabilities to have an entropy"):
        _ = found["logits"].entropy
    assert found["sure"].entropy.data.max() <= np.log(2) + 1e-6


def test_the_input_is_left_alone_and_its_history_not_undone():
    given = tio.Flip(0)(subject())
    data, history = given.t1.data.clone(), list(given.history)
    found = tio.test_time_augmentation(lambda x: x, given, tio.RandomFlip((0, 1, 2)), 3)
    assert torch.equal(found.mean.data, data)
    assert torch.equal(given.t1.data, data)
    assert [a is b for a, b in zip(given.history, history, strict=True)] == [True]


def test_modes_of_a_model_are_restored():
    model = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1), torch.nn.Dropout(0.9)).train()
    found = tio.test_time_augmentation(model, scan(), MOTIONS["flips"](), 4)
    assert found.variance.data.max() < 1e-10
    assert all(part.training for part in model.modules())
    assert not found.mean.data.requires_grad


def test_histories_of_views_can_be_stored():
    """Do in two places, from dicts, what the calls do at once."""
    view = MOTIONS["all"]()(tio.Subject(t1=scan()))
    text = json.dumps([record.to_dict() for record in view.history])
    one = tio.to_original_space(view.t1.data, json.loads(text))
    assert torch.equal(one.data, tio.to_original_space(view.t1.data, view).data)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"outside": 1e5, "model": lambda x: x.half()}, ValueError, "dtype is torch.float16"),
        ({"model": lambda x: {}}, ValueError, "model must return a tensor, or at least one"),
        ({"n": 0}, ValueError, "n must be a whole number >= 1, got 0"),
        ({"transform": 3}, TypeError, "transform must be a transform or a sequence"),
        ({"model": lambda x: x.int()}, ValueError, "model must return probabilities or other real"),
        ({"subject": tio.SubjectsBatch.from_subjects([subject()])}, TypeError,
         "subject must be one Subject or Image"),
        ({"patchsize": 3}, TypeError, "options must be among .'patch_size', .*got .'patchsize'"),
        ({"transform": lambda one: one}, ValueError, "may have moved 't1' and cannot be undone"),
    ],
)  # fmt: skip
def test_bad_input(change, error, message):
    given = {"model": lambda x: x, "subject": subject(), "transform": tio.RandomFlip()}
    with pytest.raises(error, match=message):
        tio.test_time_augmentation(**{**given, **change})

"""Prediction in the original space: how the model is called, and what is left as it was."""

import copy
import math
from types import MappingProxyType

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.volumes import oblique_affine, subject


class Network(torch.nn.Module):
    """Convolution that notes how it is called, with a part that is in another mode."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1), torch.nn.Dropout(0.5))
        self.frozen = torch.nn.BatchNorm3d(2).eval()
        self.calls = []

    def forward(self, x):
        self.calls.append((len(x), self.body[1].training, torch.is_grad_enabled(), x.requires_grad))
        return self.frozen(self.body(x))


@pytest.mark.parametrize("patch_size", [None, 6])
def test_models_are_evaluated_without_gradients_and_get_their_modes_back(patch_size):
    model = Network().train()
    model.frozen.eval()
    before = {name: part.training for name, part in model.named_modules()}
    out = tio.predict(model, subject(), tio.Pad(1), patch_size)
    assert {call[1:] for call in model.calls} == {(False, False, False)}
    assert {name: part.training for name, part in model.named_modules()} == before
    assert not out.data.requires_grad
    assert torch.equal(out.data, tio.predict(model, subject(), tio.Pad(1), patch_size).data)

    def fails(x):
        raise RuntimeError("stop")

    model.frozen.forward = fails
    with pytest.raises(RuntimeError, match="stop"):
        tio.predict(model, subject(), None, patch_size)
    assert {name: part.training for name, part in model.named_modules()} == before


def test_the_input_and_its_history_are_left_alone(tmp_path):
    given = tio.RandomFlip(0, flip_probability=1)(subject())
    data, history = given.t1.data.clone(), list(given.history)
    given.t1.save(tmp_path / "t1.nii.gz")
    for steps in ([tio.Resample(2), tio.RescaleIntensity()], tio.CropOrPad(9, copy=False)):
        out = tio.predict(lambda x: x.mul_(3), given, steps)
        assert torch.equal(given.t1.data, data)
        assert list(given) == ["t1", "seg", "age"]
        assert all(a is b for a, b in zip(given.history, history, strict=True))
        assert np.array_equal(out.affine, given.t1.affine)
    # the flip before is no part of the preprocessing
    assert torch.equal(tio.predict(lambda x: x, given, tio.Pad(1)).data, data)
    image = tio.ScalarImage(tmp_path / "t1.nii.gz")
    for source in (image, str(image.path), image.path):
        out = tio.predict(lambda x: x, source, tio.ToCanonical())
        assert torch.equal(out.data, given.t1.data)
        assert np.array_equal(out.affine, image.affine)
    assert not image.loaded


def test_copy_false_of_a_preprocessing_changes_nothing():
    given = subject()
    keep = copy.deepcopy(given)
    tio.predict(lambda x: x, given, tio.Compose([tio.Crop(2)], copy=False))
    tio.predict(lambda x: x, given.t1, tio.Crop(2, copy=False))
    assert given.t1.shape == keep.t1.shape
    assert torch.equal(given.t1.data, keep.t1.data)


def test_whole_volumes_go_through_in_batches():
    model = Network()
    batch = tio.SubjectsBatch.from_subjects([subject(seed=n) for n in range(5)])
    out = tio.predict(model, batch, tio.EnsureShapeMultiple(4), batch_size=2)
    assert [call[0] for call in model.calls] == [2, 2, 1]
    assert out.shape == (5, 2, 12, 14, 16)
    assert np.array_equal(out.affine, batch.t1.affine)
    for n in range(5):
        alone = tio.predict(model, subject(seed=n), tio.EnsureShapeMultiple(4))
        torch.testing.assert_close(out.data[n], alone.data)
    assert batch.history == [[]] * 5


def test_several_inputs_and_outputs():
    """Channels are concatenated; each output has its own rule, on the grid of the first image."""
    given = subject()
    given["t2"] = tio.ScalarImage(torch.rand(2, 9, 9, 9), affine=np.diag([4.0, 4, 6, 1]))

    def model(x):
        assert x.shape[1] == 3
        return {"classes": torch.cat([x[:, :1], x[:, 2:]], 1), "depth": x[:, 1:2], "raw": x > 0.5}

    steps = [tio.Resample("t1"), tio.CropOrPad((10, 10, 10))]
    out = tio.predict(model, given, steps, image=("t2", "t1"), labels={"classes": "argmax"})
    assert list(out) == ["classes", "depth", "raw"]
    for each in out.values():
        assert np.array_equal(each.affine, given.t2.affine)
        assert each.spatial_shape == (9, 9, 9)
    assert isinstance(out["classes"], tio.LabelMap)
    assert isinstance(out["depth"], tio.ScalarImage)
    assert isinstance(out["raw"], tio.LabelMap)
    other = tio.predict(model, given, steps, image=("t2", "t1"), labels=0.5)
    assert set(other["depth"].data.unique().tolist()) <= {0, 1}


def test_probabilities_are_interpolated_before_labels_are_taken():
    """So borders are where probabilities say, between coarse voxels, not at coarse voxels."""
    ramp = torch.arange(40.0).view(1, 40, 1, 1).expand(1, 40, 8, 8).contiguous()
    image = tio.ScalarImage(ramp)
    coarse = tio.Resample((5, 1, 1))
    soft = tio.predict(lambda x: torch.cat([x, 35 - x], 1), image, coarse, labels="argmax")
    hard = tio.predict(lambda x: (x < 17.5).to(torch.uint8), image, coarse)
    expected = (ramp < 17.5).to(torch.uint8)
    assert torch.equal(soft.data, expected)
    assert (hard.data != expected).any()


def test_labels_of_patches_have_no_mean():
    given = subject()
    with pytest.raises(ValueError, match="overlap_mode must be 'crop' where the model returns lab"):
        tio.predict(lambda x: (x > 0).int(), given, None, 6)
    out = tio.predict(lambda x: (x > 0).int(), given, None, 6, 2, overlap_mode="crop")
    assert torch.equal(out.data, (given.t1.data > 0).int())


def test_autocast_and_devices():
    model = torch.nn.Conv3d(1, 1, 1)
    out = tio.predict(model, subject(), tio.Resample(2), autocast=torch.bfloat16)
    assert out.data.dtype == torch.bfloat16
    out = tio.predict(model, subject(), None, 8, device="cpu", output_device="cpu")
    assert out.data.device.type == "cpu"


def test_progress(capsys):
    tio.predict(lambda x: x, subject(), None, 9, progress=True)
    assert "patches" in capsys.readouterr().out
    tio.test_time_augmentation(lambda x: x, subject(), tio.RandomFlip(), 2, progress=True)
    assert "views" in capsys.readouterr().out


def test_2d_images():
    image = tio.ScalarImage(torch.rand(1, 12, 10, 1), affine=oblique_affine())
    out = tio.predict(lambda x: x, image, [tio.CropOrPad((8, 12, 1)), tio.ZNormalization()])
    assert out.shape == image.shape
    assert np.array_equal(out.affine, image.affine)


@pytest.mark.parametrize("patch_size", [None, 12])
def test_a_model_that_computes_in_place_does_not_change_what_was_given(patch_size):
    data = torch.rand(1, 12, 12, 12)
    keep, batch = data.clone(), tio.SubjectsBatch({"t1": tio.ImagesBatch(data[None])})
    for source in (data, data.numpy(), tio.ScalarImage(data), batch):
        out = tio.predict(lambda x: x.mul_(0), source, None, patch_size)
        assert not out.data.any()
        assert torch.equal(data, keep)
    tio.predict_by_patches(lambda x: x.mul_(0), data, 12)
    tio.test_time_augmentation(lambda x: x.mul_(0), data, tio.RandomFlip(), 1)
    assert torch.equal(data, keep)


def test_streams_of_what_was_given_are_not_used_up():
    batch = tio.SubjectsBatch.from_subjects([subject(seed=n) for n in range(2)])
    batch.streams = tio.random.Streams(np.array([3, 4]))
    one = subject()
    one.streams = tio.random.Streams(np.array([5]))
    for source in (batch, one):
        steps = [tio.RandomFlip(0), tio.RandomNoise()]
        first = tio.predict(lambda x: x, source, steps, image="t1")
        assert (source.streams.used == 0).all()
        assert torch.equal(tio.predict(lambda x: x, source, steps, image="t1").data, first.data)
    tio.test_time_augmentation(lambda x: x, one, tio.RandomFlip(), 2, preprocessing=tio.Flip(0))
    assert (one.streams.used == 0).all()


DTYPES = [(torch.float64, torch.float32), (torch.float16, torch.float32),
          (torch.float32, torch.bfloat16), (torch.int16, torch.float64)]  # fmt: skip


@pytest.mark.parametrize(("given", "own"), DTYPES)
def test_the_input_has_the_dtype_of_the_model(given, own, tmp_path):
    model = torch.nn.Sequential(torch.nn.Conv3d(1, 1, 1), torch.nn.Sigmoid()).to(own)
    image = tio.ScalarImage((9 * torch.rand(1, 8, 8, 8)).to(given))
    source = image
    if given == torch.float64:
        source = tmp_path / "image.nii.gz"
        image.save(source)
    for patch_size in (None, 8):
        out = tio.predict(model, source, None, patch_size)
        assert out.data.dtype == own
        torch.testing.assert_close(out.data, model(image.data.to(own)[None])[0].detach())
    assert tio.predict_by_patches(model, image, 8).dtype == own
    found = tio.test_time_augmentation(model, source, tio.RandomFlip(), 2)
    assert found.mean.data.dtype == own


def test_a_function_gets_voxels_as_they_are_and_integers_as_float32():
    for given, seen in ((torch.float16, torch.float16), (torch.int16, torch.float32)):
        image = tio.ScalarImage(torch.ones(1, 8, 8, 8, dtype=given))
        for patch_size in (None, 4):
            out = tio.predict(lambda x: x, image, None, patch_size)
            assert out.data.dtype == seen


def test_arrays():
    array = np.random.default_rng(0).random((1, 8, 9, 7), np.float32)
    out = tio.predict(lambda x: 2 * x, array, tio.Pad(1))
    np.testing.assert_array_equal(out.data, 2 * array)
    np.testing.assert_array_equal(
        tio.predict_by_patches(lambda x: 2 * x, array, 7, overlap_mode="crop"), 2 * array
    )


@pytest.mark.parametrize("patch_size", [None, 8])
def test_outputs_of_any_name(patch_size):
    """An empty name hid the other outputs."""
    out = tio.predict(lambda x: {"": x, "twice": 2 * x}, subject(), None, patch_size)
    assert list(out) == ["", "twice"]
    out = tio.predict(lambda x: {"": x}, subject(), None, patch_size, labels={"": 0.5})
    assert isinstance(out[""], tio.LabelMap)
    out = tio.predict_by_patches(lambda x: MappingProxyType({"": x}), torch.rand(1, 9, 9, 9), 8)
    assert list(out) == [""]
    found = tio.test_time_augmentation(lambda x: {"": x, "a": x}, subject(), tio.RandomFlip(), 2)
    assert list(found) == ["", "a"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"labels": "argmax"}, ValueError, "labels must be a threshold.*one channel, got 'argmax'"),
        (
            {"labels": "argmax", "model": lambda x: x > 0},
            ValueError,
            "labels must be None where the prediction holds labels already, as torch.uint8",
        ),
        (
            {"labels": "argmax", "model": lambda x: torch.cat([x, x], 1).int()},
            ValueError,
            "labels must be None where the prediction holds labels already, as torch.int32",
        ),
        (
            {"labels": {"a": "argmax"}, "model": lambda x: {"a": x}},
            ValueError,
            r"labels\['a'\] must be a threshold",
        ),
        (
            {"labels": {"clases": 0.5}, "model": lambda x: {"classes": x}},
            ValueError,
            r"labels must name outputs of \['classes'\], got \['clases'\]",
        ),
        ({"labels": {"classes": 0.5}}, ValueError, "labels must be one rule where there is one ou"),
        ({"model": lambda x: {}}, ValueError, r"model must return a tensor.*got a dict of \[\]"),
        ({"model": lambda x: {}, "patch_size": 8}, ValueError, "model must return a tensor, or at"),
        (
            {"outside": 1e5, "model": lambda x: x.half()},
            ValueError,
            "outside must be between -65504 and 65504, as the dtype is torch.float16, got 100000.0",
        ),
        (
            {"outside": -1, "model": lambda x: x > 0},
            ValueError,
            "outside must be a whole number between 0 and 255, as the dtype is torch.uint8, got -1",
        ),
        ({"outside": math.nan, "model": lambda x: x.int()}, ValueError, "outside must be a whole"),
        (
            {"subject": 3},
            TypeError,
            "subject must be a Subject, an Image, a path, a tensor, an arr",
        ),
        ({"subject": "nowhere.nii"}, FileNotFoundError, "nowhere.nii"),
        ({"image": "t2"}, KeyError, "image must name images of"),
        ({"preprocessing": 3}, TypeError, "preprocessing must be a transform or a sequence"),
        ({"labels": "softmax"}, ValueError, "labels must be None, 'argmax' or a threshold"),
        ({"labels": math.nan}, ValueError, "labels must be None, 'argmax' or a threshold, got nan"),
        ({"batch_size": 0}, ValueError, "batch_size must be a whole number >= 1"),
        ({"output_shape": 3}, ValueError, "output_shape must be None where patch_size is"),
        ({"model": lambda x: [x]}, TypeError, "model must return a tensor or a dict of tensors"),
        ({"model": lambda x: x[0]}, ValueError, "model must return .B, N, I, J, K. with B = 1"),
        ({"model": 3}, TypeError, "model must be a function"),
        ({"outside": "0"}, TypeError, "outside must be a number"),
        ({"patch_size": 99}, ValueError, "patch_size must be at most"),
    ],
)
def test_bad_input(change, error, message):
    given = {"model": lambda x: x, "subject": subject()}
    with pytest.raises(error, match=message):
        tio.predict(**{**given, **change})


def test_an_image_that_the_preprocessing_makes_has_no_original_grid():
    step = tio.LabelsToImage(label_key="seg", image_key="made", mean=[0, 1, 2], std=[1, 1, 1])
    with pytest.raises(ValueError, match="image must name first one that the subject has before"):
        tio.predict(lambda x: x, subject(), step, image="made")

"""Prediction in the original space: how the model is called, and what is left as it was."""

import copy
import math

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


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"subject": 3}, TypeError, "subject must be a Subject, an Image, a path, a tensor or a"),
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

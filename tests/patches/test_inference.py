"""Predicting whole volumes patch by patch."""

import pytest
import torch
import torch.nn.functional as F

import torchio_gpu as tio
from tests.volumes import oblique_affine, smooth

SHAPE = (20, 23, 17)


def image(channels=1, seed=0):
    return tio.ScalarImage(smooth((1, channels, *SHAPE), seed)[0].float(), affine=oblique_affine())


@pytest.mark.parametrize("mode", ["crop", "average", "hann", "gaussian"])
@pytest.mark.parametrize("padding", [None, "edge"])
def test_pointwise_models_are_predicted_exactly(mode, padding):
    given = image(2)
    out = tio.predict_by_patches(
        lambda x: x.square(), given, (8, 9, 10), 4, overlap_mode=mode, padding_mode=padding
    )
    # a weighted mean of equal float32 numbers
    torch.testing.assert_close(out, given.data.square(), rtol=2e-6, atol=1e-7)


def test_padding_gives_the_result_of_the_whole_volume():
    """With enough overlap, cropped patches are what the network makes of the whole volume."""
    torch.manual_seed(0)
    model = torch.nn.Conv3d(1, 2, 5, padding=2)
    given = image()
    whole = model(given.data[None])[0].detach()
    out = tio.predict_by_patches(
        model, given, 12, 4, overlap_mode="crop", padding_mode="constant", batch_size=3
    )
    torch.testing.assert_close(out, whole, rtol=1e-5, atol=1e-6)  # sums in another order
    assert not out.requires_grad


def test_a_subject_with_one_scalar_image():
    one = tio.Subject(seg=tio.LabelMap(torch.zeros(1, *SHAPE)), t1=image(), age=3)
    assert torch.equal(
        tio.predict_by_patches(lambda x: x, one, 9, overlap_mode="crop"), one.t1.data
    )


def test_several_images_are_concatenated():
    one = tio.Subject(t1=image(seed=1), t2=image(2, seed=2))
    out = tio.predict_by_patches(
        lambda x: x.sum(1, keepdim=True), one, 9, image=("t2", "t1"), overlap_mode="crop"
    )
    torch.testing.assert_close(out, (one.t2.data.sum(0) + one.t1.data.sum(0))[None])
    alone = tio.predict_by_patches(lambda x: x, one, 9, image="t2", overlap_mode="crop")
    assert torch.equal(alone, one.t2.data)


def test_tensors_and_integers():
    x = torch.randint(0, 99, (1, *SHAPE), dtype=torch.int16)
    types = []
    out = tio.predict_by_patches(lambda p: types.append(p.dtype) or p, x, 8, overlap_mode="crop")
    assert set(types) == {torch.float32}
    assert torch.equal(out, x.float())


def test_dict_outputs_and_strides():
    def model(x):
        return {"same": x, "half": F.avg_pool3d(x, 2)}

    given = tio.ScalarImage(torch.rand(1, 16, 24, 20))
    out = tio.predict_by_patches(
        model, given, 8, 4, overlap_mode="average", output_shape={"half": (8, 12, 10)}
    )
    torch.testing.assert_close(out["same"], given.data)
    torch.testing.assert_close(out["half"], F.avg_pool3d(given.data, 2))


@pytest.mark.parametrize("mode", ["crop", "hann"])
def test_a_reduction_equals_that_of_the_whole_volume(mode):
    given = image(3)
    arguments = (lambda x: x, given, (8, 9, 10), (2, 4, 0))
    whole = tio.predict_by_patches(*arguments, overlap_mode=mode)
    reduced = tio.predict_by_patches(
        *arguments, overlap_mode=mode, reduction=lambda slab: slab.argmax(0).to(torch.uint8)
    )
    assert reduced.dtype == torch.uint8
    assert torch.equal(reduced, whole.argmax(0).to(torch.uint8))


def test_batches_and_devices():
    sizes, where = [], []

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(3.0))

        def forward(self, x):
            sizes.append(len(x))
            where.append((x.device, torch.is_autocast_enabled("cpu"), torch.is_grad_enabled()))
            return x * self.scale

    given = image()
    out = tio.predict_by_patches(
        Model(), given, 8, batch_size=5, autocast=torch.bfloat16, output_device="cpu"
    )
    count = len(tio.GridSampler(tio.Subject(t1=given), 8))
    assert sizes == [5] * (count // 5) + [count % 5] * (count % 5 > 0)
    assert set(where) == {(torch.device("cpu"), True, False)}
    torch.testing.assert_close(out, 3 * given.data)


def test_output_device():
    out = tio.predict_by_patches(lambda x: x, image(), 9, output_device="meta")
    assert out.device.type == "meta"


def test_progress(capsys):
    tio.predict_by_patches(lambda x: x, image(), 9, progress=True)
    assert "patches" in capsys.readouterr().out


def test_files_are_not_read_into_the_subject(tmp_path):
    image().save(tmp_path / "t1.nii.gz")
    one = tio.Subject(t1=tio.ScalarImage(tmp_path / "t1.nii.gz"))
    one["t2"] = tio.ScalarImage(one.t1.path)
    for names in ("t1", ["t1", "t2"]):
        tio.predict_by_patches(lambda x: x[:, :1], one, 9, image=names)
        assert not one.t1.loaded


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be a whole number >= 1, got 0"),
        ({"subject": 3}, TypeError, "a Subject, an Image, a tensor or an array, got int"),
        ({"image": "t1"}, ValueError, "image must be None"),
        ({"patch_size": 50}, ValueError, "patch_size must be at most"),
        ({"patch_overlap": 8}, ValueError, "patch_overlap must be"),
        ({"overlap_mode": "mean"}, ValueError, "overlap_mode must be one of crop, average"),
        ({"model": lambda x: [x]}, TypeError, "batch must be a tensor, got list"),
        ({"model": lambda x: x[:, :, 1:]}, ValueError, "must hold patches of 8x8x8 voxels"),
    ],
)
def test_bad_input(change, error, message):
    given = {"model": lambda x: x, "subject": image(), "patch_size": 8}
    with pytest.raises(error, match=message):
        tio.predict_by_patches(**{**given, **change})


def test_ambiguous_and_unknown_images_are_refused():
    one = tio.Subject(t1=image(), t2=image())
    with pytest.raises(ValueError, match=r"image must name one or more of \['t1', 't2'\]"):
        tio.predict_by_patches(lambda x: x, one, 8)
    with pytest.raises(KeyError, match="image must name images"):
        tio.predict_by_patches(lambda x: x, one, 8, image=["t1", "t3"])


def test_validation_does_not_shift_random_numbers_of_training():
    image = tio.ScalarImage(torch.rand(1, 9, 8, 7))
    before = torch.get_rng_state()
    tio.predict_by_patches(torch.nn.Identity(), image, 4, 2)
    assert torch.equal(torch.get_rng_state(), before)

"""Predictions brought back to the original grid, from histories in memory and from JSON."""

import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
import torch.nn.functional as F

import torchio_gpu as tio
from tests.volumes import oblique_affine, smooth, subject

SHAPE = (24, 30, 20)
ORIENTATIONS = ("oblique", "PIR", "ASL", "LPS")
PREPROCESSING = [tio.ToCanonical(), tio.Resample(1.4), tio.CropOrPad(20), tio.ZNormalization()]


def affine_of(name):
    """Return an affine with an orientation, three spacings and an origin."""
    if name == "oblique":
        return oblique_affine((1.0, 1.25, 1.5))
    codes = nib.orientations.axcodes2ornt(tuple(name))
    affine = np.zeros((4, 4))
    for voxel, (world, sign) in enumerate(codes):
        affine[int(world), voxel] = sign * (0.9, 1.1, 1.3)[voxel]
    affine[:, 3] = (7.1, -11.3, 5.7, 1)
    return affine


def written(folder, name):
    """Write an image, by NiBabel or SimpleITK, and return its path."""
    coarse = smooth((1, 1, *(n // 6 for n in SHAPE)))
    data = F.interpolate(coarse, SHAPE, mode="trilinear")[0, 0].float().numpy() * 40 + 200
    path = folder / f"{name}.nii.gz"
    image = nib.Nifti1Image(data, affine_of(name))
    if name in ("oblique", "PIR"):
        image.set_sform(image.affine, 1)
        nib.save(image, path)
    else:
        path = folder / f"{name}.nrrd"
        sitk.WriteImage(
            tio.ScalarImage(torch.from_numpy(data)[None], affine=image.affine).as_sitk(), path
        )
    return path


def dice(a, b):
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


@pytest.mark.parametrize("patch_size", [None, 16])
@pytest.mark.parametrize("name", ORIENTATIONS)
def test_prediction_on_preprocessed_data_lies_on_the_original_grid(tmp_path, name, patch_size):
    path = written(tmp_path, name)
    original = tio.ScalarImage(path)
    assert name == "oblique" or original.orientation_str == name
    plain = tio.Compose(PREPROCESSING[:-1])(original).data
    inner = plain[plain != 0].mean()
    truth = original.data > inner
    level = float((inner - plain.mean()) / plain.std())  # in normalized data, padding included

    def model(x):
        return torch.cat([x < level, x >= level], 1).float()

    overlap = {} if patch_size is None else {"patch_size": patch_size, "patch_overlap": 4}
    found = tio.predict(model, path, PREPROCESSING, labels="argmax", **overlap)
    assert isinstance(found, tio.LabelMap)
    assert found.data.dtype == torch.uint8
    assert np.array_equal(found.affine, original.affine)
    assert found.shape == original.shape
    inside = tio.predict(torch.ones_like, path, PREPROCESSING).data > 0
    assert 0.5 < inside.float().mean() < 1  # the crop cuts the longest axis
    assert dice(found.data.bool()[inside], truth[inside]) > 0.985
    values = tio.predict(lambda x: x, path, PREPROCESSING[:-1]).data
    assert (values - original.data)[inside].abs().max() < 2  # of 200 +- 80, to 1.4 mm and back
    assert not found.data[~inside].any()
    # the same from the history, in memory and as JSON, and a prediction computed elsewhere
    small = tio.Compose(PREPROCESSING)(tio.Subject(ct=original))
    prediction = model(small.ct.data[None])[0]
    text = json.dumps([record.to_dict() for record in small.history])
    for history in (small, small.history, json.loads(text)):
        back = tio.to_original_space(prediction, history, labels="argmax")
        assert np.array_equal(back.affine, original.affine)
        if patch_size is None:
            assert torch.equal(back.data, found.data)
    placed = tio.ScalarImage(prediction, affine=small.ct.affine)
    back = tio.to_original_space(placed, json.loads(text), labels="argmax")
    assert torch.equal(back.data, tio.to_original_space(prediction, small, labels="argmax").data)
    composed = tio.Compose([tio.from_dict(record) for record in json.loads(text)])
    by_hand = composed.inverse(warn=False)(placed)
    assert np.array_equal(by_hand.affine, original.affine)
    assert by_hand.shape == (2, *SHAPE)
    both = inside.expand(2, -1, -1, -1)
    values = tio.to_original_space(prediction, small).data
    torch.testing.assert_close(by_hand.data[both], values[both])


def test_predictions_for_padding_do_not_leak_into_the_image():
    """Padding was interpolated with the outermost voxels: an error of the whole range there."""
    image = tio.ScalarImage(torch.full((1, 9, 8, 7), 5.0), affine=affine_of("PIR"))
    small = tio.Compose([tio.ToCanonical(), tio.Resample(1.7), tio.Pad(3)])(image)
    subject = tio.Compose([tio.ToCanonical(), tio.Resample(1.7), tio.Pad(3)])(tio.Subject(t=image))
    assert small.data.min() == 0
    back = tio.to_original_space(small.data, subject, outside=-1).data
    torch.testing.assert_close(back[back != -1], torch.full_like(back, 5)[back != -1])
    subject["found"] = tio.ScalarImage(small.data, affine=small.affine)
    by_hand = subject.apply_inverse_transform().found.data
    torch.testing.assert_close(by_hand[back != -1], back[back != -1])


REFERENCE = ((20, 22, 24), oblique_affine((1.5, 1.5, 2.0)))
#: Steps of preprocessing, with True if no voxel is interpolated or lost.
STEPS = {
    "ToCanonical": (lambda: tio.ToCanonical(), True),
    "ToOrientation": (lambda: tio.ToOrientation("PIL"), True),
    "Transpose": (lambda: tio.Transpose(), True),
    "Pad": (lambda: tio.Pad((1, 2, 3)), True),
    "Pad by reflection": (lambda: tio.Pad(2, padding_mode="reflect"), True),
    "EnsureShapeMultiple": (lambda: tio.EnsureShapeMultiple(8), True),
    "CopyAffine": (lambda: tio.CopyAffine("t2"), True),
    "ToReferenceSpace": (lambda: tio.ToReferenceSpace(REFERENCE), True),
    "RandomFlip": (lambda: tio.RandomFlip((0, 1, 2)), True),
    "Mask": (lambda: tio.Mask("seg"), None),
    "ZNormalization": (lambda: tio.ZNormalization(), None),
    "RandomGamma": (lambda: tio.RandomGamma(), None),
    "RandomNoise": (lambda: tio.RandomNoise(), None),
    "Lambda": (lambda: tio.Lambda(lambda x: x + 1, types_to_apply=[tio.INTENSITY]), None),
    "RandomSwap": (lambda: tio.RandomSwap(3, 2), None),
    "labels": (lambda: tio.Compose([tio.RemapLabels({1: 5}), tio.OneHot(6)]), True),
    "Crop": (lambda: tio.Crop((1, 2, 0)), False),
    "CropOrPad": (lambda: tio.CropOrPad((8, 20, 16)), False),
    "CropOrPad of a mask": (lambda: tio.CropOrPad(mask_name="seg"), False),
    "CropOrPad by edges": (lambda: tio.CropOrPad((8, 20, 16), padding_mode="edge"), False),
    "Resample": (lambda: tio.Resample(1.7), False),
    "Resample by splines": (lambda: tio.Resample(1.7, image_interpolation="bspline"), False),
    "Resample smoothed": (lambda: tio.Resample(1.7, antialias=True), False),
    "Resample to a reference": (lambda: tio.Resample(REFERENCE), False),
    "Resize": (lambda: tio.Resize((9, 9, 9)), False),
    "RandomAffine": (lambda: tio.RandomAffine(degrees=20), False),
    "elastic": (lambda: tio.RandomElasticDeformation(max_displacement=1), False),
    "sometimes": (lambda: tio.Compose([tio.RandomAffine(p=0.5), tio.Crop(1, p=0.5)]), False),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_each_kind_of_preprocessing(name):
    """Undo only what moved voxels in preprocessing; what it cut away has the fill."""
    make, exact = STEPS[name]
    given = subject()
    given["t2"] = tio.ScalarImage(given.t1.data.double(), affine=np.diag([1.0, 2, 3, 1]))
    one_grid = name not in ("CopyAffine",)
    if one_grid:
        given["t2"] = tio.ScalarImage(given.t1.data.double(), affine=given.t1.affine)
    torch.manual_seed(0)
    seen_by_model = []
    out = tio.predict(
        lambda x: seen_by_model.append(x[0]) or x, given, make(), image="t1", outside=-99
    )
    assert np.array_equal(out.affine, given.t1.affine)
    assert out.shape == given.t1.shape
    assert out.data.dtype == torch.float32
    if exact:
        assert torch.equal(out.data, given.t1.data)
    elif exact is None:
        assert torch.equal(out.data, seen_by_model[0])
        assert not torch.equal(out.data, given.t1.data)
    else:
        known = out.data != -99
        assert known.float().mean() > 0.1
        assert float(out.data[known].min()) >= float(given.t1.data.min()) - 0.5
        # linear interpolation twice, of waves of up to 0.5 radians per voxel
        error = (out.data - given.t1.data)[known].abs()
        assert error.mean() < 0.4


def test_what_was_cropped_and_padded_again_counts_as_cut_away():
    image = tio.ScalarImage(torch.ones(1, 8, 8, 8))
    out = tio.predict(lambda x: x + 1, image, [tio.Crop(2), tio.Pad(2)], outside=-1).data
    assert (out[:, 2:-2, 2:-2, 2:-2] == 2).all()
    assert (out == -1).sum() == 8**3 - 4**3


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64, torch.bool])
def test_labels_are_never_mixed_and_keep_their_type(dtype):
    step = tio.RandomAffine(degrees=30)
    out = tio.predict(lambda x: ((x > 0).to(torch.uint8) * 7).to(dtype), subject(), step, outside=3)
    assert isinstance(out, tio.LabelMap)
    assert out.data.dtype == (torch.uint8 if dtype == torch.bool else dtype)
    assert set(out.data.unique().tolist()) == {0, 3, 1 if dtype == torch.bool else 7}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floating_types_are_kept(dtype):
    out = tio.predict(lambda x: x.to(dtype), subject(), [tio.Resample(2), tio.CropOrPad(9)])
    assert isinstance(out, tio.ScalarImage)
    assert out.data.dtype == dtype


@pytest.mark.parametrize("steps", [None, tio.ToCanonical()])
@pytest.mark.parametrize("patch_size", [None, 8])
def test_models_that_change_resolution_and_channels(patch_size, steps):
    """A coarse output covers the field of view of its input, and so the original one."""
    ramp = torch.arange(16.0).view(1, 16, 1, 1).expand(1, 16, 16, 16).contiguous()
    image = tio.ScalarImage(ramp, affine=oblique_affine())
    shape = {} if patch_size is None else {"output_shape": 8, "patch_size": patch_size}
    out = tio.predict(lambda x: F.avg_pool3d(torch.cat([x, -x], 1), 2), image, steps, **shape)
    assert out.shape == (2, 16, 16, 16)
    assert np.array_equal(out.affine, image.affine)
    # the mean of two neighbours, interpolated: the ramp, but for the half voxel at its ends
    torch.testing.assert_close(out.data[0, 1:-1], ramp[0, 1:-1])
    torch.testing.assert_close(out.data[1], -out.data[0])


def test_an_output_that_does_not_cover_its_input_is_refused():
    with pytest.raises(ValueError, match="whole number of voxels"):
        tio.predict(torch.nn.Conv3d(1, 1, 3), tio.ScalarImage(torch.rand(1, 8, 8, 8)))


def test_an_image_that_lies_elsewhere_is_refused():
    small = tio.Crop(2)(subject())
    lost = tio.ScalarImage(small.t1.data)
    with pytest.raises(ValueError, match="prediction must cover the image"):
        tio.to_original_space(lost, small)
    coarse = tio.ToReferenceSpace(small.t1)(tio.ScalarImage(torch.zeros(1, 4, 5, 6)))
    assert tio.to_original_space(coarse, small).spatial_shape == subject().spatial_shape


def test_images_on_several_grids_need_a_name():
    given = subject()
    given["t2"] = tio.ScalarImage(torch.rand(1, 9, 8, 7))
    moved = tio.Compose([tio.Resample(1.5), tio.RandomGamma()])(given)
    records = json.loads(json.dumps([r.to_dict() for r in moved.history]))
    for history in (moved, records):
        with pytest.raises(ValueError, match="image must name one of"):
            tio.to_original_space(moved.t2.data, history)
        for name in ("t1", "t2"):
            back = tio.to_original_space(moved[name].data, history, name)
            assert np.array_equal(back.affine, given[name].affine)
            assert back.shape == given[name].shape
    with pytest.raises(ValueError, match="image must be one of the images of the h"):
        tio.to_original_space(moved.t2.data, records, "t3")


def test_arrays_of_a_subject_and_of_a_batch():
    small = tio.Resample(1.7)(subject())
    array = small.t1.data.numpy()
    back = tio.to_original_space(array, small)
    assert torch.equal(back.data, tio.to_original_space(small.t1.data, small).data)
    labels = tio.to_original_space({"seg": (array > 0).astype(np.uint16)}, small)["seg"]
    assert isinstance(labels, tio.LabelMap)
    batch = tio.SubjectsBatch.from_subjects([small, small])
    assert torch.equal(tio.to_original_space(np.stack([array] * 2), batch).data[1], back.data)


SPATIAL = [tio.ToOrientation("PIL"), tio.Resample(1.7), tio.RandomAffine(degrees=10)]


@pytest.mark.parametrize(
    "steps",
    [
        SPATIAL,
        [*SPATIAL, tio.RandomNoise(include=["t1"]), tio.Mask("seg")],
        [tio.RandomNoise(include=["t1"]), tio.RandomAffine(degrees=10)],
        [tio.Resample(1.7, exclude=["landmarks"]), tio.RandomAffine(degrees=10)],
        [tio.Resample(1.7), tio.Crop(1, exclude=["landmarks", "clicks"])],
        [tio.Crop(1), tio.RandomAffine(degrees=10, exclude=["landmarks", "clicks"])],
    ],
)
def test_points_beside_images_of_one_grid_need_no_name(steps):
    given = subject()
    given["landmarks"] = tio.Points(torch.rand(5, 3))
    given["clicks"] = tio.Points(torch.rand(4, 3), affine=given.t1.affine)
    moved = tio.Compose(steps)(given)
    records = json.loads(json.dumps([record.to_dict() for record in moved.history]))
    back = tio.to_original_space(moved.t1.data, records)
    assert np.array_equal(back.affine, given.t1.affine)
    assert torch.equal(back.data, tio.to_original_space(moved.t1.data, moved, "t1").data)


def test_an_image_that_was_left_out_is_not_taken_for_points():
    given = subject()
    given["t2"] = tio.ScalarImage(given.t1.data.clone(), affine=given.t1.affine)
    for step in (tio.Resample(1.7, exclude=["t2"]), tio.RandomAffine(degrees=10, exclude=["t2"])):
        moved = step(given)
        records = [record.to_dict() for record in moved.history]
        with pytest.raises(ValueError, match="image must name one of"):
            tio.to_original_space(moved.t1.data, records)


def test_images_that_were_left_out_stay():
    given = subject()
    given["t2"] = tio.ScalarImage(given.t1.data + 1, affine=given.t1.affine)
    steps = [tio.RandomAffine(degrees=40, include=["t2"]), tio.Crop(2, exclude=["t1", "seg"])]
    out = tio.predict(lambda x: x, given, steps, image="t1")
    assert torch.equal(out.data, given.t1.data)
    other = tio.predict(lambda x: x, given, steps[1], image="t2", outside=-99)
    assert (other.data[:, :2] == -99).all()


def test_functions_that_may_have_moved_voxels_are_refused():
    def flipped(one):
        one.t1.set_data(one.t1.data.flip(1))
        return one

    with pytest.raises(
        ValueError, match=r"flipped, which may have moved 't1' and cannot be undone"
    ):
        tio.predict(lambda x: x, subject(), flipped)
    # a function that applies transforms is recorded by them
    out = tio.predict(lambda x: x, subject(), lambda one: tio.Flip(0)(one))
    assert torch.equal(out.data, subject().t1.data)


def test_batches_follow_the_history_of_each_sample():
    given = [subject(affine=affine_of(name), seed=n) for n, name in enumerate(ORIENTATIONS[1:])]
    batch = tio.SubjectsBatch.from_subjects(given)
    steps = [tio.RandomFlip((0, 1, 2), p=0.5), tio.RandomAffine(degrees=5, p=0.5), tio.Crop(1)]
    moved = tio.Compose(steps)(batch)
    prediction = {"same": moved.t1.data, "labels": moved.t1.data > 0.5}
    back = tio.to_original_space(prediction, moved)
    for n, (one, view) in enumerate(zip(given, moved.unbatch(), strict=True)):
        alone = tio.to_original_space(view.t1.data, view)
        assert torch.equal(back["same"].data[n], alone.data)
        assert np.array_equal(back["same"].affine[n], one.t1.affine)
    assert back["labels"].kind == "label"
    whole = tio.predict(lambda x: x, batch, [tio.Pad(2), tio.RandomFlip(0, p=0.5)])
    assert torch.equal(whole.data, batch.t1.data)
    assert np.array_equal(whole.affine, batch.t1.affine)


@pytest.mark.parametrize(
    ("prediction", "history", "options", "error", "message"),
    [
        (3, "small", {}, TypeError, "prediction must be a tensor, an array, an Image or a dict"),
        ("x", "small", {"labels": "max"}, ValueError, "labels must be None, 'argmax' or a thresh"),
        ("x", 3, {}, TypeError, "history must be a Subject, a SubjectsBatch, or a sequence"),
        ("x", [3], {}, TypeError, "history must hold records or their dicts, got 3"),
        ("x", [{}], {}, ValueError, "a transform must have one key"),
        ("x", [], {}, ValueError, "prediction must be an Image where no step of the history"),
        ("x", "small", {"outside": "0"}, TypeError, "outside must be a number"),
        ("x", "small", {"labels": "argmax"}, ValueError, "labels must be a threshold, such as 0.5"),
        (torch.ones(2, 8, 10, 12).int(), "small", {"labels": "argmax"}, ValueError,
         "labels must be None where the prediction holds labels already, as torch.int32"),
        ("x", "small", {"labels": {"a": 0.5}}, ValueError, "labels must be one rule where there"),
        ({"a": torch.ones(1, 8, 10, 12)}, "small", {"labels": {"b": 0.5}}, ValueError,
         r"labels must name outputs of \['a'\], got \['b'\]"),
        ({"a": torch.ones(1, 8, 10, 12)}, "small", {"labels": {"a": "argmax"}}, ValueError,
         r"labels\['a'\] must be a threshold"),
        ({}, "small", {}, ValueError, "prediction must have at least one output"),
        (torch.ones(1, 8, 10, 12).half(), "small", {"outside": 1e5}, ValueError,
         "outside must be between -65504 and 65504, as the dtype is torch.float16"),
        (torch.ones(1, 8, 10, 12).byte(), "small", {"outside": 2.5}, ValueError,
         "outside must be a whole number between 0 and 255, as the dtype is torch.uint8"),
    ],
)  # fmt: skip
def test_bad_arguments(prediction, history, options, error, message):
    small = tio.Crop(2)(subject())
    prediction = small.t1.data if isinstance(prediction, str) else prediction
    with pytest.raises(error, match=message):
        tio.to_original_space(prediction, small if history == "small" else history, **options)


def test_undoing_without_intensities_keeps_all_that_moves_or_relabels():
    """Pads by reflection and smoothed resampling change the grid: ignoring them lost voxels."""
    given = subject()
    steps = [tio.Pad(3, padding_mode="reflect"), tio.Resample(2, antialias=True),
             tio.RemapLabels({1: 4}), tio.RandomGamma()]  # fmt: skip
    moved = tio.Compose(steps)(given)
    names = [t.name for t in moved.get_applied_transforms(ignore_intensity=True)]
    assert names == ["Pad", "Resample", "RemapLabels"]
    moved["found"] = tio.LabelMap(moved.seg.data.clone(), affine=moved.seg.affine)
    back = moved.apply_inverse_transform(ignore_intensity=True)
    assert back.found.shape == given.seg.shape
    assert set(back.found.data.unique().tolist()) == {0, 1, 2}

    def flipped(one):
        one.t1.set_data(one.t1.data.flip(1))
        return one

    with pytest.warns(RuntimeWarning, match="flipped cannot be undone"):
        tio.Compose([flipped])(given).apply_inverse_transform(ignore_intensity=True)


def test_labels_that_are_added_stay_labels_when_one_hot_is_undone():
    given = subject()
    encoded = tio.OneHot(3)(given)
    encoded["found"] = given.seg
    back = encoded.apply_inverse_transform()
    assert torch.equal(back.found.data, given.seg.data)
    assert torch.equal(back.seg.data, given.seg.data)
    empty = tio.LabelMap(torch.zeros(1, 4, 4, 4, dtype=torch.uint8))
    assert not tio.OneHot()(tio.Subject(seg=empty)).apply_inverse_transform().seg.data.any()

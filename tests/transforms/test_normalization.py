"""Intensity preprocessing against TorchIO 1.2.1, and warnings for images it cannot change."""

import json
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torchio

import torchio_gpu as tio
from tests.close import assert_close
from tests.volumes import smooth, subject
from torchio_gpu import from_dict
from torchio_gpu.transforms.normalization.clamp import Clamp
from torchio_gpu.transforms.normalization.histogram import HistogramStandardization
from torchio_gpu.transforms.normalization.mask import Mask
from torchio_gpu.transforms.normalization.pca import PCA
from torchio_gpu.transforms.normalization.rescale import RescaleIntensity
from torchio_gpu.transforms.normalization.to import To
from torchio_gpu.transforms.normalization.z_normalization import ZNormalization

LANDMARKS = np.array([0, 8, 15, 20, 24, 31, 40, 52, 60, 70, 75, 88, 100.0])
LABELS = {"t1": LANDMARKS.tolist()}
ROUNDING = "float32, in another order"


def above_mean(x):
    return x > x.mean()


def to_torchio(s):
    """Convert a subject to TorchIO in RAS+, which its anatomical halves expect."""
    return torchio.Subject(
        t1=torchio.ScalarImage(tensor=s.t1.data, affine=s.t1.affine),
        seg=torchio.LabelMap(tensor=s.seg.data, affine=s.seg.affine),
    )


def two_subjects():
    return [subject(seed=n, affine=np.diag([1, 2, 3, 1])) for n in (1, 2)]


def batch_of(*tensors, **more):
    images = {"t1": tio.ImagesBatch(torch.stack(tensors))}
    return tio.SubjectsBatch({**images, **more})


MASKINGS = [None, "seg", "Left", "anterior", above_mean]


@pytest.mark.parametrize("masking", MASKINGS)
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("RescaleIntensity", {}),
        ("RescaleIntensity", {"out_min_max": 2}),
        ("RescaleIntensity", {"out_min_max": (-1, 5), "percentiles": (0.5, 99.5)}),
        ("RescaleIntensity", {"percentiles": 90}),
        ("RescaleIntensity", {"out_min_max": (3, 3), "in_min_max": (-1, 2)}),
        ("RescaleIntensity", {"percentiles": (5, 95), "in_min_max": 2}),
        ("ZNormalization", {}),
        ("HistogramStandardization", {"landmarks": {"t1": LANDMARKS}}),
        ("Mask", {"outside_value": -7}),
    ],
)
def test_agrees_with_torchio(name, arguments, masking):
    ours = {"RescaleIntensity": RescaleIntensity, "ZNormalization": ZNormalization, "Mask": Mask,
            "HistogramStandardization": HistogramStandardization}[name]  # fmt: skip
    subjects = two_subjects()
    batch = tio.SubjectsBatch.from_subjects(subjects)
    out = ours(masking_method=masking, **arguments)(batch)
    other = getattr(torchio, name)(masking_method=masking, **arguments)
    for n, each in enumerate(subjects):
        assert_close(out.t1.data[n], other(to_torchio(each)).t1.data, share=1e-6, reason=ROUNDING)
        assert torch.equal(out.seg.data[n], each.seg.data)


def test_clamp_and_to_agree_with_torchio():
    s = subject()
    for ours, other in (
        (Clamp(-0.5, 1), torchio.Clamp(-0.5, 1)),
        (Clamp(out_max=0.2), torchio.Clamp(out_max=0.2)),
        (To(torch.int16), torchio.To(torch.int16)),
        (To("cpu", {"dtype": torch.float64}), torchio.To("cpu", {"dtype": torch.float64})),
    ):
        out, expected = ours(s).t1.data, other(to_torchio(s)).t1.data
        assert out.dtype == expected.dtype
        assert torch.equal(out, expected)
    assert torch.equal(Clamp()(s).t1.data, s.t1.data)


def test_clamp_leaves_samples_out():
    x = smooth((20, 1, 4, 5, 6)).float()
    out = Clamp(-0.1, 0.1, p=0.5)(tio.SubjectsBatch({"t1": tio.ImagesBatch(x)}))
    chosen = out.records[0].active
    assert 2 < chosen.sum() < 18
    for n in range(20):
        assert torch.equal(out.t1.data[n], x[n].clamp(-0.1, 0.1) if chosen[n] else x[n])


@pytest.mark.parametrize(
    "arguments", [{}, {"values_range": None, "clip": False}, {"whiten": False, "normalize": False}]
)
def test_pca_agrees_with_torchio(arguments):
    x = torch.randn(5, 6, 7, 8).double() ** 3 * torch.arange(1, 6).view(5, 1, 1, 1)
    expected = torchio.PCA(**arguments)(torchio.ScalarImage(tensor=x)).data
    assert_close(PCA(**arguments)(x), expected, share=1e-9, reason="float64")
    # without whitening, components are some ten times as large as the range they are clamped to
    assert_close(PCA(**arguments)(x.float()), expected, share=2e-5, reason="products in float32")


def test_each_sample_and_image_has_its_own_statistics():
    x = smooth((3, 2, 6, 7, 8)).float()
    x[1] = x[1] * 9 + 100
    images = {"t1": tio.ImagesBatch(x), "t2": tio.ImagesBatch(5 * x.flip(0) - 3)}
    for transform in (ZNormalization(), RescaleIntensity(percentiles=(1, 99))):
        out = transform(tio.SubjectsBatch(images))
        for n in range(3):
            alone = transform(x[n])
            assert_close(out.t1.data[n], alone, share=1e-6, reason=ROUNDING)
            assert_close(out.t2.data[2 - n], alone, share=2e-6, reason=ROUNDING)


# What cannot be done


def test_rescale_warns_of_images_it_leaves_unchanged():
    x = torch.rand(1, 4, 5, 6)
    batch = batch_of(x, torch.full_like(x, 3), x + 1)
    with pytest.warns(RuntimeWarning, match="image 't1' of sample 1 as it is: the intensities"):
        out = RescaleIntensity((0, 2))(batch)
    assert torch.equal(out.t1.data[1], batch.t1.data[1])
    assert out.t1.data[0].max() == 2
    with pytest.warns(RuntimeWarning, match="of sample 0, sample 1, .* its mask is empty, or"):
        out = RescaleIntensity(masking_method=lambda x: x > 5, in_min_max=(0, 9))(batch)
    assert torch.equal(out.t1.data, batch.t1.data)


def test_znormalization_warns_naming_sample_and_file(tmp_path):
    x = torch.rand(1, 4, 5, 6)
    flat = torch.full_like(x, 0.3)
    with pytest.warns(RuntimeWarning, match=r"image 't1' of sample 1 becomes 0: all of its voxels"):
        out = ZNormalization()(batch_of(x, flat))["t1"].data
    assert torch.equal(out[0], ZNormalization()(x))
    assert (out[1] == 0).all()
    for wrong in (flat, x[:, :1, :1, :1]):
        with pytest.warns(RuntimeWarning, match="becomes 0"):
            assert (ZNormalization()(wrong) == 0).all()
    with pytest.warns(RuntimeWarning, match="stays as it is: its mask is empty"):
        assert torch.equal(ZNormalization(masking_method=lambda x: x > 5)(x), x)
    path = tmp_path / "flat.nii"
    tio.ScalarImage(flat).save(path)
    with pytest.warns(RuntimeWarning, match=r"'pd' of sample 0 \(.*flat.nii\)"):
        ZNormalization()(tio.Subject(pd=tio.ScalarImage(path)))


def test_warnings_give_the_index_in_the_whole_batch():
    x = torch.rand(1, 4, 5, 6)
    batch = batch_of(x, x, x, torch.full_like(x, 2))
    transform = ZNormalization(p=0.5)
    for seed in range(20):
        torch.manual_seed(seed)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            records = transform(batch).records
        chosen = any(record.active is None or record.active[3] for record in records)
        assert chosen == any("sample 3 " in str(warning.message) for warning in caught)
        if chosen:
            break
    else:
        pytest.fail("the sample was never chosen")


def test_a_missing_landmark_or_mask_is_named():
    s = subject()
    transform = HistogramStandardization({"t2": LANDMARKS})
    with pytest.raises(KeyError, match=r"landmarks must name images .*'t2'. are none of"):
        transform(s)
    with pytest.raises(RuntimeError, match="masking_method leaves no voxel of image 't1'"):
        HistogramStandardization(LABELS, masking_method=lambda x: x > 1e9)(s)
    for transform in (
        Mask("brain"),
        ZNormalization("brain"),
        RescaleIntensity(masking_method="brain"),
    ):
        with pytest.raises(KeyError, match=r"which has \['seg'\].*'brain' is none of these"):
            transform(s)


def test_mask_chooses_labels_and_keeps_the_dtype():
    s = subject()
    for dtype in (torch.int16, torch.uint8, torch.float16):
        x = torch.full_like(s.t1.data, 5).to(dtype)
        out = Mask("seg", outside_value=9, labels=[2])(
            tio.Subject(t1=tio.ScalarImage(x, affine=s.t1.affine), seg=s.seg)
        )
        assert out.t1.data.dtype == dtype
        assert torch.equal(out.t1.data == 5, s.seg.data == 2)
    with pytest.raises(ValueError, match="outside_value must be a whole number from 0 to 255"):
        Mask(lambda x: x > 3, outside_value=-1)(torch.arange(8, dtype=torch.uint8).view(1, 2, 2, 2))
    with pytest.raises(ValueError, match="labels must be None where masking_method is a half"):
        Mask("left", labels=[1])(s)


# Histogram standardisation


def paths_of(tmp_path, count=3):
    paths = []
    for n in range(count):
        x = (smooth((1, 1, 12, 13, 14), seed=n)[0] * 40 + 200 + 30 * n).to(torch.int16)
        paths.append(tmp_path / f"{n}.nii")
        tio.ScalarImage(x).save(paths[-1])
    return paths


def test_train_agrees_with_torchio(tmp_path):
    paths = paths_of(tmp_path)
    mask = tmp_path / "mask.nii"
    tio.LabelMap(torch.rand(1, 12, 13, 14) > 0.5).save(mask)
    for arguments in (
        {},
        {"cutoff": (0.0, 1.0)},
        {"cutoff": (0.05, 0.95), "mask_path": mask},
        {"mask_path": [mask] * 3},
    ):
        ours = HistogramStandardization.train(paths, progress=False, **arguments)
        expected = torchio.HistogramStandardization.train(paths, progress=False, **arguments)
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-10)
    # TorchIO wants a mask as an array there
    ours = HistogramStandardization.train(paths, masking_function=lambda x: x > 190, progress=False)
    expected = torchio.HistogramStandardization.train(
        paths, masking_function=lambda x: (x > 190).numpy(), progress=False
    )
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-10)


def test_train_takes_images_and_subjects_and_keeps_no_voxels(tmp_path):
    paths = paths_of(tmp_path)
    expected = HistogramStandardization.train(paths, progress=False)
    images = [tio.ScalarImage(path) for path in paths]
    subjects = [tio.Subject(t1=image) for image in images]
    np.testing.assert_array_equal(HistogramStandardization.train(images, progress=False), expected)
    by_name = HistogramStandardization.train(subjects, name="t1", progress=False)
    np.testing.assert_array_equal(by_name, expected)
    from_names = HistogramStandardization.train(map(str, paths), progress=False)
    np.testing.assert_array_equal(from_names, expected)
    assert not any(image.loaded for image in images)


def test_progress_is_shown_only_if_asked_for(tmp_path, capfd):
    paths = paths_of(tmp_path)
    HistogramStandardization.train(paths)
    assert "Learning landmarks" in capfd.readouterr().err
    HistogramStandardization.train(paths, progress=False)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.parametrize("suffix", [".npy", ".txt"])
def test_landmarks_are_read_from_a_path(tmp_path, suffix):
    path = tmp_path / f"landmarks{suffix}"
    learnt = HistogramStandardization.train(paths_of(tmp_path), output_path=path, progress=False)
    theirs_path = tmp_path / f"theirs{suffix}"
    torchio.HistogramStandardization.train(
        paths_of(tmp_path), output_path=theirs_path, progress=False
    )
    s = subject()
    expected = HistogramStandardization({"t1": learnt})(s).t1.data
    for known in (path, str(path), theirs_path):
        out = HistogramStandardization({"t1": known})(s).t1.data
        assert_close(out, expected, share=1e-6, reason="theirs differ in the last digit")


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_landmarks_are_read_from_a_dict_that_torch_saved(tmp_path, suffix):
    path = tmp_path / f"all{suffix}"
    np.save(tmp_path / "one.npy", LANDMARKS)
    expected = HistogramStandardization({"t1": LANDMARKS})(subject()).t1.data
    for value in (
        LANDMARKS,
        LANDMARKS.tolist(),
        torch.from_numpy(LANDMARKS),
        tmp_path / "one.npy",
        str(tmp_path / "one.npy"),
    ):
        torch.save({"t1": value}, path)
        out = HistogramStandardization(path)(subject()).t1.data
        assert torch.equal(out, expected)


def test_an_image_without_a_histogram_is_left_out_of_training():
    image = tio.ScalarImage(smooth((1, 1, 8, 9, 10))[0].float())
    flat = tio.ScalarImage(torch.ones(1, 8, 9, 10))
    expected = HistogramStandardization.train([image], progress=False)
    with pytest.warns(RuntimeWarning, match="left out, as they are the same at both.*: image 1"):
        out = HistogramStandardization.train([image, flat], progress=False)
    np.testing.assert_array_equal(out, expected)


def test_train_without_images_is_that_of_a_module():
    transform = HistogramStandardization(LABELS)
    model = torch.nn.Sequential(transform)
    model.eval()
    assert not transform.training
    assert transform.train() is transform
    assert transform.training


IMAGE = tio.ScalarImage(torch.rand(1, 4, 5, 6))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda f: f([]), ValueError, "at least one image"),
        (lambda f: f("a.nii"), TypeError, "images_paths must be a sequence, got one str"),
        (lambda f: f([tio.Subject(t1=IMAGE)]), ValueError, "name must say which image"),
        (lambda f: f([3]), TypeError, "number 0 is int"),
        (lambda f: f([IMAGE], cutoff=(0.2, 0.9)), ValueError, "cutoff must be below 0.1 and above"),
        (lambda f: f([IMAGE], mask_path=[IMAGE] * 2), ValueError, "one mask per image, 1, got 2"),
        (lambda f: f([IMAGE], None, IMAGE, abs), ValueError, "must not be given both"),
        (
            lambda f: f([IMAGE], masking_function=lambda x: x > 2),
            ValueError,
            "image 0 has an empty",
        ),
        (lambda f: f([IMAGE], masking_function=lambda x: x[0]), ValueError, "mask of image 0 must"),
        (lambda f: f([IMAGE], output_path="a.csv"), ValueError, "must end in .npy or .txt"),
        (lambda f: f([tio.ScalarImage(torch.ones(1, 2, 2, 2))]), ValueError, "differs between"),
    ],
)
def test_bad_arguments_of_training_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call(lambda *a, **k: HistogramStandardization.train(*a, progress=False, **k))


# How transforms are written down

TRANSFORMS = [
    RescaleIntensity(2, (1, 99), "seg", (0, 4)),
    ZNormalization("Left"),
    HistogramStandardization({"t1": LANDMARKS}, "seg"),
    Clamp(-0.5),
    Clamp({"t1": (-0.5,)}, 1),
    Mask("seg", 3, (1, 2)),
    PCA(1, whiten=False, values_range=None, clip=False),
    To(torch.float16),
    To("cpu"),
]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_records_replay_from_json(transform):
    s = subject()
    out = transform(s)
    again = out.get_composed_history()(s).t1.data
    assert torch.equal(again, out.t1.data)
    assert again.dtype == out.t1.data.dtype
    record = json.loads(json.dumps(out.get_composed_history()[0].to_dict()))
    assert torch.equal(from_dict(record)(s).t1.data, out.t1.data)
    copied = pickle.loads(pickle.dumps(transform))
    assert repr(copied) == repr(transform)
    assert torch.equal(copied(s).t1.data, out.t1.data)


def test_a_dtype_target_is_serializable():
    assert repr(To(torch.float16)) == "To(target='torch.float16')"
    assert To("torch.float16")(torch.zeros(1, 2, 2, 2)).dtype == torch.float16
    assert To(torch.float16).target is torch.float16


def test_positional_arguments_become_attributes():
    rescale = RescaleIntensity(3, 90, above_mean, 5)
    assert rescale.out_min_max == (-3, 3)
    assert rescale.percentiles == (0, 90)
    assert rescale.in_min_max == (-5, 5)
    assert rescale.masking_method is above_mean
    assert RescaleIntensity().arguments() == {}
    assert HistogramStandardization(LABELS).landmarks["t1"].tolist() == LANDMARKS.tolist()


def test_which_transforms_commute_with_interpolation():
    """Increasing linear maps of a sample commute; maps that clamp or are nonlinear do not."""
    x = smooth((1, 1, 6, 7, 8))[0]
    assert not ZNormalization("Left").commutes  # which half is asked before a flip, or after
    assert not ZNormalization(above_mean).commutes
    for transform, expected in (
        (ZNormalization(), True),
        (RescaleIntensity(5), True),
        (RescaleIntensity(5, in_min_max=(0, 1)), True),
        (RescaleIntensity(5, (1, 100)), False),
        (RescaleIntensity(5, masking_method=above_mean), False),
        (HistogramStandardization({"default_image_name": LANDMARKS}), False),
    ):
        assert transform.commutes is expected
        y = transform(x)
        slope = (y - y.flatten()[0]) / (x - x.flatten()[0])
        slope = slope[slope.isfinite()]
        assert (slope.std() < 1e-6 * slope.mean()) == expected


def test_autocast_does_not_change_the_result():
    x = torch.randn(2, 3, 6, 7, 8)
    for transform in (PCA(2), ZNormalization(), RescaleIntensity(percentiles=(1, 99))):
        expected = transform(x)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(transform(x), expected)


def test_runs_on_the_meta_device():
    x = torch.empty(2, 3, 6, 7, 8, device="meta")
    labels = torch.empty(2, 1, 6, 7, 8, device="meta", dtype=torch.uint8)
    images = {"t1": tio.ImagesBatch(x), "seg": tio.ImagesBatch(labels, kind="label")}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for transform in TRANSFORMS[:-1]:
            assert transform(tio.SubjectsBatch(images)).t1.data.device.type == "meta"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: RescaleIntensity((1, 0)), ValueError, "out_min_max must be a range"),
        (lambda: RescaleIntensity(percentiles=101), ValueError, "percentiles must lie between 0"),
        (lambda: RescaleIntensity(in_min_max="a"), TypeError, "in_min_max must be made of numbers"),
        (lambda: ZNormalization(3.5), TypeError, "masking_method must be None, the name"),
        (lambda: HistogramStandardization("a.csv"), ValueError, "a dict or a file .pt or .pth"),
        (lambda: HistogramStandardization([1]), TypeError, "landmarks must be a dict .* got list"),
        (lambda: HistogramStandardization({"t1": [1, 2]}), ValueError, "landmarks must be 13"),
        (lambda: HistogramStandardization({"t1": Path("a.csv")}), ValueError, ".npy or .txt"),
        (lambda: Clamp(2, 1), ValueError, "out_min must not be above out_max, got"),
        (lambda: Mask("seg", "a"), TypeError, "outside_value must be a number, got 'a'"),
        (lambda: Mask(above_mean, labels=[1]), ValueError, "labels must be None"),
        (lambda: PCA(0), ValueError, "num_components must be an integer >= 1"),
        (lambda: PCA(pca_kwargs={"tol": 1}), ValueError, "pca_kwargs must be empty.*'tol'"),
        (lambda: PCA(3)(torch.rand(2, 3, 3, 3)), ValueError, "number of channels, 2, got 3"),
        (lambda: PCA(values_range=(1, 0)), ValueError, "values_range must be a range"),
        (lambda: To("somewhere"), ValueError, "target must name a device or a dtype"),
        (lambda: To("torch.somewhat"), ValueError, "target must name a device or a dtype"),
        (lambda: To(3), TypeError, "target must be a dtype, a device or its name, got 3"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()

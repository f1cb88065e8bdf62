"""The user guide of TorchIO, section by section, with this library's import line: it must all run.

Data and target shapes are small; names, arguments and the order of calls are those of the guide.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.volumes import smooth

IDS = ("01", "02", "03")
FULL = (30, 36, 30)


@pytest.fixture(autouse=True)
def _files(tmp_path, monkeypatch):
    """Write raw scans of various orientations and spacings to the working folder."""
    monkeypatch.chdir(tmp_path)
    affine = np.diag([-1.2, 1.1, 1.3, 1])
    affine[:3, 3] = (14, -15, -12)
    for n, sub in enumerate(IDS):
        t1 = smooth((1, 1, 24, 28, 20), n)[0].float() * 40 + 200
        labels = (t1 > 190).to(torch.uint8) + (t1 > 240).to(torch.uint8)
        for name in ("T1w", "T2w", "FLAIR"):
            tio.ScalarImage(t1 * (len(name) / 3), affine=affine).save(f"sub-{sub}_{name}.nii.gz")
        tio.LabelMap(labels, affine=affine).save(f"sub-{sub}_seg.nii.gz")


@pytest.fixture
def subject():
    return tio.Subject(
        t1=tio.ScalarImage("sub-01_T1w.nii.gz"),
        t2=tio.ScalarImage("sub-01_T2w.nii.gz"),
        flair=tio.ScalarImage("sub-01_FLAIR.nii.gz"),
        label=tio.LabelMap("sub-01_seg.nii.gz"),
        age=45,
        diagnosis="control",
    )


@pytest.fixture
def subjects():
    return [
        tio.Subject(
            t1=tio.ScalarImage(f"sub-{sub_id}_T1w.nii.gz"),
            t2=tio.ScalarImage(f"sub-{sub_id}_T2w.nii.gz"),
            label=tio.LabelMap(f"sub-{sub_id}_seg.nii.gz"),
            subject_id=sub_id,
        )
        for sub_id in IDS
    ]


def test_loading(subject, subjects):
    assert subject.t1.shape == (1, 24, 28, 20)
    np.testing.assert_allclose(subject.t1.spacing, (1.2, 1.1, 1.3), rtol=1e-6)
    assert subject.age == 45
    assert isinstance(subject.t1.numpy(), np.ndarray)
    assert isinstance(subject.t1.data, torch.Tensor)
    dataset = tio.SubjectsDataset(subjects)
    assert len(dataset) == 3
    assert dataset[0].subject_id == "01"
    path = Path("sub-01_T3w.nii.gz")
    missing = tio.Subject(
        t1=tio.ScalarImage("sub-01_T1w.nii.gz"),
        t2=tio.ScalarImage(path) if path.exists() else None,
        label=tio.LabelMap("sub-01_seg.nii.gz"),
    )
    assert missing.t2 is None
    assert tio.Resample(1.0)(missing).t2 is None


def test_resampling(subject):
    resampled = tio.Resample(target=1.0)(subject)
    assert resampled.t1.shape == (1, 28, 30, 26)
    for image in resampled.get_images(intensity_only=False):
        np.testing.assert_allclose(image.spacing, (1, 1, 1))
    assert subject.t1.shape == (1, 24, 28, 20)


def test_cropping_and_padding(subject):
    masked = tio.CropOrPad(target_shape=(16, 16, 16), mask_name="label")(subject)
    assert masked.spatial_shape == (16, 16, 16)
    assert tio.CropOrPad(FULL)(subject).t1.shape == (1, *FULL)


def test_intensity_normalization(subject):
    normalized = tio.ZNormalization(masking_method="label")(subject)
    inside = normalized.t1.data[subject.label.data.bool()]
    assert abs(inside.mean()) < 1e-4
    assert abs(inside.std() - 1) < 1e-4
    rescaled = tio.RescaleIntensity(out_min_max=(0, 1))(subject).t1.data
    assert (rescaled.min(), rescaled.max()) == (0, 1)
    clipped = tio.RescaleIntensity(percentiles=(1, 99), out_min_max=(0, 1))(subject).t1.data
    assert (clipped.min(), clipped.max()) == (0, 1)
    assert (clipped == 1).sum() > 1


def test_histogram_standardization(subject, subjects):
    from torchio_gpu.transforms import HistogramStandardization

    landmarks = HistogramStandardization.train(
        [subject.t1 for subject in subjects], output_path="landmarks.npy"
    )
    np.testing.assert_array_equal(np.load("landmarks.npy"), landmarks)
    outs = [tio.HistogramStandardization({"t1": landmarks})(each).t1.data for each in subjects]
    before = [each.t1.data.median() for each in subjects]
    spread = [max(m) - min(m) for m in ([out.median() for out in outs], before)]
    assert spread[0] < spread[1]
    path = tio.HistogramStandardization({"t1": "landmarks.npy"})
    assert torch.equal(path(subject).t1.data, outs[0])


def augmentations():
    return {
        "affine": tio.RandomAffine(scales=(0.9, 1.1), degrees=10, translation=5, p=0.75),
        "elastic": tio.RandomElasticDeformation(
            num_control_points=7, max_displacement=1.5, locked_borders=2, p=0.5
        ),
        "flip": tio.RandomFlip(axes=("LR",), flip_probability=0.5),
        "bias": tio.RandomBiasField(coefficients=0.5, p=0.5),
        "noise": tio.RandomNoise(mean=0, std=(0, 0.1), p=0.5),
        "blur": tio.RandomBlur(std=(0, 2), p=0.5),
        "gamma": tio.RandomGamma(log_gamma=(-0.3, 0.3), p=0.5),
        "motion": tio.RandomMotion(degrees=10, translation=10, num_transforms=2, p=0.25),
        "ghosting": tio.RandomGhosting(
            num_ghosts=(4, 10), axes=(0, 1, 2), intensity=(0.5, 1), p=0.25
        ),
        "spike": tio.RandomSpike(num_spikes=1, intensity=(1, 3), p=0.25),
    }


def test_augmentations_applied_in_sequence(subject):
    augmented = subject
    for transform in augmentations().values():
        augmented = transform(augmented)
        assert augmented.shape == (1, 24, 28, 20)
    assert len(augmented.history) >= 1


def pipeline():
    return tio.Compose([
        tio.Resample(1.0),
        tio.CropOrPad(FULL),
        tio.ZNormalization(masking_method="label"),
        tio.RandomAffine(scales=(0.9, 1.1), degrees=10, p=0.75),
        tio.RandomElasticDeformation(max_displacement=1.5, p=0.5),
        tio.RandomBiasField(p=0.5),
        tio.RandomNoise(std=(0, 0.05), p=0.5),
        tio.RandomFlip(axes=("LR",), flip_probability=0.5),
    ])  # fmt: skip


def test_compose(subject):
    out = pipeline()(subject)
    assert out.shape == (1, *FULL)
    np.testing.assert_allclose(out.spacing, (1, 1, 1))
    assert set(out.label.data.unique().tolist()) <= {0, 1, 2}
    assert torch.isfinite(out.t1.data).all()


def test_data_loader(subjects):
    preprocessing = tio.Compose([tio.Resample(1.0), tio.CropOrPad(FULL), tio.ZNormalization()])
    dataset = tio.SubjectsDataset(subjects, transform=preprocessing)
    loader = torch.utils.data.DataLoader(dataset, batch_size=2, shuffle=True)
    for batch in loader:
        assert batch["t1"][tio.DATA].shape[1:] == (1, *FULL)
        assert batch["label"][tio.DATA].shape[1:] == (1, *FULL)


def test_advanced_preprocessing(subject):
    divisible = tio.EnsureShapeMultiple(8)(subject)
    assert divisible.t1.shape == (1, 24, 32, 24)
    one_hot = tio.OneHot(num_classes=3)(subject)
    assert one_hot.label.shape == (3, 24, 28, 20)
    assert (one_hot.label.data.sum(0) == 1).all()
    largest = tio.KeepLargestComponent()(subject)
    assert 0 < (largest.label.data > 0).sum() <= (subject.label.data > 0).sum()
    remapped = tio.RemapLabels(remapping={1: 1, 2: 1, 3: 2})(subject)
    assert torch.equal(remapped.label.data, (subject.label.data > 0).byte())


# matplotlib asks for an array in a way that tensors do not answer yet
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_quality_control(subject, subjects):
    plt = pytest.importorskip("matplotlib.pyplot")
    effects = {"original": lambda x: x, **augmentations()}
    figure, axes = plt.subplots(1, len(effects))
    for axis, (name, transform) in zip(axes, effects.items(), strict=True):
        image = transform(subject)
        axis.imshow(image.t1.data[0, :, :, image.t1.shape[-1] // 2].T, cmap="gray")
        axis.set_title(name)
    figure.savefig("augmentation_gallery.png", dpi=20)
    plt.close(figure)
    assert Path("augmentation_gallery.png").stat().st_size > 0
    for each in subjects:
        out = pipeline()(each)
        shapes = set()
        for image in out.get_images_dict(intensity_only=False).values():
            assert not torch.isnan(image.data).any()
            assert not torch.isinf(image.data).any()
            shapes.add(image.shape)
        assert len(shapes) == 1


def preprocess(subject, transform, output_dir):
    """Preprocess one subject and save its images."""
    transformed = transform(subject)
    folder = Path(output_dir) / f"sub-{subject.subject_id}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in transformed.get_images_dict(intensity_only=False).items():
        image.save(folder / f"{name}.nii.gz")
    return subject.subject_id


@pytest.mark.parametrize("parallel", [False, True])
def test_batch_processing(subjects, parallel):
    transform = tio.Compose([tio.Resample(1.0), tio.CropOrPad(FULL), tio.ZNormalization()])
    run = partial(preprocess, transform=transform, output_dir="preprocessed")
    if parallel:
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            done = list(pool.map(run, subjects))
    else:
        done = list(map(run, subjects))
    assert done == list(IDS)
    for sub in IDS:
        image = tio.ScalarImage(f"preprocessed/sub-{sub}/t1.nii.gz")
        assert image.shape == (1, *FULL)
        np.testing.assert_allclose(image.spacing, (1, 1, 1), rtol=1e-6)


def test_transforms_one_by_one(subjects):
    out = subjects[0]
    steps = [tio.Resample(1.0), tio.CropOrPad(FULL), tio.ZNormalization(), tio.RandomAffine(p=1.0)]
    for transform in steps:
        out = transform(out)
    assert out.t1.shape == (1, *FULL)
    assert len(out.history) == 4

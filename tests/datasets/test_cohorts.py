"""Datasets of many subjects that are downloaded: names, voxels, metadata, transforms, errors."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from nibabel.testing import data_path

import torchio_gpu as tio
from tests.datasets import making
from tests.datasets.server import Served
from torchio_gpu import datasets
from torchio_gpu.datasets import BITE3, EPISURG, IXI, IXITiny

MINC = Path(data_path, "tiny.mnc").read_bytes()
IXI_FILES = {
    "T1": making.images(*(f"IXI{n:03}-Guys-0{n}-T1.nii.gz" for n in (2, 12, 13))),
    "T2": making.images(*(f"IXI{n:03}-Guys-0{n}-T2.nii.gz" for n in (12, 2))),
    "DTI": making.images(*(f"IXI012-Guys-012-DTI-{n:02}.nii.gz" for n in range(3))),
}
TINY_FILES = making.images(
    *(f"ixi_tiny/image/IXI00{n}-Guys-0{n}_image.nii.gz" for n in (1, 2)),
    *(f"ixi_tiny/label/IXI00{n}-Guys-0{n}_label.nii.gz" for n in (1, 2)),
)
EPISURG_FILES = {
    "EPISURG/subjects.csv": b"Subject,Hemisphere,Type\nsub-0001,Left,Temporal\n"
    b"sub-0002,Right,Frontal\n",
    **making.images(
        "EPISURG/subjects/sub-0001/postop/sub-0001_postop-t1mri-1.nii.gz",
        "EPISURG/subjects/sub-0001/postop/sub-0001_postop-seg-1.nii.gz",
        "EPISURG/subjects/sub-0001/postop/sub-0001_postop-seg-3.nii.gz",
        "EPISURG/subjects/sub-0002/postop/sub-0002_postop-t1mri-1.nii.gz",
        "EPISURG/subjects/sub-0002/preop/sub-0002_preop-t1mri-1.nii.gz",
    ),
}
BITE_FILES = {
    f"group3/{n:02}/{n:02}_{name}.mnc": MINC
    for n in range(1, 15)
    for name in ("preop_mri", "postop_mri", *(["preop_tumor"] if n == 2 else []))
    if n != 13
}


class Doubled:
    """Transform that doubles intensities."""

    def __call__(self, subject: tio.Subject) -> tio.Subject:
        for image in subject.get_images():
            image.set_data(image.data * 2)
        return subject


@pytest.fixture
def ixi(server: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    archives = {name: making.tar_bytes(files) for name, files in IXI_FILES.items()}
    server.files = {f"/IXI-{name}.tar": data for name, data in archives.items()}
    monkeypatch.setattr(IXI, "base_url", server.url + "/IXI-{modality}.tar")
    checksums = {name: making.md5(data) for name, data in archives.items()}
    monkeypatch.setattr(IXI, "md5_dict", {**IXI.md5_dict, **checksums})
    return server


def test_ixi_has_the_subjects_with_all_modalities(ixi, tmp_path):
    root = tmp_path / "ixi"
    dataset = IXI(root, download=True)
    assert isinstance(dataset, tio.SubjectsDataset)
    assert [s.subject_id for s in dataset.dry_iter()] == ["IXI002-Guys-02", "IXI012-Guys-012"]
    assert not any(image.loaded for s in dataset.dry_iter() for image in s.get_images())
    for subject, seeds in zip(dataset, [(0, 1), (1, 0)], strict=True):
        assert subject.get_images_names() == ["T1", "T2"]
        for image, seed in zip(subject.get_images(), seeds, strict=True):
            assert isinstance(image, tio.ScalarImage)
            assert torch.equal(image.data, making.volume(seed))
            assert np.array_equal(image.affine, making.AFFINE)
    assert making.names(root) == ["T1", "T2"]


def test_ixi_downloads_what_is_missing_alone(ixi, tmp_path):
    IXI(tmp_path, download=True, modalities=["T1"])
    IXI(tmp_path, download=True, modalities=("T1", "T2"))
    assert [path for path, _ in ixi.requests] == ["/IXI-T1.tar", "/IXI-T2.tar"]
    assert len(IXI(tmp_path, modalities=("T1",))) == 3
    assert len(ixi.requests) == 2


def test_directions_of_ixi_are_channels(ixi, tmp_path):
    (subject,) = IXI(tmp_path, True, ("DTI", "T1")).dry_iter()
    assert subject.subject_id == "IXI012-Guys-012"
    assert subject.get_images_names() == ["DTI", "T1"]
    oracle = torch.cat([making.volume(n) for n in range(3)])
    assert torch.equal(subject.DTI.data, oracle)


def test_ixi_passes_arguments_on(ixi, tmp_path):
    dataset = IXI(tmp_path, download=True, modalities=["T1"], transform=Doubled())
    assert torch.equal(dataset[0].T1.data, making.volume(0) * 2)


def test_missing_ixi_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"dataset not found, .*T1.*: download=True down"):
        IXI(tmp_path)
    (tmp_path / "T1").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no subject has all of \['T1'\].*download=True"):
        IXI(tmp_path, modalities=["T1"])


@pytest.mark.parametrize("modalities", [("T1", "T3"), ()])
def test_other_modalities_are_refused(tmp_path, modalities):
    with pytest.raises(ValueError, match=r"modalities must be among \['T1', 'T2', 'PD'"):
        IXI(tmp_path, modalities=modalities)


def test_another_checksum_leaves_no_folder(ixi, tmp_path, monkeypatch):
    monkeypatch.setitem(IXI.md5_dict, "T1", "0" * 32)
    with pytest.raises(ValueError, match="must have md5 0000"):
        IXI(tmp_path, download=True)
    assert making.names(tmp_path) == []


def test_an_interrupted_download_is_resumed(ixi, tmp_path):
    size = len(ixi.files["/IXI-T1.tar"])
    ixi.cuts = [size // 2] + [size // 2 + n for n in range(1, 5)]
    with pytest.raises(OSError, match="in 5 tries"):
        IXI(tmp_path, download=True, modalities=["T1"])
    assert not (tmp_path / "T1").exists()
    assert len(IXI(tmp_path, download=True, modalities=["T1"])) == 3
    assert ixi.ranges_asked()[-1] == f"bytes={size // 2 + 4}-"


@pytest.fixture
def tiny(server: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    server.files["/ixi_tiny.zip"] = making.zip_bytes(TINY_FILES)
    monkeypatch.setattr(IXITiny, "url", f"{server.url}/ixi_tiny.zip?dl=1")
    monkeypatch.setattr(IXITiny, "md5", making.md5(server.files["/ixi_tiny.zip"]))
    return server


def test_ixi_tiny_pairs_images_and_labels(tiny, tmp_path):
    for _ in range(2):
        dataset = IXITiny(tmp_path / "tiny", Doubled(), download=True)
    assert len(tiny.requests) == 1
    assert making.names(tmp_path / "tiny") == ["image", "label"]
    assert [s.subject_id for s in dataset.dry_iter()] == ["IXI001-Guys", "IXI002-Guys"]
    for n, subject in enumerate(tio.SubjectsDataset(dataset.dry_iter(), Doubled())):
        assert isinstance(subject.image, tio.ScalarImage)
        assert isinstance(subject.label, tio.LabelMap)
        assert torch.equal(subject.image.data, making.volume(n) * 2)
        assert torch.equal(subject.label.data, making.volume(n + 2))
        assert torch.equal(dataset[n].image.data, subject.image.data)


def test_ixi_tiny_downloads_a_folder_that_is_missing(tiny, tmp_path):
    (tmp_path / "image").mkdir()
    making.write(tmp_path / "image", making.images("IXI005-Own-05_image.nii.gz"))
    with pytest.raises(ValueError, match=r"must hold as many files each, got \[1, 2\]"):
        IXITiny(tmp_path, download=True)
    (tmp_path / "label" / "IXI002-Guys-02_label.nii.gz").unlink()
    assert IXITiny(tmp_path)[0].subject_id == "IXI005-Own"


def test_missing_ixi_tiny_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"dataset not found, .*image.*download=True"):
        IXITiny(tmp_path / "tiny")
    for name in ("image", "label"):
        (tmp_path / name).mkdir()
    with pytest.raises(FileNotFoundError, match="is empty: remove both, and download=True"):
        IXITiny(tmp_path)


@pytest.fixture
def episurg(server: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> EPISURG:
    server.files["/EPISURG.zip"] = making.zip_bytes(EPISURG_FILES)
    monkeypatch.setattr(EPISURG, "data_url", f"{server.url}/EPISURG.zip")
    monkeypatch.setattr(EPISURG, "md5", making.md5(server.files["/EPISURG.zip"]))
    return EPISURG(tmp_path, download=True, transform=Doubled())


def test_episurg(episurg, tmp_path):
    first, second = episurg.dry_iter()
    assert first.metadata == {
        "subject_id": "sub-0001",
        "hemisphere": "Left",
        "surgery_type": "Temporal",
    }
    assert first.get_images_names() == ["postop_mri", "seg_1", "seg_3"]
    assert isinstance(first.seg_1, tio.LabelMap)
    assert second.get_images_names() == ["preop_mri", "postop_mri"]
    assert torch.equal(second.preop_mri.data, making.volume(4))
    assert "EPISURG.zip" not in making.names(tmp_path)


def test_subsets_of_episurg(episurg):
    sets = {"labeled": "sub-0001", "unlabeled": "sub-0002", "paired": "sub-0002"}
    for name, expected in sets.items():
        subset = getattr(episurg, f"get_{name}")()
        assert [subject.subject_id for subject in subset.dry_iter()] == [expected]
        image = subset[0].postop_mri
        assert torch.equal(image.data, tio.ScalarImage(image.path).data * 2)


def test_missing_episurg_says_what_to_do(episurg, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"subjects\.csv is no file: download=True"):
        EPISURG(tmp_path / "none")
    folder = tmp_path / "EPISURG/subjects/sub-0002/postop"
    next(folder.iterdir()).unlink()
    with pytest.raises(
        FileNotFoundError, match=r"got 0 and 1: remove .*EPISURG, and download=True"
    ):
        EPISURG(tmp_path)


def test_an_archive_without_its_folder_is_refused(server, monkeypatch, tmp_path):
    archive = making.zip_bytes({"other/subjects.csv": b""})
    server.files["/EPISURG.zip"] = archive
    monkeypatch.setattr(EPISURG, "data_url", f"{server.url}/EPISURG.zip")
    monkeypatch.setattr(EPISURG, "md5", making.md5(archive))
    with pytest.raises(ValueError, match=r"EPISURG\.zip must hold a folder 'EPISURG'"):
        EPISURG(tmp_path, download=True)
    assert making.names(tmp_path) == []


def test_bite(server, monkeypatch, tmp_path):
    server.files["/group3.tar.gz"] = making.tar_bytes(BITE_FILES, "w:gz")
    monkeypatch.setattr(BITE3, "base_url", f"{server.url}/")
    monkeypatch.setattr(BITE3, "md5", making.md5(server.files["/group3.tar.gz"]))
    dataset = BITE3(tmp_path, download=True, transform=Doubled())
    assert len(dataset) == 13
    assert {tuple(subject.get_images_names()) for subject in dataset.dry_iter()} == {
        ("preop", "postop"),
        ("preop", "postop", "preop_tumor"),
    }
    assert isinstance(dataset.dry_iter()[1].preop_tumor, tio.LabelMap)
    plain = dataset.dry_iter()[0].preop
    assert torch.equal(dataset[0].preop.data, plain.data * 2)
    (tmp_path / "group3/05/05_preop_mri.mnc").unlink()
    with pytest.raises(FileNotFoundError, match="05_preop_mri"):
        BITE3(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"dataset not found.*group3.*download=True"):
        BITE3(tmp_path / "none")


MEDICAL = ["Organ", "Nodule", "Adrenal", "Fracture", "Vessel", "Synapse"]


@pytest.fixture
def medmnist(server: Served, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(0)
    arrays = {}
    for count, split in enumerate(("train", "val", "test"), 1):
        arrays[f"{split}_images"] = numbers.integers(0, 256, (count, 4, 5, 6), np.uint8)
        arrays[f"{split}_labels"] = numbers.integers(0, 9, (count, 1), np.uint8)
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    server.files = {f"/{name.lower()}mnist3d.npz": file.getvalue() for name in MEDICAL}
    monkeypatch.setattr(datasets.OrganMNIST3D.__base__, "BASE_URL", server.url)
    return arrays


@pytest.mark.parametrize("name", MEDICAL)
@pytest.mark.parametrize("split", ["train", "training", "val", "validation", "test", "testing"])
def test_medmnist(medmnist, server, cache, name, split):
    cls = getattr(datasets, f"{name}MNIST3D")
    dataset = cls(split, transform=Doubled())
    short = {"training": "train", "validation": "val", "testing": "test"}.get(split, split)
    assert len(dataset) == len(medmnist[f"{short}_images"])
    for n, subject in enumerate(dataset.dry_iter()):
        assert isinstance(subject.image, tio.ScalarImage)
        assert np.array_equal(subject.image.numpy()[0], medmnist[f"{short}_images"][n])
        assert torch.equal(subject.labels, torch.tensor(medmnist[f"{short}_labels"][n]))
        assert torch.equal(dataset[n].image.data, subject.image.data * 2)
    assert server.requests[0][0] == f"/{name.lower()}mnist3d.npz?download=1"
    assert making.names(cache / "MedMNIST") == [f"{name.lower()}mnist3d.npz"]
    cls(split)
    assert len(server.requests) == 1


def test_batches_of_medmnist_have_labels(medmnist):
    dataset = datasets.OrganMNIST3D("test")
    batch = next(iter(tio.SubjectsLoader(dataset, batch_size=3)))
    assert batch.image.data.shape == (3, 1, 4, 5, 6)
    assert torch.equal(torch.stack(list(batch["labels"])), torch.tensor(medmnist["test_labels"]))


def test_a_subject_of_medmnist_is_pickled_alone(medmnist):
    subject = datasets.OrganMNIST3D("test").dry_iter()[0]
    assert len(pickle.dumps(subject.image.data)) < 120 + 500


def test_other_splits_are_refused():
    with pytest.raises(ValueError, match=r"split must be one of .*'validation'.* got 'all'"):
        datasets.OrganMNIST3D("all")

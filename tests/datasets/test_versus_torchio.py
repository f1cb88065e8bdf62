"""TorchIO 1.2.1 as oracle: signatures of constructors, and what it reads of the same files."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import torchio

import torchio_gpu as tio
from tests.datasets import making, test_challenges, test_cohorts, test_single_subjects
from tests.datasets.test_single_subjects import CASES
from torchio_gpu import datasets

NAMES = sorted(torchio.datasets.__all__)
spines, tumours, chests = test_challenges.spines, test_challenges.tumours, test_challenges.chests


def test_all_classes_are_there():
    assert {*NAMES, "cache_folder", "mni152"} == set(datasets.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_constructors_take_the_same_arguments(name):
    ours, theirs = (
        [
            (p.name, p.kind, p.default)
            for p in inspect.signature(getattr(package, name)).parameters.values()
        ]
        for package in (datasets, torchio.datasets)
    )
    assert ours == theirs


@pytest.mark.parametrize("name", NAMES)
def test_classes_have_the_same_base(name):
    cls = getattr(datasets, name)
    theirs = getattr(torchio.datasets, name)
    base = "SubjectsDataset" if issubclass(theirs, torchio.SubjectsDataset) else "Subject"
    assert issubclass(cls, getattr(tio, base))
    assert cls.__doc__


def assert_same(ours: tio.Subject, theirs: Mapping, read: bool = True) -> None:
    """Assert that two subjects have the same names, kinds, files and metadata.

    Args:
        read: Compare voxels and affines, too.
    """
    assert set(ours.keys()) == set(theirs.keys())
    for name, value in theirs.items():
        if not isinstance(value, torchio.Image):
            assert ours[name] == value
            continue
        image = ours[name]
        kind = {torchio.INTENSITY: "intensity", torchio.LABEL: "label"}[value.type]
        assert (image.kind, image.path) == (kind, value.path)
        for key in image.metadata:
            if isinstance(value[key], torch.Tensor):
                assert torch.allclose(image[key], value[key], atol=1e-12)  # float64
            else:
                assert image[key] == value[key]
        if read:
            assert torch.equal(image.data, value.data.to(image.data.dtype)), name
            assert np.allclose(image.affine, value.affine, atol=1e-6)  # float32 headers


def assert_same_datasets(name: str, root: Path, read: bool = True, **kwargs: object) -> None:
    """Assert that a dataset has the same subjects in either package."""
    ours = getattr(datasets, name)(root, **kwargs).dry_iter()
    theirs = getattr(torchio.datasets, name)(root, **kwargs).dry_iter()
    assert len(ours) == len(theirs) > 0
    for pair in zip(ours, theirs, strict=True):
        assert_same(*pair, read)


def test_ixi(tmp_path):
    for modality in ("T1", "T2"):
        making.write(tmp_path / modality, test_cohorts.IXI_FILES[modality])
    assert_same_datasets("IXI", tmp_path)


def test_ixi_tiny(tmp_path):
    making.write(tmp_path, test_cohorts.TINY_FILES)
    assert_same_datasets("IXITiny", tmp_path / "ixi_tiny")


def test_episurg(tmp_path):
    making.write(tmp_path, test_cohorts.EPISURG_FILES)
    assert_same_datasets("EPISURG", tmp_path)


def test_bite(tmp_path):
    making.write(tmp_path, test_cohorts.BITE_FILES)
    assert_same_datasets("BITE3", tmp_path, read=False)  # TorchIO warns of each file


def test_rsna_miccai(tumours):
    for kwargs in ({}, {"train": False}, {"ignore_empty": False, "modalities": "T1w"}):
        assert_same_datasets("RSNAMICCAI", tumours, **kwargs)


def test_rsna_spine_fracture(spines):
    pytest.importorskip("pandas")
    for added in (False, True):
        kwargs = {"add_segmentations": added, "add_bounding_boxes": added}
        assert_same_datasets("RSNACervicalSpineFracture", spines, read=False, **kwargs)


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # of pandas, to TorchIO
def test_ct_rate(chests):
    pytest.importorskip("pandas")
    table = chests / "dataset/radiology_text_reports/train_reports.csv"
    table.write_text(table.read_text().replace("none,\n", "none,MR\n"))  # TorchIO needs a text
    for kwargs in ({}, {"num_subjects": 1, "report_key": "text", "load_fixed": False}):
        assert_same_datasets("CtRate", chests, sizes=[512], **kwargs)


@pytest.fixture
def shared_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Cache folder of TorchIO, which is this library's cache folder as well."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    folder = tmp_path / ".cache" / "torchio"
    monkeypatch.setenv("TORCHIO_GPU_CACHE", str(folder))
    return folder


ARGUMENTS = {
    "Colin27": {},
    "Colin27 of 2008": {"version": 2008},
    "ICBM2009CNonlinearSymmetric": {"load_4d_tissues": False},
    "Pediatric": {"years": (4.5, 8.5)},
    "Pediatric, symmetric": {"years": (7, 11), "symmetric": True},
    "Sheep": {},
    "BrainTumor": {},
    "T1T2": {},
    "AorticValve": {},
}


@pytest.mark.parametrize("name", CASES)
def test_archives(shared_cache, name):
    case, kwargs = CASES[name], ARGUMENTS[name]
    making.write(shared_cache / Path(case.path).stem, case.files)
    cls = re.match(r"\w+", name)[0]
    theirs = getattr(torchio.datasets, cls)(**kwargs)
    ours = getattr(datasets, cls)(**kwargs)
    if cls == "ICBM2009CNonlinearSymmetric":
        # TorchIO reads the image of cerebrospinal fluid in place of the PD-weighted one
        assert theirs["pd"].path == theirs["csf"].path
        theirs["pd"] = torchio.ScalarImage(str(theirs["csf"].path).replace("_csf_", "_pd_"))
    assert_same(ours, theirs)


@pytest.mark.filterwarnings('ignore:The "channels_last" keyword')  # of TorchIO, to itself
def test_tissues_of_icbm(shared_cache):
    case = CASES["ICBM2009CNonlinearSymmetric"]
    making.write(shared_cache / Path(case.path).stem, case.files)
    theirs = torchio.datasets.ICBM2009CNonlinearSymmetric()
    ours = datasets.ICBM2009CNonlinearSymmetric()
    assert torch.equal(ours.tissues.data, theirs["tissues"].data)


def test_medmnist(shared_cache):
    arrays = {f"{n}_images": np.arange(54, dtype=np.uint8).reshape(2, 3, 3, 3) for n in ("val",)}
    (shared_cache / "MedMNIST").mkdir(parents=True)
    path = shared_cache / "MedMNIST" / "organmnist3d.npz"
    np.savez(path, **arrays, val_labels=np.array([[3], [4]], np.uint8))
    pairs = (
        package.OrganMNIST3D("validation").dry_iter() for package in (datasets, torchio.datasets)
    )
    for ours, theirs in zip(*pairs, strict=True):
        assert list(ours.keys()) == [*theirs.keys()]
        assert torch.equal(ours.image.data, theirs["image"].data)
        assert torch.equal(ours.labels, theirs["labels"])


@pytest.mark.parametrize("name", torchio.datasets.slicer.URLS_DICT)
def test_slicer(shared_cache, name):
    files, places = torchio.datasets.slicer.URLS_DICT[name]
    names = [file.replace("-", "_") for file in files]
    assert datasets.slicer.URLS_DICT[name] == dict(zip(names, places, strict=True))
    files = {
        "DTIVolume.raw.gz": test_single_subjects.RAW,
        "DTIVolume.nhdr": test_single_subjects.NHDR,
    }
    for file in names:
        making.write(shared_cache / "slicer", {file: files.get(file) or making.image_bytes(file)})
    assert_same(datasets.Slicer(name), torchio.datasets.Slicer(name))


@pytest.mark.parametrize("load_all", [False, True])
def test_fpg(shared_cache, load_all):
    names = ("t1.nii.gz", "t1_seg_gif.nii.gz", "t2.nii.gz", "fmri.nrrd", "dmri.nrrd")
    making.write(shared_cache / "fpg", making.images(*names))
    for number, name in enumerate(("t1_to_mni.tfm", "t1_to_mni_affine.h5")):
        matrix = [1.1, 0.1, 0, 0, 0.9, 0.2, 0, number, 1.2]
        sitk.WriteTransform(
            sitk.AffineTransform(matrix, (1, 2, 3)), str(shared_cache / "fpg" / name)
        )
    ours, theirs = (package.FPG(load_all) for package in (datasets, torchio.datasets))
    assert_same(ours, theirs)
    assert ours.t1["rigid_matrix"].dtype == torch.float64
    assert ours.GIF_COLORS == theirs.GIF_COLORS


def test_constants():
    for name, attributes in {
        "IXI": ("base_url", "md5_dict"),
        "IXITiny": ("url", "md5"),
        "EPISURG": ("data_url", "md5"),
        "BITE3": ("base_url", "dirname"),
        "OrganMNIST3D": ("BASE_URL",),
        "BrainTumor": ("url_base",),
        "Sheep": ("url_base",),
        "Colin27": ("url_base", "NAME_TO_LABEL"),
        "RSNAMICCAI": ("id_key", "label_key", "bad_subjects"),
        "RSNACervicalSpineFracture": ("UID",),
        "CtRate": ("ABNORMALITIES", "REPORT_KEYS"),
    }.items():
        for attribute in attributes:
            ours = getattr(getattr(datasets, name), attribute)
            assert ours == getattr(getattr(torchio.datasets, name), attribute)

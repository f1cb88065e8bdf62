"""Atlases and sample images: names, kinds, voxels, one download to the cache, errors."""

from __future__ import annotations

import copy
import gzip
import hashlib
import inspect
import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

import torchio_gpu as tio
from tests.datasets import making
from tests.datasets.server import Served
from torchio_gpu import datasets
from torchio_gpu.datasets import mni, slicer

S, L = tio.ScalarImage, tio.LabelMap
ICBM = "mni_icbm152_nlin_sym_09c/mni_icbm152_{}_tal_nlin_sym_09c{}.nii"
ICBM_FILES = making.images(
    *(ICBM.format(*parts) for parts in (("t1", ""), ("t1", "_eye_mask"), ("t1", "_face_mask"))),
    *(ICBM.format(*parts) for parts in (("t1", "_mask"), ("t2", ""), ("pd", ""))),
    *(ICBM.format(part, "") for part in ("gm", "wm", "csf")),
)


@dataclass(frozen=True)
class Case:
    """Archive of a subject, and the images that the subject has.

    Args:
        make: Function that makes the subject.
        path: Path of the archive on its server.
        files: Files of the archive.
        images: Kind of each image and the number of its file.
    """

    make: Callable[[], tio.Subject]
    path: str
    files: Mapping[str, bytes]
    images: dict[str, tuple[type[tio.Image], int]]


CASES = {
    "Colin27": Case(
        datasets.Colin27,
        "colin27/mni_colin27_1998_nifti.zip",
        making.images(*(f"colin27_t1_tal_lin{part}.nii" for part in ("", "_headmask", "_mask"))),
        {"t1": (S, 0), "head": (L, 1), "brain": (L, 2)},
    ),
    "Colin27 of 2008": Case(
        lambda: datasets.Colin27(2008),
        "colin27/mni_colin27_2008_nifti.zip",
        making.images(*(f"colin27_{part}_tal_hires.nii" for part in ("t1", "t2", "pd", "cls"))),
        {"t1": (S, 0), "t2": (S, 1), "pd": (S, 2), "cls": (L, 3)},
    ),
    "ICBM2009CNonlinearSymmetric": Case(
        lambda: datasets.ICBM2009CNonlinearSymmetric(load_4d_tissues=False),
        "mni_icbm152_nlin_sym_09c_nifti.zip",
        ICBM_FILES,
        {
            "t1": (S, 0),
            "eyes": (L, 1),
            "face": (L, 2),
            "brain": (L, 3),
            "t2": (S, 4),
            "pd": (S, 5),
            "gm": (L, 6),
            "wm": (L, 7),
            "csf": (L, 8),
        },
    ),
    "Pediatric": Case(
        lambda: datasets.Pediatric((4.5, 8.5)),
        "nihpd_asym_04.5-08.5_nifti.zip",
        making.images(
            *(f"nihpd_asym_04.5-08.5_{part}.nii" for part in ("t1w", "t2w", "pdw", "mask"))
        ),
        {"t1": (S, 0), "t2": (S, 1), "pd": (S, 2), "mask": (L, 3)},
    ),
    "Pediatric, symmetric": Case(
        lambda: datasets.Pediatric((7, 11), symmetric=True),
        "nihpd_sym_07.0-11.0_nifti.zip",
        making.images(
            *(f"nihpd_sym_07.0-11.0_{part}.nii" for part in ("t1w", "t2w", "pdw", "mask"))
        ),
        {"t1": (S, 0), "t2": (S, 1), "pd": (S, 2), "mask": (L, 3)},
    ),
    "Sheep": Case(
        datasets.Sheep,
        "sheep/NIFTI_ovine_05mm.zip",
        making.images("ovine_model_05.nii", "masks/ovine_mask.nii"),
        {"t1": (S, 0)},
    ),
    "BrainTumor": Case(
        datasets.BrainTumor,
        "6161/braintumor.zip",
        making.images(
            *(f"braintumor/BRATS_HG0015_{n}.mha" for n in ("T1", "T1C", "T2", "FLAIR", "truth"))
        ),
        {"t1": (S, 0), "t1c": (S, 1), "t2": (S, 2), "flair": (S, 3), "seg": (L, 4)},
    ),
    "T1T2": Case(
        datasets.T1T2,
        "10983/ashs_test.zip",
        making.images("ashs_test/mprage_3T_bet_dr.nii", "ashs_test/tse_3t_dr.nii"),
        {"mprage": (S, 0), "tse": (S, 1)},
    ),
    "AorticValve": Case(
        datasets.AorticValve,
        "11021/bav_example.zip",
        making.images(
            *(f"bav_example/bav_frame_{n}.nii.gz" for n in ("14", "14_manseg", "25", "25_manseg"))
        ),
        {"b14": (S, 0), "b14_seg": (L, 1), "b25": (S, 2), "b25_seg": (L, 3)},
    ),
}


@pytest.fixture
def served(server: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """Server of all archives, which the classes take theirs from."""
    for case in CASES.values():
        server.files[f"/{case.path}"] = making.zip_bytes(case.files)
    for cls in (
        *(mni.SubjectMNI, datasets.ICBM2009CNonlinearSymmetric, datasets.Pediatric),
        *(datasets.BrainTumor, datasets.T1T2, datasets.AorticValve, datasets.Slicer, datasets.FPG),
    ):
        monkeypatch.setattr(cls, "url_base", f"{server.url}/")
    return server


@pytest.mark.parametrize("name", CASES)
def test_subjects_are_downloaded_once(served, cache, name):
    case = CASES[name]
    case.make()
    subject = case.make()
    assert [path for path, _ in served.requests] == [f"/{case.path}"]
    assert isinstance(subject, tio.Subject)
    assert type(subject).__name__ == name.partition(",")[0].partition(" ")[0]
    assert list(subject.keys()) == [*case.images]
    for key, (kind, number) in case.images.items():
        assert type(subject[key]) is kind
        assert torch.equal(subject[key].data, making.volume(number)), key
        assert np.array_equal(subject[key].affine, making.AFFINE)
    assert making.names(cache) == [Path(case.path).stem]


@pytest.mark.parametrize("name", CASES)
def test_subjects_can_be_copied_pickled_and_transformed(served, name):
    subject = CASES[name].make()
    flipped = tio.Flip(0)(subject)
    for key in subject:
        assert torch.equal(flipped[key].data, subject[key].data.flip(1))
    for other in (copy.copy(subject), copy.deepcopy(subject), pickle.loads(pickle.dumps(subject))):
        assert type(other) is type(subject)
        assert list(other.keys()) == list(subject.keys())
    (sample,) = next(iter(tio.SubjectsLoader(tio.SubjectsDataset([subject])))).unbatch()
    assert list(sample.keys()) == list(subject.keys())


def test_threads_that_want_the_same_subject_share_its_archive(served):
    case = CASES["AorticValve"]
    with ThreadPoolExecutor(4) as pool:
        subjects = [*pool.map(lambda _: case.make(), range(4))]
    assert len(served.requests) == 1
    assert all(torch.equal(s.b25.data, making.volume(2)) for s in subjects)


def test_what_a_killed_extraction_left_is_removed(served, cache):
    making.write(cache / ".bav_example.zip.extracted" / "content", {"bav_example/half": b"x"})
    CASES["AorticValve"].make()
    assert making.names(cache) == ["bav_example"]
    assert not (cache / "bav_example/bav_example/half").exists()


def test_compressed_files_of_an_older_cache_are_read(served, cache):
    case = CASES["Colin27"]
    folder = cache / "mni_colin27_1998_nifti"
    making.write(folder, making.images(*(f"{name}.gz" for name in case.files)))
    assert torch.equal(case.make().brain.data, making.volume(2))
    assert served.requests == []


def test_a_cache_without_a_file_is_named(served, cache):
    case = CASES["AorticValve"]
    case.make()
    (cache / "bav_example/bav_example/bav_frame_25.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no bav_frame_25\.nii\.gz: remove it, and"):
        case.make()


def test_an_archive_without_its_folder_or_that_is_none_is_refused(served, cache):
    served.files["/6161/braintumor.zip"] = b"<html>moved</html>"
    with pytest.raises(ValueError, match=r"braintumor\.zip is damaged, or of a kind not known"):
        datasets.BrainTumor()
    assert making.names(cache) == []


def test_colin_2008_has_whole_labels_with_names(served, cache):
    scaled = making.volume(3).float() - 0.003  # as scaled integers are read
    files = {**CASES["Colin27 of 2008"].files}
    name = "colin27_cls_tal_hires.nii"
    files[name] = making.image_bytes(name, data=scaled)
    served.files["/colin27/mni_colin27_2008_nifti.zip"] = making.zip_bytes(files)
    subject = datasets.Colin27(version=2008)
    assert subject.version == 2008
    assert subject.cls.data.dtype == torch.uint8
    assert torch.equal(subject.cls.data, making.volume(3).byte())
    assert np.array_equal(subject.cls.affine, making.AFFINE)
    assert subject.cls["labels"][3] == "White Matter"
    assert datasets.Colin27.NAME_TO_LABEL["White Matter"] == 3


def test_tissues_of_icbm_are_channels(served):
    subject = datasets.ICBM2009CNonlinearSymmetric()
    assert subject.get_images_names()[-2:] == ["pd", "tissues"]
    assert isinstance(subject.tissues, tio.LabelMap)
    assert torch.equal(subject.tissues.data, torch.cat([making.volume(n) for n in (6, 7, 8)]))


def test_other_arguments_are_refused():
    with pytest.raises(ValueError, match="version must be 1998 or 2008, got 2000"):
        datasets.Colin27(2000)
    with pytest.raises(ValueError, match=r"years must be one of .* got \(1, 2\)"):
        datasets.Pediatric((1, 2))
    with pytest.raises(ValueError, match=r"name must be one of \['MRHead'.*got 'Head'"):
        datasets.Slicer("Head")


NHDR = b"""NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: 3 4 5
space directions: (1,0,0) (0,1,0) (0,0,1)
space origin: (0,0,0)
kinds: domain domain domain
endian: little
encoding: gzip
data file: DTIVolume.raw.gz
"""
#: Voxels of that header, of which x is the fastest.
RAW = gzip.compress(making.volume(4)[0].permute(2, 1, 0).numpy().tobytes())


@pytest.mark.parametrize("name", ["MRHead", "DTIBrain", "DTIVolume", "CTChest", "CTACardio"])
def test_slicer(served, cache, monkeypatch, name):
    files = {}
    for file in slicer.URLS_DICT[name]:
        data = making.image_bytes("image.nrrd", 4)
        if file.endswith(".nhdr"):
            data = NHDR
        elif file.endswith(".raw.gz"):
            data = RAW
        checksum = hashlib.sha256(data).hexdigest()
        files[file] = f"SHA256/{checksum}"
        served.files[f"/SHA256/{checksum}"] = data
    monkeypatch.setitem(slicer.URLS_DICT, name, files)
    subject = datasets.Slicer() if name == "MRHead" else datasets.Slicer(name)
    keys = {"DTIBrain": "DTI_Brain", "CTChest": "CT_chest", "CTACardio": "CTA_cardio"}
    assert list(subject.keys()) == [keys.get(name, name)]
    assert torch.equal(subject.get_first_image().data, making.volume(4))
    assert making.names(cache / "slicer") == sorted(files)


def test_slicer_compares_checksums(served, cache):
    place = next(iter(slicer.URLS_DICT["MRHead"].values()))
    served.files[f"/{place}"] = making.image_bytes("image.nrrd")
    with pytest.raises(ValueError, match="must have sha256 cc211f"):
        datasets.Slicer()
    assert making.names(cache / "slicer") == []


def transform_bytes(transform: sitk.Transform, path: Path) -> bytes:
    sitk.WriteTransform(transform, str(path))
    return path.read_bytes()


@pytest.mark.parametrize("load_all", [False, True])
def test_fpg(served, tmp_path, load_all):
    rigid = sitk.Euler3DTransform((3, 4, 5), 0.1, 0.2, 0.3, (7, 8, 9))
    affine = sitk.AffineTransform([1.1, 0.1, 0, 0, 0.9, 0.2, 0, 0, 1.2], (1, 2, 3), (4, 5, 6))
    files = making.images("t1.nii.gz", "t1_seg_gif.nii.gz", "t2.nii.gz", "fmri.nrrd", "dmri.nrrd")
    files["t1_to_mni.tfm"] = transform_bytes(rigid, tmp_path / "x.tfm")
    files["t1_to_mni_affine.h5"] = transform_bytes(affine, tmp_path / "x.h5")
    served.files = {f"/{name}": data for name, data in files.items()}
    for _ in range(2):
        subject = datasets.FPG(load_all=load_all)
    assert len(served.requests) == (7 if load_all else 4)
    assert list(subject.keys()) == ["t1", "seg", *(["t2", "fmri", "dmri"] if load_all else [])]
    assert isinstance(subject.seg, tio.LabelMap)
    for n, key in enumerate(subject.get_images_names()):
        assert torch.equal(subject[key].data, making.volume(n))
    flip = np.diag([-1, -1, 1])
    for image in (subject.t1, subject.seg):
        for key, transform in (("rigid_matrix", rigid), ("affine_matrix", affine)):
            point = np.array([10.0, 20, 30])  # of the template, in LPS+
            floating = np.array(transform.TransformPoint(point.tolist()))
            moved = image[key].numpy() @ [*(flip @ floating), 1]
            assert np.allclose(moved[:3], flip @ point, atol=1e-9)  # float64


def test_colours_of_gif():
    assert datasets.FPG.GIF_COLORS[5] == (127, 255, 212)
    assert datasets.FPG.GIF_COLORS[208] == datasets.FPG.GIF_COLORS[207] == (0, 0, 128)


@pytest.mark.parametrize("size", [3, 4, 21, 40])
def test_zone_plate_equals_its_formula(size):
    plate = datasets.ZonePlate(size)
    assert plate.size == size
    assert plate.image.shape == (1, size, size, size)
    assert plate.image.data.dtype == torch.float32
    assert (plate.image.affine[:3, 3] == -((size - 1) // 2)).all()  # as in TorchIO
    largest = size // 2
    for voxel in ((0, 0, 0), (size - 1, 1, 2), (size // 2, size // 2, 1)):
        r = np.linalg.norm((plate.image.affine @ [*voxel, 1])[:3])  # the centre is the origin
        border = 0.5 * np.tanh((largest - r) / (largest / 10)) + 0.5
        oracle = np.sin(0.8 * np.pi * r**2 / (2 * largest)) * border
        assert plate.image.data[(0, *voxel)] == pytest.approx(oracle, abs=1e-6)  # float32
    i, j, k = np.linalg.solve(plate.image.affine, [0, 0, 0, 1])[:3].round().astype(int)
    assert plate.image.data[0, i, j, k] == 0
    assert torch.equal(plate.image.data, plate.image.data.transpose(1, 3))


def test_sizes_of_zone_plates():
    assert inspect.signature(datasets.ZonePlate).parameters["size"].default == 501
    with pytest.raises(ValueError, match="size must be at least 3, got 2"):
        datasets.ZonePlate(2)

"""Datasets that the user has: folders and tables as their publishers lay them out."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

import torchio_gpu as tio
from tests.datasets import making
from torchio_gpu.datasets import RSNAMICCAI, CtRate, RSNACervicalSpineFracture
from torchio_gpu.datasets.tables import read_table

MODALITIES = ("T1w", "T1wCE", "T2w", "FLAIR")


@pytest.fixture
def tumours(tmp_path: Path) -> Path:
    """Training set of three subjects, of whom one is flawed, and test set of one."""
    for folder in ("train/00000", "train/00109", "train/00002", "test/00001"):
        files = making.images(*(f"{name}/scan.nii.gz" for name in MODALITIES))
        making.write(tmp_path / folder, files)
    (tmp_path / "train" / "notes").mkdir()
    table = b"BraTS21ID,MGMT_value\n00000,1\n00002,0\n00109,1\n"
    making.write(tmp_path, {"train_labels.csv": table})
    return tmp_path


def test_miccai(tumours):
    dataset = RSNAMICCAI(tumours)
    assert [s.metadata for s in dataset.dry_iter()] == [
        {"BraTS21ID": "00000", "MGMT_value": 1},
        {"BraTS21ID": "00002", "MGMT_value": 0},
    ]
    assert dataset[0].get_images_names() == [*MODALITIES]
    assert torch.equal(dataset[0].FLAIR.data, making.volume(3))
    assert len(RSNAMICCAI(tumours, ignore_empty=False)) == 3
    (test,) = RSNAMICCAI(tumours, train=False, modalities="T2w").dry_iter()
    assert list(test.keys()) == ["BraTS21ID", "T2w"]


def test_miccai_applies_transforms(tumours):
    dataset = RSNAMICCAI(tumours, modalities=["T1w"], transform=tio.Flip(0))
    assert torch.equal(dataset[0].T1w.data, making.volume(0).flip(1))


def test_miccai_reads_series_of_slices(tumours):
    """A folder of several files is one image, of which the reader of DICOM makes what it can."""
    making.write(tumours / "train/00000/T1w", {"other.dcm": b"no DICOM"})
    image = RSNAMICCAI(tumours, modalities="T1w").dry_iter()[0].T1w
    assert image.path == tumours / "train/00000/T1w"


def test_miccai_warns_of_missing_labels(tumours):
    (tumours / "train_labels.csv").unlink()
    with pytest.warns(RuntimeWarning, match=r"train_labels\.csv does not exist") as warned:
        dataset = RSNAMICCAI(tumours)
    assert warned[0].filename == __file__
    assert "MGMT_value" not in dataset.dry_iter()[0].metadata


def test_missing_parts_of_miccai_are_named(tumours, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.train is no folder: download rsna-miccai"):
        RSNAMICCAI(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="T1 is no folder"):
        RSNAMICCAI(tumours, modalities="T1")
    making.write(tumours, {"train_labels.csv": b"BraTS21ID,MGMT_value\n00000,1\n"})
    with pytest.raises(KeyError, match="must have a row for subject 00002"):
        RSNAMICCAI(tumours)


@pytest.fixture
def spines(tmp_path: Path) -> Path:
    """Two subjects, the second with a segmentation and two boxes."""
    files = {
        "train.csv": b"StudyInstanceUID,patient_overall,C1,C2\n1.2.3,0,0,0\n1.2.4,1,0,1\n",
        "train_bounding_boxes.csv": b"StudyInstanceUID,x,y,width,height,slice_number\n"
        b"1.2.4,219.5,27,17.25,47.5,133\n1.2.4,221.5,26.5,15,47.5,134\n",
        **making.images(
            "train_images/1.2.3/1.nii", "train_images/1.2.4/1.nii", "segmentations/1.2.4.nii.gz"
        ),
    }
    making.write(tmp_path, files)
    return tmp_path


def test_spine(spines):
    first, second = RSNACervicalSpineFracture(spines).dry_iter()
    assert first.metadata == {"StudyInstanceUID": "1.2.3", "patient_overall": 0, "C1": 0, "C2": 0}
    assert first.get_images_names() == second.get_images_names() == ["ct"]
    assert second.ct.path == spines / "train_images" / "1.2.4"
    assert second["C2"] == 1


def test_spine_with_segmentations_and_boxes(spines):
    dataset = RSNACervicalSpineFracture(spines, add_segmentations=True, add_bounding_boxes=True)
    first, second = dataset.dry_iter()
    assert "seg" not in first
    assert "boxes" not in first
    assert isinstance(second.seg, tio.LabelMap)
    assert torch.equal(second.seg.data, making.volume(2))
    box = {"x": 219.5, "y": 27.0, "width": 17.25, "height": 47.5, "slice_number": 133}
    assert second.boxes[0] == {"StudyInstanceUID": "1.2.4", **box}
    assert [type(value) for value in second.boxes[0].values()] == [str, *[float] * 4, int]
    assert second.boxes[1]["slice_number"] == 134


def test_spine_needs_the_tables_it_reads_alone(spines):
    (spines / "train_bounding_boxes.csv").unlink()
    assert len(RSNACervicalSpineFracture(spines)) == 2
    with pytest.raises(FileNotFoundError, match=r"boxes\.csv is no file: download rsna-2022"):
        RSNACervicalSpineFracture(spines, add_bounding_boxes=True)
    (spines / "train.csv").write_text("StudyInstanceUID,C1\n1.2.9,0\n")
    with pytest.raises(FileNotFoundError, match=r"1\.2\.9 is no folder"):
        RSNACervicalSpineFracture(spines)


VOLUMES = ["train_2_a_1", "train_10_a_1", "train_10_a_2", "train_10_b_1", "train_3_a_1"]


@pytest.fixture
def chests(tmp_path: Path) -> Path:
    """Five volumes of three subjects; one has another size, another no text of the technique."""
    rows = [f'{v}.nii.gz,SIEMENS,{256 if "_3_" in v else 512},"[0.7, 0.7]"' for v in VOLUMES]
    table = "VolumeName,Manufacturer,Rows,XYSpacing\n" + "\n".join(rows)
    keys = ",".join(CtRate.REPORT_KEYS)
    texts = [
        f'{v}.nii.gz,"cough, {v}",clear,none,{"" if v.endswith("2") else "CT"}' for v in VOLUMES
    ]
    labels = [f"{v}.nii.gz,{n % 2},0" for n, v in enumerate(VOLUMES)]
    files = {
        "metadata/train_metadata.csv": table,
        "radiology_text_reports/train_reports.csv": f"VolumeName,{keys}\n" + "\n".join(texts),
        "multi_abnormality_labels/train_predicted_labels.csv": (
            "VolumeName,Cardiomegaly,Lung nodule\n" + "\n".join(labels)
        ),
    }
    making.write(tmp_path / "dataset", {n: text.encode() for n, text in files.items()})
    for v in VOLUMES[:4]:
        _, subject, scan, _ = v.split("_")
        place = f"train_{subject}/train_{subject}_{scan}/{v}.nii.gz"
        making.write(tmp_path / "dataset/train_fixed", making.images(place))
        making.write(tmp_path / "dataset/train", {place: making.image_bytes(place, 7)})
    return tmp_path


def test_ct_rate(chests):
    dataset = CtRate(chests, transform=tio.Flip(0))
    first, second = dataset.dry_iter()
    assert (first.subject_id, second.subject_id) == ("10", "2")
    assert first.get_images_names() == [
        *("scan_a_reconstruction_1", "scan_a_reconstruction_2", "scan_b_reconstruction_1")
    ]
    assert first.scan_a_reconstruction_2.metadata == {
        "VolumeName": "train_10_a_2.nii.gz",
        "Manufacturer": "SIEMENS",
        "Rows": 512,
        "XYSpacing": "[0.7, 0.7]",
        "subject_id": "10",
        "scan_id": "a",
        "reconstruction_id": "2",
        "Cardiomegaly": 0,
        "Lung nodule": 0,
        "report": {
            "ClinicalInformation_EN": "cough, train_10_a_2",
            "Findings_EN": "clear",
            "Impressions_EN": "none",
            "Technique_EN": "",
        },
    }
    assert torch.equal(dataset[1].scan_a_reconstruction_1.data, making.volume(0).flip(1))
    assert [row["VolumeName"] for row in dataset.metadata] == [f"{v}.nii.gz" for v in VOLUMES[:4]]


def test_choices_of_ct_rate(chests):
    one = CtRate(chests, num_subjects=1, report_key="text", load_fixed=False)
    assert [s.subject_id for s in one.dry_iter()] == ["2"]
    image = one[0].scan_a_reconstruction_1
    assert image["text"]["Technique_EN"] == "CT"
    assert torch.equal(image.data, making.volume(7))
    (small,) = CtRate(chests, sizes=[256]).dry_iter()
    assert small.subject_id == "3"
    with pytest.raises(FileNotFoundError, match="train_3_a_1"):
        CtRate(chests, sizes=[256], verify_paths=True)


def test_missing_parts_of_ct_rate_are_named(chests):
    with pytest.raises(
        FileNotFoundError, match=r"validation_metadata\.csv is no file: download ib"
    ):
        CtRate(chests, "valid")
    with pytest.raises(ValueError, match="split must be 'train', 'valid' or 'validation', got 'x'"):
        CtRate(chests, "x")
    table = chests / "dataset/multi_abnormality_labels/train_predicted_labels.csv"
    table.write_text("VolumeName,Cardiomegaly\ntrain_2_a_1.nii.gz,1\n")
    with pytest.raises(ValueError, match=r"a row for each volume, it has none for train_10_a_1"):
        CtRate(chests)
    table = chests / "dataset/metadata/train_metadata.csv"
    table.write_text("VolumeName,Rows\nodd.nii.gz,512\n")
    with pytest.raises(ValueError, match=r"VolumeName must be like 'train_2_a_1\.nii\.gz'"):
        CtRate(chests)


def test_both_names_of_the_validation_split(chests):
    for table in (chests / "dataset").glob("*/*.csv"):
        prefix = "valid" if "labels" in table.name else "validation"
        text = table.read_text().replace("train_", "valid_")
        table.with_name(table.name.replace("train", prefix)).write_text(text)
    for split in ("valid", "validation"):
        dataset = CtRate(chests, split)
        path = dataset.dry_iter()[1].scan_a_reconstruction_1.path
        assert path == chests / "dataset/valid_fixed/valid_2/valid_2_a/valid_2_a_1.nii.gz"


def test_columns_of_tables_have_types(tmp_path):
    path = tmp_path / "t.csv"
    header = "\N{ZERO WIDTH NO-BREAK SPACE}whole,real,gap,flag,text,mixed,id,lines\n"
    rows = ['1,1,1,True,a,1,1_2,"a\nb"\n', "-2,2.5,,False,,x,3_4,c\n"]
    path.write_text(header + "".join(rows), "utf-8")
    first, second = read_table(path, "")
    assert first == {
        "whole": 1,
        "real": 1.0,
        "gap": 1.0,
        "flag": True,
        "text": "a",
        "mixed": "1",
        "id": "1_2",
        "lines": "a\nb",
    }
    assert [type(value) for value in first.values()] == [
        *(int, float, float, bool, str, str, str, str)
    ]
    assert math.isnan(second["gap"])
    assert math.isnan(second["text"])
    path.write_text("a,b\n1\n")
    with pytest.raises(ValueError, match="must have 2 values in each row, row 2 has another"):
        read_table(path, "")
    path.write_text("a,b\n")
    assert read_table(path, "") == []

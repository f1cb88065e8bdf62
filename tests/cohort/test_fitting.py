"""Statistics of cohorts, against numpy on all voxels at once."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.cohort.files import write_cohort
from torchio_gpu.cohort.state import failures_of


@pytest.fixture
def cohort(tmp_path):
    return write_cohort(tmp_path / "data", 5, 12)


def fit(cohort, out, *arguments, **options):
    return tio.fit_cohort(cohort, out, *arguments, progress=False, **options)


def test_statistics_are_those_of_all_voxels(cohort, tmp_path):
    summary, found = fit(cohort, tmp_path / "out")
    assert str(summary) == "5 cases: 5 computed"
    assert found == json.loads((tmp_path / "out" / "statistics.json").read_text())
    subjects = cohort.subjects()
    voxels = torch.cat([s.t1.data[s.seg.data > 0] for s in subjects]).double().numpy()
    intensity = found["images"]["t1"]["intensity"]
    assert intensity["voxels"] == voxels.size
    assert intensity["mean"] == pytest.approx(voxels.mean(), rel=1e-12)
    assert intensity["std"] == pytest.approx(voxels.std(ddof=1), rel=1e-12)
    assert (intensity["min"], intensity["max"]) == (voxels.min(), voxels.max())
    for share in (0.5, 50, 99.5):
        # 103 percentiles of a case are a hundredth of its range apart
        expected = np.percentile(voxels, share)
        assert intensity[f"percentile_{share:g}"] == pytest.approx(expected, abs=0.5)
    assert found["images"]["t1"]["spacing"]["median"] == [1.0, 1.5, 2.0]
    assert found["images"]["t1"]["shape"]["max"] == [12, 13, 14]
    assert found["images"]["t1"]["orientations"] == {"RAS": 5}
    total = sum(int((s.seg.data > 0).sum()) for s in subjects)
    assert found["labels"]["seg"]["1"] == {"cases": 5, "voxels": total}


def test_landmarks_are_those_of_training(cohort, tmp_path):
    _, found = fit(cohort, tmp_path / "out")
    images = [subject.t1 for subject in cohort.subjects()]
    expected = tio.HistogramStandardization.train(images, progress=False)
    np.testing.assert_allclose(found["images"]["t1"]["landmarks"], expected, rtol=1e-6)
    path = tmp_path / "out" / "t1_landmarks.txt"
    standardise = tio.HistogramStandardization({"t1": path})
    np.testing.assert_allclose(standardise.landmarks["t1"], expected, rtol=1e-6)
    assert standardise(cohort.subjects()[0]).t1.shape == (1, 12, 13, 14)


def test_shards_wait_for_each_other(cohort, tmp_path):
    whole = fit(cohort, tmp_path / "whole")[1]
    results = [fit(cohort, tmp_path / "parts", shard=(n, 3))[1] for n in (1, 2, 3)]
    assert results[:2] == [None, None]
    assert results[2] == whole


def test_a_pipeline_comes_before(cohort, tmp_path):
    _, found = fit(cohort, tmp_path / "out", tio.Resample(2))
    assert found["images"]["t1"]["spacing"]["max"] == [2.0, 2.0, 2.0]


def test_failures_are_left_out(cohort, tmp_path):
    cohort[0].inputs["t1"].path.write_bytes(b"")
    summary, found = fit(cohort, tmp_path / "out")
    assert (summary.failed, found["cases"]) == (1, 4)
    summary, found = fit(tio.Cohort([cohort[0]]), tmp_path / "none")
    assert (summary.failed, found) == (1, None)


def test_percentiles_of_values_that_occur_often_and_of_gaps(tmp_path):
    """As of CT: half of the voxels have one value, and nothing lies between the others."""
    for n, share in enumerate((0.45, 0.3)):
        voxels = torch.full((1, 10, 10, 10), 1000.0 + n)
        voxels.view(-1)[: int(1000 * share)] = 0
        tio.ScalarImage(voxels).save(tmp_path / f"{n}.nii")
    _, found = fit(tio.Cohort.from_pattern(tmp_path, {"x": "{id}.nii"}), tmp_path / "out")
    intensity = found["images"]["x"]["intensity"]
    assert intensity["percentile_0.5"] == 0
    assert 1000 <= intensity["percentile_50"] <= 1001
    assert intensity["percentile_99.5"] == 1001


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("t1", lambda x: x.index_fill(1, torch.tensor(0), torch.nan), "t1 must have finite voxels"),
        ("seg", lambda x: x + 0.5, "seg must have whole numbers as labels"),
        ("seg", lambda x: x.expand(2, -1, -1, -1), "seg must have one channel"),
    ],
)
def test_what_cannot_be_counted_is_a_failure(cohort, tmp_path, name, change, message):
    path = cohort[1].inputs[name].path
    tio.ScalarImage(change(tio.ScalarImage(path).data.float())).save(path)
    if name == "seg":
        grid = tio.ScalarImage(cohort[1].inputs["t1"].path).affine
        tio.ScalarImage(tio.ScalarImage(path).data, affine=grid).save(path)
    summary, found = fit(cohort, tmp_path / "out")
    assert (summary.failed, found["cases"]) == (1, 4)
    assert message in failures_of(tmp_path / "out")[0].message


def test_floating_labels_are_counted_and_labels_elsewhere_are_no_mask(cohort, tmp_path):
    path = cohort[0].inputs["seg"].path
    labels = tio.LabelMap(path)
    far = labels.affine.copy()
    far[0, 3] += 500
    tio.LabelMap(labels.data.float(), affine=far).save(path)
    _, found = fit(tio.Cohort([cohort[0]]), tmp_path / "out")
    assert found["images"]["t1"]["intensity"]["voxels"] == labels.data.numel()
    assert set(found["labels"]["seg"]) == {"0", "1"}


def test_images_without_labels_and_of_one_value(tmp_path):
    tio.ScalarImage(torch.full((2, 4, 4, 4), 3.0)).save(tmp_path / "a.nii")
    _, found = fit(tio.Cohort.from_pattern(tmp_path, {"x": "{id}.nii"}), tmp_path / "out")
    image = found["images"]["x"]
    assert image["landmarks"] is None
    assert not (tmp_path / "out" / "x_landmarks.txt").exists()
    assert image["intensity"] == {
        "voxels": 128, "mean": 3.0, "std": 0.0, "min": 3.0, "max": 3.0,
        "percentile_0.5": 3.0, "percentile_50": 3.0, "percentile_99.5": 3.0,
    }  # fmt: skip
    assert found["labels"] == {}

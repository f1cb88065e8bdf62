"""Statistics of cohorts, against numpy on all voxels at once."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.cohort.files import write_cohort


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
    with pytest.raises(ValueError, match=r"no case of .* was computed without error"):
        fit(tio.Cohort([cohort[0]]), tmp_path / "none")


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

"""Calls that would lose inputs, or fail for every case, are refused before anything is written."""

from __future__ import annotations

import sys

import pytest
import torch
from typer.testing import CliRunner

import torchio_gpu as tio
from tests.cohort.files import PATTERNS, pipeline, write_cohort
from torchio_gpu.cli import app


def test_results_do_not_replace_inputs(tmp_path):
    folder = tmp_path / "raw" / "s1"
    folder.mkdir(parents=True)
    tio.ScalarImage(torch.rand(1, 4, 4, 4)).save(folder / "t1.nii.gz")
    before = (folder / "t1.nii.gz").read_bytes()
    cohort = tio.Cohort.from_pattern(tmp_path / "raw", {"t1": "{id}/t1.nii.gz"})
    (tmp_path / "link").symlink_to(tmp_path / "raw")
    for out in ("raw", "link"):
        with pytest.raises(ValueError, match="results must go to another folder than inputs"):
            tio.preprocess(pipeline(), cohort, tmp_path / out, progress=False)
    assert (folder / "t1.nii.gz").read_bytes() == before
    assert list((tmp_path / "raw").iterdir()) == [folder]
    # beside them they may stand
    assert tio.preprocess(pipeline(), cohort, tmp_path, progress=False).failed == 0


def test_devices_are_known_and_there(tmp_path):
    cohort = write_cohort(tmp_path / "data", 1)
    with pytest.raises(ValueError, match="device must be cpu or cuda, got 'cudda'"):
        tio.preprocess(pipeline(), cohort, tmp_path / "out", device="cudda")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device must be available to torch, got 'cuda'"):
            tio.preprocess(pipeline(), cohort, tmp_path / "out", device="cuda")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shards", "3"], "--shards must be given with --write-sbatch"),
        (["--sbatch", "--time=3"], "--sbatch must be given with --write-sbatch"),
        (["--write-sbatch", "no/a.sh"], "must name a file in a folder that exists"),
        (["--write-sbatch", "a.sh", "--shard", "1/2"], "--shard must not be given with"),
        (["--write-sbatch", "a.sh", "--scheduler", "slurm"], "--scheduler must not be given"),
        (["--write-sbatch", "a.sh", "--memory", "8"], "memory must be at least 1 MB and have"),
        (["--write-sbatch", "a.sh", "--sbatch", "x"], "sbatch must be options of sbatch"),
    ],
)
def test_scripts_are_refused_where_they_are_written(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_cohort(tmp_path, 1)
    tio.save_pipeline(pipeline(), "p.yaml")
    roles = [f"{role}={pattern}" for role, pattern in PATTERNS.items()]
    words = ["preprocess", "p.yaml", "out", *roles, *words]
    monkeypatch.setattr(sys, "argv", ["torchio-gpu", *words])
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "a.sh").exists()

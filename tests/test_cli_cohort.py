"""Commands about cohorts."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

import torchio_gpu as tio
from tests.cohort.files import pipeline, results, write_cohort
from torchio_gpu.cli import app

ROLES = ("t1={id}_T1w.nii.gz", "seg:label={id}_seg.nii.gz")


@pytest.fixture
def folder(tmp_path):
    write_cohort(tmp_path / "data")
    tio.save_pipeline(pipeline(), tmp_path / "p.yaml")
    return tmp_path


def call(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def prepare(folder, *words, out="out"):
    start = ("preprocess", folder / "p.yaml", folder / out, "--quiet")
    return call(*start, *(words or (*ROLES, "--folder", folder / "data")))


def test_a_cohort_from_files_to_files(folder):
    done = prepare(folder)
    assert (done.exit_code, done.stdout) == (0, "4 cases: 4 computed\n")
    expected = pipeline()(tio.Cohort.from_output(folder / "out")[0].subject())
    assert expected.t1.spacing == (2, 2, 2)
    assert prepare(folder).stdout == "4 cases: 4 computed before\n"
    assert call("status", folder / "out").exit_code == 0
    done = call("status", folder / "out", "--json")
    assert json.loads(done.stdout)["ok"] == 4


def test_failures_are_named_and_tried_again(folder):
    path = folder / "data" / "c1_T1w.nii.gz"
    whole = path.read_bytes()
    path.write_bytes(b"")
    done = prepare(folder)
    assert (done.exit_code, done.stdout) == (1, "4 cases: 3 computed, 1 failed\n")
    done = call("status", folder / "out")
    assert done.exit_code == 1
    assert "3 computed, 1 failed" in done.stdout
    done = call("failures", folder / "out")
    assert done.exit_code == 1
    (line,) = done.stdout.splitlines()
    assert line.startswith("c1")
    assert "c1_T1w.nii.gz" in line
    path.write_bytes(whole)
    done = call("failures", folder / "out", "--retry")
    assert (done.exit_code, done.stdout) == (0, "4 cases: 3 computed before, 1 computed\n")
    assert call("failures", folder / "out").exit_code == 0


def test_cases_from_tables_and_bids(folder):
    cohort = tio.Cohort.from_pattern(folder / "data", dict(r.split("=", 1) for r in ROLES))
    cohort.save(folder / "c.jsonl")
    prepare(folder)
    assert prepare(folder, "--table", folder / "c.jsonl", out="t").exit_code == 0
    assert results(folder / "t") == results(folder / "out")
    for n in range(2):
        anat = folder / "bids" / f"sub-{n}" / "anat"
        anat.mkdir(parents=True)
        tio.ScalarImage(torch.rand(1, 4, 4, 4)).save(anat / f"sub-{n}_T1w.nii.gz")
    assert prepare(folder, "--bids", folder / "bids", out="b").stdout == "2 cases: 2 computed\n"
    assert (folder / "b" / "sub-1" / "t1.nii.gz").exists()


def test_statistics(folder):
    words = (*ROLES, "--folder", folder / "data", "--quiet")
    done = call("fit", folder / "st", *words, "--pipeline", folder / "p.yaml")
    assert done.exit_code == 0
    assert json.loads((folder / "st" / "statistics.json").read_text())["cases"] == 4
    assert (folder / "st" / "t1_landmarks.txt").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "cases must be given by ROLE=PATTERN, --table or --bids, got none"),
        (["t1"], "a role must be ROLE=PATTERN, such as t1={id}_T1w.nii.gz, got 't1'"),
        (["t1={id}.nope"], "matches no file"),
        (["--table", "no.csv"], "No such file"),
        (["--table", "a.csv", "--bids", "b"], "--table and --bids must not be given both"),
        ([*ROLES, "--shard", "x"], "shard must be K/N"),
        ([*ROLES, "--timeout", "-1"], "timeout must be > 0"),
        ([*ROLES, "--format", ".nigz"], "format must be one of"),
        ([*ROLES, "--scheduler", "nobody"], "scheduler"),
    ],
)
def test_wrong_usage_is_one_sentence(folder, words, message):
    words = [*words, "--folder", folder / "data"] if words[:1] == [ROLES[0]] else words
    done = prepare(folder, *(words or ["--folder", folder / "data"]))
    assert done.exit_code == 2
    assert message in done.stderr.replace("\n", " ")
    assert len(done.stderr.splitlines()) == 1


def test_the_state_of_no_run(folder):
    for command in ("status", "failures"):
        done = call(command, folder)
        assert done.exit_code == 2
        assert "must be a folder that preprocess or fit writes to" in done.stderr
    done = call("failures", folder, "--retry")
    assert done.exit_code == 2

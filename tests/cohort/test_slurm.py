"""A cohort on SLURM: arrays, steps, workers that are jobs, and what ends them."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import torchio_gpu as tio
from tests.cohort.slurm import LOOPBACK, MISSING, Slurm, one_node, wait_for
from torchio_gpu.cohort.state import state_of

pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"SLURM is not installed: no {', '.join(MISSING)}"
)
CASES = 10
PIPELINE = """\
torchio_gpu: 1
pipeline:
  - ToCanonical
  - Resample: 1
  - RandomElasticDeformation: {max_displacement: 3}
  - RandomNoise
"""
ARGUMENTS = ["--seed", "3", "t1=scans/{id}_T1w.nii.gz", "seg:label=scans/{id}_seg.nii.gz"]
PROGRAM = [sys.executable, "-m", "torchio_gpu"]
PREPROCESS = [*PROGRAM, "preprocess", "prepare.yaml"]


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with one_node() as cluster:
        yield cluster
        found = cluster.processes()
    assert found  # daemons are found, so that their absence is
    assert cluster.processes() == {}
    assert not cluster.folder.exists()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with scans and a pipeline, and what is prepared of them in this process."""
    folder = tmp_path_factory.mktemp("my data")  # with a space, as folders of people have
    (folder / "scans").mkdir()
    for n in range(CASES):
        voxels = torch.rand(1, 48, 48, 48, generator=torch.Generator().manual_seed(n))
        affine = torch.diag(torch.tensor([0.5, 0.5, 0.6, 1.0])).numpy()
        tio.ScalarImage(voxels, affine=affine).save(folder / "scans" / f"s{n}_T1w.nii.gz")
        labels = (voxels > 0.5).to(torch.uint8)
        tio.LabelMap(labels, affine=affine).save(folder / "scans" / f"s{n}_seg.nii.gz")
    (folder / "prepare.yaml").write_text(PIPELINE)
    patterns = dict(word.split("=") for word in ARGUMENTS[2:])
    cohort = tio.Cohort.from_pattern(folder, patterns)
    pipeline = tio.load_pipeline(folder / "prepare.yaml")
    summary = tio.preprocess(pipeline, cohort, folder / "alone", seed=3, progress=False)
    assert summary.failed == 0
    return folder


def files(out: Path) -> dict[str, bytes]:
    """Return the results, by path."""
    found = {str(path.relative_to(out)): path for path in out.rglob("*.nii.gz")}
    return {name: path.read_bytes() for name, path in found.items()}


def assert_complete(out: Path) -> None:
    """Check that all cases are computed, as in one process, and nothing else is there."""
    assert state_of(out).outcomes == {"ok": CASES}
    expected = files(out.parent / "alone")
    assert len(expected) == 2 * CASES
    assert files(out) == expected
    own = out / "_cohort"
    assert [*(own / "drafts").iterdir()] == []


def write_script(slurm: Slurm, home: Path, out: str, *options: str) -> Path:
    words = [*PREPROCESS, out, *ARGUMENTS, "--write-sbatch", f"{out}.sbatch", *options]
    shown = slurm.run(*words, folder=home)
    assert f"{out}.sbatch: {CASES} cases in " in shown
    return home / f"{out}.sbatch"


def test_an_array_computes_all_shards(slurm, home, tmp_path):
    options = ("--shards", "2", "--memory", "1GB", "--sbatch", "--time=1:00:00 --nice=7")
    script = write_script(slurm, home, "array", *options)
    assert state_of(home / "array").left == CASES
    job = slurm.submit(script, folder=tmp_path)  # from another folder
    assert sorted(slurm.queue("%i,%l,%m,%y")) == [f"{job}_{n},1:00:00,1000M,7" for n in (1, 2)]
    wait_for(lambda: state_of(home / "array").outcomes["ok"], 120)
    assert slurm.listening() == {LOOPBACK}
    slurm.wait()
    assert_complete(home / "array")
    logs = [path.read_text() for path in (home / "array" / "_cohort" / "logs").iterdir()]
    assert len(logs) == 2
    assert all(" cases: " in text and " computed" in text for text in logs)
    assert list(tmp_path.iterdir()) == []


def test_elements_that_are_killed_go_on(slurm, home):
    script = write_script(slurm, home, "killed", "--shards", "2")
    slurm.submit(script, folder=home)
    # elements are in the middle of cases, and have computed others
    wait_for(lambda: (s := state_of(home / "killed")).outcomes["ok"] >= 2 and s.running, 120)
    victims = [id for id, line in slurm.processes().items() if "preprocess" in line]
    os.kill(victims[0], signal.SIGKILL)
    slurm.run("scancel", *slurm.queue(), folder=home)
    slurm.wait()
    before = state_of(home / "killed").outcomes["ok"]
    assert 2 <= before < CASES
    slurm.submit("--array=1", script, folder=home)
    slurm.submit("--array=2", script, folder=home)
    slurm.wait()
    assert_complete(home / "killed")
    logs = "".join(p.read_text() for p in (home / "killed" / "_cohort" / "logs").iterdir())
    assert logs.count("computed before") >= 1


def test_shards_follow_from_arrays_and_steps(slurm, home):
    out = home / "steps"
    words = [*PREPROCESS, str(out), *ARGUMENTS, "--shard", "auto"]
    script = "#!/bin/bash\nexec " + shlex.join(words) + "\n"
    (home / "steps.sbatch").write_text(script)
    slurm.submit("--array=4-6:2", f"--output={home}/steps-%a.txt", "steps.sbatch", folder=home)
    slurm.wait()
    assert_complete(out)
    totals = [int((home / f"steps-{n}.txt").read_text().split()[0]) for n in (4, 6)]
    cohort = tio.Cohort.from_output(home / "alone")
    assert totals == [len(cohort.shard(n, 2)) for n in (1, 2)]
    # two tasks of one step: the same shards, of which nothing is left
    shown = slurm.run("srun", "--ntasks=2", *words, folder=home).splitlines()
    assert sorted(shown) == sorted(f"{n} cases: {n} computed before" for n in totals)


def test_workers_are_jobs(slurm, home):
    out = home / "jobs"
    variables = {
        "DASK_JOBQUEUE__SLURM__INTERFACE": "lo",
        "DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT": "1s",
    }
    words = [*PREPROCESS, "jobs", *ARGUMENTS, "--scheduler", "slurm", "--batch", "1"]
    bad = {**variables, "DASK_JOBQUEUE__SLURM__QUEUE": "nights"}
    options = ("--workers", "2", "--memory", "1GB")
    shown = slurm.run(*words, *options, folder=home, check=False, **bad)
    assert "SLURM refuses the job of a worker (allocation failure: Invalid partition" in shown

    def disturb() -> None:
        wait_for(lambda: state_of(out).outcomes["ok"], 120)
        assert slurm.listening() == {LOOPBACK}
        slurm.run("scancel", *slurm.queue(), folder=home)  # all workers

    with ThreadPoolExecutor() as pool:
        disturbed = pool.submit(disturb)
        shown = slurm.run(*words, *options, folder=home, **variables)
        disturbed.result()
    assert shown.splitlines()[-1] == f"{CASES} cases: {CASES} computed"
    slurm.wait()
    assert_complete(out)
    assert len(list((out / "_cohort" / "logs").glob("worker-*.txt"))) > 2  # jobs were replaced
    assert not list(home.glob("slurm-*.out"))

"""Steps of the GPU benchmarks, as far as they can be tested without a GPU."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import Any

import pytest
import torch

from benchmarks import report
from benchmarks.gpu import (
    budgets,
    collect,
    counters,
    intrinsics,
    joined,
    junit,
    smoke,
    tables,
    write,
)
from tests.devices import interpreted

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ["bash", str(ROOT / "benchmarks" / "gpu.sh")]
GREEN = {"passed": 3, "failed": 0, "skipped": 1, "red": []}
RED = {"passed": 2, "failed": 1, "skipped": 0, "red": ["tests.a::test_b"]}


def environment(out: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "PYTHON": sys.executable, "OUT": str(out), **more}


def part(
    name: str = "smoke", date: str = "2026-01-01", gpu: str | None = "NVIDIA H200", **more: Any
):
    machine = {"cpu": "Abacus", "cores": 2, "ram_gb": 1, "os": "None", "gpu": gpu}
    about = {"suite": "gpu", "part": name, "tiny": False, "date": date, "commit": "abc"}
    about |= {"dirty": False, "threads": 1, "machine": machine, "device": "cuda"}
    rows = [{"launch": "affine", "most": 1, "error": 0.5, "of": "norm", "right": True}]
    return {**about, "python": "3", "torch": "2", "triton": "3.6.0", "rows": rows, **more}


def timed(
    command: list[str], env: dict[str, str]
) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run a command; return its result, and the seconds of a processor that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=env, capture_output=True, encoding="utf-8")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@interpreted
def test_rehearsal_writes_all_results(tmp_path: Path) -> None:
    done, seconds = timed([*SCRIPT, "--rehearse"], environment(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    # in imports of torch, of which it makes a dozen: machines differ by far; 30 here
    _, pace = timed([sys.executable, "-c", "import torch"], environment(tmp_path))
    assert seconds < 60 * pace
    steps = dict(line.split("\t")[:2] for line in (tmp_path / "steps.tsv").read_text().splitlines())
    assert set(steps.values()) == {"0"}
    parts = {"versions", "smoke", "budgets-W1", "host", "counters", "sanitizer"}
    assert set(steps) == {*parts, "tests", "peers"}
    for name in (*parts, "peers"):
        result = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
        assert result["triton"]
    tests = junit.summary(tmp_path)
    assert tests["passed"] > 0
    assert tests["failed"] == 0
    smoked = json.loads((tmp_path / "smoke.json").read_text(encoding="utf-8"))
    assert len(smoked["rows"]) == len(intrinsics.CHECKS) + len(smoke.LAUNCHES)
    assert all(row["right"] for row in smoked["rows"])
    host = json.loads((tmp_path / "host.json").read_text(encoding="utf-8"))
    assert host["rows"][0]["host"]["median_ms"] > 0
    assert "batchaug is not installed" in done.stdout or "batchaug: not installed" in done.stdout
    # at home
    written = collect.collect(tmp_path, tmp_path / "kept")
    assert sorted(file.name.partition("--")[0] for file in written) == ["gpu", "versus"]
    kept = json.loads(written[0].read_text(encoding="utf-8"))
    assert set(kept["parts"]) == parts
    text = tables.text(kept)
    assert text.count("A rehearsal on a few voxels: these numbers mean nothing.") == len(parts)
    assert "(tests red)" not in text


def test_results_are_complete_if_killed_between_steps(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*SCRIPT, "--rehearse"],
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not (tmp_path / "versions.json").exists():
            assert process.poll() is None
            sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    found = list(tmp_path.glob("*.json"))
    assert found
    for file in found:
        assert json.loads(file.read_text(encoding="utf-8"))["suite"] == "gpu"


def test_a_failing_step_does_not_stop_others(tmp_path: Path) -> None:
    """The first step fails, and the time ends after the second."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\ncase "$*" in *versions*) exit 3;; *) sleep 3;; esac\n')
    python.chmod(0o755)
    given = environment(tmp_path, PYTHON=str(python), SECONDS_IN_ALL="7")
    done = subprocess.run([*SCRIPT, "--rehearse"], env=given, capture_output=True, encoding="utf-8")
    assert done.returncode == 1
    steps = [line.split("\t")[:2] for line in (tmp_path / "steps.tsv").read_text().splitlines()]
    assert steps[:2] == [["versions", "3"], ["smoke", "0"]]
    assert ["sanitizer", "left out"] in steps
    assert "steps that failed: versions" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="of machines without a GPU")
def test_nothing_is_measured_without_a_gpu(tmp_path: Path) -> None:
    done = subprocess.run(SCRIPT, env=environment(tmp_path), capture_output=True, encoding="utf-8")
    assert done.returncode == 1
    assert "needs a GPU that torch can use" in done.stderr
    done = subprocess.run(
        [*SCRIPT, "--fast"], env=environment(tmp_path), capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 2


@pytest.mark.filterwarnings("ignore:max_displacement:RuntimeWarning")  # batches are tiny
def test_all_jobs_run() -> None:
    found = budgets.measure("cpu", ["W1", "W0", "P"], tiny=True, repeats=1)
    assert [row for row in found["rows"] if "failure" in row] == []
    assert {row["job"] for row in found["rows"]} == set(budgets.JOBS)
    for row in found["rows"]:
        assert row["ratio"] > 0
        assert ("reference" in row) == (row["floor"] != "ms")
        assert row["host"]["median_ms"] > 0
        assert row["end_to_end"]["median_ms"] > 0


def test_a_failing_check_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise ValueError("no luck")

    job = budgets.Job(lambda x: (fails, x.clone))
    monkeypatch.setattr(budgets, "JOBS", {"job": job, "pipe6 with labels": job})
    monkeypatch.setattr(budgets, "_facts", lambda x: {"launches": None})
    found = budgets.measure("cpu", ["W1"], tiny=True, repeats=1)
    assert found["rows"][0]["failure"] == "ValueError: no luck"
    assert "failed: ValueError: no luck" in tables.text(joined([part("budgets-W1", **found)]))


def test_budgets_depend_on_the_card() -> None:
    job = budgets.JOBS["pipe6 with labels"]
    assert [job.budget(card) for card in ("NVIDIA H100 80GB HBM3", "NVIDIA H200", None)] == [
        2.3,
        3,
        3,
    ]


def _row(ratio: float, host: bool = False, **more: Any) -> dict[str, Any]:
    time = dict.fromkeys(("median_ms", "q1_ms", "q3_ms"), 2.0)
    bound = {**time, "median_ms": 1.5}
    row = {"job": "a job", "workload": "W1", "most": 4, "ratio": ratio, "bound": bound}
    row |= dict.fromkeys(("device", "end_to_end", "host", "reference"), time)
    return {**row, "floor": "ms" if host else "copy", **more}


def test_tables_show_budgets_and_the_share_of_the_bound() -> None:
    rows = [_row(3), _row(5, replay_failure="no"), _row(3, host=True), _row(3, late=True)]
    kernels = {"warp_kernel": 5, "columns_kernel": 2, "Memcpy HtoD (Pinned -> Device)": 1}
    fact = {"workload": "W2", "launches": kernels, "waits": "RuntimeError: waits", "memory": 1.2}
    text = tables.text(joined([part("budgets-W1", rows=rows, facts=[fact], tests=GREEN)]))
    assert text.count("kept") == 4
    assert text.count("**missed**") == 2
    assert text.count("| 75 % ") == 4
    assert "2.00 (2.00-2.00), waits for the host" in text
    assert "not replayed: no." in text
    assert "7 kernels for 2 images (warp_kernel 5, columns_kernel 2), at most 3 each" in text
    assert "1 copies; **waits**: RuntimeError: waits; at its peak 1.2 batches" in text
    assert "3 passed, 0 failed, 1 skipped" in text
    assert "Triton 3.6.0" in text


def test_failed_tests_mark_every_number() -> None:
    text = tables.text(joined([part(tests=GREEN)]))
    assert "tests red" not in text
    assert "(untested)" in tables.text(joined([part()]))
    text = tables.text(joined([part(tests=RED)]))
    (row,) = (line for line in text.splitlines() if line.startswith("| affine"))
    assert row == "| affine | right | 5.0e-01 of norm (tests red) | - |"
    assert "1 failed, 0 skipped: tests.a::test_b" in text


def test_reports_of_pytest_are_read(tmp_path: Path) -> None:
    assert not junit.is_green(junit.summary(tmp_path))
    (tmp_path / "test_it.py").write_text(
        "import pytest\ndef test_a(): pass\ndef test_b(): assert 0\n"
        "@pytest.fixture\ndef bad(): raise ValueError\ndef test_c(bad): pass\n"
        "@pytest.mark.skip\ndef test_d(): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider"]
    subprocess.run(
        [*command, "--junitxml", str(tmp_path / junit.REPORT), str(tmp_path)],
        capture_output=True,
        cwd=tmp_path,
    )
    found = junit.summary(tmp_path)
    assert (found["passed"], found["failed"], found["skipped"]) == (1, 2, 1)
    assert [name.partition("::")[2] for name in found["red"]] == ["test_b", "test_c"]
    assert not junit.is_green(found)
    whole = (tmp_path / junit.REPORT).read_text()
    (tmp_path / junit.REPORT).write_text(whole[: len(whole) // 2])
    assert not junit.is_green(junit.summary(tmp_path))


def test_runs_are_joined_by_machine_and_card(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    for number, (name, date, gpu) in enumerate(
        [
            ("smoke", "2026-01-01", "NVIDIA H200"),
            ("host", "2026-01-01", "NVIDIA H200"),
            ("smoke", "2026-01-02", "NVIDIA H200"),
            ("smoke", "2026-01-03", "NVIDIA H100 80GB HBM3"),
        ]
    ):
        run = tmp_path / str(number)
        run.mkdir()
        write(part(name, date, gpu), run / f"{name}.json")
        collect.collect(run, kept)
    results = {file.name: json.loads(file.read_text()) for file in kept.glob("*.json")}
    assert set(results) == {
        "gpu--abacus-2-cores--nvidia-h200.json",
        "gpu--abacus-2-cores--nvidia-h100-80gb-hbm3.json",
    }
    h200 = results["gpu--abacus-2-cores--nvidia-h200.json"]["parts"]
    assert {name: each["date"] for name, each in h200.items()} == {
        "smoke": "2026-01-02",
        "host": "2026-01-01",
    }


def test_pages_show_each_card_separately() -> None:
    one, other = joined([part(tests=GREEN)]), joined([part(gpu="NVIDIA H100", tests=RED)])
    found = report.kept([one, other])
    shown = report.sections(found)["gpu"]
    assert shown.index("**NVIDIA H100**") < shown.index("**NVIDIA H200**")
    assert shown.count("5.0e-01 of norm (tests red)") == 1
    page = report.page(found)
    assert page.count("## budgets on a GPU: GPU") == 2


def test_counters_of_the_profiler_are_read() -> None:
    head = '"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"'
    line = '"{}","{}(int *, float)","{}","{}","{}"'
    text = "\n".join(
        ["==PROF== connected", head]
        + [line.format(0, "warp_kernel", "gpu__time_duration.sum", "ns", "1,234")]
        + [line.format(0, "warp_kernel", "launch__registers_per_thread", "", "96")]
        + [line.format(1, "columns_kernel", "gpu__time_duration.sum", "ns", "5")]
    )
    assert counters.rows(text) == [
        {"kernel": "warp_kernel", "metrics": {"time": "1,234 ns", "registers": "96"}},
        {"kernel": "columns_kernel", "metrics": {"time": "5 ns"}},
    ]
    assert counters.rows("nothing") == []


@interpreted
def test_smoke_test_detects_a_wrong_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgets(x: torch.Tensor) -> torch.Tensor:
        out = torch.empty(x.shape, dtype=x.dtype)
        out[..., 1:] = x[..., 1:]
        return out if x.dtype == torch.float32 else x

    wrong = {
        "forgets a voxel": smoke.Launch(forgets),
        "is off": smoke.Launch(lambda x: x * (1.001 if x.dtype == torch.float32 else 1)),
        "fails": smoke.Launch(lambda x: x[9]),
    }
    monkeypatch.setattr(smoke, "LAUNCHES", wrong)
    natural = {"log2": replace(intrinsics.CHECKS["log2"], exact=torch.log)}
    monkeypatch.setattr(intrinsics, "CHECKS", natural)
    rows = smoke.run("cpu", tiny=True)["rows"]
    assert [row.get("right") for row in rows] == [False, False, False, None]
    with pytest.raises(SystemExit, match="not all launches are right"):
        smoke.main(["--device", "cpu", "--tiny"])


def test_bare_machine_skips_tests_that_need_more(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --doctest-modules\n")
    fails = "raise ModuleNotFoundError(\"No module named '{}'\", name='{}')\n"
    module, test = "{}def test(): pass\n", "def test():\n    {}"
    for name, text in {
        "optional": module.format(fails.format("nibabel.x", "nibabel")),
        "later": test.format(fails.format("SimpleITK", "SimpleITK")),
        "needed": module.format(fails.format("torch", "torch")),
        "wrong": test.format("assert False, 'nibabel'"),
        "right": test.format("pass"),
    }.items():
        (tmp_path / f"test_{name}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-p", "benchmarks.bare", "--rootdir", tmp_path]
        + ["-c", tmp_path / "pytest.ini", "--continue-on-collection-errors", tmp_path],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 1, done.stdout + done.stderr
    for word, name in (("ERROR", "needed"), ("FAILED", "wrong"), ("PASSED", "right")):
        assert any(line.startswith(word) and f"test_{name}.py" in line for line in lines), name
    for package, name in (("nibabel", "optional"), ("SimpleITK", "later")):
        reasons = [line for line in lines if f"{package} is not installed" in line]
        assert any(line.startswith("SKIPPED") and f"test_{name}.py" in line for line in reasons)
        assert not any(line.startswith(("ERROR", "FAILED")) and name in line for line in lines)

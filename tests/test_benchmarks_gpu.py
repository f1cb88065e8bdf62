"""What a machine with a GPU is asked for, as far as it can be seen without one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import budgets, gpu

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.filterwarnings("ignore:max_displacement:RuntimeWarning")  # batches are tiny
def test_all_jobs_run() -> None:
    found = budgets.measure("cpu", tiny=True, repeats=1)
    assert [row for row in found["rows"] if "failure" in row] == []
    assert {row["job"] for row in found["rows"]} == set(budgets.JOBS)
    for row in found["rows"]:
        host = row["floor"] == "ms"
        assert row["floors"] > 0
        assert ("reference_ms" in row) != host
    text = gpu.text(found)
    assert "mean nothing" in text
    for job in budgets.JOBS:
        assert job in text


def test_planted_failure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise ValueError("no luck")

    job = budgets.Job(lambda x: (fails, x.clone), 4)
    monkeypatch.setattr(budgets, "JOBS", {"job": job, "pipe6 with labels": job})
    monkeypatch.setattr(budgets, "_facts", lambda x: {"launches": None})
    found = budgets.measure("cpu", tiny=True, repeats=1)
    assert found["rows"][0]["failure"] == "ValueError: no luck"
    assert "failed: ValueError: no luck" in gpu.text(found)


def _row(floors: float, host: bool = False) -> dict[str, object]:
    times = dict.fromkeys(("median_ms", "q1_ms", "q3_ms", "floor_ms", "reference_ms"), 2.0)
    row = {"job": "a job", "workload": "W1", "most": 4, "floors": floors, **times}
    return {**row, "floor": "ms" if host else "copy"}


def test_budgets_are_kept_or_missed() -> None:
    text = gpu.text({"rows": [_row(3), _row(5), _row(3, host=True)], "facts": []})
    assert text.count("kept") == 2
    assert text.count("**missed**") == 1
    assert "mean nothing" not in text
    kernels = {"warp_kernel": 5, "columns_kernel": 2, "Memcpy HtoD (Pinned -> Device)": 1}
    fact = {"workload": "W2", "launches": kernels, "waits": "RuntimeError: waits", "memory": 1.2}
    text = gpu.text({"rows": [], "facts": [fact]})
    assert "7 kernels for 2 images (warp_kernel 5, columns_kernel 2), at most 3 each" in text
    assert "**missed**; 1 copies; **waits**: RuntimeError: waits; at its peak 1.2 batches" in text
    assert text.endswith("at most 1.5: kept.")


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
        told = [line for line in lines if f"{package} is not installed" in line]
        assert any(line.startswith("SKIPPED") and f"test_{name}.py" in line for line in told)
        assert not any(line.startswith(("ERROR", "FAILED")) and name in line for line in lines)


@pytest.mark.skipif(torch.cuda.is_available(), reason="of machines without a GPU")
def test_nothing_is_measured_without_a_gpu() -> None:
    done = subprocess.run(
        ["bash", ROOT / "benchmarks" / "gpu.sh"],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 1
    assert "needs a GPU that torch can use" in done.stderr

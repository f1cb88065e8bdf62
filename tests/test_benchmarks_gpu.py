"""Steps of ``benchmarks/gpu.sh``, as far as they can be tested without a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu, machine, records, report
from benchmarks.gpu import budgets, collect
from tests.devices import interpreted


def shell(out: Path, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHON": sys.executable, "OUT": str(out), **more}
    command = ["bash", str(machine.ROOT / "benchmarks" / "gpu.sh"), *options]
    return subprocess.run(command, env=env, capture_output=True, encoding="utf-8")


@interpreted
def test_rehearsal_is_collected_and_shown(tmp_path: Path) -> None:
    done = shell(tmp_path, "--rehearse")
    assert done.returncode == 0, done.stdout + done.stderr
    result, _ = records.read(sorted(collect.collect(tmp_path, tmp_path / "kept")))
    assert set(result["parts"]) == {"W1", "W0", "P", "steps"}
    assert {row["status"] for row in result["parts"]["steps"]["rows"]} <= {"0", "absent"}
    assert gpu.text(result).count("on a few voxels: these numbers mean nothing.") == 4
    assert "(untested)" not in gpu.text(result)


def test_a_failing_step_stops_no_other(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\ncase "$*" in *volumes*|*cuda.is*) exit 3;; *) sleep 3;; esac\n')
    python.chmod(0o755)
    done = shell(tmp_path, "--rehearse", PYTHON=str(python), SECONDS_IN_ALL="7")
    assert done.returncode == 1
    assert "steps that failed: smoke" in done.stdout
    steps = dict(line.split("\t")[:2] for line in (tmp_path / "steps.tsv").read_text().splitlines())
    assert (steps["smoke"], steps["tests"], steps["peers"]) == ("3", "0", "left out")
    assert "needs a GPU that torch can use" in shell(tmp_path, PYTHON=str(python)).stderr


@pytest.mark.filterwarnings("ignore:max_displacement:RuntimeWarning")  # batches are tiny
def test_rows_are_kept_as_they_come_and_failures_named(tmp_path: Path, monkeypatch) -> None:
    part = tmp_path / "part.json"

    def fails(*arguments):
        assert len(records.read([part])[0]["rows"]) == len(budgets.JOBS) - 1
        raise ValueError("no luck")

    jobs = {name: job._replace(workloads=["W1"]) for name, job in budgets.JOBS.items()}
    monkeypatch.setattr(budgets, "JOBS", {**jobs, "a job": budgets.Job(fails, 2, workloads=["W1"])})
    budgets.main(["--device", "cpu", "--tiny", "--output", str(part)])
    *rows, last = records.read([part])[0]["rows"]
    assert last == {"job": "a job", "note": "failed: ValueError: no luck", "most": 2, "kept": False}
    assert [row["job"] for row in rows if row.get("note")] == []
    assert all(row["value"] > 0 for row in rows if "host" in row)


def test_red_tests_mark_all_numbers(tmp_path: Path) -> None:
    """Tests that lack an optional package are skipped; nothing else is forgiven."""
    missing = "raise ModuleNotFoundError(\"No module named '{}'\")\n"
    files = {"optional": missing.format("nibabel.x"), "needed": missing.format("torch")}
    files["tests"] = "def test_a(): pass\ndef test_b(): assert 0, 'nibabel'\n"
    for name, text in files.items():
        (tmp_path / f"test_{name}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "benchmarks.bare", "-c", os.devnull, tmp_path]
    command += ["--continue-on-collection-errors", "--junitxml", tmp_path / "tests.xml"]
    subprocess.run(command, cwd=machine.ROOT, capture_output=True)
    tests = collect.tests(tmp_path)
    assert (tests["passed"], tests["failed"], tests["skipped"]) == (1, 2, 1)
    body = "| job | ms |\n| --- | --- |\n| pipe6 | {} |\n| - | - |"
    text = gpu.with_tests(body.format("2 (1-3)"), {"tests": tests})
    assert text.startswith(body.format("2 (1-3) (tests red)"))
    assert "test_tests::test_b" in text
    (tmp_path / "tests.xml").write_text((tmp_path / "tests.xml").read_text()[:-9])  # cut off
    text = gpu.with_tests(body.format(2), {"tests": collect.tests(tmp_path)})
    assert text.startswith(body.format("2 (untested)"))


def test_parts_are_kept_by_machine_and_card(tmp_path: Path) -> None:
    lines = ["==PROF==", '"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"']
    lines += [f'"0","warp_kernel(int *)","time {n}","ns","1,23{n}"' for n in range(2)]
    (tmp_path / "counters.csv").write_text("\n".join(lines))
    stamp = {**records.stamp(gpu.SUITE, "cpu", 1), "device": "cuda", "tiny": False}
    stamp["rows"] = [{"job": "pipe6", "value": 3.1, "most": 3, "kept": False}]
    for name, commit, card in (("W1", 1, "A"), ("P", 1, "A"), ("W1", 2, "A"), ("W1", 2, "B")):
        about = {"part": name, "commit": commit, "machine": {**stamp["machine"], "gpu": card}}
        records.write({**stamp, **about}, tmp_path / "part.json")
        collect.collect(tmp_path, tmp_path / "kept")
    kept = records.read(sorted((tmp_path / "kept").glob("*")))
    found = {name: part["commit"] for name, part in kept[0]["parts"].items()}
    assert found == {"W1": 2, "P": 1, "counters": 2}
    shown = " ".join(report.sections(report.kept(kept))["gpu"].split())
    assert "| pipe6 | 3.10 (untested) | 3 (untested) | **no** |" in shown
    assert "| warp_kernel | 1,230 ns (untested) | 1,231 ns (untested) |" in shown

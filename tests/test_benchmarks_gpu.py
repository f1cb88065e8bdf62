"""Steps of ``benchmarks/gpu.sh``, as far as they can be tested without a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu, machine, records, report
from tests.devices import interpreted


def shell(out: Path, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHON": sys.executable, "OUT": str(out), **more}
    command = ["bash", str(machine.ROOT / "benchmarks" / "gpu.sh"), *options]
    return subprocess.run(command, env=env, capture_output=True, encoding="utf-8")


@interpreted
def test_rehearsal_is_collected_and_shown(tmp_path: Path) -> None:
    done = shell(tmp_path, "--rehearse")
    assert done.returncode == 0, done.stdout + done.stderr
    done = shell(tmp_path, "--collect", str(tmp_path / "kept"))
    assert len(done.stdout.split()) == 2, done.stderr
    result, _ = records.read(sorted((tmp_path / "kept").glob("*.json")))
    assert {row["workload"] for row in result["rows"]} == {"W1", "W0", "P"}
    assert {row["status"] for row in result["steps"]} <= {"0", "absent"}
    assert "these numbers mean nothing." in gpu.text(result)
    assert "(tests red)" not in gpu.text(result)


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
    file = tmp_path / "part.json"

    def fails(*arguments):
        (result,) = records.read([file])
        assert len(result["rows"]) == len(gpu.JOBS) - 1
        assert all(row["bounds"] > 0 for row in result["rows"]), result["rows"]
        raise ValueError("no luck")

    jobs = {name: job._replace(workloads=["W1"]) for name, job in gpu.JOBS.items()}
    more = {"a job": gpu.Job(fails, {"waits": 0}, workloads=["W1"])}
    monkeypatch.setattr(gpu, "JOBS", jobs | more)
    gpu.main(["--device", "cpu", "--tiny", "--workload", "W1", "--output", str(file)])
    (result,) = records.read([file])
    assert result["rows"][-1]["note"] == "failed: ValueError: no luck"
    assert "**- of 0: missed**" in gpu.text(result)


def test_rows_are_collected_by_card_and_marked_until_tests_pass(tmp_path: Path) -> None:
    missing = "raise ModuleNotFoundError(\"No module named '{}'\")\n"
    (tmp_path / "test_optional.py").write_text(missing.format("nibabel.x"))
    (tmp_path / "test_needed.py").write_text(missing.format("torch"))
    (tmp_path / "test_a.py").write_text("def test_a(): pass\ndef test_b(): assert 0, 'nibabel'\n")
    command = [sys.executable, "-m", "pytest", "-p", "benchmarks.bare", "-c", os.devnull, tmp_path]
    command += ["-q", "--continue-on-collection-errors"]
    red = subprocess.run(command, cwd=machine.ROOT, capture_output=True, encoding="utf-8").stdout
    lines = ["==PROF==", '"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"']
    lines += [f'"0","warp_kernel(int *)","time {n}","ns","1,23{n}"' for n in range(2)]
    (tmp_path / "counters.csv").write_text("\n".join(lines))
    result = {**records.stamp(gpu.SUITE, "cpu", 1), "device": "cuda", "tiny": False}
    result["rows"] = [{"job": "pipe6", "bounds": 3.1, "budget": {"bounds": 3}}]
    for name, card in (("a", "A"), ("b", "A"), ("c", "B")):
        where = {**result["machine"], "gpu": card}
        records.write({**result, "machine": where}, tmp_path / f"{name}.json")
    ends = {red: 1, "3 passed in 9 s": 124, "9 skipped in 3 s": 0, "9 passed in 3 s": 0}
    for log, status in ends.items():
        (tmp_path / "tests.log").write_text(log)
        (tmp_path / "steps.tsv").write_text(f"tests\t{status}\t3\n")
        kept = records.read(gpu.collect(tmp_path, tmp_path / "kept"))
        assert [len(each["rows"]) for each in kept] == [2, 1]
        shown = " ".join(report.sections(report.kept(kept[:1]))["gpu"].split())
        mark = "" if log.startswith("9 passed") else " (tests red)"
        assert f"| pipe6 | **3.10 of 3: missed**{mark} |" in shown
        assert f"| warp_kernel | 1,230 ns{mark} | 1,231 ns{mark} |" in shown
        assert (log == red) == ("test_b" in shown and "1 passed, 1 skipped, 1 error in" in shown)

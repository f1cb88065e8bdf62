"""Suites of this library alone, and in processes beside others, run and report their results."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import cycle
from pathlib import Path

import pytest
import torch

from benchmarks import check, micro, plots, processes, records, report, scaling

ROOT = Path(__file__).resolve().parent.parent


def run(*options: str) -> subprocess.CompletedProcess[str]:
    # pytest-benchmark times nothing in a process that believes to be one of pytest-xdist's
    alone = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    command = [sys.executable, "-W", "ignore", "-m", *options]
    return subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, encoding="utf-8")


@pytest.mark.filterwarnings("ignore:max_displacement:RuntimeWarning")
@pytest.mark.parametrize("sweep", scaling.SWEEPS)
def test_sweeps_run(sweep: str) -> None:
    some = ["flip", "one_hot"] if sweep == "size" else []
    result = scaling.run("cpu", torch.get_num_threads(), [sweep], some, quick=True)
    assert not [row for row in result["rows"] if "failure" in row]
    assert len({row["at"] for row in result["rows"]}) == 2
    assert all(row["time"] is not None for row in scaling.exponents(result)) == (sweep != "size")
    assert "| copy " in scaling.text(result)


def test_memory_is_that_of_the_call() -> None:
    """Four copies exist at once, and the stack of them."""
    hoard = lambda x: torch.stack([x + n for n in range(4)]).sum(0)  # noqa: E731
    large = scaling.measure(hoard, [torch.rand(1, 1, 128, 128, 128)])
    assert large["batches"] == pytest.approx(8, abs=1.5)
    assert "batches" not in scaling.measure(hoard, [torch.rand(1, 1, 16, 16, 16)])
    failed = scaling.measure(lambda x: x / x.shape[9], [torch.rand(1)])
    assert failed["failure"].startswith("IndexError")


def test_kept_results_can_be_drawn(tmp_path: Path, monkeypatch) -> None:
    kept = report.kept(records.read())
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    plots.draw(kept)
    files = list(tmp_path.glob("*.png"))
    assert len(files) == sum(suite in plots.DRAWN for suite, _ in kept) > 1
    assert min(file.stat().st_size for file in files) > 10_000


@pytest.fixture
def ratio(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Ratio of each operation on a simulated machine, with 5 % of noise."""
    found = {"flip": 0.5, "gamma": 2.0}
    noise = cycle([1.0, 1.05, 0.95])
    monkeypatch.setattr(check, "ratio", lambda _, op, *given: found[op] * next(noise))
    monkeypatch.setattr(check, "SETTINGS", {"96³": (None, 1, ("flip", "gamma"))})
    return found


def test_a_slowdown_is_attributed_to_its_operation(ratio: dict[str, float], monkeypatch) -> None:
    ops = dict.fromkeys(ratio, torch.clone)
    stored = check.store(ops, "cpu", 1)
    assert [row["ratio"] for row in stored["rows"]] == pytest.approx([0.5, 2.0], rel=0.06)
    verdicts = lambda: [row["verdict"] for row in check.compare(stored, ops, "cpu")]  # noqa: E731
    assert verdicts() == ["same", "same"]
    ratio["gamma"] *= 1.5
    assert verdicts() == ["same", "slower"]
    ratio["gamma"] /= 4.5
    assert verdicts() == ["same", "faster"]
    once, disturbed = check.ratio, iter([3.0])
    monkeypatch.setattr(check, "ratio", lambda *given: once(*given) * next(disturbed, 1.0))
    ratio["gamma"] = 2.0
    assert verdicts() == ["same", "same"]  # what is disturbed is measured again


def test_bands_follow_the_spread_of_the_passes(ratio: dict[str, float], monkeypatch) -> None:
    passes = iter([1.0, 1.0, 1.6, 1.0, 0.8, 1.0])
    monkeypatch.setattr(check, "ratio", lambda *_: next(passes))
    rows = check.store(dict.fromkeys(ratio, torch.clone), "cpu", 1)["rows"]
    assert [row["band"] for row in rows] == [2.3, check.LEAST]


def test_a_planted_slowdown_fails_the_command(tmp_path: Path) -> None:
    """The band is set by hand, since the machine that runs tests is not quiet."""
    file = tmp_path / "stored.json"
    options = ["benchmarks.check", "--ops", "motion", "--threads", "1", "--against", str(file)]
    assert run(*options, "--device", "cpu", "--store").returncode == 0
    (stored,) = records.read([file])
    records.write({**stored, "rows": [{**row, "band": 1.5} for row in stored["rows"]]}, file)
    done = run(*options, "--device", "cpu", "--plant", "motion")
    assert done.returncode == 1
    assert "slower than what was stored: motion on 96³" in done.stderr


def test_every_piece_runs_and_one_is_timed() -> None:
    assert run("benchmarks.micro", "--benchmark-disable").returncode == 0
    done = run("benchmarks.micro", "-k", "seeds")
    assert done.returncode == 0, done.stdout
    cells = done.stdout.partition("| seeds of a batch |")[2].split("|")
    assert float(cells[0]) >= float(cells[1]) > 0  # median, first quartile


def test_cohorts_agree_and_workers_have_memory(tmp_path: Path) -> None:
    processes.write(tmp_path, 2, 16)
    for library in ("torchio_gpu", "torchio1", "monai"):
        call = f"cohort({library!r}, Path({str(tmp_path)!r}), 16)"
        found = processes.ask(sys.executable, processes.CALL.format(call))
        assert found["volumes a minute"] > 0
    found = processes.ask(sys.executable, processes.CALL.format("memory('torch')"))
    assert 20 < found["MB of a worker"] < 1000


@pytest.mark.parametrize("suite", [micro, processes])
def test_kept_results_have_a_table(suite) -> None:
    for result in records.read():
        if result["suite"] == suite.SUITE:
            assert suite.text(result).count("\n| ") >= len(result["rows"]) > 0

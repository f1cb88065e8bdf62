"""Performance gate: slowdowns are detected, and other changes ignored."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import check, machine, records
from benchmarks.failure import FailureError
from benchmarks.versus.workloads import OPS

ROOT = Path(__file__).resolve().parent.parent


class StubClock:
    """Clock on which calls take given seconds times a periodic noise."""

    def __init__(self, costs: dict[str, float]) -> None:
        self.costs, self.n = costs, 0

    def turn(self, op: str, calls: int) -> list[float]:
        self.n += 1
        return [self.costs[op] * (1 + 0.05 * (self.n % 3))] * calls


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Cost of each operation on a simulated machine."""
    found = {"copy": 1.0, "exponential": 2.0, "sampling": 4.0, "flip": 1.0, "gamma": 6.0}
    found["pipe6"] = 50.0
    clock = StubClock(found)
    monkeypatch.setattr(check.Runner, "check", lambda self, op: None)
    monkeypatch.setattr(check.Runner, "turn", lambda self, op, calls: clock.turn(op, calls))
    return found


OURS = dict.fromkeys(("flip", "gamma", "pipe6"), torch.clone)


def verdicts(stored: dict[str, Any]) -> dict[tuple[str, str], str]:
    rows = check.compare(stored, OURS, "cpu")
    return {(row["batch"], row["op"]): row["verdict"] for row in rows}


def test_a_slowdown_is_attributed_to_its_operation(costs):
    stored = check.store(OURS, "cpu", 1)
    assert set(verdicts(stored).values()) == {"same"}
    costs["gamma"] *= 1.5
    found = verdicts(stored)
    assert found.pop(("96³", "gamma")) == "slower"
    assert set(found.values()) == {"same"}
    costs["gamma"] /= 4.5
    assert verdicts(stored)["96³", "gamma"] == "faster"


def test_a_slower_machine_is_no_slowdown(costs):
    """Ratios do not change if every time doubles."""
    stored = check.store(OURS, "cpu", 1)
    for op in costs:
        costs[op] *= 2
    assert set(verdicts(stored).values()) == {"same"}


def test_ratios_are_relative_to_the_geometric_mean_of_the_reference(costs):
    stored = check.store(OURS, "cpu", 1)
    ratio = {row["op"]: row["ratio"] for row in stored["rows"] if row["batch"] == "96³"}
    assert ratio["gamma"] == pytest.approx(6 / 2, rel=0.1)
    assert ratio["flip"] == pytest.approx(1 / 2, rel=0.1)


def test_bands_follow_the_spread_of_the_passes(costs, monkeypatch):
    passes = iter([{"flip": r, "gamma": 1.0} for r in (1.0, 1.1, 1.0, 1.6, 0.8)] * 2)
    monkeypatch.setattr(check, "ratios", lambda *_: next(passes))
    monkeypatch.setattr(check, "PASSES", 5)
    monkeypatch.setattr(check, "SETTINGS", {"96³": check.SETTINGS["96³"]})
    rows = check.store(dict.fromkeys(("flip", "gamma"), torch.clone), "cpu", 1)["rows"]
    assert rows[0] == {"batch": "96³", "op": "flip", "ratio": 1.0, "band": 2.3}
    assert rows[1] == {"batch": "96³", "op": "gamma", "ratio": 1.0, "band": check.LEAST}


def test_a_single_disturbance_is_measured_again(costs, monkeypatch):
    stored = check.store(OURS, "cpu", 1)
    bad = iter([3.0])
    once = check.ratios

    def disturbed(ops, setting, device):
        factor = next(bad, 1.0)
        return {op: factor * ratio for op, ratio in once(ops, setting, device).items()}

    monkeypatch.setattr(check, "ratios", disturbed)
    assert set(verdicts(stored).values()) == {"same"}


def test_checked_operations_exist():
    for setting in check.SETTINGS.values():
        assert set(setting.ops) <= set(OPS)
        assert setting.ops


def test_a_missing_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [machine.device(name) for name in ("auto", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(FailureError, match="there is no GPU that torch can use"):
        machine.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [machine.device(name) for name in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.check", "--device", "cpu"]
        + ["--threads", "1", *options],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
    )


def test_a_slowdown_fails_the_command(tmp_path):
    """Run the command. A planted operation is called twice; its band is set by hand, since the
    machine that runs tests is not quiet."""
    file = tmp_path / "stored.json"
    done = run("--store", "--ops", "motion", "--against", str(file))
    assert done.returncode == 0, done.stderr
    stored = records.read([file])[0]
    stored["rows"] = [row for row in stored["rows"] if row["batch"] == "96³"]
    for row in stored["rows"]:
        row["band"] = 1.5
    records.write(stored, file)
    done = run("--ops", "motion", "--plant", "motion", "--against", str(file))
    assert done.returncode == 1
    assert "slower than what was stored: motion on 96³" in done.stderr

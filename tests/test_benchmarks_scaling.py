"""Scaling benchmarks, profiles and pictures run and report their results."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from benchmarks import plots, profiles, records, scaling
from benchmarks.versus.worker import Runner


@pytest.mark.filterwarnings("ignore:max_displacement:RuntimeWarning")
@pytest.mark.parametrize("sweep", [name for name in scaling.SWEEPS if name != "size"])
def test_sweeps_run(sweep: str) -> None:
    result = scaling.run("cpu", torch.get_num_threads(), [sweep], quick=True)
    assert not [row for row in result["rows"] if "failure" in row]
    assert {row["sweep"] for row in result["rows"]} == {sweep}
    assert len({row["at"] for row in result["rows"]}) == 2
    for row in scaling.exponents(result):
        assert row["time"] is not None
    assert "| copy " in scaling.text(result)


@pytest.mark.filterwarnings("ignore:max_displacement:RuntimeWarning")
def test_sizes_have_every_operation_on_a_batch() -> None:
    result = scaling.run("cpu", torch.get_num_threads(), ["size"], ["flip", "pipe6"], quick=True)
    assert {row["op"] for row in result["rows"]} == {"copy", "flip", "pipe6"}
    names = set(next(scaling.sizes(True)).ops)
    assert {"affine", "motion", "remap_labels", "one_hot", "rescale", "infer_hann"} <= names


def test_memory_is_measured_if_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four copies exist at once, besides the result."""
    ops = {"hoard": lambda x: torch.stack([x + n for n in range(4)]).sum(0)}
    large = scaling.measure(Runner(ops, torch.rand(1, 1, 128, 128, 128)), "hoard")
    assert large["batches"] == pytest.approx(8, abs=1.5)  # four, and the stack of them
    small = scaling.measure(Runner(ops, torch.rand(1, 1, 16, 16, 16)), "hoard")
    assert "batches" not in small


def test_a_failure_is_reported() -> None:
    runner = Runner({"broken": lambda x: 1 / 0}, torch.rand(1, 1, 4, 4, 4))
    assert scaling.measure(runner, "broken") == {"failure": "ZeroDivisionError: division by zero"}


def test_a_profile_separates_torch_from_python() -> None:
    x = torch.rand(300, 300)
    slow = profiles.look(lambda: time.sleep(0.003))
    busy = profiles.look(lambda: [x @ x for _ in range(20)])
    assert slow["within"] < 0.1
    assert slow["median_ms"] > 3
    assert busy["within"] > 0.5
    assert next(iter(busy["most"])) == "mm"
    assert busy["calls"] >= 20


def test_a_profile_becomes_a_sentence() -> None:
    row = {"workload": "W0", "op": "pipe6", "median_ms": 1.3, "profiled_ms": 2.0, "calls": 99}
    row |= {"within": 0.4, "most": {"mul": 0.25}}
    text = profiles.sentences({"rows": [row]})["W0", "pipe6"]
    assert text == (
        "40 % within 99 calls of torch's operators (`mul` 25 %), the rest in Python, "
        "numpy and memory"
    )


@pytest.mark.parametrize("suite", list(plots.DRAWN))
def test_kept_results_can_be_drawn(suite: str, tmp_path: Path, monkeypatch) -> None:
    kept = [result for result in records.read() if result["suite"] == suite]
    assert kept
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    files = list(plots.draw({(suite, "cpu"): kept}))
    assert len(files) == len(kept)
    for file in files:
        assert file.parent == tmp_path
        assert file.stat().st_size > 10_000

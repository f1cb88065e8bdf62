"""Benchmark of training: wrong batches are refused, rounds are timed, and losses are shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, cycle, islice, product
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import training
from benchmarks.failure import FailureError
from benchmarks.training import Pair, Setup

SETUP = Setup("cpu", 1, **{**training.QUICK, "seconds": 60.0})
RUN = ["none", "torchio_gpu", "torchio_gpu_patches", "torchio1", "monai", "monai_patches"]


@pytest.fixture(scope="module")
def batches() -> list[Pair]:
    torch.manual_seed(0)
    source, _ = training.ours(SETUP, training.heads(SETUP), names=())
    found = islice(source, 4)
    return [(image + 0.1 * torch.randn_like(image), label) for image, label in found]


def measure(batches: list[Pair], round_: int = 1, **changes: Any) -> dict[str, Any]:
    """Measure a source that repeats batches."""
    source = (cycle(batches), round_)
    return training.measure(lambda: source, replace(SETUP, **changes), True)


def test_heads_have_all_tissues_and_differ() -> None:
    heads = training.heads(SETUP)
    for image, label in heads:
        assert image.shape == label.shape == (1, *SETUP.shape)
        assert label.unique().tolist() == list(range(len(training.LEVELS)))
        assert (image == 0).equal(label == 0)
    assert all((a != b).any() for (_, a), (_, b) in combinations(heads, 2))


def moved(by: int, axis: int) -> Callable[[Tensor, Tensor], Pair]:
    return lambda image, label: (image, label.roll(-by, axis + 2))


CHANGES: dict[str, Callable[[Tensor, Tensor], Pair]] = {
    "images do not fit": lambda image, label: (image.flip(2), label),
    "do not fit their labels": lambda image, label: (image, label.flip(0)),
    "correlation nan": lambda image, label: (image / 0, label),
    "not augmented": lambda image, label: (image * (label > 0), label),
    "image batches is wrong": lambda image, label: (image[..., 1:], label),
    "label batches is wrong": lambda image, label: (image, label[:, 0]),
    r"labels are \[0, 1, 2\], expected 0 to 3": lambda image, label: (image, label.clamp(max=2)),
} | {f"moved by {n} voxels along axis {m}": moved(n, m) for n, m in product((-2, 2), range(3))}


@pytest.mark.parametrize("said", CHANGES)
def test_wrong_batches_are_refused(batches: list[Pair], said: str) -> None:
    assert training.check(batches, SETUP, True) > 0.9  # 0.1 of noise
    with pytest.raises(FailureError, match=said):
        measure([CHANGES[said](*batch) for batch in batches])


def test_whole_rounds_are_timed_and_the_network_learns(batches: list[Pair]) -> None:
    found = measure(batches, 3, steps=10)
    assert (found["warmup"], found["steps"], found["round"]) == (6, 12, 3)
    assert found["last_loss"] < 0.8 * found["first_loss"]
    assert measure(batches, 2, steps=100, seconds=1e-9)["steps"] == 2


def test_infinite_losses_are_refused(batches: list[Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.F, "cross_entropy", lambda x, y: x.sum() * float("nan"))
    with pytest.raises(FailureError, match="a loss is not finite"):
        measure(batches)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("training") / "result.json"
    training.main(["--quick", "--device", "cpu", "--output", str(file)])
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", RUN)
def test_each_contender_is_measured(result: dict[str, Any], name: str) -> None:
    row = next(row for row in result["rows"] if row["contender"] == name)
    if "ModuleNotFoundError" in row.get("failure", ""):
        pytest.skip(row["failure"])
    assert row["steps"] % row["round"] == row["warmup"] % row["round"] == 0 < row["steps"]
    assert row["steps_per_s"] == pytest.approx(row["steps"] / row["wall_s"], rel=1e-3)
    assert 0 < row["steps"] * row["mean_wait_ms"] / 1000 < row["wall_s"]
    assert training.number(row["steps_per_s"]) in training.text(result)


def test_failures_come_back_from_the_process() -> None:
    shown = training.text(training.run(replace(SETUP, patch=64), ["torchio_gpu"]))
    assert "- torchio_gpu: ValueError: " in shown  # larger than a head


def test_losses_are_bold(result: dict[str, Any]) -> None:
    rates = dict(zip(RUN, (9.0, 4.0, 2.0, 5.0, 3.0, 3.5), strict=True))
    like = {**result["rows"][0], "version": "1"}
    rows = [{**like, **row, "steps_per_s": rates[row["contender"]]} for row in result["rows"]]
    shown = training.text({**result, "rows": rows})
    assert [f"**{rate:.2f}**" in shown for rate in rates.values()] == [0, 0, 0, 1, 0, 1]
    assert "44 %" in shown

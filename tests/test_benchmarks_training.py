"""Benchmark of training: wrong batches are refused, times are separated, and losses are shown."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import records
from benchmarks.failure import FailureError
from benchmarks.training import __main__ as command
from benchmarks.training import harness, loop, pairs, text
from benchmarks.training.network import Trainer
from benchmarks.training.setup import CLASSES, QUICK, Setup, heads
from benchmarks.training.sources import CONTENDERS, OURS, Pair, Source, none

SETUP = Setup(**QUICK)
SHAPE = (SETUP.batch, 1, *[SETUP.patch] * 3)
#: Those that are run here, one of each library.
RUN = ["none", "torchio_gpu", "torchio_gpu_patches", "torchio1", "monai_patches"]
NUMBERS = {
    *("steps", "round", "warmup", "wall_s", "steps_per_s", "wait_ms", "mean_wait_ms", "step_ms"),
    *("mean_step_ms", "first_batch_s", "gap_s", "late_s", "correlation", "first_loss", "last_loss"),
    "idle",
}


@pytest.fixture(scope="module")
def some_heads() -> list[Pair]:
    """Synthetic heads of a quick run."""
    return heads(SETUP)


@pytest.fixture
def batches(some_heads: list[Pair]) -> list[Pair]:
    """Patches with noise."""
    torch.manual_seed(0)
    found = itertools.islice(none(SETUP, some_heads, None).batches, 4)
    return [(image + 0.1 * torch.randn_like(image), label) for image, label in found]


def fixed_loss(image: Tensor, label: Tensor) -> Tensor:
    return torch.tensor(1.0)


def measure(batches: list[Pair], **given: Any) -> dict[str, Any]:
    """Measure a source that repeats batches."""
    source = Source(itertools.cycle(batches), given.pop("round", 1))
    step, marks = given.pop("step", fixed_loss), given.pop("marks", loop.HostMarks())
    return loop.measure(lambda: source, step, replace(SETUP, **given), True, marks)


class TestHeads:
    def test_contain_all_tissues_and_differ(self, some_heads: list[Pair]) -> None:
        for image, label in some_heads:
            assert image.shape == label.shape == (1, *SETUP.shape)
            assert label.unique().tolist() == list(range(CLASSES))
            assert (image == 0).equal(label == 0)
        for (_, a), (_, b) in itertools.combinations(some_heads, 2):
            assert (a != b).any()

    def test_each_class_is_learnt(self, batches: list[Pair]) -> None:
        trainer = Trainer(SETUP)
        assert trainer.model(batches[0][0]).shape == (SETUP.batch, CLASSES, *SHAPE[2:])
        losses = [trainer.step(*batches[0]).item() for _ in range(12)]
        assert losses[-1] < 0.8 * losses[0]


class TestWrongBatches:
    """Patches that are quick to make but wrong."""

    def test_correct_batches_are_accepted(self, batches: list[Pair]) -> None:
        # 0.1 of noise against regions whose brightness varies by some 0.35
        assert pairs.check(batches, SHAPE, augmented=True) > 0.9

    @pytest.mark.parametrize(
        "change",
        [
            lambda image, label: (image.flip(2), label),
            lambda image, label: (image, label.flip(0)),
            lambda image, label: (image.transpose(2, 4), label),
        ],
        ids=["mirrored", "another patch's", "axes exchanged"],
    )
    def test_misplaced_labels_are_refused(
        self, batches: list[Pair], change: Callable[[Tensor, Tensor], Pair]
    ) -> None:
        with pytest.raises(FailureError, match="do not fit their labels"):
            measure([change(*batch) for batch in batches])

    @pytest.mark.parametrize("axis", [0, 1, 2])
    @pytest.mark.parametrize("step", [-2, 2])
    def test_slightly_shifted_labels_are_refused(
        self, batches: list[Pair], axis: int, step: int
    ) -> None:
        moved = [(image, label.roll(step, axis + 2)) for image, label in batches]
        with pytest.raises(FailureError, match=f"moved by {step} voxels along axis {axis}"):
            measure(moved)

    def test_unaugmented_batches_are_refused(self, batches: list[Pair]) -> None:
        plain = [(image * (label > 0), label) for image, label in batches]
        with pytest.raises(FailureError, match="not augmented"):
            measure(plain)
        pairs.check(plain, SHAPE, augmented=False)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda image, label: (image[..., 1:], label), r"images are \(2, 1, 32, 32, 31\)"),
            (lambda image, label: (image, label[:, 0]), r"label maps are \(2, 32, 32, 32\)"),
            (lambda image, label: (image / 0, label), "not finite"),
            (lambda image, label: (image, label.clamp(max=2)), "label 3 has 0.00%"),
            (lambda image, label: (image, label + 0.5 * (image > 1)), "labels other than"),
        ],
        ids=["shape of images", "shape of labels", "infinite", "a label is lost", "new labels"],
    )
    def test_patches_of_wrong_shape_or_dtype_are_refused(
        self, batches: list[Pair], change: Callable[[Tensor, Tensor], Pair], said: str
    ) -> None:
        with pytest.raises(FailureError, match=said):
            measure([change(*batch) for batch in batches])

    def test_non_finite_losses_are_refused(self, batches: list[Pair]) -> None:
        losses = itertools.chain([1.0] * 5, itertools.repeat(float("nan")))
        with pytest.raises(FailureError, match="a loss is not finite"):
            measure(batches, step=lambda image, label: torch.tensor(next(losses)))

    def test_an_exhausted_source_is_refused(self, batches: list[Pair]) -> None:
        source = Source(iter(batches))
        with pytest.raises(FailureError, match="no more batches"):
            loop.measure(lambda: source, fixed_loss, SETUP, True, loop.HostMarks())


class Stream(loop.HostMarks):
    """Simulated GPU whose marks are a second apart; the host is late for every second batch."""

    def __init__(self) -> None:
        self.now, self.asked = 0, 0

    def mark(self) -> int:
        self.now += 1
        return self.now

    def reached(self, mark: int) -> bool:
        self.asked += 1
        return self.asked % 2 == 0


class TestTime:
    def test_whole_rounds_are_timed(self, batches: list[Pair]) -> None:
        found = measure(batches, round=3, warmup=4, steps=4, seconds=60)
        assert (found["warmup"], found["steps"], found["round"]) == (6, 6, 3)

    def test_ends_after_the_round_that_takes_too_long(self, batches: list[Pair]) -> None:
        found = measure(batches, round=2, steps=100, seconds=0)
        assert found["steps"] == 2

    def test_gaps_are_those_of_late_batches_or_not(self, batches: list[Pair]) -> None:
        found = measure(batches, marks=Stream(), steps=4, seconds=60)
        # A start, and then for each step its begin and its end.
        assert found["wall_s"] == 8
        assert found["mean_step_ms"] == 1000
        assert found["gap_s"] == 4
        assert found["late_s"] == 2

    def test_shares_on_a_gpu(self) -> None:
        row = {"contender": "a", "wall_s": 10.0, "gap_s": 4.0, "late_s": 1.0}
        harness.add_shares([row], "cuda")
        assert (row["idle"], row["augmenting"]) == (0.1, 0.3)

    def test_shares_on_a_cpu(self) -> None:
        alone = {"contender": "none", "mean_step_ms": 500.0, "steps": 10, "wall_s": 5.0}
        other = {"contender": "a", "mean_step_ms": 700.0, "steps": 10, "wall_s": 20.0}
        harness.add_shares([alone, other], "cpu")
        assert (alone["idle"], other["idle"]) == (0, 0.75)
        assert "augmenting" not in other

    def test_shares_need_the_time_of_the_network_alone(self) -> None:
        row = {"contender": "a", "mean_step_ms": 700.0, "steps": 10, "wall_s": 20.0}
        harness.add_shares([{"contender": "none", "failure": "died"}, row], "cpu")
        assert "idle" not in row


@pytest.fixture(scope="module")
def quick_result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Result of a quick run of the command."""
    file = tmp_path_factory.mktemp("training") / "result.json"
    with pytest.MonkeyPatch.context() as patch:
        given = ["--quick", "--device", "cpu", "--contenders", *RUN, "--output", str(file)]
        patch.setattr(sys, "argv", ["training", *given])
        command.main()
    return json.loads(file.read_text(encoding="utf-8"))


class TestRun:
    @pytest.mark.parametrize("name", RUN)
    def test_numbers_of_each_contender_are_valid(
        self, quick_result: dict[str, Any], name: str
    ) -> None:
        row = quick_result["rows"][RUN.index(name)]
        assert row["contender"] == name
        if row.get("failure", "").startswith("not installed"):
            pytest.skip(row["failure"])
        assert row.keys() == {"contender", "title", "augments", "version"} | NUMBERS
        assert row["steps"] >= 1
        assert row["steps"] % row["round"] == row["warmup"] % row["round"] == 0
        assert row["correlation"] > pairs.MEAN
        assert row["steps_per_s"] == pytest.approx(row["steps"] / row["wall_s"], rel=1e-3)
        # Nothing happens but waiting and training; rounding is to 4 digits.
        spent = row["steps"] * (row["mean_wait_ms"] + row["mean_step_ms"]) / 1000
        assert spent == pytest.approx(row["wall_s"], rel=0.02, abs=0.01)

    def test_ours_are_measured(self, quick_result: dict[str, Any]) -> None:
        assert not any("failure" in row for row in quick_result["rows"][:3])

    def test_path_of_the_stored_result(self, quick_result: dict[str, Any]) -> None:
        assert quick_result["suite"] == "training"
        assert records.path(quick_result).name.startswith("training--")

    def test_table_has_all(self, quick_result: dict[str, Any]) -> None:
        shown = text(quick_result)
        for name in RUN:
            assert CONTENDERS[name].title.partition(",")[0] in shown

    def test_an_absent_contender_is_reported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def absent(name: str, setup: Setup) -> dict[str, Any]:
            raise FailureError("not installed: No module named 'monai'")

        monkeypatch.setattr(harness, "remote", absent)
        assert "- MONAI: not installed: No module named 'monai'." in text(
            harness.run(SETUP, ["monai"])
        )

    def test_a_missing_module_is_reported(self) -> None:
        with pytest.raises(FailureError, match="not installed: No module named"):
            replace(CONTENDERS["monai"], peer="absent").module()

    def test_failure_comes_back_from_the_process(self) -> None:
        with pytest.raises(FailureError, match="ValueError"):
            harness.remote(OURS, replace(SETUP, patch=64))  # larger than a head


class TestTable:
    @pytest.fixture
    def rates(self, quick_result: dict[str, Any]) -> Callable[..., str]:
        """Function that returns the table of given rates."""

        def shown(**rates: float) -> str:
            like = next(row for row in quick_result["rows"] if row["contender"] == OURS)
            rows = []
            for name, rate in rates.items():
                contender = CONTENDERS[name]
                about = {"contender": name, "title": contender.title}
                about |= {"augments": contender.augments, "version": "1.0"}
                rows.append({**like, **about, "steps_per_s": rate})
            return text({**quick_result, "rows": rows})

        return shown

    def test_loss_is_bold(self, rates: Callable[..., str]) -> None:
        shown = rates(none=9, torchio_gpu=2, monai=3, torchio1=1)
        assert "| **3.00, ahead of torchio_gpu** " in shown
        assert shown.count("**") == 2

    def test_a_gain_is_not_bold(self, rates: Callable[..., str]) -> None:
        assert "**" not in rates(none=9, torchio_gpu=2, monai=1, torchio1=1)

    def test_loss_to_one_that_augments_alike(self, rates: Callable[..., str]) -> None:
        shown = rates(none=9, torchio_gpu=4, torchio_gpu_patches=2, monai_patches=3, monai=3)
        assert "| **3.00, ahead of torchio_gpu, patches augmented** " in shown
        assert shown.count("**") == 2

    def test_gpu_has_a_column_more(self, quick_result: dict[str, Any]) -> None:
        rows = [{**row, "idle": 0.25, "augmenting": 0.125} for row in quick_result["rows"][:1]]
        shown = text({**quick_result, "device": "cuda", "rows": rows})
        assert "25 %" in shown
        assert "augmenting" in shown
        assert "12 %" in shown

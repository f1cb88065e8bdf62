"""Benchmarks of patches: inputs, workloads, and detection of wrong results."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import torchio_gpu as tio
from benchmarks.failure import FailureError
from benchmarks.versus import harness, inputs, tables
from benchmarks.versus import workloads as w
from benchmarks.versus.peers import four_by_four
from benchmarks.versus.worker import Runner

EPS = torch.finfo(torch.float32).eps


class StubContender:
    """Contender whose calls take a given time and may have a wrong result."""

    ops = ("copy", "op")

    def __init__(
        self, seconds: float, remark: str | None = None, fails_later: bool = False
    ) -> None:
        self.seconds, self.remark, self.fails_later = seconds, remark, fails_later
        self.calls = 0

    def check(self, op: str) -> str | None:
        return self.remark if op == "op" else None

    def turn(self, op: str, calls: int) -> list[float]:
        if op == "copy":
            return [0.001] * calls
        self.calls += calls
        if self.fails_later:
            raise FailureError("tired")
        return [self.seconds] * calls


@pytest.fixture
def x() -> Tensor:
    """A batch of one sample."""
    return torch.rand(1, 2, 16, 16, 24)


class TestInputs:
    def test_patches_are_those_of_the_grid(self, x: Tensor) -> None:
        patches, locations = inputs.inputs("patches", x)
        subject = tio.Subject(image=tio.ScalarImage(x[0]))
        grid = tio.GridSampler(subject, *w.patch_and_overlap(x.shape[2:]))
        assert torch.equal(locations, grid.locations)
        assert torch.equal(patches, torch.stack([patch.image.data for patch in grid]))

    def test_numbers_of_patches_are_those_of_the_tables(self) -> None:
        size = w.WORKLOADS["P"].shape[2:]
        assert w.patch_and_overlap(size) == ((64, 64, 64), (16, 16, 16))
        assert w.training_patch(size) == (96, 96, 96)
        # Four steps of 48 from 0 reach 192, and 192 + 64 is the end: 5 along each axis.
        assert "125 patches of 64³ voxels that overlap by 16" in w.PATCH_OPS["aggregate"]
        assert "96³" in w.PATCH_OPS["one_patch"]
        assert w.AT_ONCE == 4

    def test_volume_is_the_first_channel_and_its_labels(self, x: Tensor) -> None:
        image, labels = inputs.inputs("volume", x)
        assert torch.equal(image, x[0, :1])
        assert torch.equal(labels, inputs.labels_of(x)[0])
        assert image.shape == labels.shape

    def test_network_outputs_come_in_batches_of_four(self, x: Tensor) -> None:
        patches, locations = inputs.inputs("patches", x)
        batches = list(four_by_four(patches[:9], locations[:9]))
        assert [len(batch) for batch, _ in batches] == [4, 4, 1]
        assert torch.equal(torch.cat([batch for batch, _ in batches]), patches[:9])
        assert torch.equal(torch.cat([where for _, where in batches]), locations[:9])


class TestWorkloads:
    def test_operations_on_patches_have_a_workload_of_their_own(self) -> None:
        for workload in w.WORKLOADS.values():
            taken = {op for op in w.OPS if workload.takes(op)}
            patches = taken & set(w.PATCH_OPS)
            assert patches == (set(w.PATCH_OPS) if workload.name == "P" else set())
            assert taken == patches if workload.name == "P" else taken
        for names in w.DEFAULT.values():
            assert "P" in names
        for names in w.MEMORY.values():
            assert sum(w.WORKLOADS[name].takes("aggregate") for name in names) == 1
            assert sum(w.WORKLOADS[name].takes("pipe6") for name in names) == 1

    def test_unused_workloads_are_not_loaded(self) -> None:
        class Unloaded(StubContender):
            def load(self, workload: str) -> None:
                raise AssertionError(workload)

        contenders: Any = {"a": Unloaded(1)}
        options = harness.Options(pythons={}, ops=["aggregate"], repeats=2)
        ops = harness.chosen("CPU", options)
        assert ops == []
        assert list(harness._workload(contenders, "CPU", ops, options)) == []

    def test_every_operation_says_what_it_returns(self) -> None:
        size = (1, 256, 256, 256)
        for op, number in {"one_patch": 1, "four_patches": 4}.items():
            assert w.WORK[op].shape(size) == (number, 1, 96, 96, 96)
            assert w.WORK[op].patches == number
        assert {op for op, work in w.WORK.items() if work.identity} == {
            *("aggregate", "infer_hann", "infer_gaussian")
        }


class TestCheck:
    """Check of results that must equal the batch."""

    def test_right_result_is_accepted(self, x: Tensor) -> None:
        ops = {"aggregate": lambda patches, locations: x.clone(), "infer_hann": torch.clone}
        runner = Runner(ops, x)
        assert runner.check("aggregate") is None
        assert runner.check("infer_hann") is None

    @pytest.mark.parametrize(("off", "right"), [(10 * EPS, True), (40 * EPS, False)])
    def test_rounding_is_no_error(self, x: Tensor, off: float, right: bool) -> None:
        remark = Runner({"infer_hann": lambda x: x + off}, x).check("infer_hann")
        assert (remark is None) == right

    def test_a_wrong_result_gets_a_remark(self, x: Tensor) -> None:
        def wrong(x: Tensor) -> Tensor:
            y = x.clone()
            y[..., :6] += 0.5
            return y

        remark = Runner({"infer_hann": wrong}, x).check("infer_hann")
        assert remark == "25 % of voxels, all between 0 and 1, are wrong by up to 0.5"

    @pytest.mark.parametrize(
        ("wrong", "reason"),
        [
            (lambda patches, locations: patches + 1, r"returns shape .*, expected .*16, 16, 24"),
            (lambda patches, locations: torch.zeros(1, 2, 16, 16, 24), "fills 1 of 1 samples"),
            (lambda patches, locations: torch.full((1, 2, 16, 16, 24), torch.nan), "not finite"),
        ],
    )
    def test_impossible_result_is_refused(self, x: Tensor, wrong: Any, reason: str) -> None:
        with pytest.raises(FailureError, match=reason):
            Runner({"aggregate": wrong}, x).check("aggregate")

    def test_operations_that_change_their_input_are_refused(self, x: Tensor) -> None:
        def spoil(patches: Tensor, locations: Tensor) -> Tensor:
            patches.mul_(2)
            return x.clone()

        with pytest.raises(FailureError, match="changes its input"):
            Runner({"aggregate": spoil}, x).check("aggregate")

    def test_a_wrong_number_of_patches_is_refused(self, x: Tensor) -> None:
        runner = Runner({"four_patches": lambda image, labels: torch.rand(3, 1, 6, 6, 9)}, x)
        with pytest.raises(FailureError, match=r"expected torch.Size\(\[4, 1, 6, 6, 9\]\)"):
            runner.check("four_patches")

    def test_memory_is_that_of_patches_of_the_batch(self, x: Tensor) -> None:
        given: list[tuple[int, ...]] = []

        def op(patches: Tensor, locations: Tensor) -> Tensor:
            given.append(tuple(patches.shape))
            return patches.clone()

        Runner({"aggregate": op}, x).memory("aggregate")
        # After a warm-up on a volume of 32 x 32 x 32 voxels: 3 patches along each axis.
        assert given == [(27, 2, 16, 16, 16), (27, 2, 8, 8, 12)]


class TestMeasure:
    def test_remark_goes_with_the_time(self) -> None:
        players = {
            "a": StubContender(0.1),
            "b": StubContender(0.1, "is wrong"),
            "c": StubContender(1, "is wrong", True),
        }
        rows = {row["contender"]: row for row in harness.measure(players, "op", 2)}
        assert rows["b"]["remark"] == "is wrong"
        assert rows["b"]["repeats"] == 2
        assert "remark" not in rows["a"]
        assert rows["c"] == {"op": "op", "contender": "c", "failure": "tired"}

    @pytest.mark.parametrize(("seconds", "repeats"), [(7.0, 3), (9.0, 1)])
    def test_slowest_are_called_once(self, seconds: float, repeats: int) -> None:
        slow = StubContender(seconds)
        rows = harness.measure({"a": StubContender(0.1), "slow": slow}, "op", 6, budget=8)
        assert rows[-1]["repeats"] == slow.calls == repeats
        assert rows[-1]["median_ms"] == 1000 * seconds
        assert rows[-2]["repeats"] == 6


def _row(op: str, contender: str, median: float, **more: Any) -> dict[str, Any]:
    times = dict.fromkeys(("median_ms", "q1_ms", "q3_ms", "min_ms"), median)
    return {"workload": "P", "op": op, "contender": contender, "repeats": 3, **times, **more}


def test_tables_say_what_is_wrong_and_how_many_patches_there_are() -> None:
    facts = {"version": "9.9", "python": "3.12.0", "torch": "2.0"}
    made_up = {
        "date": "2001-02-03T04:05:06+00:00",
        "commit": "abcdef",
        "dirty": False,
        "threads": 2,
        "machine": {"cpu": "Abacus", "cores": 2, "ram_gb": 1, "os": "None", "gpu": None},
        "contenders": {
            "torchio_gpu": {"name": "torchio_gpu", **facts},
            "rival": {"name": "Rival", **facts},
            "idle": {"name": "Idle", **facts},
        },
        "rows": [
            _row("aggregate", "copy", 5.0),
            _row("aggregate", "torchio_gpu", 10.0, copies=2.0),
            _row("aggregate", "rival", 5.0, remark="9 % of voxels are wrong"),
            _row("four_patches", "copy", 5.0),
            _row("four_patches", "torchio_gpu", 20.0, copies=4.0),
            _row("four_patches", "rival", 800.0, copies=160.0),
        ],
        "memory": [
            {"workload": "P", "op": "aggregate", "contender": "torchio_gpu", "batches": 1.04}
        ],
    }
    text = tables.tables(made_up)
    for line in (
        "**P: 1x2x256³ float32**, time of a call, ms",
        "|  | torchio_gpu 9.9 | x copy | Rival 9.9 |",
        "| aggregate | 10.0 (10.0-10.0) | 2.00 | 5.00 (5.00-5.00)† **0.500x ahead of us** |",
        "| four patches | 20.0 (20.0-20.0) | 4.00 | 800 (800-800) 40.0x |",
        "Patches per second, four patches of a volume on P: torchio_gpu 9.9 200, Rival 9.9 5.00.",
        "Peak extra memory of aggregate on P, its result included, in multiples of the batch: "
        "torchio_gpu 9.9 1.0x.",
        "- † Rival 9.9 aggregate on P: 9 % of voxels are wrong.",
        f"- aggregate {w.PATCH_OPS['aggregate']}.",
    ):
        assert line in text.splitlines()
    assert "Patches per second, aggregate" not in text
    assert "one patch" not in text

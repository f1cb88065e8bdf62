"""The harness: does it time what it says, notice what is slow or wrong, and show losses?"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import harness, machine, remote, report
from benchmarks import workloads as w
from benchmarks.failure import FailureError
from benchmarks.peers import by_size
from benchmarks.worker import Runner

ROOT = Path(__file__).resolve().parent.parent
STATISTICS = {"median_ms", "q1_ms", "q3_ms", "min_ms", "repeats"}


class Clock:
    """Stands still but for the operations that say how long they took."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def op(self, *seconds: float) -> Callable[[Tensor], Tensor]:
        """An operation that takes these times in turn, then the last again and again."""
        left = list(seconds)

        def call(x: Tensor) -> Tensor:
            self.now += left.pop(0) if len(left) > 1 else left[0]
            return x + 1

        return call


class Player:
    """A contender whose calls take a given time, and who writes down its turns."""

    ops = ("copy", "op")

    def __init__(self, name: str, seconds: float, diary: list[str]) -> None:
        self.name, self.seconds, self.diary = name, seconds, diary

    def check(self, op: str) -> None:
        pass

    def turn(self, op: str, calls: int) -> list[float]:
        if op == "op":
            self.diary.append(self.name)
        return [self.seconds if op == "op" else 0.001] * calls


@pytest.fixture
def x() -> Tensor:
    """A batch."""
    return torch.rand(2, 1, 8, 8, 8)


def test_statistics() -> None:
    facts = harness.statistics([0.005, 0.001, 0.002, 0.004, 0.003])
    assert facts == {"median_ms": 3, "q1_ms": 2, "q3_ms": 4, "min_ms": 1, "repeats": 5}
    assert harness.statistics([0.5])["median_ms"] == 500


def test_turn_times_each_call(x: Tensor) -> None:
    clock = Clock()
    runner = Runner({"slow": clock.op(1, 2, 3), "quick": clock.op(0.1, 0.01, 0.02)}, x, clock=clock)
    assert runner.turn("slow", 3) == pytest.approx([1, 2, 3])
    # The first call of a quick one is not timed.
    assert runner.turn("quick", 2) == pytest.approx([0.01, 0.02])


def test_contenders_take_turns_and_slow_ones_fewer() -> None:
    diary: list[str] = []
    players = {name: Player(name, s, diary) for name, s in (("a", 0.1), ("b", 0.1), ("c", 4.0))}
    rows = {row["contender"]: row for row in harness.measure(players, "op", 6, budget=8)}
    # After a warm-up each; that of the slow one counts, and its other calls are spread.
    assert "".join(diary[3:]) == "ababababcababc"
    assert [rows[name]["repeats"] for name in ("copy", "a", "b", "c")] == [6, 6, 6, 3]
    assert rows["c"]["copies"] == 4000


def test_many_calls_are_shared_out_among_rounds() -> None:
    diary: list[str] = []
    (_, row) = harness.measure({"a": Player("a", 0.001, diary)}, "op", 100)
    assert row["repeats"] == 100
    assert len(diary) == harness.ROUNDS + 1


def test_planted_slow_contender_is_seen(x: Tensor) -> None:
    clock = Clock()
    ours, slow = ({"op": clock.op(seconds)} for seconds in (0.3, 0.9))
    contenders = {"ours": Runner(ours, x, clock=clock), "slow": Runner(slow, x, clock=clock)}
    _, first, second = harness.measure(contenders, "op", 4)
    assert second["median_ms"] == pytest.approx(3 * first["median_ms"])


def test_planted_slow_contender_is_seen_in_real_time() -> None:
    x = torch.rand(1, 1, 48, 48, 48)

    def often(x: Tensor) -> Tensor:
        for _ in range(100):
            x = x + 1
        return x

    contenders = {"ours": Runner({"op": lambda x: x + 1}, x), "slow": Runner({"op": often}, x)}
    _, first, second = harness.measure(contenders, "op", 5)
    assert second["median_ms"] > 5 * first["median_ms"]


def _raise(x: Tensor) -> Tensor:
    raise ValueError("no /such/place/here.so\nmore")


def _half(x: Tensor) -> Tensor:
    y = x.clone()
    y[0] += 1
    return y


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        (_raise, "ValueError: no ..."),
        (lambda x: x.numpy() + 1, "returns ndarray, not a tensor"),
        (lambda x: x[:1] + 1, "returns shape"),
        (lambda x: x.double() + 1, "returns dtype"),
        (lambda x: x / 0, "returns numbers that are not finite"),
        (_half, "leaves 1 of 2 samples as they were"),
        (lambda x: x.add_(1), "changes its input"),
    ],
)
def test_failing_contender_is_marked_and_the_others_measured(
    x: Tensor, op: Callable[[Tensor], Any], reason: str
) -> None:
    good = Runner({"op": lambda x: x + 1}, x.clone())
    rows = harness.measure({"good": good, "bad": Runner({"op": op}, x)}, "op", 2)
    found = {row["contender"]: row for row in rows}
    assert found["bad"]["failure"].startswith(reason)
    assert "median_ms" not in found["bad"]
    assert found["good"]["repeats"] == 2


def _fill(labels: Tensor) -> Tensor:
    """An honest image: another number for each label."""
    return labels.float() + 0.5


def test_labels_to_image_gets_a_label_map() -> None:
    x = torch.rand(2, 3, 8, 8, 8)
    given: list[Tensor] = []

    def op(labels: Tensor) -> Tensor:
        given.append(labels)
        return _fill(labels)

    runner = Runner({"labels_to_image": op}, x)
    runner.check("labels_to_image")
    runner.turn("labels_to_image", 2)
    assert given[0].shape == (2, 1, 8, 8, 8)
    assert given[0].dtype == torch.uint8
    assert given[0].unique().tolist() == list(range(w.LABELS))
    # Made once, not while the clock runs.
    assert all(labels is given[0] for labels in given)
    Runner({"labels_to_image": _fill}, x).memory("labels_to_image")


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        (lambda labels: labels.float(), "leaves 2 of 2 samples as they were"),
        (lambda labels: labels + 1, "returns dtype torch.uint8, expected torch.float32"),
        (lambda labels: _fill(labels.add_(1)), "changes its input"),
        (lambda labels: _fill(labels).expand(-1, 2, -1, -1, -1), "returns shape"),
    ],
)
def test_wrong_image_of_labels_is_refused(
    x: Tensor, op: Callable[[Tensor], Any], reason: str
) -> None:
    with pytest.raises(FailureError, match=reason):
        Runner({"labels_to_image": op}, x).check("labels_to_image")


def test_operation_is_made_once_for_each_size(x: Tensor) -> None:
    made: list[Any] = []

    def make(size: Any) -> Callable[[Tensor], Tensor]:
        made.append(size)
        return lambda x: x + size[0]

    op = by_size(make)
    assert torch.equal(op(x), x + 8)
    assert torch.equal(op(x), x + 8)
    assert torch.equal(op(x[:1, :, :4]), x[:1, :, :4] + 4)
    assert made == [(8, 8, 8), (4, 8, 8)]


@pytest.mark.parametrize("workload", w.WORKLOADS.values(), ids=str)
def test_parameters_fit_every_workload(workload: w.Workload) -> None:
    size = workload.shape[2:]
    assert 2 * w.swap(size)["patch_size"] <= min(size)
    # At least one plane is that far from the middle.
    assert max(w.ghosting(size)["num_ghosts"]) <= min(size) // 2


@pytest.mark.parametrize("peer", ["torchio_gpu", "torchio1", "monai", "scipy"])
def test_every_operation_of_a_peer_runs(peer: str) -> None:
    try:
        remote_peer = remote.Remote(peer, sys.executable, 1, "cpu")
    except FailureError as failure:
        if peer == harness.OURS:
            raise
        pytest.skip(f"{peer}: {failure}")
    with remote_peer as contender:
        contender.load("W0")
        ops = [op for op in w.OPS if op in contender.ops]
        if peer == harness.OURS:
            assert ops == list(w.OPS)
        assert ops
        for op in ops:
            contender.check(op)


def test_memory_is_measured_of_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "MEMORY", {"cpu": "W0"})
    options = harness.Options(
        pythons={harness.OURS: sys.executable, "scipy": sys.executable},
        device="cpu",
        workloads=["W0"],
        ops=["motion", "flip"],
        repeats=1,
    )
    result = harness.run(options)
    # Not of pipe6, which was not asked for, nor of a peer that lacks motion.
    rows = [(row["op"], row["contender"]) for row in result["memory"]]
    assert rows == [("motion", harness.OURS)]
    assert "batches" in result["memory"][0]


def test_contender_that_fails_later_is_marked(x: Tensor) -> None:
    calls: list[int] = []

    def tires(x: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) > 4:
            raise RuntimeError("tired")
        return x + 1

    _, row = harness.measure({"a": Runner({"op": tires}, x)}, "op", 5)
    assert row == {"op": "op", "contender": "a", "failure": "RuntimeError: tired"}


def test_contender_without_the_operation_sits_out(x: Tensor) -> None:
    assert harness.measure({"a": Runner({}, x)}, "op", 2) == []


def test_interpreters() -> None:
    environment = {remote.VARIABLE: "torchio2=here,monai=there"}
    assert remote.interpreters(["monai=elsewhere"], environment) == {
        "torchio2": "here",
        "monai": "elsewhere",
    }
    with pytest.raises(ValueError, match="NAME=PYTHON"):
        remote.interpreters(["unknown=here"], {})
    assert remote.peers()[0] == harness.OURS


def test_slugs_name_no_trademark() -> None:
    facts = {"cpu": "Intel(R) Xeon(R) CPU E5-2690 v4 @ 2.60GHz", "cores": 2, "gpu": None}
    assert machine.slug(facts) == "intel-xeon-e5-2690-v4-2-cores"
    assert machine.device_slug(facts) == "cpu"
    assert machine.device_slug({"gpu": "NVIDIA H200"}) == "nvidia-h200"


def test_workers_do_not_import_this_library() -> None:
    code = (
        "import sys, benchmarks.worker, benchmarks.peers; assert 'torchio_gpu' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_absent_peer_is_noted() -> None:
    options = harness.Options(
        pythons={harness.OURS: sys.executable, "monai": "no-such-interpreter"},
        device="cpu",
        workloads=["W0"],
        ops=["flip"],
        repeats=2,
    )
    result = harness.run(options)
    assert result["contenders"]["monai"]["failure"].startswith("interpreter does not start")
    assert [row["contender"] for row in result["rows"]] == ["copy", harness.OURS]
    assert "monai: interpreter does not start" in report.tables(result)


def test_worker_that_dies_is_a_failure() -> None:
    code = "import sys; sys.stdin.readline()"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    contender = remote.Remote.__new__(remote.Remote)
    contender._process = process
    with contender, pytest.raises(FailureError, match="its process died"):
        contender.check("op")


def test_command_line_writes_a_valid_result(tmp_path: Path) -> None:
    output = tmp_path / "result.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--no-peers", "--device", "cpu"]
    done = subprocess.run(
        [*command, "--ops", "flip", "pipe6", "--output", str(output)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    assert "| pipe6 |" in done.stdout
    text = output.read_text(encoding="utf-8")
    assert str(ROOT) not in text
    result = json.loads(text)
    keys = {"suite", "date", "commit", "dirty", "threads", "device", "machine"}
    assert set(result) == keys | {"contenders", "rows", "memory"}
    assert set(result["machine"]) == {"cpu", "cores", "ram_gb", "os", "gpu"}
    assert set(result["contenders"][harness.OURS]) == {"name", "version", "python", "torch"}
    assert len(result["rows"]) == 4
    for row in result["rows"]:
        assert set(row) == {"workload", "op", "contender", "copies"} | STATISTICS
        assert row["repeats"] == 5
        assert 0 < row["min_ms"] <= row["q1_ms"] <= row["median_ms"] <= row["q3_ms"]


def _row(op: str, contender: str, median: float) -> dict[str, Any]:
    times = {"median_ms": median, "q1_ms": median, "q3_ms": median, "min_ms": median}
    return {"workload": "CPU", "op": op, "contender": contender, "repeats": 3, **times}


@pytest.fixture
def made_up() -> dict[str, Any]:
    """A result with round numbers that nobody measured."""
    facts = {"version": "9.9", "python": "3.12.0", "torch": "2.0"}
    return {
        "suite": "made-up",
        "date": "2001-02-03T04:05:06+00:00",
        "commit": "abcdef",
        "dirty": True,
        "threads": 2,
        "device": "cpu",
        "machine": {"cpu": "Abacus", "cores": 2, "ram_gb": 1, "os": "None", "gpu": None},
        "contenders": {
            "torchio_gpu": {"name": "torchio_gpu", **facts},
            "rival": {"name": "Rival", **facts, "torch": "1.9"},
            "absent": {"failure": "not installed"},
        },
        "rows": [
            _row("flip", "copy", 2.0),
            {**_row("flip", "torchio_gpu", 10.0), "copies": 5.0},
            _row("flip", "rival", 40.0),
            _row("noise", "copy", 8.0),
            {**_row("noise", "torchio_gpu", 10.0), "copies": 1.25},
            _row("noise", "rival", 5.0),
            {**_row("gamma", "torchio_gpu", 10.0), "copies": 5.0},
            {"workload": "CPU", "op": "gamma", "contender": "rival", "failure": "is tired"},
        ],
        "memory": [
            {"workload": "CPU", "op": "motion", "contender": "torchio_gpu", "batches": 1.5},
            {"workload": "CPU", "op": "motion", "contender": "rival", "failure": "is tired"},
            {"workload": "CPU", "op": "pipe6", "contender": "torchio_gpu", "batches": 3.21},
        ],
    }


def test_table_shows_ratios_losses_and_failures(made_up: dict[str, Any]) -> None:
    text = report.tables(made_up)
    lines = text.splitlines()
    assert "| flip | 10.0 (10.0-10.0) | 5.00 | 40.0 (40.0-40.0) 4.00x |" in lines
    assert "| noise | 10.0 (10.0-10.0) | 1.25 | 5.00 (5.00-5.00) **0.500x ahead of us** |" in lines
    assert "| gamma | 10.0 (10.0-10.0) | 5.00 | failed |" in lines
    for fact in (
        "Measured 2001-02-03 at commit abcdef with changes not committed on Abacus, 2 cores",
        "2 threads, Python 3.12.0, torch 2.0.",
        "Rival 9.9 runs on Python 3.12.0, torch 1.9.",
        "Rival 9.9 gamma on CPU failed: is tired.",
        "absent: not installed.",
        "memory of motion on CPU, its result included, in multiples of the batch: "
        "torchio_gpu 9.9 1.5x, Rival 9.9 is tired.",
        "memory of pipe6 on CPU, its result included, in multiples of the batch: "
        "torchio_gpu 9.9 3.2x.",
        "2.00-8.00 ms on CPU: the machine was not quiet",
    ):
        assert fact in text


def test_readme_is_renewed_between_the_markers(made_up: dict[str, Any], tmp_path: Path) -> None:
    result, readme = tmp_path / "result.json", tmp_path / "README.md"
    result.write_text(json.dumps(made_up), encoding="utf-8")
    start, end = report.markers("benchmarks")
    first, last = report.markers("transforms")
    readme.write_text(
        f"# Title\n{first}\nold\n{last}\nmiddle\n{start}\nold\n{end}\ntail\n", encoding="utf-8"
    )
    report.main([str(result), "--readme", str(readme)])
    after = readme.read_text(encoding="utf-8")
    assert after.startswith(f"# Title\n{first}\n| at random | as given |")
    assert f"\n{last}\nmiddle\n{start}\n**CPU: " in after
    assert after.endswith(f"\n{end}\ntail\n")
    assert "old" not in after
    report.main([str(result), "--readme", str(readme)])
    assert readme.read_text(encoding="utf-8") == after
    readme.write_text("# No markers\n", encoding="utf-8")
    assert not report.renew(readme, "benchmarks", "text")
    assert readme.read_text(encoding="utf-8") == "# No markers\n"


def test_transforms_in_the_readme_are_those_of_the_code() -> None:
    start, end = report.markers("transforms")
    table = report.transforms()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{start}\n{table}\n{end}" in readme, "run: python -m benchmarks.report"
    assert "| `RandomSpike` | `Spike` | Add bright points to k-space at random. |" in table
    # Markdown would take a bare | for the end of a cell.
    assert all(line.replace("\\|", "").count("|") == 4 for line in table.splitlines())

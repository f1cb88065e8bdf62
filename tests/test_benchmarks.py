"""Benchmark harness: times, detection of slow and wrong results, and tables."""

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

from benchmarks import machine
from benchmarks.failure import FailureError
from benchmarks.versus import environments, harness, inputs, remote, tables
from benchmarks.versus import workloads as w
from benchmarks.versus.peers import by_size
from benchmarks.versus.worker import Runner

ROOT = Path(__file__).resolve().parent.parent
#: Peers that may be installed beside this library, itself first.
INSTALLED = ["torchio_gpu", "torchio1", "monai", "monai_lazy", "numpy", "scipy"]
#: Inputs that are made of the batch.
SHARED = ("batch", "labels")
#: Operations that give the same result whenever they are called.
FIXED = (
    *("resample", "crop_or_pad", "to_canonical", "z_normalization", "rescale", "remap_labels"),
    *("one_hot", "largest_component", "percentile"),
)
STATISTICS = {"median_ms", "q1_ms", "q3_ms", "min_ms", "repeats"}


class Clock:
    """Clock that advances only by the given times of operations."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def op(self, *seconds: float) -> Callable[[Tensor], Tensor]:
        """Return an operation that takes these times in turn and then repeats the last."""
        left = list(seconds)

        def call(x: Tensor) -> Tensor:
            self.now += left.pop(0) if len(left) > 1 else left[0]
            return x + 1

        return call


class StubContender:
    """Contender whose calls take a given time and are logged."""

    ops = ("copy", "op")

    def __init__(self, name: str, seconds: float, log: list[str]) -> None:
        self.name, self.seconds, self.log = name, seconds, log

    def check(self, op: str) -> str | None:
        return None

    def turn(self, op: str, calls: int) -> list[float]:
        if op == "op":
            self.log.append(self.name)
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


def test_contenders_alternate_and_slow_ones_are_called_less() -> None:
    log: list[str] = []
    players = {
        name: StubContender(name, s, log) for name, s in (("a", 0.1), ("b", 0.1), ("c", 4.0))
    }
    rows = {row["contender"]: row for row in harness.measure(players, "op", 6, budget=8)}
    # After a warm-up each; that of the slow one counts, and its other calls are spread.
    assert "".join(log[3:]) == "ababababcababc"
    assert [rows[name]["repeats"] for name in ("copy", "a", "b", "c")] == [6, 6, 6, 3]
    assert rows["c"]["copies"] == 4000


def test_many_calls_are_distributed_over_rounds() -> None:
    log: list[str] = []
    (_, row) = harness.measure({"a": StubContender("a", 0.001, log)}, "op", 100)
    assert row["repeats"] == 100
    assert len(log) == harness.ROUNDS + 1


def test_a_slow_contender_is_detected(x: Tensor) -> None:
    clock = Clock()
    fast, slow = ({"op": clock.op(seconds)} for seconds in (0.3, 0.9))
    contenders = {"fast": Runner(fast, x, clock=clock), "slow": Runner(slow, x, clock=clock)}
    _, first, second = harness.measure(contenders, "op", 4)
    assert second["median_ms"] == pytest.approx(3 * first["median_ms"])


def test_a_slow_contender_is_detected_in_real_time() -> None:
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
        (lambda x: x * 0, "fills 2 of 2 samples with one number"),
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
    """Return a valid image: a number for each label."""
    return labels.float() + 0.5


def test_labels_to_image_gets_a_label_map() -> None:
    x = torch.rand(2, 3, 8, 8, 8)
    given: list[Tensor] = []

    def op(labels: Tensor) -> Tensor:
        given.append(labels)
        return _fill(labels)

    runner = Runner({"labels_to_image": op}, x)
    runner.check("labels_to_image")
    given.clear()  # probes have label maps of their own
    runner.turn("labels_to_image", 1)
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


def test_every_operation_says_what_it_returns() -> None:
    size = (2, 1, 128, 128, 128)
    shapes = {op: tuple(work.shape(size)) for op, work in w.WORK.items() if work.given in SHARED}
    others = {op: shape for op, shape in shapes.items() if shape != size}
    assert others == {
        "resample": (2, 1, 85, 85, 85),
        "crop_or_pad": (2, 1, 96, 96, 160),
        "one_hot": (2, w.LABELS, 128, 128, 128),
    }
    assert w.WORK["largest_component"].shape((1, 1, 9, 9, 9)) == (1, 1, 9, 9, 9)
    assert w.WORK["percentile"].shape((1, 1, 9, 9, 9)) == (1, 2)
    assert w.WORK["prep6"].shape((1, 9, 9, 9)) == (1, 160, 192, 160)
    assert {op for op, work in w.WORK.items() if work.dtype == "uint8"} == {
        *("remap_labels", "one_hot", "largest_component")
    }


@pytest.mark.parametrize(
    ("name", "op", "reason"),
    [
        ("resample", lambda x: x + 1, r"returns shape .*8, 8, 8.*, expected .*5, 5, 5"),
        ("resample", lambda x: x[..., :5, :5, :5].double(), "returns dtype torch.float64"),
        ("crop_or_pad", lambda x: x.new_zeros(2, 1, 6, 6, 10), "fills 2 of 2 samples"),
        ("to_canonical", lambda x: x.clone(), "leaves 2 of 2 samples"),
        ("remap_labels", lambda labels: labels.clone(), "leaves 2 of 2 samples"),
        ("remap_labels", lambda labels: labels.long() + 1, "returns dtype torch.int64"),
        ("one_hot", lambda labels: labels + 1, "returns shape"),
        ("largest_component", lambda mask: mask.clone(), "leaves 1 of 1 samples"),
        ("prep6", lambda image, labels: image + 1, "returns shape"),
        ("prep6", lambda image, labels: _prepared(image * labels.zero_()), "changes its input"),
    ],
)
def test_wrong_result_is_refused(
    x: Tensor, name: str, op: Callable[..., Tensor], reason: str
) -> None:
    with pytest.raises(FailureError, match=reason):
        Runner({name: op}, x).check(name)


def _prepared(image: Tensor) -> Tensor:
    return torch.rand(w.WORK["prep6"].shape(image.shape))


def test_right_result_of_another_shape_is_accepted(x: Tensor) -> None:
    ops: dict[str, Callable[..., Tensor]] = {
        "resample": lambda x: x[..., :5, :5, :5],
        "percentile": lambda x: torch.tensor([[1.0, 2.0]], dtype=torch.float64),
        "prep6": lambda image, labels: _prepared(image),
    }
    runner = Runner(ops, x)
    for op in ops:
        runner.check(op)


def test_operations_with_inputs_of_their_own_are_measured_once() -> None:
    own = [op for op in w.OPS if w.has_own_input(op)]
    assert own == ["largest_component", "percentile", "prep6"]
    for names in w.DEFAULT.values():
        assert sum(w.WORKLOADS[name].takes("prep6") for name in names) == 1
        assert [name for name in names if not w.WORKLOADS[name].takes("pipe6")] == ["P"]
    assert w.WORKLOADS["CPU"].takes("prep6")
    assert w.WORKLOADS["W1"].takes("prep6")


def test_own_input_is_not_compared_with_a_copy_of_the_batch() -> None:
    class Loaded(StubContender):
        ops = ("copy", "flip", "prep6")

        def load(self, workload: str) -> None:
            pass

    contenders: Any = {"a": Loaded("a", 1, [])}
    for workload, expected in (("CPU", {"flip", "prep6"}), ("W0", {"flip"})):
        options = harness.Options(pythons={}, ops=["flip", "prep6"], repeats=2)
        ops = harness.chosen(workload, options)
        found = list(harness._workload(contenders, workload, ops, options))
        assert len(found) == len(ops)
        rows = [row for one in found for row in one]
        assert {row["op"] for row in rows} == expected
        assert all(("copies" in row) == (row["op"] == "flip") for row in rows)


def test_mask_has_fifty_components() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    mask = inputs.mask()
    assert torch.equal(mask, inputs.mask())
    components, number = ndimage.label(mask[0, 0].numpy(), structure=torch.ones(3, 3, 3).numpy())
    assert number == 50
    *_, second, first = torch.from_numpy(components[components > 0]).bincount().sort().values
    assert second < first


def test_raw_subject_is_zero_where_it_has_no_label() -> None:
    image, labels = inputs.subject((24, 28, 20))
    assert torch.equal(image, inputs.subject((24, 28, 20))[0])
    assert torch.equal(image > 0, labels > 0)
    assert labels.unique().tolist() == list(range(w.LABELS))
    assert (image.dtype, labels.dtype) == (torch.float32, torch.uint8)


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
    assert min(*w.resampled(size), *w.crop_or_pad(size)) > 0


@pytest.mark.parametrize("peer", INSTALLED)
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
        for op in filter(w.WORKLOADS["W0"].takes, ops):
            remark = contender.check(op)
            assert peer != harness.OURS or remark is None, f"{op}: {remark}"


# Runs alone, as peers change settings of their libraries. What has an input of its own gets a small
# one; prep6 is random and only checked. Patches must make up the batch; or be augmented, and others
# at each call.
_RESULTS = """
import importlib, sys
import torch
from benchmarks.versus import inputs, worker, workloads
workloads.PREP6_SHAPE = (16, 20, 16)
inputs.MADE["normals"] = lambda x: (inputs.normals(20),)
inputs.MADE["subject"] = lambda x: inputs.subject((24, 28, 20))
torch.manual_seed(0)
peer, path, *wanted = sys.argv[1:]
if peer.startswith("monai"):  # else its own generators, once in a hundred runs, cut a patch twice
    import monai.utils
    monai.utils.set_determinism(0)
try:
    ops = importlib.import_module(f"benchmarks.versus.peers.{peer}").OPS
except ImportError as error:
    sys.exit(f"not installed: {error}")
runner = worker.Runner(ops, torch.rand(2, 1, 16, 16, 24))
results = {}
for op in wanted:
    if op in ops:
        runner.check(op)
        results[op] = runner._call(op)
if "prep6" in ops:
    runner.check("prep6")
runner = worker.Runner(ops, torch.rand(1, 2, 16, 16, 24))
for op in filter(ops.__contains__, workloads.PATCH_OPS):
    remark = runner.check(op)
    assert remark is None, f"{op}: {remark}"
    if workloads.WORK[op].patches:
        patches = torch.cat([runner._call(op), runner._call(op)])
        assert len(patches.unique(dim=0)) == len(patches), f"{op} repeats itself"
        assert not torch.isin(patches, runner.x).all(), f"{op} augments nothing"
torch.save(results, path)
"""


def _results(peer: str, path: Path) -> dict[str, Tensor]:
    """Results of a peer for the same input, by operations without random numbers."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _RESULTS, peer, str(path), *FIXED],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
    )
    if done.stderr.startswith("not installed"):
        pytest.skip(f"{peer}: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    found: dict[str, Tensor] = torch.load(path)
    return found


@pytest.fixture(scope="module")
def our_results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Results of this library for that input."""
    return _results(harness.OURS, tmp_path_factory.mktemp("results") / "ours.pt")


@pytest.mark.parametrize("peer", [*INSTALLED[1:], "torchio_gpu_whole"])
def test_peers_do_the_same_work(peer: str, our_results: dict[str, Tensor], tmp_path: Path) -> None:
    assert set(our_results) == set(FIXED)
    for op, result in _results(peer, tmp_path / "theirs.pt").items():
        # MONAI divides by n where others do by n - 1.
        atol = 1 / 6144 if (peer, op) == ("monai", "z_normalization") else 1e-5
        torch.testing.assert_close(
            result, our_results[op], rtol=0, atol=atol, msg=lambda m, op=op: op + m
        )


def test_memory_is_measured_of_the_requested_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "MEMORY", {"cpu": ("W0",)})
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


def test_a_contender_without_the_operation_is_skipped(x: Tensor) -> None:
    assert harness.measure({"a": Runner({}, x)}, "op", 2) == []


def test_interpreters_are_read_from_options_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "FOLDER", tmp_path)  # where nothing is built
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
    modules = "sys, benchmarks.versus.worker, benchmarks.versus.peers"
    code = f"import {modules}; assert 'torchio_gpu' not in sys.modules"
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
    assert "monai: interpreter does not start" in tables.tables(result)


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
    keys = {"suite", "date", "commit", "dirty", "threads", "device", "machine", "python"}
    keys |= {"torch", "triton"}
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
def synthetic_result() -> dict[str, Any]:
    """Synthetic result with round numbers."""
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
            _row("prep6", "torchio_gpu", 50.0),
        ],
        "memory": [
            {"workload": "CPU", "op": "motion", "contender": "torchio_gpu", "batches": 1.5},
            {"workload": "CPU", "op": "motion", "contender": "rival", "failure": "is tired"},
            {"workload": "CPU", "op": "pipe6", "contender": "torchio_gpu", "batches": 3.21},
        ],
    }


def test_table_shows_ratios_losses_and_failures(synthetic_result: dict[str, Any]) -> None:
    text = tables.tables(synthetic_result)
    lines = text.splitlines()
    assert "| flip | 10.0 (10.0-10.0) | 5.00 | 40.0 (40.0-40.0) 4.00x |" in lines
    assert "| noise | 10.0 (10.0-10.0) | 1.25 | 5.00 (5.00-5.00) **0.500x ahead of us** |" in lines
    assert "| gamma | 10.0 (10.0-10.0) | 5.00 | failed |" in lines
    assert "| prep6 | 50.0 (50.0-50.0) | - | - |" in lines
    for fact in (
        "Measured 2001-02-03 at commit abcdef with changes not committed on Abacus, 2 cores",
        "2 threads, Python 3.12.0, torch 2.0.",
        "prep6 is of an image of 256x256x170 voxels",
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

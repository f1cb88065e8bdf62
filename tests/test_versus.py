"""Speed beside other libraries: times, refused results, contenders, tables."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import contenders, environments, inputs, machine, tables, versus
from benchmarks import workloads as w
from benchmarks.contenders import Contender
from benchmarks.failure import FailureError
from benchmarks.worker import Runner, answer

ROOT = Path(__file__).resolve().parent.parent
#: Operations that give the same result whenever they are called.
FIXED = (
    *("flip", "resample", "crop_or_pad", "to_canonical", "z_normalization", "rescale"),
    *("remap_labels", "one_hot", "largest_component", "percentile", "aggregate"),
)


class Player:
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


def test_contenders_alternate_and_slow_ones_are_called_less() -> None:
    log: list[str] = []
    players = {name: Player(name, s, log) for name, s in (("a", 0.1), ("b", 0.1), ("c", 4.0))}
    rows = {row["contender"]: row for row in versus.measure(players, "op", 6, budget=8)}
    # After a warm-up each; that of the slow one counts, and its other calls are spread.
    assert "".join(log[3:]) == "ababababcababc"
    assert [rows[name]["repeats"] for name in ("copy", "a", "b", "c")] == [6, 6, 6, 3]
    assert rows["c"]["copies"] == 4000


def test_many_calls_are_distributed_over_rounds() -> None:
    log: list[str] = []
    (_, row) = versus.measure({"a": Player("a", 0.001, log)}, "op", 100)
    assert row["repeats"] == 100
    assert len(log) == versus.ROUNDS + 1


def test_a_slow_contender_is_detected() -> None:
    x = torch.rand(1, 1, 48, 48, 48)

    def often(x: Tensor) -> Tensor:
        for _ in range(100):
            x = x + 1
        return x

    players = {"ours": Runner({"op": lambda x: x + 1}, x), "slow": Runner({"op": often}, x)}
    _, first, second = versus.measure(players, "op", 5)
    assert second["median_ms"] > 5 * first["median_ms"]


def _raise(x: Tensor) -> Tensor:
    raise ValueError("no /such/place/here.so\nmore")


def _half(x: Tensor) -> Tensor:
    y = x.clone()
    y[0] += 1
    return y


REFUSED: list[tuple[str, Callable[..., Any], str]] = [
    ("op", _raise, "ValueError: no ..."),
    ("op", lambda x: x.numpy() + 1, "returns ndarray, not a tensor"),
    ("op", lambda x: x[:1] + 1, "returns shape"),
    ("op", lambda x: x.double() + 1, "returns dtype"),
    ("op", lambda x: x / 0, "returns numbers that are not finite"),
    ("op", _half, "leaves 1 of 2 samples as they were"),
    ("op", lambda x: x * 0, "fills 2 of 2 samples with one number"),
    ("op", lambda x: x.add_(1), "changes its input"),
    ("labels_to_image", lambda x: x.float(), "leaves 2 of 2 samples as they were"),
    ("labels_to_image", lambda x: x + 1, "returns dtype torch.uint8, expected torch.float32"),
    ("resample", lambda x: x + 1, "returns shape torch.Size([2, 1, 8, 8, 8]), expected"),
    ("remap_labels", lambda x: x.long() + 1, "returns dtype torch.int64"),
    ("one_hot", lambda x: x + 1, "returns shape"),
    ("prep6", lambda image, labels: image + 1, "returns shape"),
    ("infer_hann", lambda x: x[:1], "returns shape"),
]


@pytest.mark.parametrize(("name", "op", "reason"), REFUSED)
def test_failing_contender_is_marked_and_the_others_measured(
    x: Tensor, name: str, op: Callable[..., Any], reason: str
) -> None:
    rows = versus.measure({"bad": Runner({name: op}, x), "other": Runner({}, x)}, name, 2)
    found = {row["contender"]: row for row in rows}
    assert found["bad"]["failure"].startswith(reason)
    assert "median_ms" not in found["bad"]
    assert found["copy"]["repeats"] == 2
    assert "other" not in found


def test_contender_that_fails_later_is_marked(x: Tensor) -> None:
    calls: list[int] = []

    def tires(x: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) > 4:
            raise RuntimeError("tired")
        return x + 1

    _, row = versus.measure({"a": Runner({"op": tires}, x)}, "op", 5)
    assert row == {"op": "op", "contender": "a", "failure": "RuntimeError: tired"}


def test_inputs_are_made_once_and_outside_of_the_time() -> None:
    given: list[Tensor] = []

    def op(labels: Tensor) -> Tensor:
        given.append(labels)
        return labels.float() + 0.5

    runner = Runner({"labels_to_image": op}, torch.rand(2, 3, 8, 8, 8))
    runner.check("labels_to_image")
    runner.turn("labels_to_image", 2)
    assert given[0].shape == (2, 1, 8, 8, 8)
    assert given[0].unique().tolist() == list(range(w.LABELS))
    assert all(labels is given[0] for labels in given)
    assert runner.memory("labels_to_image") >= 0


def test_every_operation_is_measured_in_one_place() -> None:
    takes = [given for workload in ("CPU", "P") for given in w.WORKLOADS[workload].takes]
    assert len(takes) == len(set(takes))
    assert {work.given for work in w.WORK.values()} <= set(takes) == set(inputs.MADE)


@pytest.mark.parametrize("workload", w.WORKLOADS.values(), ids=str)
def test_parameters_fit_every_workload(workload: w.Workload) -> None:
    size = workload.shape[2:]
    assert 2 * w.swap(size)["patch_size"] <= min(size)
    # At least one plane is that far from the middle.
    assert max(w.ghosting(size)["num_ghosts"]) <= min(size) // 2
    assert min(*w.resampled(size), *w.crop_or_pad(size)) > 0


def test_inputs_hold_what_their_names_say() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    _, number = ndimage.label(inputs.mask()[0, 0].numpy(), torch.ones(3, 3, 3).numpy())
    assert number == 50
    image, labels = inputs.subject((24, 28, 20))
    assert torch.equal(image > 0, labels > 0)
    assert labels.unique().tolist() == list(range(w.LABELS))
    volume = torch.arange(2.0 * 64**3).view(1, 2, 64, 64, 64)
    patches, locations = inputs.grid_patches(volume)
    assert (patches.shape, locations.shape) == ((125, 2, 16, 16, 16), (125, 6))
    for patch, (a, b, c, d, e, f) in zip(patches, locations.tolist(), strict=True):
        assert torch.equal(patch, volume[0, :, a:d, b:e, c:f])


# Runs alone, as rivals change settings of their libraries.
_RESULTS = """
import importlib, sys
import torch
from benchmarks import inputs, workloads
name, path, *wanted = sys.argv[1:]
try:
    ops = importlib.import_module(f"benchmarks.rivals.{name}").OPS
except ImportError as error:
    sys.exit(f"not installed: {error}")
inputs.MADE["normals"] = lambda x: (torch.linspace(0, 1, 8000).view(1, 1, 20, 20, 20),)
torch.manual_seed(0)
x = torch.rand(2, 1, 32, 32, 64)
if name == "monai":  # needs scikit-image, which its own environment has
    ops.pop("largest_component")
given = {op: inputs.inputs(workloads.WORK[op].given, x) for op in wanted if op in ops}
torch.save({op: torch.as_tensor(ops[op](*given[op])) for op in given}, path)
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Tensor]]:
    """Results of a rival for the same input, by operations without random numbers."""

    def of(name: str) -> dict[str, Tensor]:
        path = tmp_path_factory.mktemp("results") / "found.pt"
        command = [sys.executable, "-W", "ignore", "-c", _RESULTS, name, str(path), *FIXED]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
        if done.stderr.startswith("not installed"):
            pytest.skip(f"{name}: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        return torch.load(path)

    return of


@pytest.mark.parametrize("name", ["torchio1", "monai", "numpy"])
def test_rivals_do_the_same_work(results: Any, name: str) -> None:
    ours, theirs = results(w.OURS), results(name)
    assert set(ours) == set(FIXED)
    assert len(theirs) > 5
    for op, result in theirs.items():
        # MONAI divides by n where others do by n - 1.
        atol = 1e-4 if (name, op) == ("monai", "z_normalization") else 1e-5
        torch.testing.assert_close(result, ours[op], rtol=0, atol=atol, msg=lambda m, o=op: o + m)


def test_workers_do_not_import_this_library() -> None:
    code = "import sys, benchmarks.worker; assert 'torchio_gpu' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_worker_that_dies_is_a_failure() -> None:
    code = "import sys; sys.stdin.readline()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}
    contender = Contender.__new__(Contender)
    contender._process = subprocess.Popen([sys.executable, "-c", code], **pipes)
    with contender, pytest.raises(FailureError, match="its process died"):
        contender.check("op")


def test_a_run_keeps_what_is_measured_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        contenders, "interpreters", lambda: {w.OURS: sys.executable, "monai": "no-such-python"}
    )
    monkeypatch.setattr(machine, "commit", lambda: {"commit": "abcdef", "dirty": False})
    file = tmp_path / "result.json"
    asked: list[str] = []
    measure = versus.measure

    def interrupted(players: Any, op: str, *more: Any, **ends: Any) -> Any:
        asked.append(op)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return measure(players, op, *more, **ends)

    monkeypatch.setattr(versus, "measure", interrupted)
    what = ([w.OURS, "monai"], "cpu", 1, ["W0"], ["flip", "gamma"], 2, file)
    with pytest.raises(KeyboardInterrupt):
        versus.run(*what)
    assert not file.exists()
    assert str(ROOT) not in (tmp_path / ".result.json.part").read_text(encoding="utf-8")
    result = versus.run(*what)
    assert asked == ["flip", "gamma", "gamma"]
    assert not list(tmp_path.iterdir())
    assert result["contenders"]["monai"]["failure"].startswith("interpreter does not start")
    assert [(row["op"], row["contender"]) for row in result["rows"]] == [
        (op, contender) for op in ("flip", "gamma") for contender in ("copy", w.OURS)
    ]
    for row in result["rows"]:
        assert 0 < row["min_ms"] <= row["q1_ms"] <= row["median_ms"] <= row["q3_ms"]
    text = tables.text(json.loads(json.dumps(result)))
    assert "monai: interpreter does not start" in text
    assert "| flip" in text


def test_slugs_name_no_trademark() -> None:
    facts = {"cpu": "Intel(R) Xeon(R) CPU E5-2690 v4 @ 2.60GHz", "cores": 2, "gpu": None}
    assert machine.slug(facts) == "intel-xeon-e5-2690-v4-2-cores--cpu"
    assert machine.slug({**facts, "gpu": "NVIDIA H200"}).endswith("--nvidia-h200")


def _library(ops: dict[str, Any], **about: Any) -> ModuleType:
    module = ModuleType("made_up")
    vars(module).update(NAME="Made up", NAMES=["Flip", "_Gibbs"], OPS=ops, **about)
    return module


def test_answers_say_how_they_are_known() -> None:
    notes = {"replay": "~ half", "flip": "at random"}
    library = _library({"flip": lambda x: x.flip(2, 3, 4), "gamma": lambda x: x * 2}, NOTES=notes)
    assert answer(library, "flip") == ("✓", "at random", "run")
    assert answer(library, "gamma").sign == "~"  # it is timed, and marked
    assert answer(library, "gibbs") == ("-", "", "names")
    assert answer(library, "replay") == ("~", "half", "read")
    found = answer(_library({}), "flip")
    assert (found.sign, found.by) == ("!", "names")
    assert "Flip" in found.note
    assert answer(_library({"zipper": lambda x: x + 1}), "zipper").sign == "-"


def test_an_environment_is_complete_or_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    assert environments.built() == {}
    environments.mark("kornia").parent.mkdir()
    assert environments.built() == {}  # it was interrupted
    environments.mark("kornia").write_text(environments.facts("kornia"), encoding="utf-8")
    assert environments.built() == {"kornia": str(tmp_path / "rivals-kornia" / "bin" / "python")}
    monkeypatch.setattr(sys, "path", ["elsewhere/site-packages"])
    assert environments.built() == {}  # it shares the packages of another interpreter
    monkeypatch.setitem(environments.RIVALS, "kornia", "kornia==0")
    assert environments.built() == {}  # another is asked for
    done = subprocess.run(
        [sys.executable, "-m", "nox", "--list", "-s", "rivals"], cwd=ROOT, capture_output=True
    )
    assert all(f"rivals({name})" in done.stdout.decode() for name in environments.RIVALS)


@pytest.mark.parametrize("name", ["torchio_gpu", "torchio1", "monai"])
def test_no_check_of_an_installed_library_is_broken(name: str) -> None:
    try:
        contender = Contender(name, 1, "cpu", sys.executable)
    except FailureError as failure:
        pytest.skip(f"{name}: {failure}")
    with contender:
        found = contender.ask("answers")
    broken = {key: note for key, (sign, note, _) in found["cells"].items() if sign == "!"}
    # MONAI's largest component needs scikit-image, which its own environment has
    assert set(broken) <= ({"largest_component"} if name == "monai" else set())
    assert found["facts"]["licence"] == "Apache-2.0"
    if name == w.OURS:
        lacking = {"networks", "models"}
        assert {key for key, (sign, *_) in found["cells"].items() if sign == "-"} == lacking

"""Table of features: probes run, and a broken probe is shown."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import machine
from benchmarks.features import run, space, tensors, voxels
from benchmarks.features.__main__ import main
from benchmarks.features.answers import Answer, both, lacks, no, partly, unchecked, unnamed, yes
from benchmarks.features.probe import ask, cells
from benchmarks.features.questions import ABSENT, FACTS, QUESTIONS
from benchmarks.features.table import asked, text

ROWS = {*QUESTIONS, *FACTS}
FOLDER = machine.ROOT / "benchmarks" / "features" / "libraries"


#: Libraries that may be installed beside this one, itself first.
HERE = ("torchio_gpu", "torchio1", "monai")


@cache
def _columns() -> dict[str, dict[str, Any]]:
    """Return the answers of each library, asked as by the command, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda name: run.one(name, sys.executable), HERE)
        return dict(zip(HERE, found, strict=True))


@pytest.fixture(scope="module", params=HERE)
def column(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Answers of one library."""
    found = _columns()[request.param]
    why = found.get("failure", "")
    if request.param != "torchio_gpu" and ("No module named" in why or "is asked for" in why):
        pytest.skip(why)
    return found


def test_no_probe_fails(column: dict[str, Any]) -> None:
    assert "failure" not in column
    assert set(column["cells"]) == ROWS
    failed = {k: c["note"] for k, c in column["cells"].items() if c["outcome"] == "failed"}
    assert not failed


def test_probes_of_this_library_give_the_expected_answers() -> None:
    """Answers of this library in the README, including the features it lacks."""
    ours = _columns()["torchio_gpu"]["cells"]
    outcomes = {key: ours[key]["outcome"] for key in QUESTIONS}
    lacking = {"networks", "models"}
    assert {key for key, outcome in outcomes.items() if outcome == "no"} <= lacking
    left = {key for key, outcome in outcomes.items() if outcome == "unchecked"}
    assert left == (set() if torch.cuda.is_available() else {"graphs", "kernels"})


@pytest.mark.parametrize("name", run.LIBRARIES)
def test_every_probe_answers_a_question(name: str) -> None:
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    probes = [
        line.removeprefix("def ").partition("(")[0]
        for line in source.splitlines()
        if line.startswith("def ") and "() -> Answer" in line
    ]
    assert set(probes) <= set(QUESTIONS)
    assert len(probes) == len(set(probes))
    assert {path.stem for path in FOLDER.glob("[!_]*.py")} == set(run.LIBRARIES)


def _module(**probes: Any) -> ModuleType:
    module = ModuleType("made_up")
    about = {"NAME": "Made up", "VERSION": "1", "DISTRIBUTION": "no-such", "PACKAGE": "benchmarks"}
    vars(module).update(about, transforms=lambda: "3", **probes)
    return module


def test_a_probe_that_raises_is_shown_as_failed() -> None:
    def broken() -> Answer:
        raise KeyError("typo")

    found = cells(_module(batch=broken, motion=lambda: no("wrong"), labels=lambda: None))
    assert found["batch"] == Answer("failed", "KeyError: 'typo'")
    assert found["labels"].outcome == "failed"
    assert found["motion"].outcome == "no"
    assert found["ghosting"] == lacks(ABSENT)
    assert found["licence"].outcome == "unchecked"
    assert set(found) == ROWS
    shown = text(_result(batch=found["batch"]))
    assert "| **probe failed** [1]" in shown
    assert "1. KeyError: 'typo'" in shown


def test_plain_answers() -> None:
    assert ask(lambda: True) == yes()
    assert ask(lambda: False).outcome == "no"
    assert both(yes(), yes(), ("a", "b")) == yes()
    assert both(yes(), no("none"), ("a", "b")) == partly("a only; none")
    assert both(no("one"), no("two"), ("a", "b")) == no("one; two")
    assert both(yes(), Answer("failed", "typo"), ("a", "b")).outcome == "failed"
    with pytest.raises(ValueError, match="needs a reason"):
        Answer("no")
    with pytest.raises(ValueError, match="outcome must be"):
        Answer("maybe", "so")
    with pytest.raises(LookupError, match="RandomMotion"):
        unnamed(["RandomMotion"], "motion")
    assert unnamed(["RandomMotion", "__cached__"], "ghost", "cache").by == "names"


def _result(**answers: Answer) -> dict[str, Any]:
    """Return a result of two libraries; the second one gives these answers."""
    rest = {key: {"outcome": "yes", "note": "", "by": "script"} for key in ROWS}
    rest |= {key: {"outcome": "fact", "note": "7", "by": "script"} for key in FACTS}
    other = rest | {key: vars(answer) for key, answer in answers.items()}
    return {
        "date": "2026-01-02T03:04:05+00:00",
        "commit": "abc",
        "dirty": False,
        "torch": "2.13.0",
        "python": "3.11",
        "machine": {"os": "Some OS"},
        "libraries": [
            {"name": "One", "version": "1.0", "cells": rest},
            {"name": "Other", "version": "2.0", "cells": other},
        ],
        "missing": {"third": "not installed"},
    }


def test_text_of_a_synthetic_result() -> None:
    answers = {
        "batch": no("a | b"),
        "motion": lacks(ABSENT),
        "bias": unnamed([], "bias"),
        "queue": no("a | b"),
        "kernels": unchecked("somewhere"),
    }
    shown = text(_result(**answers))
    assert "Tried 2026-01-02 at commit abc; torch 2.13.0" in shown
    assert "One 1.0" in shown
    assert shown.count(r"no [1]") == 2  # equal notes are one
    assert r"1. a \| b" in shown
    assert "no public name" not in shown  # the mark says so
    assert "probe failed" not in shown
    assert "| MRI bias field" in shown
    assert "noᴺ" in shown
    assert "unchecked" in shown
    assert "third (not installed)" in shown
    line = next(line for line in shown.splitlines() if line.startswith("| MRI motion"))
    assert [cell.strip() for cell in line.split("|")[2:4]] == ["yes", "no"]
    for question in QUESTIONS.values():
        assert question.title in shown
        assert question.asked in asked()


def test_checks_detect_wrong_results() -> None:
    def alike(x: Tensor) -> Tensor:
        return x + torch.rand(())

    assert tensors.batch(alike).outcome == "no"
    assert tensors.batch(torch.rand_like).outcome == "yes"
    through_numpy = tensors.device(lambda x: torch.from_numpy(x.numpy() + 1), torch.zeros(1, 8))
    assert through_numpy == no("through numpy")
    assert tensors.grad_image(lambda x: x.detach() + 1).outcome == "no"
    assert tensors.grad_params(lambda x, a: x * a.detach() + 0 * a).outcome == "no"
    assert tensors.grad_params(lambda x, a: x * a).outcome == "yes"
    whole = tensors.windows(lambda: torch.rand(48, 48, 48), lambda x: (x + 1)[:12, :12, :12])
    assert whole.outcome == "partly"
    assert voxels.ghosting(lambda x: torch.rand_like(x)).outcome == "no"
    assert voxels.spikes(lambda x: x * 2).outcome == "no"
    assert voxels.motion(lambda x: x.roll(3, 1)).outcome == "no"
    assert voxels.component(lambda x: x).outcome == "no"
    assert voxels.ct_kernel(lambda x: x, lambda x: x).outcome == "no"
    assert voxels.ct_kernel(lambda x: x + x.roll(1, 3), _blur).outcome == "no"
    assert voxels.ct_thickness(_blur).outcome == "no"
    assert voxels.ct_window(lambda x: x / 80).outcome == "no"
    assert voxels.blending(lambda x, *_: x * 1.01, "note").outcome == "partly"
    assert voxels.queue(torch.full((1,), float(n // 4)) for n in range(12)).outcome == "no"
    assert space.dtypes(lambda x: x.float()) == no("uint8 becomes float32")


def _blur(x: Tensor) -> Tensor:
    return (x + x.roll(1, 1)) / 2


def test_a_second_interpolation_is_detected() -> None:
    def once(x: Tensor) -> Tensor:
        for axis in (1, 2, 3):  # at a third of a voxel: 5/9 of the variance is left along each
            x = (2 * x + x.roll(1, axis)) / 3
        return x * (0.3 / (5 / 9) ** 3) ** 0.5

    assert space.interpolations(once)
    assert not space.interpolations(lambda x: once(_blur(x)))
    with pytest.raises(AssertionError, match="nothing was interpolated"):
        space.interpolations(lambda x: x)


def test_command_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "features.json"
    python = "no-such-python"
    main(["--libraries", "kornia", "--peer", f"kornia={python}", "--output", str(file)])
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert kept["suite"] == "features"
    assert kept["missing"] == {"kornia": "interpreter does not start: No such file or directory"}
    assert text(kept) == capsys.readouterr().out.rstrip("\n")
    with pytest.raises(SystemExit, match="NAME=PYTHON"):
        main(["--peer", "kornia"])


def test_the_probe_module_of_this_library_is_documented() -> None:
    module = importlib.import_module("benchmarks.features.libraries.torchio_gpu")
    assert module.NAME == "torchio_gpu"
    assert inspect.getdoc(module)

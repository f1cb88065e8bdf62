"""Published pages: they show the stored results, and their commands run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import features, records, report, scaling, tables
from benchmarks.checks import CHECKS, GROUPS
from benchmarks.facts import TITLES
from docs.sections import markers
from docs.transform_list import transforms

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMPARISON = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")


def test_pages_show_the_stored_results() -> None:
    found = report.kept(records.read())
    made = report.sections(found)
    assert {"versus", "targets", "losses", "gpu", "features", "training", "scaling"} <= set(made)
    for page, texts in ((COMPARISON, made), (README, {"numbers": report.numbers(found)})):
        for section, text in texts.items():
            start, end = markers(section)
            assert f"{start}\n{text}\n{end}" in page, f"{section}: run python -m benchmarks.report"
        assert set(re.findall(r"<!-- (\w+):start -->", page)) == set(texts)
    page = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    assert page == report.page(found), "run python -m benchmarks.report"


def test_numbers_outside_of_sections_are_those_of_the_results() -> None:
    """Speeds in the running text of README and site, which nobody makes anew."""
    outside = re.sub(r"<!-- (\w+):start -->.*?<!-- \1:end -->", "", README + COMPARISON, flags=re.S)
    assert not re.findall(r"\b\d+(?:\.\d+)?x\b(?! copy)", outside)
    assert not re.findall(r"\b\d+(?:\.\d+)? (?:ms|µs)\b", outside)


def test_links_and_pictures_exist() -> None:
    for page in ("README.md", "CONTRIBUTING.md", "docs/comparison.md", "benchmarks/RESULTS.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


def test_the_diff_of_a_rival_is_that_of_the_code() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    diff = re.search(r"```diff\n(.*?)```", text, re.DOTALL)[1]
    for part in diff.split("--- ")[1:]:
        file, *lines = part.splitlines()
        code = (ROOT / file).read_text(encoding="utf-8").splitlines()
        assert [line[1:] for line in lines if line[1:] not in code] == []


def test_the_readme_is_one_screen() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150
    assert max(map(len, lines)) <= 120


def test_every_number_has_its_machine() -> None:
    for result in records.read():
        if "machine" in result:
            assert result["commit"]
            assert result["machine"]["cpu"] in records.origin({"python": "", "torch": "", **result})


def test_transforms_in_the_documentation_are_those_of_the_code() -> None:
    start, end = markers("transforms")
    page = (ROOT / "docs" / "transforms.md").read_text(encoding="utf-8")
    assert f"{start}\n{transforms()}\n{end}" in page, "run: python -m docs.transform_list"
    assert "| `RandomSpike` | `Spike` | Add bright points to k-space at random. |" in transforms()


def _versus(**times: float) -> dict[str, Any]:
    """Return a synthetic result with medians of 'workload__op__contender'."""
    rows = []
    for name, ms in times.items():
        workload, op, contender = name.split("__")
        facts = {"median_ms": ms, "q1_ms": ms, "q3_ms": ms, "min_ms": ms, "repeats": 3, "copies": 1}
        rows.append({"workload": workload, "op": op, "contender": contender, **facts})
    who = {"version": "9", "python": "3.12.0", "torch": "2.0"}
    names = dict.fromkeys(row["contender"] for row in rows)
    return {
        "suite": "versus",
        "date": "2001-02-03T04:05:06+00:00",
        "commit": "abcdef",
        "dirty": True,
        "threads": 2,
        "device": "cpu",
        "python": "3.12.0",
        "torch": "2.0",
        "machine": {"cpu": "Abacus", "cores": 2, "ram_gb": 1, "os": "None", "gpu": None},
        "contenders": {name: {"name": name, **who} for name in names if name != "copy"},
        "rows": rows,
        "memory": [],
    }


def test_the_three_numbers_are_those_of_the_results() -> None:
    found = report.kept([_versus(CPU__pipe6__torchio_gpu=2, CPU__pipe6__monai=50)])
    text = report.numbers(found)
    assert "- 25.0x as fast as monai" in text
    assert "Measured 2001-02-03 at commit abcdef with changes not" in " ".join(text.split())
    assert " ".join(text.split()).endswith("**Not measured on a GPU.**")
    assert text.count("as fast as") == 1  # the others were not measured
    assert report.numbers({}) == "**Nothing has been measured yet.**"


def test_the_newest_result_of_a_suite_counts() -> None:
    old, new = _versus(CPU__flip__torchio_gpu=1), _versus(CPU__flip__torchio_gpu=2)
    old["date"] = "2000-01-01"
    assert report.kept([new, old])["versus", "cpu"] is new


def test_pages_are_updated_between_markers_only(tmp_path: Path) -> None:
    result = _versus(CPU__flip__torchio_gpu=10.0, CPU__flip__rival=5.0)
    records.write(result, tmp_path / "result.json")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "comparison.md"
    start, end = markers("versus")
    first, last = markers("losses")
    page.write_text(f"# T\n{start}\nold\n{end}\nmiddle\n{first}\nold\n{last}\ntail\n", "utf-8")
    arguments = [str(tmp_path / "result.json"), "--folder", str(tmp_path), "--no-pictures"]
    report.main(arguments)
    after = page.read_text(encoding="utf-8")
    assert after.startswith(f"# T\n{start}\n| time of a call ")
    assert "| **0.500x** " in after
    assert after.endswith(f"\nmiddle\n{first}\n- flip on CPU: rival 9 0.500x\n{last}\ntail\n")
    report.main(arguments)
    assert page.read_text(encoding="utf-8") == after
    assert "2001-02-03, abcdef, Abacus" in (tmp_path / "benchmarks" / "RESULTS.md").read_text()


def test_a_wrong_or_failed_result_is_marked() -> None:
    result = _versus(CPU__flip__torchio_gpu=10.0, CPU__flip__rival=20.0, CPU__flip__numpy=5.0)
    result["rows"][1]["remark"] = "flips the wrong axis"
    result["memory"] = [{**result["rows"][0], "op": "motion", "batches": 1.5}]
    lines = [" ".join(line.split()) for line in tables.text(result).splitlines()]
    assert (
        "| flip | 10.0 (10.0-10.0) | 20.0 (20.0-20.0) 2.00x† | 5.00 (5.00-5.00) **0.500x** | 1.00 |"
        in lines
    )
    assert "- † rival 9 flip on CPU: flips the wrong axis." in lines
    assert (
        "- Peak extra memory of motion on CPU, torchio_gpu 9: 1.5 batches, the result included."
        in lines
    )
    assert "| 2.00x†" in tables.brief(result)
    assert "numpy 9" not in tables.brief(result)  # a yardstick
    result["rows"][1] = {"workload": "CPU", "op": "flip", "contender": "rival", "failure": "no"}
    assert "failed" in tables.brief(result)
    result["contenders"]["absent"] = {"failure": "not installed"}
    assert "Not measured: absent (not installed)" in tables.brief(result)


def test_targets_are_met_or_missed() -> None:
    times = {"CPU__pipe6__torchio_gpu": 10.0, "CPU__pipe6__torchio2": 119.0}
    times |= {"CPU__pipe6__monai": 250.0, "W0__pipe6__torchio_gpu": 1.5}
    times |= {"CPU__affine__torchio_gpu": 8.3, "CPU__affine__monai": 8.0, "CPU__affine__numpy": 1.0}
    times |= {"CPU__flip__torchio_gpu": 8.3, "CPU__flip__monai": 7.0}
    result = _versus(**times)
    row = {"workload": "CPU", "op": "pipe6", "contender": "torchio_gpu", "batches": 2.6}
    result["memory"] = [row]
    found = {what.partition(" at least")[0]: kept for what, _, _, kept in tables.targets(result)}
    assert found == {
        "pipe6 against torchio2 9": False,
        "pipe6 against torchio1": None,
        "pipe6 against monai 9": True,
        "host time of pipe6 on W0": False,
        "peak extra memory of pipe6": False,
        "single operations": False,  # affine is level, within 5 %, and numpy is no library
    }
    assert "| 2 " in tables.wishes(result)
    assert "**missed**" in tables.wishes(result)


def _growth(power: float) -> dict[str, Any]:
    rows = []
    for n in (32, 64, 128, 192, 256):
        for op, exponent in (("copy", 1.0), ("flip", power)):
            ms = 1e-5 * (n**3) ** exponent * (5 if n in (32, 256) else 1)  # which do not count
            row = {"sweep": "size", "op": op, "at": n, "work": n**3, "median_ms": ms}
            rows.append({**row, "min_ms": ms, "batches": 2.0})
    return {**_versus(CPU__flip__torchio_gpu=1.0), "suite": "scaling", "rows": rows}


def test_operations_that_scale_too_steeply_are_named() -> None:
    assert scaling.too_steep(_growth(1.1)) == []
    assert scaling.too_steep(_growth(1.3)) == ["flip: time ~ size ** 1.3"]
    assert "Too steep: flip: time ~ size ** 1.3." in scaling.brief(_growth(1.3))


def test_the_table_of_features_shows_how_answers_are_known() -> None:
    cells = {key: ["✓", "", "run"] for group in GROUPS.values() for key in group}
    other = {**cells, "batch": ["-", "a | b", "run"], "queue": ["~", "a | b", "read"]}
    other["gibbs"] = ["-", "", "names"]
    facts = dict.fromkeys(TITLES, "7")
    result = {
        **_versus(),
        "libraries": [
            {"name": "One", "version": "1.0", "cells": cells, "facts": facts},
            {"name": "Other", "version": "2.0", "cells": other, "facts": facts},
        ],
        "missing": {"third": "no such thing"},
    }
    shown = " ".join(features.text(result).split())
    assert "| a batch in one call | ✓ | - [1] |" in shown
    assert "~ᴰ [1]" in shown
    assert "1. a | b" in shown
    assert "| Gibbs ringing | ✓ | -ᴺ |" in shown
    assert "Not installed here: third (no such thing)." in shown
    assert all(CHECKS[key].asked in shown for key in cells)
    assert "| public transform classes | 7 | 7 |" in " ".join(features.brief(result).split())


#: How each command of the README is run here: what takes long in a version that does not.
QUICK: dict[str, list[str] | None] = {
    "make demo": None,  # runs in tests/test_demo.py
    "make test": None,  # is what runs this
    "make docs": None,  # tests/test_documentation.py
    "pip install .[cpu]": None,  # tests run on an installed package
    "torchio-gpu bench": ["-m", "torchio_gpu.cli", "bench", "RandomFlip"],
    "make bench": ["-m", "benchmarks.scaling", "--quick", "--sweep", "patches", "--device", "cpu"],
    "make bench-peers": ["-m", "benchmarks", "--help"],
    "make bench-check": None,  # tests/test_benchmarks_suites.py
    ".venv/bin/python -m benchmarks.report": ["-m", "benchmarks.report", "--help"],
    "make static": None,  # tests/test_static.py
    "OUT=gpu-results bash benchmarks/gpu.sh": None,  # tests/test_benchmarks_gpu.py
    "OUT=gpu-results bash benchmarks/gpu.sh --collect": None,
    ".venv/bin/python -m benchmarks.features": ["-m", "benchmarks.features", "--help"],
}


def _commands() -> set[str]:
    pages = f"{README}\n{COMPARISON}"
    blocks = re.findall(r"^```bash\n(.*?)^```", pages, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`((?:make|bash|[.]venv/bin/python) [^`]+)`", pages)
    return {" ".join(shlex.split(line, comments=True)) for line in lines if line}


def test_commands_of_the_readme_exist() -> None:
    assert _commands() == set(QUICK)


@pytest.mark.parametrize("command", QUICK)
def test_command_of_the_readme_runs(command: str) -> None:
    if command.startswith("make "):
        done = subprocess.run([*command.split(), "-n"], cwd=ROOT, capture_output=True)
        assert done.returncode == 0, done.stderr
    if options := QUICK[command]:
        done = subprocess.run([sys.executable, *options], cwd=ROOT, capture_output=True)
        assert done.returncode == 0, done.stderr

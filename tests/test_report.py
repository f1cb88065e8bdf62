"""Published pages: they show the stored results, and their commands run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import records, report, scaling, targets
from benchmarks.versus import tables

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMPARISON = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")


def test_pages_show_the_stored_results() -> None:
    found = report.kept(records.read())
    made = report.sections(found)
    assert {"speed", "targets", "behind", "gpu", "features", "training", "scaling"} <= set(made)
    for page, texts in ((COMPARISON, made), (README, {"numbers": report.numbers(found)})):
        for section, text in texts.items():
            start, end = report.markers(section)
            assert f"{start}\n{text}\n{end}" in page, f"{section}: run python -m benchmarks.report"
        assert set(re.findall(r"<!-- (\w+):start -->", page)) == set(texts)


def test_the_readme_is_one_screen() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150
    assert max(map(len, lines)) <= 120


def test_the_three_numbers_are_those_of_the_results() -> None:
    text = report.numbers(report.kept([_versus(CPU__pipe6__torchio_gpu=2, CPU__pipe6__monai=50)]))
    assert "- 25.0x as fast as monai" in text
    assert "Measured 2001-02-03 at commit abcdef on Abacus" in " ".join(text.split())
    assert " ".join(text.split()).endswith("**Not measured on a GPU.**")
    assert text.count("as fast as") == 1  # the others were not measured
    assert report.numbers({}) == "**Nothing has been measured yet.**"


def test_the_page_of_results_shows_the_stored_results() -> None:
    page = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    assert page == report.page(report.kept(records.read())), "run python -m benchmarks.report"
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", page):
        assert (ROOT / "benchmarks" / picture).is_file()


def test_links_and_pictures_exist() -> None:
    for page in ("README.md", "GUIDE.md", "CONTRIBUTING.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert (ROOT / target).exists(), f"{page}: {target}"


def test_every_number_has_its_machine() -> None:
    for result in records.read():
        if result["suite"] in report.SUITES:
            assert result["commit"]
            assert result["machine"]["cpu"] in records.origin({"python": "", "torch": "", **result})


def test_transforms_in_the_documentation_are_those_of_the_code() -> None:
    start, end = report.markers("transforms")
    table = report.transforms()
    page = (ROOT / "docs" / "transforms.md").read_text(encoding="utf-8")
    assert f"{start}\n{table}\n{end}" in page, "run: python -m benchmarks.report"
    assert "| `RandomSpike` | `Spike` | Add bright points to k-space at random. |" in table
    # Markdown would take a bare | for the end of a cell.
    cells = [line.replace("\\|", "").count("|") - 1 for line in table.splitlines() if line]
    assert cells == sorted(cells, reverse=True)
    assert set(cells) == {3, 2}


def _versus(**times: float) -> dict[str, Any]:
    """Return a synthetic result with medians of 'workload__op__contender'."""
    rows = []
    for name, median in times.items():
        workload, op, contender = name.split("__")
        facts = {"median_ms": median, "q1_ms": median, "q3_ms": median, "repeats": 3}
        rows.append({"workload": workload, "op": op, "contender": contender, **facts})
    who = {"version": "9", "python": "3.12.0", "torch": "2.0"}
    names = dict.fromkeys(row["contender"] for row in rows)
    return {
        "suite": "versus",
        "date": "2001-02-03T04:05:06+00:00",
        "commit": "abcdef",
        "dirty": False,
        "threads": 2,
        "device": "cpu",
        "python": "3.12.0",
        "torch": "2.0",
        "machine": {"cpu": "Abacus", "cores": 2, "ram_gb": 1, "os": "None", "gpu": None},
        "contenders": {name: {"name": name, **who} for name in names if name != "copy"},
        "rows": rows,
        "memory": [],
    }


def test_pages_are_updated_between_markers_only(tmp_path: Path) -> None:
    result = _versus(CPU__flip__torchio_gpu=10.0, CPU__flip__rival=5.0)
    records.write(result, tmp_path / "result.json")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "docs").mkdir()
    readme = tmp_path / "docs" / "comparison.md"
    start, end = report.markers("speed")
    first, last = report.markers("behind")
    readme.write_text(
        f"# T\n{start}\nold\n{end}\nmiddle\n{first}\nold\n{last}\ntail\n", encoding="utf-8"
    )
    arguments = [str(tmp_path / "result.json"), "--folder", str(tmp_path), "--no-pictures"]
    report.main(arguments)
    after = readme.read_text(encoding="utf-8")
    assert after.startswith(f"# T\n{start}\n| time of a call |")
    assert "| flip | 10.0 ms | **0.500x** |" in after
    assert after.endswith(f"\nmiddle\n{first}\n- flip on CPU: rival 9 0.500x\n{last}\ntail\n")
    assert "old" not in after
    report.main(arguments)
    assert readme.read_text(encoding="utf-8") == after
    page = (tmp_path / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    assert "2001-02-03, abcdef, Abacus" in page
    assert page.count("never measured") == 2 * len(report.SUITES) - 1


def test_a_wrong_result_is_marked_in_the_short_table() -> None:
    result = _versus(CPU__flip__torchio_gpu=10.0, CPU__flip__rival=20.0)
    result["rows"][1]["remark"] = "flips the wrong axis"
    assert "| flip | 10.0 ms | 2.00x† |" in tables.brief(result)
    result["rows"][1] = {"workload": "CPU", "op": "flip", "contender": "rival", "failure": "no"}
    assert "| flip | 10.0 ms | failed |" in tables.brief(result)
    result["contenders"]["absent"] = {"failure": "not installed"}
    assert "Not measured: absent (not installed)" in tables.brief(result)


def test_a_later_run_of_some_operations_hides_no_loss_in_others() -> None:
    old = _versus(CPU__flip__torchio_gpu=10.0, CPU__flip__rival=5.0, CPU__blur__torchio_gpu=1.0)
    new = _versus(CPU__blur__torchio_gpu=2.0, CPU__blur__rival=6.0)
    old["date"], new["date"] = "2026-11-21T00:00:00", "2026-11-29T00:00:00"
    new["contenders"]["rival"] = {"failure": "not installed"}
    latest = report.newest([new, old])  # whatever their order
    times = {(row["op"], row["contender"]): row["median_ms"] for row in latest["rows"]}
    assert times == {
        ("flip", "torchio_gpu"): 10.0,
        ("flip", "rival"): 5.0,
        ("blur", "torchio_gpu"): 2.0,
        ("blur", "rival"): 6.0,
    }
    assert "failure" not in latest["contenders"]["rival"]  # which has rows of an earlier run
    assert {t.what: t.kept for t in targets.targets(latest)}["flip against rival 9"] is False


def test_targets_are_met_or_missed() -> None:
    times = {"CPU__pipe6__torchio_gpu": 10.0, "CPU__pipe6__torchio2": 119.0}
    times |= {"CPU__pipe6__monai": 250.0, "W0__pipe6__torchio_gpu": 1.5}
    times |= {"CPU__with_labels__torchio_gpu": 9.0, "CPU__affine__monai": 8.0}
    times |= {"CPU__affine__numpy": 1.0, "CPU__affine__torchio_gpu": 8.3}
    result = _versus(**times)
    row = {"workload": "CPU", "op": "pipe6", "contender": "torchio_gpu", "batches": 2.6}
    result["memory"] = [row]
    found = {target.what: target.kept for target in targets.targets(result)}
    assert found == {
        "affine and elastic warp with its label map against the quickest affine alone": False,
        "pipe6 against torchio2 9": False,
        "pipe6 against torchio1": None,
        "pipe6 against monai 9": True,
        "host time of pipe6 on W0": False,
        "affine against monai 9": True,  # level: within 5 %; numpy is no library
        "peak extra memory of pipe6": False,
    }
    assert targets.missed(result) == [("CPU", "with_labels"), ("CPU", "pipe6"), ("W0", "pipe6")]
    text = targets.text(result, {("W0", "pipe6"): "all of it in Python"})
    assert "**missed** | all of it in Python" in re.sub(" +", " ", text)
    assert "Of 1 single operations 1 are at least level" in text


def _growth(power: float) -> dict[str, Any]:
    rows = []
    for n in (32, 64, 128, 192, 256):
        for op, exponent in (("copy", 1.0), ("flip", power)):
            ms = 1e-5 * (n**3) ** exponent * (5 if n in (32, 256) else 1)  # which do not count
            row = {"sweep": "size", "op": op, "at": n, "work": n**3, "median_ms": ms}
            row["min_ms"] = ms
            rows.append({**row, "batches": 2.0})
    return {**_versus(CPU__flip__torchio_gpu=1.0), "suite": "scaling", "rows": rows}


def test_operations_that_scale_too_steeply_are_named() -> None:
    assert scaling.too_steep(_growth(1.1)) == []
    assert scaling.too_steep(_growth(1.3)) == ["flip: time ~ size ** 1.3"]
    grown = {row["op"]: row for row in scaling.exponents(_growth(1.3))}
    assert grown["flip"]["time"] == pytest.approx(1.3, abs=0.01)
    assert grown["flip"]["memory"] == pytest.approx(1.0, abs=0.01)
    result = {**_growth(1.3), "python": "3", "torch": "2"}
    assert "Too steep: flip: time ~ size ** 1.3." in scaling.brief(result)
    assert "size ** 1.3" in scaling.text(result)


#: How each command of the README is run here: what takes long in a version that does not.
QUICK = {
    "make demo": None,  # runs in tests/test_demo.py
    "make test": None,  # is what runs this
    "make docs": None,  # tests/test_documentation.py
    "pip install .[cpu]": None,  # tests run on an installed package
    "torchio-gpu bench": ["-m", "torchio_gpu.cli", "bench", "RandomFlip"],
    "make bench": [
        ["-m", "benchmarks", "--quick", "--no-peers", "--ops", "pipe6", "--device", "cpu"],
        ["-m", "benchmarks.scaling", "--quick", "--sweep", "patches", "--device", "cpu"],
    ],
    "make bench-peers": None,  # tests/test_versus_environments.py and test_versus_resume.py
    "make bench-check": None,  # tests/test_benchmarks_suites.py
    ".venv/bin/python -m benchmarks.report": ["-m", "benchmarks.report", "--help"],
    "make static": None,  # tests/test_static.py
    "OUT=gpu-results bash benchmarks/gpu.sh": None,  # tests/test_benchmarks_gpu.py
    ".venv/bin/python -m benchmarks.gpu.collect gpu-results": [
        *("-m", "benchmarks.gpu.collect", "--help")
    ],
    ".venv/bin/python -m benchmarks.features": ["-m", "benchmarks.features", "--help"],
}


def test_commands_of_the_readme_exist() -> None:
    pages = f"{README}\n{COMPARISON}"
    blocks = re.findall(r"^```bash\n(.*?)^```", pages, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`((?:make|bash|[.]venv/bin/python) [^`]+)`", pages)
    commands = {" ".join(shlex.split(line, comments=True)) for line in lines if line}
    assert commands == set(QUICK)
    for command in commands:
        if command.startswith("make "):
            done = subprocess.run([*command.split(), "-n"], cwd=ROOT, capture_output=True)
            assert done.returncode == 0, done.stderr
    for quick in QUICK.values():
        for options in [] if quick is None else quick if isinstance(quick[0], list) else [quick]:
            done = subprocess.run(
                [sys.executable, *options], cwd=ROOT, capture_output=True, encoding="utf-8"
            )
            assert done.returncode == 0, (options, done.stderr)

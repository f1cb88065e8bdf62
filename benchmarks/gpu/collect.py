"""Keep the results of ``benchmarks/gpu.sh``: ``python -m benchmarks.gpu.collect FOLDER``."""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from xml.etree import ElementTree

from .. import records
from . import SUITE, Result


def collect(folder: Path, into: Path) -> list[Path]:
    """Keep the results of a run, $OUT, in a folder; a part replaces the older one of its name."""
    files = sorted(folder.glob("*.json"))
    results = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    part = next((result for result in results if result["suite"] == SUITE), None)
    steps = csv.DictReader(_lines(folder / "steps.tsv"), ("step", "status", "s"), delimiter="\t")
    for name, rows in (("counters", counters(folder)), ("steps", list(steps))):
        results += [{**part, "part": name, "rows": rows}] if part and rows else []
    written = []
    for result in results:
        result["tests"] = tests(folder)
        kept = into / records.path(result).name
        if result["suite"] == SUITE:
            before = json.loads(kept.read_text(encoding="utf-8"))["parts"] if kept.exists() else {}
            result = {**result, "rows": [], "parts": {**before, result["part"]: result}}
        records.write(result, kept)
        written.append(kept)
    return list(dict.fromkeys(written))


def tests(folder: Path) -> Result:
    """Count the tests of a run by pytest's report, and name those that failed."""
    try:
        report = ElementTree.parse(folder / "tests.xml")
    except (OSError, ElementTree.ParseError):  # cut off
        return {"passed": 0, "failed": 0, "skipped": 0, "red": []}
    red = [*report.iterfind(".//failure/.."), *report.iterfind(".//error/..")]
    skipped = len(report.findall(".//skipped"))
    counts = {"passed": len(report.findall(".//testcase")) - len(red) - skipped}
    names = [f"{case.get('classname')}::{case.get('name')}" for case in red]
    return {**counts, "failed": len(red), "skipped": skipped, "red": names}


def counters(folder: Path) -> list[Result]:
    """Read what Nsight Compute counted: a row for each launch, of a line for each metric."""
    lines = [line for line in _lines(folder / "counters.csv") if line.startswith('"')]
    launches: dict[str, Result] = {}
    for line in csv.DictReader(lines):
        row = launches.setdefault(line["ID"], {"kernel": line["Kernel Name"].partition("(")[0]})
        row[line["Metric Name"]] = f"{line['Metric Value']} {line['Metric Unit']}".strip()
    return list(launches.values())


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def main() -> None:
    """Collect, and name the files."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.gpu.collect", description=__doc__)
    p.add_argument("folder", type=Path, help="the $OUT of a run of benchmarks/gpu.sh")
    given = p.parse_args()
    print("\n".join(file.name for file in collect(given.folder, records.FOLDER)))


if __name__ == "__main__":
    main()

"""Results as pages, losses included: ``python -m benchmarks.report``.

Three numbers go into the README, what a reader of ten minutes wants into docs/comparison.md, all
the rest into RESULTS.md, and pictures beside the results. The list of transforms in
docs/transforms.md is made here too.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from . import (
    check,
    ct,
    features,
    gpu,
    machine,
    micro,
    nnunet,
    passes,
    profiles,
    records,
    scaling,
    segmentation,
    static,
    targets,
    training,
)
from .gpu import junit
from .gpu import tables as gpu_tables
from .markdown import line, table
from .versus import tables
from .versus.workloads import SUITE

#: Suites, and what they are about. All are kept by machine and device; features and predictions
#: have no machine.
SUITES = {
    gpu.SUITE: "budgets on a GPU",
    SUITE: "side by side with other libraries",
    scaling.SUITE: "growth with the work",
    training.SUITE: "training, end to end",
    segmentation.SUITE: "does augmentation help",
    nnunet.SUITE: "nnU-Net on a toy data set",
    profiles.SUITE: "where the time of missed targets goes",
    micro.SUITE: "small pieces",
    ct.SUITE: "CT artifacts, and projection",
    check.SUITE: "what `make bench-check` compares with",
}
DEVICES = {"cpu": "CPU", "cuda": "GPU"}

Result = dict[str, Any]
Kept = Mapping[tuple[str, str], list[Result]]  # by suite and device


def kept(results: Sequence[Result]) -> Kept:
    """Results by suite and device."""
    found: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        found.setdefault((result["suite"], result.get("device", "")), []).append(result)
    return found


def sections(found: Kept) -> dict[str, str]:
    """Text of each section of the comparison, by name, for those that there are results of."""
    made = {}
    versus = found.get((SUITE, "cpu"), [])
    if versus:
        explained: dict[tuple[str, str], str] = {}
        for result in found.get((profiles.SUITE, "cpu"), []):
            explained |= profiles.sentences(result)
        made["speed"] = "\n\n".join(map(tables.brief, versus))
        latest = newest(versus)
        made["targets"] = targets.text(latest, explained)
        behind = tables.ahead(latest)
        made["behind"] = "\n".join(f"- {one}" for one in behind) or "Nowhere."
    parts = [gpu_tables.text(result) for result in by_card(found.get((gpu.SUITE, "cuda"), []))]
    parts += map(_marked(tables.brief), by_card(found.get((SUITE, "cuda"), [])))
    made["gpu"] = "\n\n".join(parts) or "**Nothing has been measured on a GPU yet.**"
    for suite, text in ((training.SUITE, training.text), (scaling.SUITE, scaling.brief)):
        rows = [_marked(text)(r) for device in DEVICES for r in found.get((suite, device), [])]
        if rows:
            made[suite] = "\n\n".join(rows)
    for result in found.get((features.SUITE, "cpu"), []):
        made["features"] = features.brief(result)
    predicted = [static.brief(result) for result in found.get((static.SUITE, ""), [])]
    if predicted:
        made["static"] = predicted[-1]  # of the newest GPU
    # links are written for a page beside this folder
    return {name: text.replace("](benchmarks/", "](../benchmarks/") for name, text in made.items()}


def numbers(found: Kept) -> str:
    """Return the speed of a pipeline against three libraries, with machine and date."""
    versus = found.get((SUITE, "cpu"), [])
    if not versus:
        return "**Nothing has been measured yet.**"
    latest = newest(versus)
    ratios = [
        f"- {target.found} as fast as {target.what.removeprefix('pipe6 against ')}"
        for target in targets.targets(latest)
        if target.what.startswith("pipe6 against ") and target.kept is not None
    ]
    on_gpu = (gpu.SUITE, "cuda") in found
    return "\n".join(
        [
            "Affine, elastic, flip, bias field, gamma and noise of a batch of two volumes of 128³:",
            "",
            *ratios,
            "",
            fill(records.origin(latest) + ("" if on_gpu else " **Not measured on a GPU.**"), 118),
        ]
    )


def newest(results: Sequence[Result]) -> Result:
    """Return the newest rows of each operation and workload, all of them of one run and machine.

    A run of some operations then hides no loss in others.
    """
    ordered = sorted(results, key=lambda result: str(result["date"]))
    merged: Result = {**ordered[-1], "contenders": {}}
    for part in ("rows", "memory"):
        found: dict[tuple[str, str], list[Result]] = {}
        for result in ordered:
            of_run: dict[tuple[str, str], list[Result]] = {}
            for row in result[part]:
                of_run.setdefault((row["workload"], row["op"]), []).append(row)
            found |= of_run
        merged[part] = [row for rows in found.values() for row in rows]
    for result in ordered:  # one that was missing in a later run keeps the rows of an earlier one
        for name, facts in result["contenders"].items():
            if name not in merged["contenders"] or "failure" not in facts:
                merged["contenders"][name] = facts
    return merged


def by_card(results: Sequence[Result]) -> list[Result]:
    """Return results side by side that are of one card; each is of one machine."""
    return sorted(
        results, key=lambda result: str([result["machine"]["gpu"], result["machine"]["cpu"]])
    )


def _marked(text: Callable[[Result], str]) -> Callable[[Result], str]:
    """Mark the numbers of a result of a GPU whose tests are not green."""

    def mark(result: Result) -> str:
        if result["device"] != "cuda":
            return text(result)
        said = f"At that commit: {junit.sentence(result.get('tests'))}."
        return f"{junit.marked(text(result), result.get('tests'))}\n\n{said}"

    return mark


def page(found: Kept) -> str:
    """RESULTS.md: all that is kept, in full, and what was never measured."""
    index = []
    for suite, what in SUITES.items():
        cells = []
        for device in DEVICES:
            results = found.get((suite, device), [])
            cells.append("; ".join(map(_when, results)) or "never measured")
        index.append([f"{suite}: {what}", *cells])
    parts = [
        "# Results",
        "Made by `python -m benchmarks.report` of the JSON files in `results/`.",
        table(["", *DEVICES.values()], index),
    ]
    for result in found.get((features.SUITE, "cpu"), []):
        parts += ["## What others can do", features.text(result), features.asked()]
    for result in found.get((static.SUITE, ""), [])[-1:]:  # of the newest GPU
        parts += ["## Kernels, predicted without a GPU", static.text(result)]
    for result in found.get((passes.SUITE, ""), []):
        parts += ["## Transforms of volumes on a GPU, predicted without one", passes.text(result)]
    for device, title in DEVICES.items():
        texts = {
            gpu.SUITE: gpu_tables.text,
            SUITE: tables.tables,
            scaling.SUITE: scaling.text,
            training.SUITE: training.text,
            segmentation.SUITE: segmentation.text,
            nnunet.SUITE: nnunet.text,
            profiles.SUITE: profiles.text,
            micro.SUITE: micro.text,
            ct.SUITE: ct.text,
        }
        for suite, text in texts.items():
            for result in by_card(found.get((suite, device), [])):
                shown = text(result) if suite == gpu.SUITE else _marked(text)(result)
                parts += [f"## {SUITES[suite]}: {title}", *_picture(result), shown]
    return "\n\n".join(parts) + "\n"


def _when(result: Result) -> str:
    m = result["machine"]
    return f"{result['date'][:10]}, {result['commit']}, {m['gpu'] or m['cpu']}"


def _picture(result: Result) -> list[str]:
    file = records.path(result).with_suffix(".png")
    return [f"![{result['suite']}](results/{file.name})"] if file.exists() else []


def transforms() -> str:
    """The public transforms as markdown: random ones with their twins, then all others."""
    import torchio_gpu as tio  # results can be shown without it

    names = [
        name
        for name in tio.transforms.__all__
        if inspect.isclass(found := getattr(tio, name))
        and issubclass(found, tio.Transform)
        and not (inspect.isabstract(found) or name == "Recorded")
    ]
    random = [n for n in names if n.startswith("Random")]
    twins = {n.removeprefix("Random") for n in random}
    lines = [line(["at random", "as given", "what it does"]), "|---|---|---|"]
    for name in random:
        twin = name.removeprefix("Random")
        given = f"`{twin}`" if twin in names else "-"
        lines.append(line([f"`{name}`", given, _what(getattr(tio, name))]))
    lines += ["", line(["preprocessing, labels, composition", "what it does"]), "|---|---|"]
    for name in names:
        if name not in (*random, *twins):
            lines.append(line([f"`{name}`", _what(getattr(tio, name))]))
    return "\n".join(lines)


def _what(transform: type) -> str:
    """The first sentence of a docstring, as a cell of a table."""
    first = (inspect.getdoc(transform) or "").partition("\n")[0]
    first = re.sub(r"[:;] see :class:`\w+`", "", first)  # the twin, which stands beside it
    return first.replace("|", r"\|")


def markers(section: str) -> tuple[str, str]:
    """Return what a generated section of a page stands between."""
    return f"<!-- {section}:start -->", f"<!-- {section}:end -->"


def renew(readme: Path, section: str, text: str) -> bool:
    """Replace what stands between the markers of a section; False if there are none."""
    old = readme.read_text(encoding="utf-8") if readme.exists() else ""
    first, last = markers(section)
    head, start, rest = old.partition(first)
    _, end, tail = rest.partition(last)
    if not (start and end):
        return False
    readme.write_text(f"{head}{first}\n{text}\n{last}{tail}", encoding="utf-8")
    return True


def main(arguments: Sequence[str] | None = None) -> None:
    """Renew the pages and pictures."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    p.add_argument("results", nargs="*", type=Path, help="JSON files; by default all that are kept")
    p.add_argument("--folder", type=Path, default=machine.ROOT, help="where the pages are")
    p.add_argument("--no-pictures", action="store_true")
    given = p.parse_args(arguments)
    found = kept(records.read(given.results))
    if not given.no_pictures:
        from . import plots  # which need matplotlib

        for file in plots.draw(found):
            print(file.name)
    (given.folder / "benchmarks" / "RESULTS.md").write_text(page(found), encoding="utf-8")
    made = {
        "README.md": {"numbers": numbers(found)},
        "docs/comparison.md": sections(found),
        "docs/transforms.md": {"transforms": transforms()},
    }
    for name, texts in made.items():
        for section, text in texts.items():
            if not renew(given.folder / name, section, text):
                print(f"{name} has no section {section}")


if __name__ == "__main__":
    main()

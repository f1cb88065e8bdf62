"""Results as pages, losses included: ``python -m benchmarks.report``.

Three numbers go into the README, what a reader of ten minutes wants into docs/comparison.md, all
the rest into RESULTS.md, and pictures beside the results. Of each suite and device the newest
result is shown.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

from docs.sections import renew

from . import (
    features,
    gpu,
    machine,
    micro,
    nnunet,
    passes,
    processes,
    profiles,
    records,
    scaling,
    segmentation,
    static,
    tables,
    training,
    workloads,
)
from .markdown import bullets, table

Result = dict[str, Any]
Kept = Mapping[tuple[str, str], Result]  # by suite and device


class Suite(NamedTuple):
    """Pages of the results of a suite.

    Args:
        title: What it is about.
        text: In full, for RESULTS.md.
        brief: For the comparison, in a section of its name; None where it has none.
    """

    title: str
    text: Callable[[Result], str]
    brief: Callable[[Result], str] | None = None


SUITES = {
    features.SUITE: Suite("what others can do", features.text, features.brief),
    gpu.SUITE: Suite("budgets on a GPU", gpu.text),
    workloads.SUITE: Suite("side by side with other libraries", tables.text, tables.brief),
    profiles.SUITE: Suite("where the time goes", profiles.text, profiles.text),
    scaling.SUITE: Suite("growth with the work", scaling.text, scaling.brief),
    training.SUITE: Suite("training, end to end", training.text, training.text),
    segmentation.SUITE: Suite("does augmentation help", segmentation.text, segmentation.text),
    nnunet.SUITE: Suite("nnU-Net on a toy data set", nnunet.text),
    processes.SUITE: Suite("imports, workers and cohorts", processes.text, processes.text),
    micro.SUITE: Suite("small pieces", micro.text),
    static.SUITE: Suite("kernels, predicted without a GPU", static.text, static.brief),
    passes.SUITE: Suite("transforms on a GPU, predicted without one", passes.text),
}
DEVICES = {"cpu": "CPU", "cuda": "GPU", "": "no device"}


def kept(results: Sequence[Result]) -> Kept:
    """Return the newest result of each suite and device."""
    ordered = sorted(results, key=lambda result: str(result.get("date")))
    return {(result["suite"], result.get("device", "")): result for result in ordered}


def sections(found: Kept) -> dict[str, str]:
    """Return the text of each section of the comparison, for those that there are results of."""
    made = {}
    for name, suite in SUITES.items():
        texts = [
            _marked(suite.brief, found[name, device])
            for device in DEVICES
            if suite.brief and (name, device) in found and (name, device) != _ON_GPU
        ]
        if texts:
            made[name] = "\n\n".join(texts)
    if versus := found.get((workloads.SUITE, "cpu")):
        made["targets"] = tables.wishes(versus)
        made["losses"] = bullets(tables.losses(versus)) or "Nowhere."
    parts = [gpu.text(found[_BUDGETS])] if _BUDGETS in found else []
    parts += [_marked(tables.brief, found[_ON_GPU])] if _ON_GPU in found else []
    made["gpu"] = "\n\n".join(parts) or "**Nothing has been measured on a GPU yet.**"
    # links are written for a page beside this folder
    return {name: text.replace("](benchmarks/", "](../benchmarks/") for name, text in made.items()}


_ON_GPU, _BUDGETS = (workloads.SUITE, "cuda"), (gpu.SUITE, "cuda")


def numbers(found: Kept) -> str:
    """Return the speed of a pipeline against three libraries, with machine and date."""
    versus = found.get((workloads.SUITE, "cpu"))
    if not versus:
        return "**Nothing has been measured yet.**"
    ratios = [
        f"{speed} as fast as {what.removeprefix('pipe6 against ')}"
        for what, _, speed, known in tables.targets(versus)
        if what.startswith("pipe6 against ") and known is not None
    ]
    where = "" if _BUDGETS in found else " **Not measured on a GPU.**"
    what = "Affine, elastic, flip, bias field, gamma and noise of a batch of two volumes of 128³:"
    return "\n\n".join([what, bullets(ratios), fill(records.origin(versus) + where, 118)])


def _marked(text: Callable[[Result], str], result: Result) -> str:
    """Mark the numbers of a result of a GPU whose tests are not green."""
    if result.get("device") != "cuda" or result["suite"] == gpu.SUITE:
        return text(result)
    return gpu.with_tests(text(result), result)


def page(found: Kept) -> str:
    """Return RESULTS.md: all that is kept, in full, and what was never measured."""
    index = [
        [f"{name}: {suite.title}", *(_when(found.get((name, device))) for device in DEVICES)]
        for name, suite in SUITES.items()
    ]
    parts = [
        "# Results",
        "Made by `python -m benchmarks.report` of the JSON files in `results/`.",
        table(["", *DEVICES.values()], index),
    ]
    for name, suite in SUITES.items():
        for device, title in DEVICES.items():
            if (name, device) in found:
                result = found[name, device]
                picture = records.path(result).with_suffix(".png") if device else Path()
                shown = [f"![{name}](results/{picture.name})"] if picture.is_file() else []
                parts += [f"## {suite.title}: {title}", *shown, _marked(suite.text, result)]
    return "\n\n".join(parts) + "\n"


def _when(result: Result | None) -> str:
    if result is None:
        return "-"
    m = result.get("machine") or {}
    return ", ".join(
        filter(None, (result.get("date", "")[:10], result["commit"], m.get("gpu") or m.get("cpu")))
    )


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

        plots.draw(found)
    (given.folder / "benchmarks" / "RESULTS.md").write_text(page(found), encoding="utf-8")
    made = {"README.md": {"numbers": numbers(found)}, "docs/comparison.md": sections(found)}
    for name, texts in made.items():
        for section, text in texts.items():
            if not renew(given.folder / name, section, text):
                print(f"{name} has no section {section}")


if __name__ == "__main__":
    main()

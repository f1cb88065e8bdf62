"""Results as pictures, next to their JSON files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import records, scaling
from .versus import tables
from .versus.workloads import OURS, SUITE, WORKLOADS

Result = Mapping[str, Any]
_SMALL = 8  # points, of letters


def draw(found: Mapping[tuple[str, str], list[dict[str, Any]]]) -> Iterator[Path]:
    """Draw what is kept, by suite and device."""
    for (suite, _), results in found.items():
        for result in results if suite in DRAWN else ():
            yield save(DRAWN[suite](result), result)


def save(figure: Figure, result: Result) -> Path:
    """Write a picture beside the file of its result."""
    file = records.path(dict(result)).with_suffix(".png")
    # no date and no version in the file: the same numbers make the same picture
    figure.savefig(file, dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return file


def speed(result: Result) -> Figure:
    """Times of libraries over ours, one row an operation: right of 1 we are ahead."""
    peers = tables.rivals(dict(result))
    cells = {
        (row["workload"], row["op"], row["contender"]): row["median_ms"]
        for row in result["rows"]
        if "median_ms" in row
    }
    rows = [
        (workload, op)
        for workload, op in dict.fromkeys((w, o) for w, o, _ in cells)
        if (op == "pipe6" or not (workload in WORKLOADS and WORKLOADS[workload].host))
        and any((workload, op, peer) in cells for peer in peers)
        and (workload, op, OURS) in cells
    ]
    figure, axes = plt.subplots(figsize=(8, 0.24 * len(rows) + 1.2))
    for n, peer in enumerate(peers):
        ratios = [
            (cells[(*work, peer)] / cells[(*work, OURS)], y)
            for y, work in enumerate(rows)
            if (*work, peer) in cells
        ]
        if ratios:
            axes.plot(*zip(*ratios, strict=True), "osD^vPX<>h"[n % 10], ms=5, color=f"C{n}",
                      alpha=0.85, label=tables.title(dict(result), peer))  # fmt: skip
    axes.axvline(1, color="black", lw=1)
    axes.set_xscale("log")
    least = min(0.5, axes.get_xlim()[0])
    axes.axvspan(least, 1, color="red", alpha=0.06)
    axes.set_xlim(left=least)
    names = [f"{op.replace('_', ' ')}{', host' * (w == 'W0')}" for w, op in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=_SMALL)
    axes.invert_yaxis()
    axes.grid(axis="x", which="both", lw=0.3)
    axes.set_xlabel("time over that of torchio_gpu: left of 1 the other is quicker")
    axes.legend(fontsize=_SMALL, loc="upper left", bbox_to_anchor=(1, 1))
    _sign(figure, result)
    return figure


#: Panels of the sweep over sizes.
FAMILIES = {
    "spatial": ("affine", "elastic", "affine_elastic", "flip", "resample", "to_canonical"),
    "intensity": ("bias_field", "gamma", "noise", "blur", "z_normalization", "rescale"),
    "k-space and slices": ("motion", "ghosting", "spike", "anisotropy"),
    "pipelines, labels": ("pipe6", "labels_to_image", "remap_labels", "one_hot", "infer_hann"),
}


def growth(result: Result) -> Figure:
    """Time, and memory, against size, log-log, with the copy as the floor."""
    sweeps = [s for s in dict.fromkeys(row["sweep"] for row in result["rows"]) if s != "size"]
    panels = [("size", name, ops) for name, ops in FAMILIES.items()]
    panels.append(("size", "peak memory", ("pipe6", "affine_elastic", "noise", "motion", "blur")))
    panels += [(sweep, sweep, None) for sweep in sweeps]
    columns = 3
    figure, grid = plt.subplots(-(-len(panels) // columns), columns, squeeze=False,
                                figsize=(12, 3.3 * -(-len(panels) // columns)))  # fmt: skip
    for axes, (sweep, name, ops) in zip(grid.flat, panels, strict=False):
        memory = name == "peak memory"
        for n, (op, points) in enumerate(_lines(result, sweep, ops, memory)):
            floor = op == "copy"
            axes.plot(*zip(*points, strict=True), color="black" if floor else f"C{n}",
                      ls="--" if floor else "-", marker=".", lw=1,
                      label=op.replace("_", " "))  # fmt: skip
        _log(axes, scaling.SWEEPS[sweep][1], "batches" if memory else "ms")
        axes.set_title(name, fontsize=10)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    figure.tight_layout()
    _sign(figure, result)
    return figure


def _lines(
    result: Result, sweep: str, ops: tuple[str, ...] | None, memory: bool
) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    what = "batches" if memory else "median_ms"
    rows = [row for row in result["rows"] if row["sweep"] == sweep and what in row]
    for op in dict.fromkeys(row["op"] for row in rows):
        if op == "copy" or ops is None or op in ops:
            points = [(row["at"], row[what]) for row in rows if row["op"] == op]
            if points:
                yield op, points


def _log(axes: Axes, x: str, y: str) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_yscale("log")
    axes.set_xlabel(x, fontsize=_SMALL)
    axes.set_ylabel(y, fontsize=_SMALL)
    axes.grid(which="both", lw=0.3)
    axes.tick_params(labelsize=_SMALL)
    axes.legend(fontsize=7)


#: Suites that have a picture.
DRAWN = {SUITE: speed, scaling.SUITE: growth}


def _sign(figure: Figure, result: Result) -> None:
    """Where the numbers are from."""
    figure.text(0, -0.01, records.origin(dict(result)), fontsize=6, va="top")

"""Results as pictures, next to their JSON files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from . import records, scaling, tables
from .workloads import OURS, SUITE, WORKLOADS

Result = dict[str, Any]
_SMALL = 8  # points, of letters


def draw(found: Mapping[tuple[str, str], Result]) -> None:
    """Draw what is kept, by suite and device."""
    for (suite, _), result in found.items():
        if suite in DRAWN:
            figure = DRAWN[suite](result)
            figure.text(0, -0.01, records.origin(result), fontsize=6, va="top")
            file = records.path(result).with_suffix(".png")
            # no date and no version in the file: the same numbers make the same picture
            figure.savefig(file, dpi=110, bbox_inches="tight", metadata={"Software": None})
            plt.close(figure)


def speed(result: Result) -> Figure:
    """Times of libraries over ours, one row an operation: right of 1 we are ahead."""
    rows: dict[str, dict[str, float]] = {}
    for row in result["rows"]:
        host = WORKLOADS[row["workload"]].host
        if "median_ms" in row and (row["op"] == "pipe6" or not host):
            name = row["op"].replace("_", " ") + ", host" * host
            rows.setdefault(name, {})[row["contender"]] = row["median_ms"]
    peers = tables.rivals(result)
    rows = {name: of for name, of in rows.items() if OURS in of and {*of} & {*peers}}
    figure, axes = plt.subplots(figsize=(8, 0.24 * len(rows) + 1.2))
    for n, peer in enumerate(peers):
        points = [(of[peer] / of[OURS], y) for y, of in enumerate(rows.values()) if peer in of]
        mark = {
            "color": f"C{n}",
            "marker": "osD^vPX<>h"[n % 10],
            "label": tables.title(result, peer),
        }
        axes.scatter(*zip(*points, strict=True), s=24, alpha=0.85, **mark)
    axes.axvline(1, color="black", lw=1)
    axes.set_xscale("log")
    least = min(0.5, axes.get_xlim()[0])
    axes.axvspan(least, 1, color="red", alpha=0.06)
    axes.set_xlim(left=least)
    axes.set_yticks(range(len(rows)), rows, fontsize=_SMALL)
    axes.invert_yaxis()
    axes.grid(axis="x", which="both", lw=0.3)
    axes.set_xlabel("time over that of torchio_gpu: left of 1 the other is quicker")
    axes.legend(fontsize=_SMALL, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def growth(result: Result) -> Figure:
    """Time of each sweep, log-log, with the copy as the floor."""
    sweeps = list(dict.fromkeys(row["sweep"] for row in result["rows"]))
    figure, grid = plt.subplots(1, len(sweeps), figsize=(4 * len(sweeps), 4), squeeze=False)
    for axes, sweep in zip(grid.flat, sweeps, strict=True):
        rows = [r for r in result["rows"] if r["sweep"] == sweep and "median_ms" in r]
        for n, op in enumerate(dict.fromkeys(row["op"] for row in rows)):
            points = [(row["at"], row["median_ms"]) for row in rows if row["op"] == op]
            floor = op == "copy"
            style = {"color": "black", "ls": "--"} if floor else {"color": f"C{n}"}
            axes.plot(
                *zip(*points, strict=True), marker=".", lw=1, label=op.replace("_", " "), **style
            )
        axes.set(xscale="log", yscale="log", ylabel="ms", title=sweep)
        axes.set_xlabel(scaling.SWEEPS[sweep][1], fontsize=_SMALL)
        axes.grid(which="both", lw=0.3)
        axes.legend(fontsize=5)
    figure.tight_layout()
    return figure


#: Suites that have a picture.
DRAWN = {SUITE: speed, scaling.SUITE: growth}

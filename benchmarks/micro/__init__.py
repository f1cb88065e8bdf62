"""Small pieces by themselves, with pytest-benchmark: ``python -m benchmarks.micro``.

One file a room. Any option of pytest may follow: ``-k warp``, ``--benchmark-compare``. The pieces
are what a call is made of, so that one who sees a slow call finds out where it spends its time.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import machine, records
from ..markdown import number, table

SUITE = "micro"
HERE = Path(__file__).resolve().parent


def run(options: Sequence[str]) -> tuple[int, dict[str, Any]]:
    """Run all files through pytest: its exit status, and the result."""
    import pytest
    import torch

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "benchmarks.json"
        status = pytest.main(
            [str(HERE), "-q", "-p", "no:cacheprovider", "-o", "python_files=bench_*.py"]
            + ["-o", "python_functions=bench_*", "-o", "addopts=", "--benchmark-warmup=on"]
            + [
                "-W",
                "ignore:max_displacement:RuntimeWarning",
                "--benchmark-max-time=0.3",
                f"--benchmark-json={file}",
                *options,
            ]
        )
        found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    result = records.stamp(SUITE, "cpu", torch.get_num_threads())
    return int(status), {**result, "rows": [_row(each) for each in found.get("benchmarks", [])]}


def _row(found: dict[str, Any]) -> dict[str, Any]:
    stats = found["stats"]
    room, _, name = found["fullname"].rpartition("::")
    room = Path(room).stem.removeprefix("bench_")
    us = {name: 1e6 * stats[name] for name in ("median", "q1", "q3")}
    times = {f"{name}_us": float(f"{value:.4g}") for name, value in us.items()}
    piece = name.removeprefix("bench_").replace("_", " ")
    return {"room": room, "piece": piece, **times, "rounds": stats["rounds"]}


def text(result: dict[str, Any]) -> str:
    """Times of all pieces as markdown."""
    rows = [
        (row["room"], row["piece"])
        + (f"{number(row['median_us'])} ({number(row['q1_us'])}-{number(row['q3_us'])})",)
        for row in result["rows"]
    ]
    return "\n\n".join(
        [table(("room", "piece", "µs, median (quartiles)"), rows), f"- {records.origin(result)}"]
    )


def main(options: Sequence[str]) -> int:
    """Run, print a table, and keep the result of a run that leaves nothing out."""
    import torch

    torch.set_num_threads(machine.threads())
    status, result = run(options)
    if status == 0:
        print(text(result))
        if not options:
            records.write(result, records.path(result))
    return status

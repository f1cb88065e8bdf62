"""Hardware counters of six kernels: ``python -m benchmarks.gpu.counters``.

Runs itself under Nsight Compute where that is installed. The calls before the region that is looked
at compile the kernels.
"""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import torch

import torchio_gpu as tio

from .. import machine
from . import joined, parser, stamp, tables, write
from .budgets import JOBS, _batch

#: What is read of each kernel, and its name in the table.
METRICS = {
    "gpu__time_duration.sum": "time",
    "dram__bytes.sum": "memory",
    "smsp__inst_executed.sum": "warp instructions",
    "smsp__issue_active.avg.pct_of_peak_sustained_active": "issue slots, %",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "memory, %",
    "l1tex__throughput.avg.pct_of_peak_sustained_active": "L1, %",
    "launch__registers_per_thread": "registers",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "warps, %",
}
#: Jobs that launch the six kernels, and kernels that are looked at in all.
_JOBS, _KERNELS = ("pipe6 with labels", "bias, gamma, noise", "backward of the warp"), 12
_SECONDS = 100


def profile(tiny: bool) -> None:
    """Make the calls; the profiler looks at the second ones."""
    for name in _JOBS:
        call, _ = JOBS[name].make(_batch("W1", "cuda", tiny))
        with tio.backend("auto"):
            call()
            torch.cuda.synchronize()
            torch.cuda.profiler.start()  # type: ignore[no-untyped-call]
            call()
            torch.cuda.synchronize()
            torch.cuda.profiler.stop()  # type: ignore[no-untyped-call]


def rows(text: str) -> list[dict[str, Any]]:
    """Read the CSV of Nsight Compute: a row for each launch and metric becomes one a launch."""
    lines = text.splitlines()
    start = next((n for n, line in enumerate(lines) if line.startswith('"ID"')), len(lines))
    found: dict[str, dict[str, Any]] = {}
    for row in csv.DictReader(lines[start:]):
        kernel = re.sub(r"\(.*|<.*", "", row["Kernel Name"]).removeprefix("void ")[:60]
        launch = found.setdefault(row["ID"], {"kernel": kernel, "metrics": {}})
        name = METRICS.get(row["Metric Name"], row["Metric Name"])
        launch["metrics"][name] = f"{row['Metric Value']} {row['Metric Unit']}".strip()
    return list(found.values())


def run(device: str, tiny: bool) -> dict[str, Any]:
    """Run under the profiler, and read what it counted."""
    found = stamp("counters", device, tiny)
    ncu = shutil.which("ncu")
    if ncu is None or device != "cuda":
        return {**found, "absent": "ncu is not installed" if ncu is None else "there is no GPU"}
    command = [ncu, "--csv", "--clock-control", "none", "--profile-from-start", "off"]
    command += ["--metrics", ",".join(METRICS), "--launch-count", str(_KERNELS)]
    command += [sys.executable, "-m", "benchmarks.gpu.counters", "--calls"]
    command += ["--tiny"] * tiny
    try:
        done = subprocess.run(
            command, cwd=machine.ROOT, capture_output=True, encoding="utf-8", timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        return {**found, "absent": f"ncu took more than {_SECONDS} s"}
    counted = rows(done.stdout)
    if not counted:
        last = (done.stdout + done.stderr).strip().splitlines() or ["no output"]
        return {**found, "absent": f"ncu counted nothing: {last[-1][:200]}"}
    return {**found, "rows": counted}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print and write the counters."""
    p = parser("counters", __doc__)
    p.add_argument("--calls", action="store_true", help="only make the calls")
    given = p.parse_args(arguments)
    warnings.simplefilter("ignore")
    if given.calls:
        profile(given.tiny)
        return
    found = run(machine.device(given.device), given.tiny)
    print(tables.text(joined([write(found, given.output)])))


if __name__ == "__main__":
    main()

"""Kernels compiled without a GPU, and their predicted times: ``python -m benchmarks.static``.

Everything here is a prediction until a GPU has spoken. A result holds what each version of Triton
makes of the kernels; ``--triton all``, which is ``make static``, compiles with all that users have.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .. import machine, records
from ..failure import FailureError
from . import versions
from .tables import brief, registers_over, spills, text

SUITE = "static"
ARCHITECTURES = (90, 80)
#: Registers that a kernel may take of each thread: of more, too few warps fit on a multiprocessor.
REGISTERS = 128

Result = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Compile, print tables and write results; exit with 1 if a kernel takes too much."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.static", description=__doc__)
    p.add_argument(
        "--arch", nargs="+", type=int, choices=ARCHITECTURES, default=ARCHITECTURES, metavar="N"
    )
    p.add_argument("--kernel", default="", help="only kernels with this in their name")
    p.add_argument("--case", default="", help="only calls with this in their name")
    p.add_argument(
        "--triton", nargs="+", metavar="VERSION", help="by default the installed one; or 'all'"
    )
    p.add_argument(
        "--output",
        type=Path,
        help="folder for JSON files; with all of Triton's versions and nothing left out, "
        "benchmarks/results by default",
    )
    given = p.parse_args(arguments)
    every = [*versions.SUPPORTED, *versions.FOR_INFORMATION]
    wanted = every if given.triton == ["all"] else given.triton
    whole = wanted == every and not (given.kernel or given.case)
    folder = given.output or (records.FOLDER if whole else None)
    choice = given.arch, given.kernel, given.case
    try:
        results = run(*choice) if wanted is None else merged([_apart(v, *choice) for v in wanted])
    except FailureError as failure:
        sys.exit(f"benchmarks.static: {failure}")
    print("\n\n".join(text(result) for result in results))
    for result in results:
        records.write(result, folder and folder / f"{SUITE}--{result['arch']}.json")
    if bad := [line for result in results for line in excesses(result)]:
        sys.exit("\n".join(["benchmarks.static: kernels take too much", *bad]))


def run(architectures: Sequence[int], kernel: str = "", case: str = "") -> list[Result]:
    """Compile the kernels of all calls with the installed Triton, on all cores.

    Args:
        architectures: Targets: 90 for sm_90.
        kernel, case: Parts that names of kernels and calls must have.

    Returns:
        One result for each architecture.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(machine.threads(), spawn, initializer=_compile) as pool:
        names, torch, triton, how = pool.submit(_about).result()
        wanted = [(arch, name) for arch in architectures for name in names if case in name]
        looks = [pool.submit(_look, arch, name, kernel) for arch, name in wanted]
        cases = [look.result() for look in looks]
    about = {
        "suite": SUITE,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **machine.commit(),
        "torch": torch,
        "kernels": digest(),
    }
    found = {
        arch: [row for (to, _), row in zip(wanted, cases, strict=True) if to == arch]
        for arch in architectures
    }
    return [
        {**about, "arch": f"sm_{arch}", "how": how[arch], "cases": {triton: found[arch]}}
        for arch in architectures
    ]


def merged(runs: Sequence[Sequence[Result]]) -> list[Result]:
    """Join the results of several versions of Triton, by architecture."""
    return [
        {**same[0], "cases": {k: v for result in same for k, v in result["cases"].items()}}
        for same in zip(*runs, strict=True)
    ]


def excesses(result: Result) -> list[str]:
    """Return a line for each kernel that spills or takes more than :data:`REGISTERS`.

    Versions that no torch pins do not count.
    """
    return [
        f"{result['arch']}, Triton {triton}: {row['kernel']} in {case['case']!r} takes "
        f"{row['registers']} registers" + (" and spills" if spills(row) else "")
        for triton, cases in result["cases"].items()
        if triton not in versions.FOR_INFORMATION
        for case in cases
        for row in case["kernels"]
        if registers_over(row, REGISTERS) or spills(row)
    ]


def digest() -> str:
    """Return a hash of the sources of Triton's kernels: what a result was made of."""
    found = hashlib.sha256()
    folder = machine.ROOT / "kernels" / "torchio_gpu_kernels"  # those for a CPU are in one below
    for file in sorted(folder.glob("[!_]*.py")):
        found.update(file.read_bytes())
    return found.hexdigest()[:16]


def _apart(version: str, architectures: Sequence[int], kernel: str, case: str) -> list[Result]:
    """Run in a process of its own, whose Triton is of another version."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.static", "--output", folder]
        command += ["--kernel", kernel, "--case", case, "--arch", *map(str, architectures)]
        environment = versions.environment(version)
        done = subprocess.run(
            command, cwd=machine.ROOT, env=environment, capture_output=True, encoding="utf-8"
        )
        files = [Path(folder) / f"{SUITE}--sm_{arch}.json" for arch in architectures]
        if not all(file.exists() for file in files):
            raise FailureError(f"triton {version}: {done.stderr.strip()[-2000:]}")
        print(f"compiled with Triton {version}", file=sys.stderr, flush=True)
        return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def _compile() -> None:
    """Kernels are to be compiled, not interpreted: Triton looks at this when it is imported."""
    os.environ.pop("TRITON_INTERPRET", None)


def _about() -> tuple[list[str], str, str, dict[int, str]]:
    """Return names of calls, versions of torch and Triton, and the method by architecture."""
    import torch
    import triton

    from .cases import CASES
    from .predict import GPUS

    how = {arch: gpu.how() for arch, gpu in GPUS.items()}
    return list(CASES), torch.__version__, triton.__version__, how


def _look(arch: int, name: str, kernel: str) -> dict[str, Any]:
    from .predict import look

    return look(arch, name, kernel)


__all__ = ["brief", "digest", "excesses", "main", "merged", "run", "spills", "text"]


if __name__ == "__main__":
    main()

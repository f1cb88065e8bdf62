"""Measure this library against its peers: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .versus.workloads import OPS, WORKLOADS

if TYPE_CHECKING:
    from .versus.harness import Options


def parser(module: str = "benchmarks") -> argparse.ArgumentParser:
    """Options of the command line."""
    p = argparse.ArgumentParser(prog=f"python -m {module}", description=__doc__)
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    p.add_argument("--workload", nargs="+", choices=WORKLOADS, help="default: by device")
    p.add_argument("--ops", nargs="+", choices=OPS)
    p.add_argument("--repeats", type=int, help="timed calls; fewer for slow contenders")
    p.add_argument("--threads", type=int, help="default: all cores")
    p.add_argument("--quick", action="store_true", help="a few calls on the smallest batch")
    p.add_argument("--no-peers", action="store_true", help="this library only")
    p.add_argument(
        "--contenders", nargs="+", metavar="NAME", help="beside this library; default: all"
    )
    p.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=PYTHON",
        help="a peer with an interpreter of its own; also TORCHIO_GPU_BENCH_PEERS=NAME=PYTHON,...",
    )
    p.add_argument(
        "--output",
        type=Path,
        help="JSON file; a run that leaves nothing out goes to benchmarks/results by default",
    )
    p.add_argument("--worker", help=argparse.SUPPRESS)
    return p


def options(given: argparse.Namespace) -> Options:
    """What to measure."""
    from . import machine
    from .versus import harness, remote

    try:
        special = remote.interpreters(given.peer)
    except ValueError as error:
        sys.exit(str(error))
    names = [harness.OURS] if given.no_peers else remote.peers()
    if given.contenders:
        if unknown := set(given.contenders) - set(names):
            sys.exit(
                f"--contenders must be of {', '.join(names)}; got {', '.join(sorted(unknown))}"
            )
        names = [name for name in names if name in (harness.OURS, *given.contenders)]
    return harness.Options(
        pythons={name: special.get(name, sys.executable) for name in names},
        device=given.device,
        workloads=given.workload or (["W0"] if given.quick else None),
        ops=given.ops or (OPS if given.quick else None),
        repeats=given.repeats or (5 if given.quick else None),
        threads=given.threads or machine.threads(),
    )


def main() -> None:
    """Run the benchmarks and print the tables."""
    given = parser().parse_args()
    if given.worker:
        from .versus.worker import serve

        serve(given.worker)
        return
    from . import records
    from .failure import FailureError
    from .versus import harness, resume, tables

    whole = not (
        given.quick
        or given.no_peers
        or given.contenders
        or given.workload
        or given.ops
        or given.repeats
    )

    def where(result: dict[str, Any]) -> Path | None:
        return given.output or (records.path(result) if whole else None)

    try:
        result = harness.run(options(given), where)
    except FailureError as failure:
        sys.exit(f"{harness.OURS}: {failure}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
    print(tables.tables(result))
    if file := where(result):
        records.write(result, file)
        resume.done(file)


if __name__ == "__main__":
    main()

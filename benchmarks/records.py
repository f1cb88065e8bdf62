"""Results as they are kept: a JSON file for each suite, machine and device, and who measured when.

A result is a plain dict. What all of them begin with is made by :func:`stamp`.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from . import machine
from .failure import FailureError

Result = dict[str, Any]
FOLDER = machine.ROOT / "benchmarks" / "results"


def stamp(suite: str, device: str, threads: int) -> Result:
    """When, of what and where something is measured.

    Args:
        suite: Name of the suite, the first part of the file's name.
        device: 'cpu' or 'cuda'.
        threads: How many the work may use.
    """
    import torch  # tables are made without it

    return {
        "suite": suite,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **machine.commit(),
        "threads": threads,
        "machine": machine.describe(device),
        "device": device,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": machine.version("triton"),
    }


def origin(result: Result) -> str:
    """Date, commit, machine and versions of a result, as a sentence."""
    m = result["machine"]
    threads = f"{result['threads']} thread" + "s" * (result["threads"] != 1)
    dirty = " with changes not committed" if result["dirty"] else ""
    triton = f", Triton {result['triton']}" if result.get("triton") else ""
    where = [m["gpu"], m["cpu"], f"{m['cores']} cores", f"{m['ram_gb'] or '?'} GB", m["os"]]
    return (
        f"Measured {result['date'][:10]} at commit {result['commit']}{dirty} on "
        f"{', '.join(filter(None, where))}; {threads}, Python {result['python']}, "
        f"torch {result['torch']}{triton}."
    )


def path(result: Result) -> Path:
    """Return the file that a result is kept in."""
    return FOLDER / f"{result['suite']}--{machine.slug(result['machine'])}.json"


def write(result: Result, file: Path | None) -> None:
    """Keep a result, if there is a file for it."""
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}")  # which takes the place of the file when whole
        part.write_text(_lines(result), encoding="utf-8")
        part.replace(file)


def _lines(result: Result) -> str:
    """JSON of which each row is a line, so that changes can be read."""
    parts = []
    for name, value in result.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list) and value:
            text = ",\n ".join(json.dumps(row, ensure_ascii=False) for row in value)
            text = f"[\n {text}\n]"
        parts.append(f"{json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def read(files: Iterable[Path] = ()) -> list[Result]:
    """Results in files, by default in all that are kept."""
    chosen = list(files) or sorted(FOLDER.glob("*.json"))
    return [json.loads(file.read_text(encoding="utf-8")) for file in chosen]


def command(
    doc: str | None,
    run: Callable[..., Result | Iterable[Result]],
    text: Callable[[Result], str],
    missed: Callable[[Result], list[str]] = lambda result: [],
    **options: dict[str, Any],
) -> Callable[[Sequence[str] | None], None]:
    """Return a ``main`` with options of ``add_argument``, which keeps and prints what is made.

    ``run`` may yield its result each time that there is more. A run on a machine is kept where it
    has no option but device and threads. ``missed`` are lines with which the command fails.
    """
    device = {"type": machine.device, "default": "auto", "help": "cpu, cuda or auto"}
    threads = {"type": int, "default": machine.threads(), "help": "default: all cores"}
    common = {"device": device, "threads": threads, "output": {"type": Path, "help": "JSON file"}}

    def main(arguments: Sequence[str] | None = None) -> None:
        p = argparse.ArgumentParser(description=doc)
        for option in {**options, "output": {}}:
            p.add_argument(f"--{option}", **{**common.get(option, {}), **options.get(option, {})})
        try:
            given = vars(p.parse_args(arguments))
        except FailureError as failure:  # there is no such device
            p.error(str(failure))
        file, changed = given.pop("output"), [n for n in given if given[n] != p.get_default(n)]
        for result in (made,) if isinstance(made := run(**given), dict) else made:
            whole = "machine" in result and not set(changed) - set(common)
            write(result, file or (path(result) if whole else None))
        print(text(result))
        if lines := missed(result):
            sys.exit("\n".join(["missed:", *lines]))

    return main

"""A run that is interrupted goes on where it stopped: what is measured so far is kept in a file.

It lies beside the result, ``RESULT.json.part``, and is gone when the result is complete. A later
run goes on only if all that decides about its numbers is the same; else it starts anew.
"""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..machine import ROOT

Result = dict[str, Any]

#: What of a result must be the same; its date, rows and memory are those of the first run.
SAME = ("suite", "commit", "dirty", "threads", "machine", "device", "python", "torch")
#: Folders whose code decides about numbers, changed or not.
CODE = ("torchio_gpu", "kernels", "benchmarks/versus")


def part(file: Path) -> Path:
    """Where the result that is to be in a file is kept until it is complete."""
    return file.with_name(file.name + ".part")


def conditions(result: Result, options: Result) -> Result:
    """What must be the same for a run to go on.

    Args:
        result: Of a run that begins: its stamp and its contenders.
        options: What it measures.
    """
    stamp = {name: result[name] for name in SAME}
    contenders = {f"contender {name}": facts for name, facts in result["contenders"].items()}
    found = {**stamp, "code": code(), **options, **contenders}
    return dict(json.loads(json.dumps(found)))  # tuples are lists in a file


def code() -> str:
    """A short name for all the code that decides about numbers: where it changed, so does this."""
    digest = sha256()
    for folder in CODE:
        for file in sorted((ROOT / folder).rglob("*.py")):
            digest.update(f"{file.relative_to(ROOT)}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:10]


def go_on(file: Path, result: Result, wanted: Result) -> tuple[Result, str | None]:
    """The result to go on with, and what to say about it.

    Args:
        file: Where the result is to be when it is complete.
        result: Of the run that begins, in which nothing is measured.
        wanted: Its conditions.
    """
    try:
        kept = json.loads(part(file).read_text(encoding="utf-8"))
        had, before = kept["conditions"], kept["result"]
    except FileNotFoundError:
        return result, None
    except (ValueError, KeyError, TypeError):
        return result, f"starts anew: {part(file).name} cannot be read"
    if names := [n for n in {**wanted, **had} if had.get(n) != wanted.get(n)]:
        first = f"{names[0]} was {had.get(names[0])}, is {wanted.get(names[0])}"
        more = f", and {len(names) - 1} more changed" if len(names) > 1 else ""
        return result, f"starts anew: {first}{more}"
    return before, f"goes on with a run of {before['date']}: {len(before['rows'])} rows are there"


def keep(file: Path, result: Result, had: Result) -> None:
    """Write what is measured so far: whole, or not at all."""
    whole = part(file)
    scratch = whole.with_name(f".{whole.name}")
    whole.parent.mkdir(parents=True, exist_ok=True)
    scratch.write_text(json.dumps({"conditions": had, "result": result}), encoding="utf-8")
    os.replace(scratch, whole)


def done(file: Path) -> None:
    """Nothing is left to go on with."""
    part(file).unlink(missing_ok=True)

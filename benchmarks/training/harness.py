"""Contenders one after another, each in a process of its own that ends with all its workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from .. import records
from ..failure import FailureError
from ..machine import ROOT
from .setup import Setup
from .sources import CONTENDERS, NONE
from .table import SUITE


def run(setup: Setup, names: Sequence[str]) -> dict[str, Any]:
    """Measure contenders; those that cannot be have a row that says why."""
    result = records.stamp(SUITE, setup.device, setup.threads)
    result |= {"setup": asdict(setup), "rows": []}
    for name in names:
        contender = CONTENDERS[name]
        row = {"contender": name, "title": contender.title, "augments": contender.augments}
        try:
            row |= remote(name, setup)
        except FailureError as failure:
            row["failure"] = str(failure)
        rate = row.get("failure") or f"{row['steps_per_s']:.3f} steps/s in {row['steps']} steps"
        print(f"{contender.title:40} {rate}", file=sys.stderr, flush=True)
        result["rows"].append(row)
    add_shares(result["rows"], setup.device)
    return result


def add_shares(rows: list[dict[str, Any]], device: str) -> None:
    """Add what share of the time the device is idle, and on a GPU augments."""
    alone = next((row.get("mean_step_ms") for row in rows if row["contender"] == NONE), None)
    for row in rows:
        if "failure" in row:
            continue
        if device == "cuda":
            row["idle"] = round(row["late_s"] / row["wall_s"], 4)
            row["augmenting"] = round((row["gap_s"] - row["late_s"]) / row["wall_s"], 4)
        elif alone is not None:
            row["idle"] = round(1 - row["steps"] * alone / 1000 / row["wall_s"], 4)


def remote(name: str, setup: Setup) -> dict[str, Any]:
    """The row of a contender, from another process."""
    one = ("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",)  # of workers, of which each core has one
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.training", "--worker", name]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **dict.fromkeys(one, "1")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        try:
            # A round of a slow contender may take longer than all rounds should.
            limit = 120 + 8 * setup.seconds
            reply, _ = process.communicate(json.dumps(asdict(setup)), timeout=limit)
        except subprocess.TimeoutExpired:
            raise FailureError(f"it takes more than {limit:.0f} s") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # workers that are still busy
    if not reply:
        raise FailureError("its process died")
    row: dict[str, Any] = json.loads(reply)
    if "failure" in row:
        raise FailureError(row["failure"])
    return row


def serve(name: str) -> None:
    """Measure a contender in this process, as the setup on stdin says; reply on stdout."""
    # What a library prints must not end up in the reply.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    given = json.load(sys.stdin)
    given["shape"] = tuple(given["shape"])
    try:
        reply = measured(name, Setup(**given))
    except FailureError as failure:
        reply = {"failure": str(failure)}
    except Exception as error:
        reply = {"failure": str(FailureError.of(error))}
    print(json.dumps(reply), file=replies, flush=True)


def measured(name: str, setup: Setup) -> dict[str, Any]:
    """What :func:`benchmarks.training.loop.measure` finds, and the version of the contender."""
    import torch

    from .loop import HostMarks, StreamMarks, measure
    from .network import Trainer
    from .setup import heads

    torch.set_num_threads(setup.threads)
    contender, volumes = CONTENDERS[name], heads(setup)
    peer = contender.module()  # imported before any clock runs
    row = measure(
        lambda: contender.make(setup, volumes, peer),
        Trainer(setup).step,
        setup,
        bool(contender.augments),
        StreamMarks() if setup.device == "cuda" else HostMarks(),
    )
    return {"version": peer.VERSION, **row}

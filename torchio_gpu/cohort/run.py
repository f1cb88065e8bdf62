"""Runs over a cohort: which cases are left, who computes them, and what became of them."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..transforms import Transform
from .case import Job, Limits
from .folder import OutputFolder
from .inputs import have_changed
from .manifest import Case, Cohort, PathLike
from .preparation import Preparation
from .progress import Progress
from .records import FAILED, KILLED, OK, TIMEOUT
from .schedulers import Workers, in_process, on_cluster
from .shards import parse_shard

#: Outcomes that only a wish to retry changes: another attempt costs a worker, or much time.
_LASTING = (KILLED, TIMEOUT)


@dataclass
class Summary:
    """Number of cases of a run by outcome.

    Args:
        total: Cases of the cohort, or of the shard.
        before: Cases that had been computed before.
        outcomes: Outcomes of those of this run, and of cases that are not tried again.
    """

    total: int
    before: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        """Number of cases without result."""
        return sum(count for outcome, count in self.outcomes.items() if outcome != OK)

    def __str__(self) -> str:
        names = {OK: "computed", FAILED: "failed", TIMEOUT: "took too long", KILLED: "killed"}
        counts = {"computed before": self.before}
        counts |= {names[outcome]: self.outcomes[outcome] for outcome in names}
        parts = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        return f"{self.total} cases: {parts or 'nothing to do'}"


def preprocess(
    pipeline: Transform,
    cohort: Cohort,
    out: PathLike,
    *,
    scheduler: str | Any | None = None,
    workers: int = 0,
    shard: str | tuple[int, int] | None = None,
    copies: int | None = None,
    seed: int = 0,
    retries: int = 0,
    timeout: float | None = None,
    memory: str | None = None,
    format: str = ".nii.gz",
    device: str = "cpu",
    batch: int = 16,
    checksum: bool = False,
    force: bool = False,
    progress: bool = True,
) -> Summary:
    """Read, transform and write all cases of a cohort that have not been computed yet.

    Each case gets a folder in ``out`` that appears when it is complete, with a file for each image
    of the result; its record is appended to ``out/_cohort/records``. A case that fails is one
    record with an error, and the others go on. The same call goes on where an earlier one stopped,
    however it stopped: cases without result are computed, and those whose inputs have changed.

    A case is computed in one thread, from a seed that depends on ``seed`` and on its id: results
    are the same bytes for any number of workers, shards and attempts.

    Args:
        pipeline: The transform.
        cohort: The cases.
        out: Folder to write to.
        scheduler: Process that distributes cases among workers: None for this one, or for Dask on
            this machine if there are workers; 'slurm' for workers that Dask starts as jobs of
            SLURM (dask-jobqueue, with its configuration); an address such as 'tcp://node:8786'; or
            a Dask client or cluster.
        workers: Worker processes; 0 to compute in this process. With an address or a client, the
            workers are those that are there.
        shard: Part of the cohort to compute: 'K/N' or (K, N), from 1 to N; or 'auto', from the
            variables that SLURM and torchrun set.
        copies: Number of results of each case, each with another seed, for random pipelines.
        seed: Base seed.
        retries: Further attempts after errors of reading and writing, with pauses.
        timeout: Seconds that a case may take.
        memory: Memory of a worker, such as '8GB'; a worker that takes more is ended.
        format: Suffix of the images to write.
        device: 'cpu', or 'cuda' to compute each case on a GPU; workers take GPUs in turn.
        batch: Cases that a worker gets at a time.
        checksum: Notice changed inputs by their bytes, not by size and time.
        force: Compute all cases again where ``out`` was written with another pipeline.
        progress: Show progress: a bar in a terminal, else a line every 30 seconds.

    Returns:
        Numbers of cases by outcome.

    Raises:
        ValueError: An argument is out of range, or ``out`` is of another pipeline, seed or format.
        TypeError: The pipeline holds what cannot be described, such as a function.
        ImportError: Workers are wanted, and the extra 'cohort' is not installed.
        OSError: Nothing can be written to ``out``.
        RuntimeError: The scheduler was lost.
    """
    job = Preparation(pipeline, seed, copies, format, device)
    if device != "cpu" and scheduler is None and not torch.cuda.is_available():
        raise ValueError(f"device must be available to torch, got {device!r}: it finds no GPU")
    folder = OutputFolder.at(out)
    return run(
        job,
        cohort,
        folder,
        Workers(scheduler, workers, memory, batch),
        limits_of(retries, timeout, checksum),
        shard,
        force=force,
        progress=progress,
    )


def run(
    job: Job,
    cohort: Cohort,
    folder: OutputFolder,
    workers: Workers,
    limits: Limits,
    shard: str | tuple[int, int] | None = None,
    *,
    force: bool = False,
    again: bool = False,
    progress: bool = True,
) -> Summary:
    """Compute the cases of a job that are left.

    Args:
        job: The job.
        cohort: The cases.
        folder: Folder of the results and records.
        workers: Workers to compute on.
        limits: Limits of each case.
        shard, force, progress: As for :func:`preprocess`.
        again: Compute only cases that have failed, and those that ended their process or took too
            long.
    """
    if not isinstance(cohort, Cohort):
        raise TypeError(f"cohort must be a Cohort, got {type(cohort).__name__}")
    in_main = threading.current_thread() is threading.main_thread()
    if limits.timeout is not None and not (workers.wanted or in_main):
        raise ValueError("timeout must be given with workers, or in the main thread")
    cases = cohort.shard(*parse_shard(shard))
    folder.start(job.description, cohort, force)
    left, number, summary = _left(cases, folder, job.recipe, again, limits.checksum)
    if not left:
        return summary
    ended = folder.drafts.ended()  # what may have ended an earlier process comes last
    left.sort(key=lambda case: ended[case.id])
    with Progress(len(left), progress) as shown:
        if workers.wanted:
            on_cluster(job, left, folder, limits, number, workers, shown)
        else:
            in_process(job, left, folder, limits, number, shown)
    for id in folder.drafts.begun().keys() & {case.id for case in left}:
        folder.drafts.remove(id)  # of a worker that had not quite ended when another went on
    summary.outcomes += shown.outcomes
    return summary


def limits_of(retries: int, timeout: float | None, checksum: bool) -> Limits:
    """Return the limits of each case; raise if one is out of range."""
    if retries < 0:
        raise ValueError(f"retries must be >= 0, got {retries}")
    if timeout is not None and not 0 < timeout < math.inf:
        raise ValueError(f"timeout must be > 0 seconds, got {timeout:g}")
    return Limits(retries, timeout, checksum)


def _left(
    cases: Sequence[Case], folder: OutputFolder, recipe: str, again: bool, checksum: bool
) -> tuple[list[Case], int, Summary]:
    """Return the cases to compute, the number of the run, and a summary of the other cases."""
    names = ("status", "inputs", "outputs")
    latest = folder.records.latest(
        recipe, lambda record: {name: record[name] for name in names if name in record}
    )
    number = 1 + max((entry.run for entry in folder.records.entries()), default=0)
    begun = folder.drafts.begun()
    left, summary = [], Summary(len(cases))
    for case in cases:
        record = latest.get(case.id)
        done = False
        if record is not None and record["status"] == OK:
            done = folder.has(record) and not have_changed(case, record["inputs"], checksum)
            summary.before += done
        elif record is None and again:  # of which others may be computing some
            summary.total -= 1
            continue
        elif record is not None and record["status"] in _LASTING and not again:
            done = True
            summary.outcomes[record["status"]] += 1
        if not done:
            left.append(case)
        if case.id in begun and (done or again):  # its process ended after the record was written
            folder.drafts.remove(case.id)
    return left, number, summary


__all__ = ["Summary", "limits_of", "preprocess", "run"]

"""Who computes: this process, or workers of Dask."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from .case import Job, Limits, run_case
from .folder import OutputFolder
from .manifest import Case
from .progress import Progress

#: Name of the scheduler of a cluster whose workers are jobs.
SLURM = "slurm"
#: Times that Dask itself gives a batch to another worker. Each case that ends its process is
#: counted by its attempts, so that this number only has to be large.
_DEATHS_OF_A_BATCH = 1000


@dataclass(frozen=True)
class Workers:
    """Workers of Dask; arguments as for :func:`.run.preprocess`."""

    scheduler: Any = None
    count: int = 0
    memory: str | None = None
    batch: int = 16

    def __post_init__(self) -> None:
        for name, value, least in (("workers", self.count, 0), ("batch", self.batch, 1)):
            if value < least:
                raise ValueError(f"{name} must be >= {least}, got {value}")
        scheduler = self.scheduler
        if isinstance(scheduler, str) and scheduler != SLURM and "://" not in scheduler:
            raise ValueError(
                "scheduler must be 'slurm' or an address such as tcp://node:8786, got "
                f"{scheduler!r}"
            )
        if self.memory is not None and not self.wanted:
            raise ValueError("memory must be given with workers: this process is not limited")

    @property
    def wanted(self) -> bool:
        """True if cases are not computed in this process."""
        return self.scheduler is not None or self.count > 0


def in_process(
    job: Job, cases: Sequence[Case], folder: OutputFolder, limits: Limits, progress: Progress
) -> None:
    """Compute cases one after another in this process."""
    # what may have ended an earlier process comes last
    for case in sorted(cases, key=lambda case: folder.records.attempts(case.id)):
        progress.add(Counter([run_case(job, case, folder, limits)]))


def on_cluster(
    job: Job,
    cases: Sequence[Case],
    folder: OutputFolder,
    limits: Limits,
    workers: Workers,
    progress: Progress,
) -> None:
    """Compute cases in batches on the workers of Dask."""
    distributed = _import()
    limits, begun = replace(limits, kills=True), time.time()
    # small enough that all workers have something to do until the end
    size = min(workers.batch, max(1, len(cases) // (4 * max(workers.count, 1))))
    with client_of(workers, folder.records.path / "logs") as client:

        def submit(part: Sequence[Case]) -> Any:
            future = client.submit(run_batch, job, part, folder, limits, begun, pure=False)
            parts[future] = part
            return future

        parts: dict[Any, Sequence[Case]] = {}
        waiting = distributed.as_completed(
            [submit(cases[n : n + size]) for n in range(0, len(cases), size)]
        )
        for future in waiting:
            part = parts.pop(future)
            if future.status == "finished":
                progress.add(Counter(future.result()))
                continue
            error = future.exception() if future.status == "error" else None
            if isinstance(error, distributed.KilledWorker):
                waiting.add(submit(part))  # attempts of cases are counted: this ends
            elif error is not None:
                client.cancel(list(parts))
                raise error
            else:
                raise RuntimeError(
                    "the scheduler was lost: the same command goes on with the cases that are left"
                )


def run_batch(
    job: Job, cases: Sequence[Case], folder: OutputFolder, limits: Limits, begun: float
) -> list[str]:
    """Compute cases in the process of a worker, and return their outcomes.

    Args:
        job, folder, limits: As for :func:`.case.run_case`.
        cases: The cases.
        begun: Time at which the run began. Where another worker ended within the batch, outcomes
            that are newer are kept.
    """
    _take_gpu()
    ended = any(folder.records.attempts(case.id) for case in cases)
    known = folder.records.latest(job.recipe) if ended else {}
    outcomes = []
    for case in cases:
        record = known.get(case.id)
        if record is not None and record["time"] >= begun:
            folder.records.end(case.id)
            outcomes.append(str(record["status"]))
        else:
            outcomes.append(run_case(job, case, folder, limits))
    return outcomes


def _take_gpu() -> None:
    """Let workers of a machine take its GPUs in turn."""
    if torch.cuda.is_available():
        name = _import().get_worker().name
        number = int(name) if str(name).isdigit() else 0
        torch.cuda.set_device(number % torch.cuda.device_count())


@contextmanager
def client_of(workers: Workers, logs: Path | None = None) -> Iterator[Any]:
    """Return a client of a cluster; one that is started here ends with the block."""
    distributed, scheduler = _import(), workers.scheduler
    if isinstance(scheduler, distributed.Client):
        yield scheduler
        return
    with ExitStack() as stack:
        if scheduler is None:
            import dask

            stack.enter_context(
                dask.config.set({"distributed.scheduler.allowed-failures": _DEATHS_OF_A_BATCH})
            )
            limit = {} if workers.memory is None else {"memory_limit": workers.memory}
            cluster = distributed.LocalCluster(
                n_workers=workers.count,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",  # None would take port 8787
                **limit,
            )
            scheduler = stack.enter_context(cluster)
        elif scheduler == SLURM:
            from .slurm import slurm_cluster

            scheduler = stack.enter_context(slurm_cluster(workers.count, workers.memory, logs))
        yield stack.enter_context(distributed.Client(scheduler, timeout=60))


def _import() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise ImportError(
            'workers need distributed, which is not installed: pip install "torchio-gpu[cohort]". '
            "Without it, cases are computed in one process (workers=0), also in shards"
        ) from error
    return distributed


__all__ = ["SLURM", "Workers", "client_of", "in_process", "on_cluster", "run_batch"]

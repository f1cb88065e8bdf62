"""Who computes: this process, or workers of Dask."""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from .case import Job, Limits, run_case
from .folder import OutputFolder
from .manifest import Case
from .progress import Progress
from .sbatch import megabytes
from .stopping import RunEndedError

#: Name of the scheduler of a cluster whose workers are jobs.
SLURM = "slurm"
#: Times that Dask itself gives a batch to another worker. Each case that ends its process is
#: counted by its attempts, so that this number only has to be large.
_DEATHS_OF_A_BATCH = 1000
#: Time that a worker which ended may take to come back, before Dask gives its place up. The default
#: of 15 s is less than imports take on a busy machine.
_RETURN_OF_A_WORKER = "1 hour"
#: What the process imports that workers of this machine are forked from.
_PRELOADED = f"{__package__}.preloaded"


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
        if self.memory is not None:
            if not self.wanted or not self.owned:
                raise ValueError(
                    "memory must be given with workers that begin with the run: this process, and "
                    "workers that are there, are not limited by it"
                )
            megabytes(self.memory)

    @property
    def wanted(self) -> bool:
        """True if cases are not computed in this process."""
        return self.scheduler is not None or self.count > 0

    @property
    def owned(self) -> bool:
        """True if the workers begin and end with the run."""
        return self.scheduler is None or self.scheduler == SLURM


class SchedulerLostError(RunEndedError, RuntimeError):
    """The scheduler does not answer."""

    def __str__(self) -> str:
        return "the scheduler was lost: the same command goes on with the cases that are left"


def in_process(
    job: Job,
    cases: Sequence[Case],
    folder: OutputFolder,
    limits: Limits,
    run: int,
    progress: Progress,
) -> None:
    """Compute cases one after another in this process."""
    for case in cases:
        progress.add(Counter([run_case(job, case, folder, limits, run)]))


def on_cluster(
    job: Job,
    cases: Sequence[Case],
    folder: OutputFolder,
    limits: Limits,
    run: int,
    workers: Workers,
    progress: Progress,
) -> None:
    """Compute cases in batches on the workers of Dask."""
    distributed = _import()
    limits = replace(limits, kills=True)
    stopped: list[Path] = []
    with ExitStack() as stack:
        stack.callback(_remove, stopped)
        client = stack.enter_context(client_of(workers, folder.records.path / "logs"))
        # small enough that all workers have something to do until the end
        count = max(workers.count, len(client.scheduler_info(n_workers=-1)["workers"]), 1)
        size = min(workers.batch, max(1, len(cases) // (16 * count)))

        def submit(part: Sequence[Case]) -> Any:
            future = client.submit(run_batch, job, part, folder, limits, run, pure=False)
            parts[future] = part
            return future

        parts: dict[Any, Sequence[Case]] = {}
        try:
            waiting = distributed.as_completed(
                [submit(cases[n : n + size]) for n in range(0, len(cases), size)]
            )
            for future in waiting:
                if future.status == "lost":  # its worker ended meanwhile; another one repeats it
                    waiting.add(future)
                    continue
                part = parts.pop(future)
                if future.status == "finished":
                    progress.add(Counter(future.result()))
                    future.release()  # or it would be computed again if its worker ended
                    continue
                error = future.exception() if future.status == "error" else SchedulerLostError()
                if not isinstance(error, distributed.KilledWorker):
                    raise error
                waiting.add(submit(part))  # attempts of cases are counted: this ends
        except (distributed.comm.CommClosedError, CancelledError) as error:
            raise SchedulerLostError from error
        except BaseException:
            if workers.owned:  # these end before the callback: no case ends them now
                stopped += folder.drafts.of({case.id for part in parts.values() for case in part})
            raise


def run_batch(
    job: Job, cases: Sequence[Case], folder: OutputFolder, limits: Limits, run: int
) -> list[str]:
    """Compute cases in the process of a worker, and return their outcomes.

    Args:
        job, folder, limits: As for :func:`.case.run_case`.
        cases: The cases.
        run: Number of the run. Where another worker ended within the batch, outcomes of this run
            are kept.
    """
    worker = _import().get_worker()
    if worker.state.nthreads > 1:
        raise RunEndedError("workers must compute in one thread each: begin them with --nthreads 1")
    if getattr(job, "device", "cpu") != "cpu":
        _take_gpu(worker.name)
    ended = folder.drafts.ended()
    known = folder.records.latest(job.recipe) if any(ended[case.id] for case in cases) else {}
    outcomes = []
    for case in cases:
        if _is_abandoned():
            raise SchedulerLostError
        record = known.get(case.id)
        if record is not None and record["run"] == run:
            folder.drafts.remove(case.id)
            outcomes.append(str(record["status"]))
        else:
            outcomes.append(run_case(job, case, folder, limits, run))
    return outcomes


def _remove(drafts: Sequence[Path]) -> None:
    for draft in drafts:
        shutil.rmtree(draft, ignore_errors=True)


def _is_abandoned() -> bool:
    """Return True if nobody waits for the batch: the scheduler or its client has ended."""
    worker = _import().get_worker()
    task = worker.state.tasks.get(worker.get_current_task())
    return task is None or task.state == "cancelled" or worker.status.name in ("closing", "closed")


def _take_gpu(name: object) -> None:
    """Let workers of a machine take its GPUs in turn, by the number at the end of their names."""
    digits = re.search(r"\d+$", str(name))
    torch.cuda.set_device(int(digits[0] if digits else 0) % torch.cuda.device_count())


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

            settings = {
                "distributed.scheduler.allowed-failures": _DEATHS_OF_A_BATCH,
                "distributed.deploy.lost-worker-timeout": _RETURN_OF_A_WORKER,
                # a worker has one case at a time: it would wait for ever for memory to be freed
                **{f"distributed.worker.memory.{n}": False for n in ("target", "spill", "pause")},
            }
            can_fork = sys.platform == "linux"  # libraries of macOS may crash after a fork
            if can_fork:
                settings["distributed.worker.multiprocessing-method"] = "forkserver"
            stack.enter_context(dask.config.set(settings))
            if can_fork:  # Dask has a list of its own, which it sets once
                distributed.utils.get_mp_context().set_forkserver_preload([_PRELOADED])
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

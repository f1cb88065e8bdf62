"""Workers that are jobs of SLURM, by dask-jobqueue."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .sbatch import megabytes

#: Seconds between looks for jobs that ended, such as by their time limit.
_LOOK = 10


@contextmanager
def slurm_cluster(workers: int, memory: str | None, logs: Path | None) -> Iterator[Any]:
    """Start a cluster of Dask whose workers are jobs, and end these with the block.

    Partition, account, time limit, network interface and further options are those of
    dask-jobqueue's configuration, jobqueue.slurm. If it has cores, a job runs as many workers,
    each of which computes in one thread; else one. Jobs that end are replaced.

    Args:
        workers: Number of workers.
        memory: Memory of each of them, such as '8GB'; None for what the configuration gives a job.
        logs: Folder for the output of jobs, if the configuration gives none; None for the working
            folder.

    Raises:
        ValueError: There is no number of workers, no memory, or SLURM refuses the job.
        FileNotFoundError: There is no sbatch.
    """
    if workers < 1:
        raise ValueError("workers must be >= 1 with scheduler 'slurm', got 0")
    import dask
    from dask_jobqueue import SLURMCluster  # which sets defaults of the configuration

    configured = dask.config.get("jobqueue.slurm")
    if memory is None and configured["memory"] is None:
        raise ValueError(
            "memory must be given with scheduler 'slurm', such as 8GB, or in the configuration of "
            "dask-jobqueue (jobqueue.slurm.memory)"
        )
    cores = configured["cores"] or 1
    directives = list(configured["job-extra-directives"])
    if (
        configured["log-directory"] is None and logs is not None
    ):  # which dask-jobqueue would not quote
        logs.mkdir(parents=True, exist_ok=True)
        path = str(logs).replace("%", "%%")
        directives.insert(0, f"--output={shlex.quote(path + '/worker-%j.txt')}")
    page = "127.0.0.1:0"  # of Dask, which other machines must not reach
    cluster: Any = SLURMCluster(
        cores=cores,
        processes=cores,
        memory=None if memory is None else f"{megabytes(memory) * cores}MB",
        job_extra_directives=directives,
        scheduler_options={"dashboard_address": page, **configured["scheduler-options"]},
        worker_extra_args=["--dashboard-address", page, *configured["worker-extra-args"]],
    )
    with cluster:
        _check(cluster.job_script())
        cluster.loop.add_callback(_keep, cluster, workers)
        yield cluster


def _check(script: str) -> None:
    """Raise if SLURM does not take a job, for which Dask would wait forever."""
    try:
        done = subprocess.run(
            ["sbatch", "--test-only"], input=script, capture_output=True, encoding="utf-8"
        )
    except FileNotFoundError as error:
        raise FileNotFoundError("scheduler 'slurm' needs sbatch, which is not on PATH") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise ValueError(
            f"SLURM refuses the job of a worker ({lines[-1] if lines else done.returncode}): see "
            "jobqueue.slurm in the configuration of dask-jobqueue"
        )


async def _keep(cluster: Any, workers: int) -> None:
    """Submit jobs for all workers, again where some end, until the cluster is closed."""
    import asyncio

    from distributed.core import Status

    while cluster.status not in (Status.closing, Status.closed, Status.failed):
        cluster.scale(workers)
        await asyncio.sleep(_LOOK)


__all__ = ["slurm_cluster"]

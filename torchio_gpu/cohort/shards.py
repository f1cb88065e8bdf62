"""Shards of a cohort, by hand or from the variables of a launcher."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

AUTO = "auto"


def parse_shard(
    shard: str | tuple[int, int] | None, environment: Mapping[str, str] = os.environ
) -> tuple[int, int]:
    """Return the number of a shard, from 1, and how many there are.

    >>> parse_shard("3/64"), parse_shard(None)
    ((3, 64), (1, 1))
    >>> variables = {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": "1"}
    >>> parse_shard("auto", {**variables, "SLURM_ARRAY_TASK_COUNT": "8"})
    (5, 8)
    """
    if shard is None:
        return 1, 1
    if shard == AUTO:
        return _from_launcher(environment)
    if isinstance(shard, str):
        match = re.fullmatch(r"(\d+)/(\d+)", shard)
        if match is None:
            raise ValueError(f"shard must be K/N, such as 3/64, or auto, got {shard!r}")
        shard = int(match[1]), int(match[2])
    number, count = shard
    if not 1 <= number <= count:
        raise ValueError(f"shard must be from 1 to their number, got {number}/{count}")
    return number, count


def _from_launcher(environment: Mapping[str, str]) -> tuple[int, int]:
    """Return the shard of this process among the elements of a SLURM array and their tasks."""
    number, count, found = 0, 1, False
    if "SLURM_ARRAY_TASK_ID" in environment:
        first, last, step = (
            int(environment.get(f"SLURM_ARRAY_TASK_{name}", default))
            for name, default in (
                ("MIN", "0"),
                ("MAX", environment["SLURM_ARRAY_TASK_ID"]),
                ("STEP", "1"),
            )
        )
        elements = int(environment.get("SLURM_ARRAY_TASK_COUNT", (last - first) // step + 1))
        number = (int(environment["SLURM_ARRAY_TASK_ID"]) - first) // step
        if number >= elements:
            raise ValueError(
                "shard must be given as K/N where the numbers of a SLURM array have gaps: "
                f"{environment['SLURM_ARRAY_TASK_ID']} is not among {elements} from {first} on"
            )
        count, found = elements, True
    # the innermost launcher counts. The shell of a SLURM job, which no srun began, is one process
    # whatever SLURM_NTASKS says
    for rank, size in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")):
        if rank in environment and size in environment:
            number = number * int(environment[size]) + int(environment[rank])
            count, found = count * int(environment[size]), True
            break
    if not found:
        raise ValueError(
            "shard must be K/N where no array of SLURM, no srun and no torchrun has begun the "
            "process: 'auto' found none of SLURM_ARRAY_TASK_ID, SLURM_STEP_NUM_TASKS and RANK"
        )
    return number + 1, count


__all__ = ["AUTO", "parse_shard"]

"""Script for an array of SLURM jobs, each of which computes one shard."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from .records import OWN


def array_script(
    command: Sequence[str], out: Path, shards: int, memory: str | None, workers: int, gpu: bool
) -> str:
    """Return a script for ``sbatch``.

    Args:
        command: Words of the command that computes a shard, without the shard.
        out: Folder that is written to.
        shards: Number of shards, which are the elements of the array.
        memory: Memory of a worker, such as '8GB'; None for what the partition gives.
        workers: Worker processes of an element; 0 for none beside its own.
        gpu: Ask for a GPU.

    >>> words = ["torchio-gpu", "preprocess", "p.yaml", "out", "t1={id}_T1w.nii.gz"]
    >>> print(array_script(words, Path("out"), 64, "8GB", 0, False).splitlines()[-1])
    srun torchio-gpu preprocess p.yaml out 't1={id}_T1w.nii.gz' --shard "$SLURM_ARRAY_TASK_ID/64"
    """
    logs = out / OWN / "logs"
    lines = [
        "#!/bin/bash",
        "# Each element of the array computes one shard of the cohort. An element that is begun",
        "# again, by SLURM or by you (sbatch --array=3,7), goes on where it stopped.",
        f"#SBATCH --job-name={out.name or 'cohort'}",
        f"#SBATCH --array=1-{shards}",
        f"#SBATCH --output={logs}/%a-%A.txt",
        f"#SBATCH --cpus-per-task={max(workers, 1)}",
        *([f"#SBATCH --mem={_times(memory, max(workers, 1))}"] if memory else []),
        *(["#SBATCH --gpus-per-task=1"] if gpu else []),
        "#SBATCH --requeue",
        "set -euo pipefail",
        f'srun {shlex.join(command)} --shard "$SLURM_ARRAY_TASK_ID/{shards}"',
    ]
    return "\n".join(lines) + "\n"


def _times(memory: str, count: int) -> str:
    """Return memory for so many workers, as SLURM writes it, in whole MB."""
    from .schedulers import megabytes

    return f"{megabytes(memory) * count}M"


__all__ = ["array_script"]

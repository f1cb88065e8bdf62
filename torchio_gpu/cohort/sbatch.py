"""Script for an array of SLURM jobs, each of which computes one shard."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from .records import OWN

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {f"{unit}i": 1024**power for power, unit in enumerate(("k", "m", "g", "t"), 1)}


def array_script(
    arguments: Sequence[str],
    out: Path,
    shards: int,
    *,
    memory: str | None = None,
    workers: int = 0,
    gpus: int = 0,
    directives: Sequence[str] = (),
) -> str:
    """Return a script for ``sbatch``.

    It begins in the working folder of this process, with its interpreter, whatever the
    environment that the nodes set up: paths mean there what they mean here.

    Args:
        arguments: Arguments of ``torchio-gpu`` that compute a shard, without the shard.
        out: Folder that is written to.
        shards: Number of shards, which are the elements of the array.
        memory: Memory of a worker, such as '8GB'; None for what the partition gives.
        workers: Worker processes of an element; 0 for none beside its own.
        gpus: GPUs of an element.
        directives: Options of ``sbatch``, such as '--time=4:00:00 --partition=long'. They come
            last, so that they win.

    Raises:
        ValueError: A directive is no option or of several lines, or a memory cannot be understood.

    >>> words = ["fit", "out", "t1={id}_T1w.nii.gz"]
    >>> script = array_script(words, Path("out"), 64, memory="8GB", directives=["--time=4:00:00"])
    >>> print(script)
    #!/bin/bash
    # Each element of the array computes a shard; submitted again, it goes on where it was.
    #SBATCH --job-name=out
    #SBATCH --array=1-64
    #SBATCH --output=out/_cohort/logs/%a-%A.txt
    #SBATCH --open-mode=append --requeue
    #SBATCH --cpus-per-task=1 --mem=8000M
    #SBATCH --time=4:00:00
    set -e
    cd ...
    exec ...fit...out...'t1={id}_T1w.nii.gz' ...
        --shard "$SLURM_ARRAY_TASK_ID/64"
    """
    for words in directives:
        if not words.startswith("-") or "\n" in words:
            raise ValueError(
                "sbatch must be options of sbatch in one line, such as '--time=4:00:00 "
                f"--partition=long', got {words!r}"
            )
    logs = str(out / OWN / "logs").replace("%", "%%")
    needs = [f"--cpus-per-task={max(workers, 1)}"]
    needs += [f"--mem={megabytes(memory) * max(workers, 1)}M"] if memory else []
    needs += [f"--gres=gpu:{gpus}"] if gpus else []
    options = [
        f"--job-name={shlex.quote(out.name or 'cohort')}",
        f"--array=1-{shards}",
        f"--output={shlex.quote(logs + '/%a-%A.txt')}",
        "--open-mode=append --requeue",
        " ".join(needs),
        *directives,
    ]
    lines = [
        "#!/bin/bash",
        "# Each element of the array computes a shard; submitted again, it goes on where it was.",
        *(f"#SBATCH {words}" for words in options),
        "set -e",
        f"cd {shlex.quote(str(Path.cwd()))}",
        # in place of the shell, so that SIGTERM reaches it before the job is killed
        f"exec {_wrapped([sys.executable, '-m', 'torchio_gpu', *arguments])} \\",
        f'    --shard "$SLURM_ARRAY_TASK_ID/{shards}"',
    ]
    return "\n".join(lines) + "\n"


def _wrapped(words: Sequence[str]) -> str:
    """Return words for a shell, in lines of at most 80 characters where they allow it."""
    lines = [""]
    for word in map(shlex.quote, words):
        if lines[-1] and len(lines[-1]) + len(word) > 80:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return " \\\n    ".join(lines)


def megabytes(memory: str) -> int:
    """Return memory such as '8GB' in whole MB.

    >>> megabytes("8GB"), megabytes("1.5GiB"), megabytes("500 M")
    (8000, 1610, 500)
    """
    match = re.fullmatch(r"\s*([\d.]+)\s*([kmgt]?i?)b?\s*", memory.lower())
    try:
        size = float(match[1]) * _UNITS[match[2]] if match else 0
    except (ValueError, KeyError):
        size = 0
    if size < 10**6:
        raise ValueError(f"memory must be at least 1 MB and have a unit, as 8GB, got {memory!r}")
    return int(size // 10**6)


__all__ = ["array_script", "megabytes"]

"""Script for an array of SLURM jobs, from the arguments of the command that it computes."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import errors_as_exit_code

if TYPE_CHECKING:
    from ..cohort.case import Job
    from ..cohort.manifest import Cohort

Script = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write a script for an array of SLURM jobs, and end."),
]
Shards = Annotated[
    int | None, typer.Option(min=1, help="Elements of that array: 64, or one for each case.")
]
Sbatch = Annotated[
    list[str] | None,
    typer.Option(
        metavar="OPTIONS",
        help="Options of sbatch in that script, such as '--time=4:00:00 --partition=long'.",
    ),
]

_SHARDS = 64


def write_array(
    script: Path | None,
    prepare: Callable[[], tuple[Job, Cohort]],
    out: Path,
    shards: int | None,
    sbatch: list[str] | None,
    shard: str | None,
    scheduler: str | None,
    workers: int,
    memory: str | None,
    device: str,
    force: bool,
) -> bool:
    """Write the script if there is to be one, and return True then.

    Cases, pipeline and OUT are checked here, not first by each element of the array.

    Args:
        script: File to write; None for none.
        prepare: Function that returns the job and the cases.
        out, shards, sbatch, shard, scheduler, workers, memory, device, force: Arguments of the
            command.
    """
    with errors_as_exit_code():
        if script is None:
            for name, value in (("--shards", shards), ("--sbatch", sbatch)):
                if value:
                    raise ValueError(f"{name} must be given with --write-sbatch FILE")
            return False
        for name, given in (("--shard", shard), ("--scheduler", scheduler)):
            if given:
                raise ValueError(
                    f"{name} must not be given with --write-sbatch: each element of the array "
                    "computes a shard by itself"
                )
        if not script.absolute().parent.is_dir():
            raise ValueError(
                f"--write-sbatch must name a file in a folder that exists, got '{script}'"
            )
        from ..cohort.folder import OutputFolder
        from ..cohort.sbatch import array_script

        job, cohort = prepare()
        count = min(shards or _SHARDS, len(cohort))
        folder = OutputFolder.at(out)
        text = array_script(
            _arguments(workers), folder.path, count, memory=memory, workers=workers,
            gpus=max(workers, 1) if device != "cpu" else 0, directives=sbatch or (),
        )  # fmt: skip
        folder.start(job.description, cohort, force)
        (folder.records.path / "logs").mkdir(exist_ok=True)
        script.write_text(text, encoding="utf-8")
    typer.echo(f"{script}: {len(cohort)} cases in {count} shards")
    typer.echo(f"sbatch {shlex.quote(str(script))}  # computes them", err=True)
    return True


def _arguments(workers: int) -> list[str]:
    """Return the arguments of this process, without those that are for the script itself."""
    # the memory of a process that computes by itself is limited by its job
    own = {"--write-sbatch", "--shards", "--sbatch", *([] if workers else ["--memory"])}
    words, left = [], sys.argv[1:]
    while left:
        word = left.pop(0)
        name, equals, _ = word.partition("=")
        if name == "--force":  # it has been applied: an element would remove records of others
            continue
        if name not in own:
            words.append(word)
        elif not equals:
            del left[0]
    return words


__all__ = ["Sbatch", "Script", "Shards", "write_array"]

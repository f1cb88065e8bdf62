"""Commands about cohorts: ``preprocess``, ``fit``, ``status`` and ``failures``."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .array_jobs import Sbatch, Script, Shards, write_array
from .errors import errors_as_exit_code

if TYPE_CHECKING:
    from ..cohort.case import Job
    from ..cohort.manifest import Cohort
    from ..cohort.run import Summary

Roles = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ROLE=PATTERN]...",
        help="Files of a case, such as t1={id}_T1w.nii.gz or seg:label=labels/{id}.nii.gz; with "
        "--bids suffixes, such as t1=T1w.",
    ),
]
Folder = Annotated[Path, typer.Option(help="Folder that patterns are relative to.")]
Table = Annotated[
    Path | None, typer.Option(help="Table of cases, .csv, .tsv or .jsonl, instead of patterns.")
]
Bids = Annotated[Path | None, typer.Option(help="BIDS dataset to find cases in.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes; 0 to compute in this one.")]
Scheduler = Annotated[
    str | None,
    typer.Option(help="'slurm' for workers that are SLURM jobs, or the address of Dask's."),
]
Shard = Annotated[
    str | None,
    typer.Option(metavar="K/N|auto", help="Part to compute; auto: as SLURM or torchrun says."),
]
Seed = Annotated[int, typer.Option(help="Decides everything random.")]
Retries = Annotated[int, typer.Option(min=0, help="Attempts after errors of reading or writing.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds that a case may take.")]
Memory = Annotated[str | None, typer.Option(help="Memory of a worker, such as 8GB.")]
Batch = Annotated[int, typer.Option(min=1, help="Cases that a worker gets at a time.")]
Checksum = Annotated[bool, typer.Option("--checksum", help="Notice changed inputs by their bytes.")]
Force = Annotated[
    bool, typer.Option("--force", help="Compute all again if OUT is of another pipeline.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="Folder that is written to.")]


def preprocess(
    pipeline: Annotated[
        Path,
        typer.Argument(
            metavar="PIPELINE", help="Pipeline, .yaml, .yml or .json.", exists=True, dir_okay=False
        ),
    ],
    out: Out,
    roles: Roles = None,
    folder: Folder = Path("."),
    table: Table = None,
    bids: Bids = None,
    workers: Workers = 0,
    scheduler: Scheduler = None,
    shard: Shard = None,
    copies: Annotated[
        int | None, typer.Option(min=1, help="Results of each case, of different seeds.")
    ] = None,
    seed: Seed = 0,
    retries: Retries = 0,
    timeout: Timeout = None,
    memory: Memory = None,
    format: Annotated[str, typer.Option(help="Suffix of the images written.")] = ".nii.gz",
    device: Annotated[str, typer.Option(help="cpu, or cuda.")] = "cpu",
    batch: Batch = 16,
    checksum: Checksum = False,
    force: Force = False,
    quiet: Quiet = False,
    write_sbatch: Script = None,
    shards: Shards = None,
    sbatch: Sbatch = None,
) -> None:
    """Read, transform and write all cases of a cohort that have not been computed yet.

    torchio-gpu preprocess prepare.yaml out t1={id}_T1w.nii.gz seg:label={id}_seg.nii.gz

    The same command goes on where it was stopped. A case that fails does not stop the others:
    torchio-gpu failures OUT says why. Exit code 0 if all cases have a result, 1 if some have none,
    2 if nothing could be computed.
    """

    def prepare() -> tuple[Job, Cohort]:
        from ..cohort.preparation import Preparation
        from ..configuration import load_pipeline

        job = Preparation(load_pipeline(pipeline), seed, copies, format, device)
        return job, _cohort(roles or [], folder, table, bids)

    if write_array(
        write_sbatch, prepare, out, shards, sbatch, shard, scheduler, workers, memory, device, force
    ):
        return

    def compute() -> Summary:
        from ..cohort.run import preprocess as run
        from ..configuration import load_pipeline

        cohort = _cohort(roles or [], folder, table, bids)
        return run(
            load_pipeline(pipeline), cohort, out, scheduler=scheduler, workers=workers,
            shard=shard, copies=copies, seed=seed, retries=retries, timeout=timeout, memory=memory,
            format=format, device=device, batch=batch, checksum=checksum, force=force,
            progress=not quiet,
        )  # fmt: skip

    _finish(compute, out)


def fit(
    out: Out,
    roles: Roles = None,
    pipeline: Annotated[
        Path | None,
        typer.Option(
            help="Pipeline to apply before, .yaml, .yml or .json.", exists=True, dir_okay=False
        ),
    ] = None,
    folder: Folder = Path("."),
    table: Table = None,
    bids: Bids = None,
    workers: Workers = 0,
    scheduler: Scheduler = None,
    shard: Shard = None,
    seed: Seed = 0,
    retries: Retries = 0,
    timeout: Timeout = None,
    memory: Memory = None,
    batch: Batch = 16,
    checksum: Checksum = False,
    force: Force = False,
    quiet: Quiet = False,
    write_sbatch: Script = None,
    shards: Shards = None,
    sbatch: Sbatch = None,
) -> None:
    """Compute statistics of a cohort: spacings, shapes, intensities, labels, landmarks.

    torchio-gpu fit statistics t1={id}_T1w.nii.gz seg:label={id}_seg.nii.gz

    OUT/statistics.json holds them once all cases are done, and OUT/t1_landmarks.txt the landmarks
    of t1 for HistogramStandardization. Exit codes are those of preprocess.
    """

    def prepare() -> tuple[Job, Cohort]:
        from ..cohort.fitting import Fitting
        from ..configuration import load_pipeline

        job = Fitting(None if pipeline is None else load_pipeline(pipeline), seed)
        return job, _cohort(roles or [], folder, table, bids)

    if write_array(
        write_sbatch, prepare, out, shards, sbatch, shard, scheduler, workers, memory, "cpu", force
    ):
        return

    def compute() -> Summary:
        from ..cohort.fitting import fit_cohort
        from ..configuration import load_pipeline

        cohort = _cohort(roles or [], folder, table, bids)
        summary, found = fit_cohort(
            cohort, out, None if pipeline is None else load_pipeline(pipeline),
            scheduler=scheduler, workers=workers, shard=shard, seed=seed, retries=retries,
            timeout=timeout, memory=memory, batch=batch, checksum=checksum, force=force,
            progress=not quiet,
        )  # fmt: skip
        if found is None:
            typer.echo("statistics follow when all shards are computed", err=True)
        else:
            typer.echo(f"{out / 'statistics.json'}")
            for path in sorted(out.glob("*_landmarks.txt")):
                typer.echo(str(path))
        return summary

    _finish(compute, out)


def status(
    out: Out,
    as_json: Annotated[bool, typer.Option("--json", help="Print numbers by name.")] = False,
) -> None:
    """Print how many cases are computed, failed and left, also while others compute.

    Exit code 1 if cases have failed.
    """
    with errors_as_exit_code():
        from ..cohort.state import state_of

        found = state_of(out)
    typer.echo(json.dumps(found.to_dict()) if as_json else str(found))
    if found.failed:
        _point_to_failures(out)
        raise typer.Exit(1)


def failures(
    out: Out,
    retry: Annotated[
        bool, typer.Option("--retry", help="Compute these cases again, as OUT was written.")
    ] = False,
    workers: Workers = 0,
    timeout: Timeout = None,
    memory: Memory = None,
) -> None:
    """Print the cases that have no result, with the reason.

    With --retry they are tried again, those included that ended their process or took too long.
    Exit code 1 if some have no result.
    """
    if retry:

        def compute() -> Summary:
            from ..cohort.retrying import retry as run_again

            return run_again(out, workers=workers, timeout=timeout, memory=memory)

        _finish(compute, out)
        return
    with errors_as_exit_code():
        from ..cohort.state import failures_of

        found = failures_of(out)
    for each in found:
        typer.echo(f"{each.id}  {each.status} on {each.host}  {each.error}: {each.message}")
    if not found:
        typer.echo("no case has failed", err=True)
    else:
        kinds = Counter(each.error for each in found)
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        typer.echo(f"{len(found)} cases without result: {counts}", err=True)
        raise typer.Exit(1)


def _cohort(roles: list[str], folder: Path, table: Path | None, bids: Path | None) -> Cohort:
    from ..cohort.manifest import Cohort

    pairs: dict[str, str] = {}
    for word in roles:
        role, equals, pattern = word.partition("=")
        if not (equals and pattern) and table is None:
            raise ValueError(
                f"a role must be ROLE=PATTERN, such as t1={{id}}_T1w.nii.gz, got {word!r}"
            )
        if role in pairs or (equals and table is not None):
            wish = "be named once" if role in pairs else "have no pattern with --table"
            raise ValueError(f"role {role!r} must {wish}, got {word!r}")
        pairs[role] = pattern
    if table is not None and bids is not None:
        raise ValueError("--table and --bids must not be given both")
    if table is not None:
        return Cohort.from_table(table, tuple(pairs))
    if bids is not None:
        return Cohort.from_bids(bids, pairs or None)
    if not pairs:
        raise ValueError("cases must be given by ROLE=PATTERN, --table or --bids, got none")
    return Cohort.from_pattern(folder, pairs)


def _finish(compute: Any, out: Path) -> None:
    """Compute, print numbers, and end with an exit code."""
    from ..cohort.stopping import RunEndedError, stopped_in_order

    with errors_as_exit_code(), stopped_in_order():
        try:
            summary = compute()
        except RunEndedError as error:
            typer.echo(f"torchio-gpu: {error}", err=True)
            raise typer.Exit(1) from error
    typer.echo(str(summary))
    if summary.failed:
        _point_to_failures(out)
        raise typer.Exit(1)


def _point_to_failures(out: Path) -> None:
    typer.echo(f"torchio-gpu failures {shlex.quote(str(out))}  # says why", err=True)

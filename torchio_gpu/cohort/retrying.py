"""Another attempt at the cases of a run that have no result."""

from __future__ import annotations

from ..transforms import from_dict
from .fitting import Fitting, join
from .folder import OutputFolder
from .manifest import PathLike
from .preparation import Preparation
from .run import Summary, limits_of, run
from .schedulers import Workers


def retry(
    out: PathLike,
    *,
    workers: int = 0,
    timeout: float | None = None,
    memory: str | None = None,
    progress: bool = True,
) -> Summary:
    """Compute the cases of a folder that have failed, as the folder was written.

    Cases that ended their process or took too long are tried again, too.

    Args:
        out: Folder that :func:`.preprocess` or :func:`.fit_cohort` wrote to.
        workers, timeout, memory, progress: As for :func:`.preprocess`.

    Raises:
        ValueError: The pipeline has classes of the user: call what wrote the folder instead.
        FileNotFoundError: The folder was not written to.
    """
    folder = OutputFolder.existing(out)
    recipe = folder.records.recipe()
    described = recipe["pipeline"]
    pipeline = None if described is None else from_dict(described)
    job: Preparation | Fitting
    if recipe["job"] == "fit":
        job = Fitting(pipeline, recipe["seed"])
    else:
        assert pipeline is not None
        names = ("seed", "copies", "format", "device")
        job = Preparation(pipeline, *(recipe[name] for name in names))
    if job.recipe != recipe["hash"]:
        raise ValueError(
            f"'{folder.path}' was written by version {recipe['version']}: install that, or compute "
            "all cases again"
        )
    cohort = folder.cohort()
    summary = run(
        job,
        cohort,
        folder,
        Workers(None, workers, memory),
        limits_of(0, timeout, False),
        again=True,
        progress=progress,
    )
    if isinstance(job, Fitting):
        join(job, cohort, folder)
    return summary


__all__ = ["retry"]

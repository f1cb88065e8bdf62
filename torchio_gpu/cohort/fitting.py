"""Statistics of a cohort: computed for each case, then joined."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import random
from ..data import Image, Subject
from ..data.io.writing import write_text
from ..data.keys import LABEL
from ..functional.statistics import percentile
from ..transforms import Transform
from ..transforms.normalization.histogram import average_landmarks
from .folder import OutputFolder
from .manifest import Case, Cohort, PathLike
from .preparation import seed_of_case
from .recipes import Described
from .records import OK
from .run import Summary, limits_of, run
from .schedulers import Workers

#: Percentiles of landmarks; see :meth:`.HistogramStandardization.learn`.
_LANDMARKS = (1, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 99)
#: Percentiles that describe the values of an image, from which those of the cohort follow.
_SHARES = (0, 0.5, *range(1, 100), 99.5, 100)
#: Percentiles of the cohort.
_REPORTED = (0.5, 50, 99.5)


@dataclass(frozen=True)
class Fitting(Described):
    """Job that computes the statistics of a case.

    Args:
        pipeline: Transform of each case before that, such as a :class:`Resample`; None for none.
        seed: Base seed of the pipeline.
    """

    pipeline: Transform | None = None
    seed: int = 0

    def values(self) -> dict[str, Any]:
        """Return the values that results depend on."""
        described = None if self.pipeline is None else self.pipeline.to_dict()
        return {"job": "fit", "pipeline": described, "seed": self.seed}

    def run(self, case: Case, draft: Path) -> dict[str, Any]:
        """Compute the statistics of a case; see :class:`.case.Job`."""
        subject = case.subject()
        if self.pipeline is not None:
            with random.use_seed(seed_of_case(self.seed, case.id, 0)):
                subject = self.pipeline(subject)
        return {"value": _statistics(subject)}


def fit_cohort(
    cohort: Cohort,
    out: PathLike,
    pipeline: Transform | None = None,
    *,
    scheduler: str | Any | None = None,
    workers: int = 0,
    shard: str | tuple[int, int] | None = None,
    seed: int = 0,
    retries: int = 0,
    timeout: float | None = None,
    memory: str | None = None,
    batch: int = 16,
    checksum: bool = False,
    force: bool = False,
    progress: bool = True,
) -> tuple[Summary, dict[str, Any] | None]:
    """Compute statistics of a cohort: spacings, shapes, intensities, labels and landmarks.

    Each case is computed by itself, as by :func:`preprocess`; the same call goes on where an
    earlier one stopped. Once all cases have an outcome, the statistics of those without error are
    written to ``out/statistics.json``, and the landmarks of each image for
    :class:`HistogramStandardization` to ``out/<name>_landmarks.txt``.

    Intensities are those of voxels with a label other than 0, if there is a label map on the same
    grid, else of all voxels. Mean and standard deviation are exact; percentiles are those of
    all voxels together, where those of a case lie evenly between 103 of its own percentiles.
    Landmarks are learnt from all voxels, as by :meth:`HistogramStandardization.train`.

    Args:
        cohort: The cases.
        out: Folder for the records and the result.
        pipeline: Transform of each case before that.
        scheduler, workers, shard, seed, retries, timeout, memory, batch, checksum, force, progress:
            As for :func:`preprocess`.

    Returns:
        Numbers of cases by outcome; and the statistics, or None while other shards compute, or if
        no case was computed without error.

    Raises:
        ValueError: As for :func:`preprocess`.
    """
    job, folder = Fitting(pipeline, seed), OutputFolder.at(out)
    if force:
        _remove(folder)
    summary = run(
        job,
        cohort,
        folder,
        Workers(scheduler, workers, memory, batch),
        limits_of(retries, timeout, checksum),
        shard,
        force=force,
        progress=progress,
    )
    return summary, join(job, cohort, folder)


def join(job: Fitting, cohort: Cohort, folder: OutputFolder) -> dict[str, Any] | None:
    """Join the statistics of cases, write and return them; None if some cases have no outcome.

    None, too, where no case was computed without error.
    """
    latest = folder.records.latest(job.recipe, lambda r: (r["status"], r.get("value")))
    values = [latest[case.id][1] for case in cohort if latest.get(case.id, ("",))[0] == OK]
    if not values or any(case.id not in latest for case in cohort):
        return None
    _remove(folder)
    found = _joined(values)
    write_text(json.dumps(found, indent=1) + "\n", folder.path / "statistics.json")
    for name, image in found["images"].items():
        if image["landmarks"] is not None:
            words = " ".join(map(repr, image["landmarks"]))
            write_text(f"{name} {words}\n", folder.path / f"{name}_landmarks.txt")
    return found


def _remove(folder: OutputFolder) -> None:
    """Remove statistics that were joined before."""
    for path in (folder.path / "statistics.json", *folder.path.glob("*_landmarks.txt")):
        path.unlink(missing_ok=True)


def _statistics(subject: Subject) -> dict[str, Any]:
    """Return the statistics of one subject, as JSON can hold them."""
    images, labels = {}, {}
    maps = {
        name: image
        for name, image in subject.get_images_dict(intensity_only=False).items()
        if image.kind == LABEL
    }
    for name, image in subject.get_images_dict().items():
        if not image.data.isfinite().all():
            count = int((~image.data.isfinite()).sum())
            raise ValueError(f"{name} must have finite voxels to be counted, {count} are not")
        on_grid = [each for each in maps.values() if _same_grid(each, image)]
        foreground = [(each.data != 0).any(0, keepdim=True) for each in on_grid]
        mask = torch.stack(foreground).any(0).expand(image.data.shape) if foreground else None
        images[name] = {
            "shape": list(image.spatial_shape),
            "spacing": list(image.spacing),
            "orientation": image.orientation_str,
            "landmarks": _percentiles(image.data, _LANDMARKS),
            "intensity": _moments(image.data if mask is None else image.data[mask]),
        }
    for name, image in maps.items():
        if image.shape[0] > 1:
            raise ValueError(f"{name} must have one channel to be counted, got {image.shape[0]}")
        counts = image.count_labels()
        if any(label != int(label) for label in counts):
            raise ValueError(f"{name} must have whole numbers as labels to be counted")
        labels[name] = {str(int(label)): count for label, count in counts.items()}
    return {"images": images, "labels": labels}


def _same_grid(one: Image, other: Image) -> bool:
    same_shape = one.spatial_shape == other.spatial_shape
    return same_shape and np.allclose(one.affine, other.affine, atol=1e-3)


def _percentiles(values: Tensor, shares: Sequence[float]) -> list[float]:
    return percentile(values.reshape(1, 1, 1, 1, -1).double(), shares)[0].tolist()  # type: ignore[no-any-return]


def _moments(values: Tensor) -> dict[str, Any] | None:
    """Return count, mean, sum of squared differences and percentiles; None without voxels."""
    if not values.numel():
        return None
    numbers = values.double()
    mean = numbers.mean()
    return {
        "count": values.numel(),
        "mean": mean.item(),
        "squares": ((numbers - mean) ** 2).sum().item(),
        "percentiles": _percentiles(values, _SHARES),
    }


def _joined(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the statistics of a cohort, from those of its cases in the order of ids."""
    names = sorted({name for value in values for name in value["images"]})
    labels = sorted({name for value in values for name in value["labels"]})
    images = {name: [v["images"][name] for v in values if name in v["images"]] for name in names}
    counts = {name: [v["labels"][name] for v in values if name in v["labels"]] for name in labels}
    return {
        "cases": len(values),
        "images": {name: _joined_images(name, each) for name, each in images.items()},
        "labels": {name: _joined_labels(each) for name, each in counts.items()},
    }


def _joined_images(name: str, each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found = np.array([image["landmarks"] for image in each])
    flat = (found[:, -1] == found[:, 0]).all()
    return {
        "cases": len(each),
        "spacing": _spread(np.array([image["spacing"] for image in each])),
        "shape": _spread(np.array([image["shape"] for image in each])),
        "orientations": dict(sorted(Counter(image["orientation"] for image in each).items())),
        "landmarks": None if flat else average_landmarks(found, [name] * len(each)).tolist(),
        "intensity": _joined_moments([i["intensity"] for i in each if i["intensity"] is not None]),
    }


def _spread(rows: np.ndarray) -> dict[str, list[float]]:
    """Return the least, the middle and the largest value along I, J, K."""
    return {
        "min": rows.min(0).tolist(),
        "median": np.median(rows, 0).tolist(),
        "max": rows.max(0).tolist(),
    }


def _joined_moments(each: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the moments of all voxels (Chan et al. 1979, doi:10.1007/978-3-642-51461-6_3)."""
    if not each:
        return None
    counts = np.array([one["count"] for one in each], dtype=np.float64)
    means = np.array([one["mean"] for one in each])
    mean = float((counts * means).sum() / counts.sum())
    squares = sum(one["squares"] for one in each) + (counts * (means - mean) ** 2).sum()
    tables = np.array([one["percentiles"] for one in each])
    return {
        "voxels": int(counts.sum()),
        "mean": mean,
        "std": float(np.sqrt(squares / max(counts.sum() - 1, 1))),
        "min": float(tables[:, 0].min()),
        "max": float(tables[:, -1].max()),
        **{
            f"percentile_{share:g}": value
            for share, value in zip(_REPORTED, _joined_percentiles(tables, counts), strict=True)
        },
    }


def _joined_percentiles(tables: np.ndarray, counts: np.ndarray) -> list[float]:
    """Return percentiles of all voxels, where those of each case lie evenly between its own.

    The voxels of a case between two of its percentiles are a step of so many voxels if both are
    equal, else a slope. All slopes change at percentiles alone, so that one sort joins them.

    Args:
        tables: Percentiles :data:`_SHARES` of each case, [N, 103].
        counts: Voxels of each case, [N].
    """
    voxels = np.diff(_SHARES)[None] / 100 * counts[:, None]
    width = np.diff(tables, axis=1)
    steps = width == 0
    slopes = np.where(steps, 0.0, voxels / np.where(steps, 1.0, width))
    values, at = np.unique(tables, return_inverse=True)
    at = at.reshape(tables.shape)
    change, jump = np.zeros(len(values)), np.zeros(len(values))
    np.add.at(change, at[:, :-1], slopes)
    np.add.at(change, at[:, 1:], -slopes)
    np.add.at(jump, at[:, :-1], np.where(steps, voxels, 0.0))
    before = np.concatenate([[0.0], np.cumsum(np.cumsum(change)[:-1] * np.diff(values))])
    jumps = np.cumsum(jump)
    # voxels below each value, and those up to it
    reached = np.stack([before + jumps - jump, before + jumps], 1).ravel()
    wanted = np.array(_REPORTED) / 100 * reached[-1]
    return np.interp(wanted, reached, values.repeat(2)).tolist()  # type: ignore[no-any-return]


def _joined_labels(each: Sequence[Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Return, for each label, the number of cases and of voxels that have it."""
    labels = sorted({int(label) for counts in each for label in counts})
    return {
        str(label): {
            "cases": sum(str(label) in counts for counts in each),
            "voxels": sum(counts.get(str(label), 0) for counts in each),
        }
        for label in labels
    }


__all__ = ["Fitting", "fit_cohort", "join"]

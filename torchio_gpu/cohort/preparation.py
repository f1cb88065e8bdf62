"""Preparation of cases: images are read, transformed and written."""

from __future__ import annotations

import errno
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import random
from ..data import Image, Points, Subject
from ..data.io import WRITABLE
from ..names import nearest
from ..transforms import Transform
from .manifest import POINTS, Case, stable_hash
from .recipes import Described

#: Bytes beside those of its voxels that a file may need.
_SLACK = 1 << 20


@dataclass(frozen=True)
class Preparation(Described):
    """Job that transforms each case, and writes the result.

    Args:
        pipeline: The transform, which :meth:`Transform.to_dict` can describe.
        seed: Base seed: the seed of a case follows from it and from the id.
        copies: Number of results of each case, of different seeds; None for one.
        format: Suffix of the images that are written.
        device: Device to compute on.
    """

    pipeline: Transform
    seed: int = 0
    copies: int | None = None
    format: str = ".nii.gz"
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not isinstance(self.pipeline, Transform):
            raise TypeError(f"pipeline must be a Transform, got {type(self.pipeline).__name__}")
        if self.copies is not None and self.copies < 1:
            raise ValueError(f"copies must be >= 1, got {self.copies}")
        if self.format not in WRITABLE:
            raise ValueError(
                f"format must be one of {', '.join(WRITABLE)}, got {self.format!r}"
                f"{nearest(self.format, WRITABLE)}"
            )
        if self.device not in ("cpu", "cuda"):
            raise ValueError(f"device must be cpu or cuda, got {self.device!r}")
        assert self.recipe  # the pipeline can be described

    def values(self) -> dict[str, Any]:
        """Return the values that results depend on."""
        return {
            "job": "preprocess",
            "pipeline": self.pipeline.to_dict(),
            "seed": self.seed,
            "copies": self.copies,
            "format": self.format,
            "device": self.device,
        }

    def run(self, case: Case, draft: Path) -> dict[str, Any]:
        """Transform a case and write the result; see :class:`.case.Job`."""
        subject = case.subject()
        subject.load()
        if self.device != "cpu":
            subject = subject.to(self.device)
        seeds, outputs = {}, {}
        for number in range(self.copies or 1):
            name = "" if self.copies is None else f"-{number:0{len(str(self.copies - 1))}}"
            seeds[name] = seed_of_case(self.seed, case.id, number)
            with random.use_seed(seeds[name]):
                result = self.pipeline(subject)
            outputs[name] = self._write(result, case.id, draft, name)
        return {"seeds": seeds, "outputs": outputs}

    def _write(self, subject: Subject, id: str, draft: Path, copy: str) -> dict[str, str]:
        """Write the images and points of a result, and return their paths by role."""
        written = {}
        for name, value in subject.items():
            if not isinstance(value, (Image, Points)):
                continue
            kind = value.kind if isinstance(value, Image) else POINTS
            file = f"{name}{copy}{self.format if isinstance(value, Image) else '.csv'}"
            try:
                value.save(draft / file)
            except OSError as error:  # ITK does not say why
                size = value.data.nbytes if isinstance(value, Image) else 0
                if shutil.disk_usage(draft).free < size + _SLACK:
                    raise OSError(errno.ENOSPC, f"{error}; the disk is full") from error
                raise
            written[f"{name}:{kind}"] = f"{id}/{file}"
        return written


def seed_of_case(seed: int, id: str, copy: int) -> int:
    """Return the seed of one result of a case, int64."""
    number = stable_hash(f"{seed}/{id}/{copy}")
    return number - 2**64 if number >= 2**63 else number


__all__ = ["Preparation", "seed_of_case"]

"""Files that one call of a pipeline goes through: ``python -m benchmarks.trace``.

Counts, at calls of functions of this library, the files that are entered and how often a call goes
from one file to another: the reading that a call costs someone who follows it.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch

import torchio_gpu as tio

_ROOT = str(Path(tio.__file__).parent)


class Trace(NamedTuple):
    """Files of one call.

    Args:
        files: Calls into each file.
        changes: Calls from one file to another.
    """

    files: Counter[str]
    changes: Counter[tuple[str, str]]


def trace(function: Any, *args: Any) -> Trace:
    """Count the files that a call goes through.

    >>> trace(tio.RandomNoise(), torch.rand(1, 4, 4, 4)).files["transforms/base.py"] > 0
    True
    """
    files: Counter[str] = Counter()
    changes: Counter[tuple[str, str]] = Counter()
    last = [""]

    def profile(frame: FrameType, event: str, _: Any) -> None:
        path = frame.f_code.co_filename
        if event != "call" or not path.startswith(_ROOT):
            return
        name = path[len(_ROOT) + 1 :]
        files[name] += 1
        if last[0] not in ("", name):
            changes[last[0], name] += 1
        last[0] = name

    sys.setprofile(profile)
    try:
        function(*args)
    finally:
        sys.setprofile(None)
    return Trace(files, changes)


def example() -> Trace:
    """Count the files of a pipeline of three steps on a subject, after a first call."""
    subject = tio.Subject(t1=tio.ScalarImage(torch.rand(1, 16, 16, 16)))
    steps = [tio.RandomAffine(), tio.RandomElasticDeformation(max_displacement=1)]
    pipeline = tio.Compose([*steps, tio.RandomGamma()])
    pipeline(subject)
    return trace(pipeline, subject)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--all", action="store_true", help="List files and changes.")
    given = parser.parse_args()
    found = example()
    print(f"{len(found.files)} files, {sum(found.changes.values())} changes of file")
    if given.all:
        for name, count in found.files.most_common():
            print(f"{count:5} {name}")
        for (before, after), count in found.changes.most_common():
            print(f"{count:5} {before} -> {after}")


if __name__ == "__main__":
    main()

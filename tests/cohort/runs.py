"""Runs of cohorts in processes of their own, which tests kill and compare."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

import torchio_gpu as tio

#: Values of a record that differ between runs of the same result.
CHANGING = ("time", "seconds", "peak_memory", "host", "versions", "run", "attempts")
PIPELINE = """
torchio_gpu: 1
pipeline:
  - RandomAffine
  - RandomNoise
  - ZNormalization
"""


def make_images(folder: Path, count: int, size: int = 24) -> Path:
    """Write images ``n_t1.nii.gz`` and label maps ``n_seg.nii.gz`` of random voxels."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        voxels = torch.rand(1, size, size, size, generator=generator)
        tio.ScalarImage(tensor=voxels).save(folder / f"{number:02}_t1.nii.gz")
        tio.LabelMap(tensor=(voxels > 0.5).byte()).save(folder / f"{number:02}_seg.nii.gz")
    return folder


def make_table(folder: Path, deeds: dict[str, str], size: int = 8) -> Path:
    """Write one image for each id, and a table that gives each case its deed."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (id, deed) in enumerate(deeds.items()):
        voxels = torch.full((1, size, size, size), float(number))
        tio.ScalarImage(tensor=voxels).save(folder / f"{id}.nii.gz")
        rows.append({"id": id, "t1:intensity": f"{id}.nii.gz"} | ({"deed": deed} if deed else {}))
    table = folder / "cases.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return table


def environment() -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    paths = [root, f"{root}/kernels", *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


class Zygote:
    """Client of the process that :mod:`.zygote` is."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cohort.zygote"],
            env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._started: set[int] = set()
        assert self._answer() == "ready"

    def start(self, words: list[str], log: Path) -> int:
        """Run a module in a process group of its own, and return the number of the process."""
        pid = int(self._ask([words, str(log)]))
        self._started.add(pid)
        return pid

    def wait(self, pid: int, seconds: float = 120) -> int:
        """Return the exit code of a process once it ends; it is killed after so many seconds."""
        wait_for(lambda: not alive({pid}), seconds)
        self._started.discard(pid)
        return int(self._ask(pid))

    def run(self, words: list[str], log: Path, seconds: float = 120) -> int:
        """Run a module, and return its exit code."""
        return self.wait(self.start(words, log), seconds)

    def kill(self, pid: int) -> None:
        """Kill a process with SIGKILL."""
        os.kill(pid, signal.SIGKILL)
        self.wait(pid)

    def end_all(self) -> None:
        """Kill the groups of processes that still run."""
        for pid in list(self._started):
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            self.wait(pid)

    def close(self) -> None:
        """End the process."""
        self.end_all()
        with self._process as process:
            process.communicate()

    def _ask(self, value: Any) -> str:
        assert self._process.stdin is not None
        print(json.dumps(value), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def command(out: Path, images: Path, *options: str) -> list[str]:
    """Return the words of a ``preprocess`` command."""
    pipeline = images / "pipeline.yaml"
    if not pipeline.exists():
        pipeline.write_text(PIPELINE)
    return [
        "torchio_gpu", "preprocess", str(pipeline), str(out), "t1={id}_t1.nii.gz",
        "seg:label={id}_seg.nii.gz", "--folder", str(images), "--quiet", *options,
    ]  # fmt: skip


def deed_command(table: Path, out: Path, **others: Any) -> list[str]:
    """Return the words of a command that applies the deeds of a table."""
    return ["tests.cohort.deeds", str(table), str(out), json.dumps(others)]


def results(out: Path) -> dict[str, bytes]:
    """Return the bytes of all files of cases, by name."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and "_cohort" not in path.parts
    }


def records(out: Path) -> dict[str, dict[str, Any]]:
    """Return the latest record of each case, without what differs between runs."""
    from torchio_gpu.cohort.records import Records

    own = Records(out / "_cohort")
    return {
        id: {name: value for name, value in record.items() if name not in CHANGING}
        for id, record in own.latest(own.recipe()["hash"]).items()
    }


def remains(out: Path) -> list[str]:
    """Return the paths of files that should not outlive a run: drafts, markers, hidden files."""
    own = out / "_cohort"
    kept = {own, own / "records", own / "running", own / "drafts", own / "logs"}
    kept |= {own / "run.json", own / "cases.jsonl"}
    return [
        str(path.relative_to(out))
        for path in sorted(out.rglob("*"))
        if path.name.startswith(".")
        or (own in path.parents and path not in kept and path.parent != own / "records")
    ]


def children(pid: int) -> set[int]:
    """Return the processes that a process has started, and those that these have."""
    found: set[int] = set()
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(status.parent.name)] = int(fields[1])
    new = {pid}
    while new := {child for child, parent in parents.items() if parent in new} - found:
        found |= new
    return found


def alive(pids: set[int]) -> set[int]:
    """Return the processes that run; those that have ended and are not collected do not."""
    found = set()
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                found.add(pid)
        except OSError:
            pass
    return found


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait until a condition holds, and return its value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.01)
    return value

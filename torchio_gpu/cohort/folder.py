"""Folder that a run writes to: what is computed, by which recipe, and what became of each case."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.io.writing import write_text
from .manifest import Case, Cohort, PathLike
from .records import OK, OWN, Records, host_name, process_name

_DAY = 24 * 3600  # seconds after which a draft of another machine is taken as abandoned


@dataclass(frozen=True)
class OutputFolder:
    """Layout of the folder of a run.

    Each case has a folder of its own, ``<id>``, which appears when it is complete. Everything else
    is in ``_cohort``: ``run.json``, the recipe; ``cases.jsonl``, the cases; ``records``, with one
    file for each process that computed, of one line for each case; ``running``, with the attempts
    of cases that have no outcome yet; and ``drafts``, what is being written.

    Args:
        path: The folder.
    """

    path: Path

    @staticmethod
    def at(path: PathLike) -> OutputFolder:
        """Return a folder, which need not exist."""
        return OutputFolder(Path(os.path.abspath(os.path.expanduser(path))))

    @staticmethod
    def existing(path: PathLike) -> OutputFolder:
        """Return a folder that was written to; raise if it was not."""
        folder = OutputFolder.at(path)
        if not folder.records.run_file.is_file():
            raise FileNotFoundError(
                f"'{folder.path}' must be a folder that was written to, but there is no "
                f"'{folder.records.run_file}'"
            )
        return folder

    @property
    def records(self) -> Records:
        """Everything that is not of a case, but for drafts."""
        return Records(self.path / OWN)

    # Recipe

    def start(self, recipe: Mapping[str, Any], cohort: Cohort, force: bool = False) -> None:
        """Create the folder for a recipe, or check that it is of this recipe.

        Args:
            recipe: Values that JSON can hold, with the name 'hash' among them.
            cohort: All cases, of all shards.
            force: Replace another recipe; its cases are then computed again.

        Raises:
            ValueError: The folder is of another recipe, or results would replace inputs.
        """
        self._check_inputs(cohort)
        for name in ("records", "running", "drafts"):
            (self.records.path / name).mkdir(parents=True, exist_ok=True)
        if self.records.run_file.exists():
            before = self.records.recipe()
            if before["hash"] != recipe["hash"]:
                changed = [n for n in recipe if before.get(n) != recipe[n] and n != "hash"]
                if not force:
                    raise ValueError(
                        f"'{self.path}' was written with another {' and '.join(changed)}: results "
                        "of both must not mix. Take another folder, or --force (force=True) to "
                        "compute all cases again"
                    )
                write_text(json.dumps(recipe, indent=1) + "\n", self.records.run_file)
        else:
            write_text(json.dumps(recipe, indent=1) + "\n", self.records.run_file)
        rows = "".join(json.dumps(case.to_row()) + "\n" for case in cohort)
        # the same for all shards, which need not wait for each other
        if not self.records.cases_file.exists() or self.records.cases_file.read_text() != rows:
            write_text(rows, self.records.cases_file)

    def _check_inputs(self, cohort: Cohort) -> None:
        """Raise if a folder that a case gets holds inputs, which would be lost."""
        ids = {case.id for case in cohort} | {OWN}
        roots = {str(self.path) + os.sep, os.path.realpath(self.path) + os.sep}
        for case in cohort:
            for path, _ in case.inputs.values():
                for root in roots:
                    text = str(path)
                    if text.startswith(root) and text[len(root) :].split(os.sep)[0] in ids:
                        raise ValueError(
                            f"results must go to another folder than inputs, but '{path}' is where "
                            f"results in '{self.path}' go"
                        )

    def cohort(self) -> Cohort:
        """Return the cases."""
        return Cohort.from_table(self.records.cases_file)

    def prepared(self) -> list[Case]:
        """Return the cases that were computed, with what was written as their inputs."""
        latest, cases = self.records.latest(self.records.recipe()["hash"]), []
        for case in self.cohort():
            record = latest.get(case.id)
            if record is None or record["status"] != OK:
                continue
            for name, outputs in record["outputs"].items():
                inputs = {role: self.path / path for role, path in outputs.items()}
                cases.append(Case(case.id + name, inputs, case.metadata))
        return cases

    # Results

    def draft(self, id: str) -> Path:
        """Create a folder to write a case to, and remove what processes that ended left of it."""
        for path in (self.records.path / "drafts").glob(f"{id}@*"):
            if _is_abandoned(path):
                shutil.rmtree(path, ignore_errors=True)
        draft = self.records.path / "drafts" / f"{id}@{process_name()}"
        draft.mkdir()
        return draft

    def publish(self, draft: Path, id: str) -> None:
        """Let what was written become the folder of a case, once it is on disk."""
        for path in [*draft.rglob("*"), draft]:
            _sync(path)
        target, former = self.path / id, draft.with_name(f"{id}@former-{process_name()}")
        if target.exists():
            os.rename(target, former)
        os.rename(draft, target)
        _sync(self.path)
        shutil.rmtree(former, ignore_errors=True)

    def discard(self, id: str) -> None:
        """Remove the folder of a case, which has no result any more."""
        shutil.rmtree(self.path / id, ignore_errors=True)

    def has(self, record: Mapping[str, Any]) -> bool:
        """Return True if all that a record says was written exists."""
        outputs = record.get("outputs", {}).values()
        return all((self.path / path).exists() for each in outputs for path in each.values())


def _sync(path: Path) -> None:
    """Wait until a file or the entries of a folder are on disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _is_abandoned(path: Path) -> bool:
    """Return True if the process that writes a draft has ended, or is this one."""
    host, number, _ = path.name.partition("@")[2].removeprefix("former-").rsplit("-", 2)
    if host != host_name():
        return time.time() - path.stat().st_mtime > _DAY
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return int(number) == os.getpid()  # a draft of this process, or of an earlier one


__all__ = ["OutputFolder"]

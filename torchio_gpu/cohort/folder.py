"""Folder that a run writes to: what is computed, by which recipe, and what became of each case."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from .drafts import Drafts, remove
from .manifest import Case, Cohort, PathLike
from .records import OK, OWN, Records


@dataclass(frozen=True)
class OutputFolder:
    """Layout of the folder of a run.

    Each case has a folder of its own, ``<id>``, which appears when it is complete. Everything else
    is in ``_cohort``: ``run.json``, the recipe; ``cases.jsonl``, the cases; ``records``, with one
    file for each process that computed, of one line for each case; and ``drafts``, what is being
    written, or was when a process ended.

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

    @property
    def drafts(self) -> Drafts:
        """Drafts of cases."""
        return Drafts(self.path / OWN / "drafts")

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
        self._check_results(cohort)
        for name in ("records", "drafts"):
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
                self.records.remove()  # what these say was written is replaced
                self._write(json.dumps(recipe, indent=1) + "\n", self.records.run_file)
        else:
            self._write(json.dumps(recipe, indent=1) + "\n", self.records.run_file)
        rows = "".join(json.dumps(case.to_row()) + "\n" for case in cohort)
        # the same for all shards, which need not wait for each other
        if not self.records.cases_file.exists() or self.records.cases_file.read_text() != rows:
            self._write(rows, self.records.cases_file)
        for file in (self.records.run_file, self.records.cases_file):
            self.drafts.remove(f"_{file.name}")

    def _write(self, text: str, file: Path) -> None:
        """Write a file about the run, which appears when it is complete."""
        draft = self.drafts.create(f"_{file.name}") / "text"  # no id begins so
        draft.write_text(text, encoding="utf-8", newline="")
        _sync(draft)
        os.replace(draft, file)

    def _check_inputs(self, cohort: Cohort) -> None:
        """Raise if a folder that a case gets holds inputs, which would be lost."""
        ids = {case.id for case in cohort} | {OWN}
        roots = {str(self.path) + os.sep, os.path.realpath(self.path) + os.sep}
        for case in cohort:
            for path, _ in case.inputs.values():
                for root, text in product(roots, (str(path), os.path.realpath(path))):
                    if text.startswith(root) and text[len(root) :].split(os.sep)[0] in ids:
                        raise ValueError(
                            f"results must go to another folder than inputs, but '{path}' is where "
                            f"results in '{self.path}' go"
                        )

    def _check_results(self, cohort: Cohort) -> None:
        """Raise if folders of cases exist that no run has written."""
        found = [case.id for case in cohort if os.path.lexists(self.path / case.id)]
        # read after that, since other shards begin at the same time
        known = {case.id for case in self.cohort()} if self.records.cases_file.exists() else set()
        strange = [id for id in found if id not in known]
        if strange:  # unless an earlier call was given more cases than the latest one
            written = {entry.id for entry in self.records.entries()}
            strange = [id for id in strange if id not in written]
        if strange:
            raise ValueError(
                f"results must go to a folder without other things, but '{self.path / strange[0]}' "
                "exists, which is no result"
            )

    def cohort(self) -> Cohort:
        """Return the cases."""
        return Cohort.from_table(self.records.cases_file)

    def prepared(self) -> list[Case]:
        """Return the cases that were computed, with what was written as their inputs."""
        recipe = self.records.recipe()
        if recipe["job"] != "preprocess":
            raise ValueError(f"'{self.path}' must hold prepared cases, it was written by fit")
        latest, cases = self.records.latest(recipe["hash"]), []
        for case in self.cohort():
            record = latest.get(case.id)
            if record is None or record["status"] != OK or not self.has(record):
                continue
            for name, outputs in record["outputs"].items():
                inputs = {role: self.path / path for role, path in outputs.items()}
                cases.append(Case(case.id + name, inputs, case.metadata))
        return cases

    # Results

    def publish(self, draft: Path, id: str) -> None:
        """Let what was written become the folder of a case, once it is on disk."""
        for path in [*draft.rglob("*"), draft]:
            _sync(path)
        target, former = self.path / id, self.drafts.former(id)
        while True:  # another process may publish the same case
            with suppress(FileNotFoundError):
                os.rename(target, former)
            try:
                os.rename(draft, target)
                break
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            finally:
                remove(former)
        _sync(self.path)

    def discard(self, id: str) -> None:
        """Remove the folder of a case, which has no result any more."""
        remove(self.path / id)

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


__all__ = ["OutputFolder"]

"""Cohorts: cases, and the files that each of them reads."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ..data import Image, Points, Subject
from ..data.image import image_class
from ..data.io.writing import write_text
from ..data.keys import INTENSITY, KINDS
from ..names import nearest

PathLike: TypeAlias = str | os.PathLike[str]
#: Kind of an input that is no image.
POINTS = "points"
_KINDS = (*KINDS, POINTS)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Input(NamedTuple):
    """File or folder that a case reads, and its kind: that of an image, or 'points'."""

    path: Path
    kind: str


def parse_role(role: str) -> tuple[str, str]:
    """Return the name and the kind of a role such as 't1' or 'seg:label'.

    >>> parse_role("seg:label"), parse_role("t1")
    (('seg', 'label'), ('t1', 'intensity'))
    """
    name, colon, kind = role.partition(":")
    if not name.isidentifier():
        raise ValueError(f"a role must be NAME or NAME:KIND, such as seg:label, got {role!r}")
    if colon and kind not in _KINDS:
        raise ValueError(
            f"the kind of {name!r} must be one of {', '.join(_KINDS)}, got {kind!r}"
            f"{nearest(kind, _KINDS)}"
        )
    return name, kind or INTENSITY


class Case:
    """Case of a cohort: most often one subject, or one session of it.

    Args:
        id: Name of the case, which its folder gets: letters, digits, '.', '_' and '-'.
        inputs: Path by role. A role is a name of the subject, and may say a kind: 't1',
            'seg:label', 'weights:sampling_map', 'landmarks:points'.
        metadata: Anything else about the case, which JSON can hold; kept in the subject.

    Raises:
        ValueError: The id or a role is not as above, or a name is given twice.

    >>> case = Case("sub-01", {"t1": "a.nii.gz", "seg:label": "b.nii.gz"}, {"age": 41})
    >>> case.id, case.inputs["seg"].kind, case.inputs["seg"].path.name
    ('sub-01', 'label', 'b.nii.gz')
    """

    def __init__(
        self,
        id: str,
        inputs: Mapping[str, PathLike],
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        if not isinstance(id, str) or not _ID.fullmatch(id):
            raise ValueError(
                "the id of a case must consist of letters, digits, '.', '_' and '-', and begin "
                f"with a letter or digit: got {id!r}"
            )
        self.id = id
        self.inputs: dict[str, Input] = {}
        for role, path in inputs.items():
            name, kind = parse_role(role)
            if name in self.inputs:
                raise ValueError(f"case {id!r} must have each role once, got {name!r} twice")
            self.inputs[name] = Input(Path(os.path.abspath(os.path.expanduser(path))), kind)
        if not self.inputs:
            raise ValueError(f"case {id!r} must have an input, got none")
        self.metadata: dict[str, Any] = dict(metadata or {})
        for name in self.metadata:
            if name in (*self.inputs, "id") or name in Subject._reserved or ":" in name:
                raise ValueError(f"metadata of case {id!r} must have other names than {name!r}")
        try:
            json.dumps(self.metadata)
        except TypeError as error:
            raise ValueError(f"metadata of case {id!r} must be values of JSON: {error}") from error

    def subject(self) -> Subject:
        """Return the case as a subject whose images are read when they are needed.

        Raises:
            FileNotFoundError: An input does not exist.
        """
        values: dict[str, Image | Points] = {}
        for name, (path, kind) in self.inputs.items():
            values[name] = Points(path) if kind == POINTS else image_class(kind)(path)
        return Subject({**values, **self.metadata})

    def to_row(self) -> dict[str, Any]:
        """Return the case as a row of a table, which :meth:`Cohort.from_table` reads."""
        inputs = {f"{name}:{kind}": str(path) for name, (path, kind) in self.inputs.items()}
        return {"id": self.id, **inputs, **self.metadata}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Case) and self.to_row() == other.to_row()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Case({self.id!r}, {', '.join(self.inputs)})"


class Cohort(Sequence[Case]):
    """Cases with different ids, in the order of these.

    Args:
        cases: The cases.

    Raises:
        ValueError: There are none, or two have the same id.

    >>> cohort = Cohort([Case(f"sub-{n:02}", {"t1": f"{n}.nii.gz"}) for n in range(30)])
    >>> len(cohort), cohort[3].id, sum(len(cohort.shard(n, 4)) for n in range(1, 5))
    (30, 'sub-03', 30)
    """

    def __init__(self, cases: Iterable[Case]) -> None:
        by_id: dict[str, Case] = {}
        lowered: dict[str, str] = {}
        for case in cases:
            if not isinstance(case, Case):
                raise TypeError(f"cases must be Case instances, got {type(case).__name__}")
            other = lowered.setdefault(case.id.lower(), case.id)  # as file systems may see it
            if case.id in by_id or other != case.id:
                raise ValueError(f"ids of cases must differ, got {other!r} and {case.id!r}")
            by_id[case.id] = case
        if not by_id:
            raise ValueError("a cohort must have at least one case, got none")
        self._cases = [by_id[each] for each in sorted(by_id)]

    @classmethod
    def from_pattern(cls, folder: PathLike, patterns: Mapping[str, str]) -> Cohort:
        """Find cases by the names of files.

        Args:
            folder: Folder that patterns are relative to.
            patterns: Pattern by role (see :class:`Case`). ``{id}`` stands for the id of a case,
                other words in braces for further parts of it, which metadata get as well; ``*``,
                ``?`` and ``**`` for anything. Hidden files are left out.

        A case has all roles. Where a file of one is missing, the case is listed, and fails when it
        is read.

        Raises:
            ValueError: A pattern has other fields than the first one, matches no file, or several
                files for one case.
            FileNotFoundError: There is no such folder.

        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for name in ("ann_T1w.nii.gz", "ann_seg.nii.gz", "bob_T1w.nii.gz"):
        ...         Path(folder, name).touch()
        ...     patterns = {"t1": "{id}_T1w.nii.gz", "seg:label": "{id}_seg.nii.gz"}
        ...     cohort = Cohort.from_pattern(folder, patterns)
        >>> cohort[0], cohort[1].inputs["seg"].path.name
        (Case('ann', t1, seg), 'bob_seg.nii.gz')
        """
        from .patterns import find

        return cls(find(folder, patterns))

    @classmethod
    def from_table(cls, path: PathLike, images: Sequence[str] = ()) -> Cohort:
        """Read cases from a table: .csv or .tsv with a header, or .jsonl with one dict a line.

        Args:
            path: The table. Column 'id' (or 'participant_id') is needed. Columns of inputs are
                those named by a role with a kind, such as 'seg:label'; those in ``images``; and,
                but for .jsonl, those whose values all have the suffix of an image. Others are
                metadata, in which words that are numbers become numbers. Empty values are left out.
            images: Roles whose columns, of the same name, hold paths.

        Relative paths are relative to the folder of the table.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: A row has no id, more values than the header, or no input; the line is
                named.
        """
        from .tables import read

        return cls(read(path, images))

    @classmethod
    def from_bids(cls, folder: PathLike, suffixes: Mapping[str, str] | None = None) -> Cohort:
        """Find cases in a BIDS dataset, by the names of files.

        A case is a subject, or a session of one if there are several: 'sub-01_ses-02'. Columns of
        participants.tsv become metadata. See the Brain Imaging Data Structure,
        doi:10.1038/sdata.2016.44.

        Args:
            folder: Folder that holds the folders of subjects.
            suffixes: Suffix by role (see :class:`Case`), by default ``{"t1": "T1w"}``. Entities
                before it choose among files ('acq-mprage_T1w'), a folder before it names a
                derivative ('derivatives/masks/label-brain_mask').

        Raises:
            ValueError: No file has a suffix, or several files of one case have it.
            FileNotFoundError: There is no such folder.
        """
        from .bids import find

        return cls(find(folder, {"t1": "T1w"} if suffixes is None else suffixes))

    @classmethod
    def from_output(cls, folder: PathLike) -> Cohort:
        """Return the prepared cases in a folder that :func:`preprocess` has written to.

        A copy of a case is a case. Cases that failed are left out.
        """
        from .folder import OutputFolder

        return cls(OutputFolder.existing(folder).prepared())

    def shard(self, number: int, count: int) -> list[Case]:
        """Return the cases of one of several shards, which depend on ids alone.

        Args:
            number: Number of the shard, from 1 to ``count``.
            count: Number of shards.
        """
        if count < 1 or not 1 <= number <= count:
            raise ValueError(f"shard must be from 1 to their number, got {number} of {count}")
        return [case for case in self._cases if stable_hash(case.id) % count == number - 1]

    def subjects(self) -> list[Subject]:
        """Return the cases as subjects whose images are read when they are needed."""
        return [case.subject() for case in self._cases]

    def save(self, path: PathLike) -> None:
        """Write the cases to a table .jsonl, which :meth:`from_table` reads."""
        target = Path(path)
        if target.suffix != ".jsonl":
            raise ValueError(f"path must end in .jsonl, got '{target}'")
        write_text("".join(json.dumps(case.to_row()) + "\n" for case in self._cases), target)

    def __getitem__(self, index: Any) -> Any:
        return self._cases[index]

    def __len__(self) -> int:
        return len(self._cases)

    def __iter__(self) -> Iterator[Case]:
        return iter(self._cases)

    def __repr__(self) -> str:
        return f"Cohort({len(self)} cases)"


def stable_hash(text: str, bits: int = 64) -> int:
    """Return a number of so many bits that is the same in all processes."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=bits // 8).digest(), "big")


__all__ = ["POINTS", "Case", "Cohort", "Input", "PathLike", "parse_role", "stable_hash"]

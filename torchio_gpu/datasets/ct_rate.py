"""CT-RATE: chest CT with radiology reports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..data import ScalarImage, Subject, SubjectsDataset
from ..data.files import PathLike
from ..signature import checked
from .tables import Value, read_table

_REMEDY = "download ibrahimhamamci/CT-RATE from https://huggingface.co/datasets, with its tables"
_KEY = "VolumeName"


class CtRate(SubjectsDataset):
    """Chest CT of 21 304 patients, with radiology reports and labels of abnormalities.

    Hamamci et al. 2024, arXiv:2403.17834, licence CC BY-NC-SA 4.0. The tables, and the volumes
    that will be read, must have been downloaded from Hugging Face, after consent to its terms.

    A subject has ``subject_id`` and an image for each reconstruction, called
    ``scan_a_reconstruction_1`` and so on. The metadata of an image are the columns of the tables,
    among them the abnormalities, 0 or 1, and a report, a dictionary of four texts.

    Args:
        root: Folder that holds the folder ``dataset`` of CT-RATE.
        split: 'train', or 'validation' or 'valid'.
        num_subjects: Number of subjects to take, the first ones of the table; None for all.
        report_key: Name of the report in the metadata of an image.
        sizes: Rows of a slice, in voxels, of the volumes to take; by default 512, 768 and 1024.
        load_fixed: Read the files with corrected affines, else those with the original ones.
        verify_paths: Raise at once if a volume is missing, which takes long on a remote disk.
        kwargs: Arguments of :class:`SubjectsDataset`, such as ``transform``.

    Attributes:
        metadata: Rows of the joined tables, dictionaries; ``pandas.DataFrame`` takes them.

    Raises:
        FileNotFoundError: A table is missing, or a volume if ``verify_paths``.
        ValueError: There is no such split, or a volume has an unexpected name or no report.
    """

    #: Columns of the abnormalities, and those of the report.
    ABNORMALITIES: ClassVar[list[str]] = [
        "Medical material",
        "Arterial wall calcification",
        "Cardiomegaly",
        "Pericardial effusion",
        "Coronary artery wall calcification",
        "Hiatal hernia",
        "Lymphadenopathy",
        "Emphysema",
        "Atelectasis",
        "Lung nodule",
        "Lung opacity",
        "Pulmonary fibrotic sequela",
        "Pleural effusion",
        "Mosaic attenuation pattern",
        "Peribronchial thickening",
        "Consolidation",
        "Bronchiectasis",
        "Interlobular septal thickening",
    ]
    REPORT_KEYS: ClassVar[list[str]] = [
        "ClinicalInformation_EN",
        "Findings_EN",
        "Impressions_EN",
        "Technique_EN",
    ]

    @checked
    def __init__(
        self,
        root: PathLike,
        split: Literal["train", "valid", "validation"] = "train",
        *,
        num_subjects: int | None = None,
        report_key: str = "report",
        sizes: Sequence[int] | None = None,
        load_fixed: bool = True,
        verify_paths: bool = False,
        **kwargs: Any,
    ) -> None:
        if split not in ("train", "valid", "validation"):
            raise ValueError(f"split must be 'train', 'valid' or 'validation', got {split!r}")
        self._folder = Path(root).expanduser() / "dataset"
        short, long = ("train", "train") if split == "train" else ("valid", "validation")
        rows = self._rows(long, (512, 768, 1024) if sizes is None else sizes)
        if num_subjects is not None:
            first = list(dict.fromkeys(row["subject_id"] for row in rows))[:num_subjects]
            rows = [row for row in rows if row["subject_id"] in set(first)]
        rows = self._joined(rows, f"radiology_text_reports/{long}_reports.csv")
        rows = self._joined(rows, f"multi_abnormality_labels/{short}_predicted_labels.csv")
        self.metadata = rows
        groups: dict[str, dict[str, ScalarImage]] = {}
        for row in sorted(rows, key=lambda row: str(row["subject_id"])):
            name = f"scan_{row['scan_id']}_reconstruction_{row['reconstruction_id']}"
            path = self._path(str(row[_KEY]), load_fixed)
            values = {**self._with_report(row, report_key), "verify_path": verify_paths}
            groups.setdefault(str(row["subject_id"]), {})[name] = ScalarImage(path, **values)
        super().__init__(
            [Subject(images, subject_id=subject) for subject, images in groups.items()], **kwargs
        )

    def _table(self, name: str) -> list[dict[str, Value]]:
        return read_table(self._folder / name, _REMEDY)

    def _rows(self, split: str, sizes: Iterable[int]) -> list[dict[str, Value]]:
        """Return the rows of the volumes of some sizes, with the three numbers of their names."""
        rows = []
        for row in self._table(f"metadata/{split}_metadata.csv"):
            if int(row["Rows"]) not in sizes:
                continue
            found = re.fullmatch(r"\w+?_(\d+)_(\w+)_(\d+)\.nii\.gz", str(row[_KEY]))
            if found is None:
                raise ValueError(f"{_KEY} must be like 'train_2_a_1.nii.gz', got {row[_KEY]!r}")
            keys = ("subject_id", "scan_id", "reconstruction_id")
            rows.append({**row, **dict(zip(keys, found.groups(), strict=True))})
        return rows

    def _joined(self, rows: list[dict[str, Value]], name: str) -> list[dict[str, Value]]:
        """Return rows with the values that another table has for their volumes."""
        others = {row[_KEY]: row for row in self._table(name)}
        missing = [row[_KEY] for row in rows if row[_KEY] not in others]
        if missing:
            raise ValueError(
                f"{name} must have a row for each volume, it has none for {missing[0]}"
            )
        return [{**row, **others[row[_KEY]]} for row in rows]

    def _with_report(self, row: dict[str, Value], report_key: str) -> dict[str, Any]:
        """Return metadata in which the texts of the report are one dictionary; missing ones ''."""
        report = {key: row[key] if isinstance(row[key], str) else "" for key in self.REPORT_KEYS}
        values = {key: value for key, value in row.items() if key not in report}
        return {**values, report_key: report}

    def _path(self, name: str, fixed: bool) -> Path:
        split, subject, scan, _ = name.split("_")
        folder = self._folder / (f"{split}_fixed" if fixed else split)
        return folder / f"{split}_{subject}" / f"{split}_{subject}_{scan}" / name

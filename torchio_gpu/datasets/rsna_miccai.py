"""RSNA-MICCAI challenge: MRI of brain tumours with a genetic marker."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data import ScalarImage, Subject, SubjectsDataset
from ..data.files import PathLike
from ..signature import checked
from .store import check_folder
from .tables import read_text

_REMEDY = (
    "download rsna-miccai-brain-tumor-radiogenomic-classification from https://www.kaggle.com/c"
)


class RSNAMICCAI(SubjectsDataset):
    """MRI of brain tumours, DICOM, with the methylation of their MGMT promoter (2021).

    Baid et al. 2021, arXiv:2107.02314. Images have the names of their modalities; metadata are
    ``BraTS21ID`` and, of the training set, ``MGMT_value``, 0 or 1. The dataset is on Kaggle, under
    the rules of the challenge, and is not downloaded here.

    Args:
        root_dir: Folder of the dataset, with ``train``, ``test`` and ``train_labels.csv``.
        train: Read the training set, else the test set.
        ignore_empty: Leave out the three subjects that the organizers report as flawed.
        modalities: Names among 'T1w', 'T1wCE', 'T2w' and 'FLAIR'; a single one may be a string.
        kwargs: Arguments of :class:`SubjectsDataset`, such as ``transform``.

    Raises:
        FileNotFoundError: A folder of the set, of a subject or of a modality is missing.
        KeyError: The table of labels lacks a subject.
    """

    #: Columns of the table of labels, and the subjects that are flawed.
    id_key = "BraTS21ID"
    label_key = "MGMT_value"
    bad_subjects = "00109", "00123", "00709"

    @checked
    def __init__(
        self,
        root_dir: PathLike,
        train: bool = True,
        ignore_empty: bool = True,
        modalities: str | Sequence[str] = ("T1w", "T1wCE", "T2w", "FLAIR"),
        **kwargs: Any,
    ) -> None:
        self.root_dir = Path(root_dir).expanduser().resolve()
        self.modalities = [modalities] if isinstance(modalities, str) else modalities
        self.train = train
        folder = self.root_dir / ("train" if train else "test")
        check_folder(folder, _REMEDY)
        labels = self._labels() if train else {}
        skipped = self.bad_subjects if ignore_empty else ()
        folders = [
            each
            for each in sorted(folder.iterdir())
            if each.name.isdecimal() and each.name not in skipped
        ]
        if not folders:
            raise FileNotFoundError(f"dataset not found, {folder} has no subjects: {_REMEDY}")
        super().__init__([self._subject(each, labels) for each in folders], **kwargs)

    def _labels(self) -> dict[str, int]:
        path = self.root_dir / "train_labels.csv"
        if not path.is_file():
            message = f"{path} does not exist: subjects have no {self.label_key}"
            warnings.warn(message, RuntimeWarning, stacklevel=4)
            return {}
        return {row[self.id_key]: int(row[self.label_key]) for row in read_text(path, _REMEDY)}

    def _subject(self, folder: Path, labels: dict[str, int]) -> Subject:
        values: dict[str, object] = {self.id_key: folder.name}
        if labels:
            if folder.name not in labels:
                raise KeyError(f"train_labels.csv must have a row for subject {folder.name}")
            values[self.label_key] = labels[folder.name]
        for modality in self.modalities:
            check_folder(folder / modality, _REMEDY)
            files = list((folder / modality).iterdir())
            # converted scans are one file, the original ones a series of slices
            values[modality] = ScalarImage(files[0] if len(files) == 1 else folder / modality)
        return Subject(values)

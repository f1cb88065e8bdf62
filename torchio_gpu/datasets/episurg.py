"""EPISURG: MRI before and after surgery of epilepsy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..data import LabelMap, ScalarImage, Subject, SubjectsDataset
from ..data.files import PathLike
from ..signature import checked
from .store import DOWNLOAD, install
from .tables import read_text


class EPISURG(SubjectsDataset):
    """T1-weighted MRI of 430 people whose epilepsy was treated by a resection of brain tissue.

    Pérez-García et al. 2020, doi:10.5522/04/9996158.v1, whose *Data use agreement* applies. Images
    are ``postop_mri``; ``preop_mri`` of 268 subjects; and ``seg_1`` to ``seg_3`` of some, the
    resection cavity as three raters saw it. Metadata are ``subject_id``, ``hemisphere`` and
    ``surgery_type``.

    Args:
        root: Folder that holds the folder ``EPISURG`` of the dataset.
        transform: Applied to each subject after it is read.
        download: Download the dataset, some gigabytes, unless it is there.
        kwargs: Other arguments of :class:`SubjectsDataset`.

    Raises:
        FileNotFoundError: The dataset, or the image of a subject after surgery, is not there.
    """

    #: Address of the archive, and its checksum.
    data_url = "https://s3-eu-west-1.amazonaws.com/pstorage-ucl-2748466690/26153588/EPISURG.zip"
    md5 = "5ec5831a2c6fbfdc8489ba2910a6504b"

    @checked
    def __init__(
        self,
        root: PathLike,
        transform: Callable[[Subject], object] | None = None,
        download: bool = False,
        **kwargs: Any,
    ) -> None:
        folder = Path(root).expanduser() / "EPISURG"
        if download:
            install(self.data_url, {folder: "EPISURG"}, md5=self.md5)
        rows = read_text(folder / "subjects.csv", DOWNLOAD)
        subjects = [self._subject(folder / "subjects" / row["Subject"], row) for row in rows]
        self.kwargs = kwargs
        super().__init__(subjects, transform=transform, **kwargs)

    @staticmethod
    def _subject(folder: Path, row: dict[str, str]) -> Subject:
        before = sorted((folder / "preop").glob("*preop*"))
        after = sorted((folder / "postop").glob("*postop-t1mri*"))
        if len(before) > 1 or len(after) != 1:
            raise FileNotFoundError(
                f"{folder} must hold one image after surgery, and at most one before, "
                f"got {len(after)} and {len(before)}: remove {folder.parents[1]}, and {DOWNLOAD}"
            )
        images: dict[str, ScalarImage | LabelMap] = {}
        if before:
            images["preop_mri"] = ScalarImage(before[0])
        images["postop_mri"] = ScalarImage(after[0])
        for path in sorted((folder / "postop").glob("*seg*.nii.gz")):
            rater = path.name.removesuffix(".nii.gz")[-1]
            images[f"seg_{rater}"] = LabelMap(path)
        return Subject(
            subject_id=row["Subject"],
            hemisphere=row["Hemisphere"],
            surgery_type=row["Type"],
            **images,
        )

    def get_labeled(self) -> SubjectsDataset:
        """Return the subjects with a segmentation, as a dataset with the same transform."""
        return self._subset(lambda subject: _has(subject, "seg"))

    def get_unlabeled(self) -> SubjectsDataset:
        """Return the subjects without a segmentation, as a dataset with the same transform."""
        return self._subset(lambda subject: not _has(subject, "seg"))

    def get_paired(self) -> SubjectsDataset:
        """Return the subjects with an image before surgery, with the same transform."""
        return self._subset(lambda subject: _has(subject, "preop"))

    def _subset(self, chosen: Callable[[Subject], bool]) -> SubjectsDataset:
        subjects = [subject for subject in self.dry_iter() if chosen(subject)]
        return SubjectsDataset(subjects, transform=self.transform, **self.kwargs)


def _has(subject: Subject, part: str) -> bool:
    """Return True if the name of an image of a subject begins with a text."""
    return any(name.startswith(part) for name in subject.get_images_names())

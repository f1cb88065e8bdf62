"""RSNA challenge of 2022: CT of the cervical spine, with fractures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..data import LabelMap, ScalarImage, Subject, SubjectsDataset
from ..data.files import PathLike
from ..signature import checked
from .store import check_folder
from .tables import Value, read_table

_REMEDY = (
    "download rsna-2022-cervical-spine-fracture-detection from https://www.kaggle.com/competitions"
)


class RSNACervicalSpineFracture(SubjectsDataset):
    """CT of the cervical spine, DICOM, with fractures by vertebra: the training set (2022).

    Lin et al. 2023, doi:10.1148/ryai.230034. A subject has the image ``ct`` and the columns of
    ``train.csv``: ``StudyInstanceUID``, ``patient_overall`` and ``C1`` to ``C7``, 1 for a fracture.
    The dataset is on Kaggle, under the rules of the challenge, and is not downloaded here.

    Args:
        root_dir: Folder of the dataset, with ``train_images`` and ``train.csv``.
        add_segmentations: Add the label map ``seg`` of the vertebrae to subjects that have one.
        add_bounding_boxes: Add ``boxes`` to subjects that have some: a list of rows of
            ``train_bounding_boxes.csv``, as dictionaries.
        kwargs: Arguments of :class:`SubjectsDataset`, such as ``transform``.

    Raises:
        FileNotFoundError: A folder or table of the dataset is missing.
    """

    #: Column that identifies the subject.
    UID = "StudyInstanceUID"

    @checked
    def __init__(
        self,
        root_dir: PathLike,
        add_segmentations: bool = False,
        add_bounding_boxes: bool = False,
        **kwargs: Any,
    ) -> None:
        self.root_dir = Path(root_dir).expanduser().resolve()
        check_folder(self.root_dir, _REMEDY)
        segmentations = self._segmentations() if add_segmentations else {}
        boxes = self._boxes() if add_bounding_boxes else {}
        subjects = []
        for row in read_table(self.root_dir / "train.csv", _REMEDY):
            uid = str(row[self.UID])
            folder = self.root_dir / "train_images" / uid
            check_folder(folder, _REMEDY)
            values: dict[str, object] = {**row, "ct": ScalarImage(folder)}
            if uid in segmentations:
                values["seg"] = LabelMap(segmentations[uid])
            if uid in boxes:
                values["boxes"] = boxes[uid]
            subjects.append(Subject(values))
        super().__init__(subjects, **kwargs)

    def _segmentations(self) -> dict[str, Path]:
        folder = self.root_dir / "segmentations"
        check_folder(folder, _REMEDY)
        return {
            path.name.removesuffix(".gz").removesuffix(".nii"): path
            for path in sorted(folder.iterdir())
        }

    def _boxes(self) -> dict[str, list[dict[str, Value]]]:
        boxes: dict[str, list[dict[str, Value]]] = {}
        for row in read_table(self.root_dir / "train_bounding_boxes.csv", _REMEDY):
            boxes.setdefault(str(row[self.UID]), []).append(row)
        return boxes

"""BITE: images of brain tumours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..data import LabelMap, ScalarImage, Subject, SubjectsDataset
from ..data.files import PathLike
from ..signature import checked
from .store import check_folder, install


class BITE3(SubjectsDataset):
    """MRI of 13 people with brain tumours, before and after resection: group 3 of BITE.

    Brain Images of Tumors for Evaluation, Mercier et al. 2012, doi:10.1118/1.4709600,
    https://nist.mni.mcgill.ca/bite-brain-images-of-tumors-for-evaluation-database, which says how
    to acknowledge it. Images are ``preop``, ``postop``, and label maps of tumours by the names of
    their files without the number of the subject.

    Args:
        root: Folder that holds the folder ``group3`` of the dataset.
        transform: Applied to each subject after it is read.
        download: Download the dataset unless it is there.
        kwargs: Other arguments of :class:`SubjectsDataset`.

    Raises:
        FileNotFoundError: The dataset, or one of its images, is not there.
    """

    #: Address of the folder of archives; checksum of the archive; name of the folder in it.
    base_url = "http://www.bic.mni.mcgill.ca/uploads/Services/"
    md5 = "e415b63887c40b727c45552614b44634"
    dirname = "group3"

    @checked
    def __init__(
        self,
        root: PathLike,
        transform: Callable[[Subject], object] | None = None,
        download: bool = False,
        **kwargs: Any,
    ) -> None:
        folder = Path(root).expanduser() / self.dirname
        if download:
            url = f"{self.base_url}{self.dirname}.tar.gz"
            install(url, {folder: self.dirname}, md5=self.md5)
        check_folder(folder)
        # subject 13 has no MRI
        subjects = [_subject(folder / f"{n:02}") for n in range(1, 15) if n != 13]
        super().__init__(subjects, transform=transform, **kwargs)


def _subject(folder: Path) -> Subject:
    number = folder.name
    images: dict[str, ScalarImage | LabelMap] = {
        name: ScalarImage(folder / f"{number}_{name}_mri.mnc") for name in ("preop", "postop")
    }
    for path in sorted(folder.glob("*tumor*")):
        images[path.stem.removeprefix(f"{number}_")] = LabelMap(path)
    return Subject(images)

"""IXI: MR images of nearly 600 healthy people."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ..data import LabelMap, ScalarImage, Subject, SubjectsDataset
from ..data.files import PathLike
from ..signature import checked
from .store import DOWNLOAD, check_folder, install


class IXI(SubjectsDataset):
    """MR images of nearly 600 healthy people, of up to five modalities, on 1.5 and 3 T scanners.

    Information eXtraction from Images, https://brain-development.org/ixi-dataset, licence
    CC BY-SA 3.0. Subjects that lack one of the modalities are left out. An image has the name of
    its modality; the directions of 'DTI' are its channels, if they have one file each.
    ``subject_id`` is, for example, 'IXI002-Guys-0828'.

    Args:
        root: Folder of the dataset, with a folder of NIfTI files for each modality.
        download: Download the modalities that are not there, some gigabytes each.
        modalities: Names among 'T1', 'T2', 'PD', 'MRA' and 'DTI'.
        kwargs: Arguments of :class:`SubjectsDataset`, such as ``transform``.

    Raises:
        ValueError: There is no modality of a name.
        FileNotFoundError: The folder of a modality, or a subject that has all, is missing.
    """

    #: Address of the archive of a modality.
    base_url = "http://biomedic.doc.ic.ac.uk/brain-development/downloads/IXI/IXI-{modality}.tar"
    #: Checksums of the archives.
    md5_dict: ClassVar[dict[str, str]] = {
        "T1": "34901a0593b41dd19c1a1f746eac2d58",
        "T2": "e3140d78730ecdd32ba92da48c0a9aaa",
        "PD": "88ecd9d1fa33cb4a2278183b42ffd749",
        "MRA": "29be7d2fee3998f978a55a9bdaf3407e",
        "DTI": "636573825b1c8b9e8c78f1877df3ee66",
    }

    @checked
    def __init__(
        self,
        root: PathLike,
        download: bool = False,
        modalities: Sequence[str] = ("T1", "T2"),
        **kwargs: Any,
    ) -> None:
        folder = Path(root).expanduser()
        unknown = [name for name in modalities if name not in self.md5_dict]
        if unknown or not modalities:
            raise ValueError(f"modalities must be among {[*self.md5_dict]}, got {modalities!r}")
        for name in modalities:
            if download:
                url = self.base_url.format(modality=name)
                install(url, {folder / name: "."}, md5=self.md5_dict[name])
            check_folder(folder / name)
        super().__init__(self._subjects_of(folder, modalities), **kwargs)

    @staticmethod
    def _subjects_of(folder: Path, modalities: Sequence[str]) -> list[Subject]:
        files = {name: _by_subject(folder / name, name) for name in modalities}
        found = [id for id in files[modalities[0]] if all(id in ids for ids in files.values())]
        if not found:
            raise FileNotFoundError(
                f"dataset not found, no subject has all of {[*modalities]} in {folder}: remove the "
                f"folders of these names, and {DOWNLOAD}"
            )
        return [
            Subject(subject_id=id, **{name: _image(files[name][id]) for name in modalities})
            for id in found
        ]


def _by_subject(folder: Path, modality: str) -> dict[str, list[Path]]:
    """Return the files of each subject; there are several where each direction has one."""
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.nii.gz")):
        name = re.fullmatch(rf"(.+)-{modality}(-\d+)?\.nii\.gz", path.name)
        if name is not None:
            files.setdefault(name[1], []).append(path)
    return files


def _image(paths: list[Path]) -> ScalarImage:
    return ScalarImage(paths[0] if len(paths) == 1 else paths)


class IXITiny(SubjectsDataset):
    """T1-weighted images of 566 people of IXI, (1, 83, 44, 55), with segmentations of the brain.

    Made for TorchIO out of :class:`IXI`, whose licence it has; of the size of a toy, it suits
    tutorials. Images are called ``image`` and ``label``; ``subject_id`` is the part of their names
    before the last '-'.

    Args:
        root: Folder of the dataset, with the folders ``image`` and ``label``.
        transform: Applied to each subject after it is read.
        download: Download the dataset unless it is there.
        kwargs: Other arguments of :class:`SubjectsDataset`.

    Raises:
        FileNotFoundError: The folders are missing, or hold no files.
        ValueError: They hold different numbers of files.
    """

    #: Address of the archive, and its checksum.
    url = "https://www.dropbox.com/s/ogxjwjxdv5mieah/ixi_tiny.zip?dl=1"
    md5 = "bfb60f4074283d78622760230bfa1f98"

    @checked
    def __init__(
        self,
        root: PathLike,
        transform: Callable[[Subject], object] | None = None,
        download: bool = False,
        **kwargs: Any,
    ) -> None:
        folder = Path(root).expanduser()
        images, labels = folder / "image", folder / "label"
        if download:
            install(self.url, {images: "ixi_tiny/image", labels: "ixi_tiny/label"}, md5=self.md5)
        for each in (images, labels):
            check_folder(each)
        pairs = [sorted(each.glob("*.nii.gz")) for each in (images, labels)]
        if not all(pairs):
            raise FileNotFoundError(
                f"dataset not found, {images} or {labels} is empty: remove both, and {DOWNLOAD}"
            )
        if len(pairs[0]) != len(pairs[1]):
            raise ValueError(
                f"{images} and {labels} must hold as many files each, got {[*map(len, pairs)]}"
            )
        subjects = [
            Subject(
                image=ScalarImage(image),
                label=LabelMap(label),
                subject_id=image.name.rpartition("-")[0],
            )
            for image, label in zip(*pairs, strict=True)
        ]
        super().__init__(subjects, transform=transform, **kwargs)

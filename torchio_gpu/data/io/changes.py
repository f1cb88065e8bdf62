"""Sizes and times of the files of an image, by which a change of it is noticed."""

from __future__ import annotations

from pathlib import Path

from .guards import without_member
from .headers import meta_image, nrrd
from .nifti import PAIR

#: Readers of headers that may name other files.
_PAYLOADS = {
    **dict.fromkeys((".mha", ".mhd"), meta_image),
    **dict.fromkeys((".nrrd", ".nhdr"), nrrd),
}
#: Suffixes of files that are read together with others of the same stem.
_TOGETHER = (*PAIR, ".par", ".rec", ".head", ".brik")


def file_stamps(path: Path) -> list[tuple[str, int, int]]:
    """Return path, size in bytes, and time of change in ns, of a file and what belongs to it.

    Those are all files in a folder, the files of voxels that a header names, and all files with
    the stem of one that is a part of a pair.

    Args:
        path: File or folder; a member of it that is named is ignored.

    Raises:
        OSError: It does not exist.
    """
    stats = [(each, each.stat()) for each in _files(without_member(path)[0].absolute())]
    return [(str(each), stat.st_size, stat.st_mtime_ns) for each, stat in stats]


def _files(file: Path) -> list[Path]:
    if file.is_dir():
        return sorted(each for each in file.rglob("*") if each.is_file())
    name = file.name.lower()
    if name.removesuffix(".gz").removesuffix(".bz2").endswith(_TOGETHER):
        stem = file.name.split(".")[0]
        return sorted(each for each in file.parent.iterdir() if each.name.split(".")[0] == stem)
    payload = _PAYLOADS.get(file.suffix.lower())
    if payload is None:
        return [file]
    try:
        parts = [part for part, _, _ in payload(file).parts]
    except (OSError, ValueError):  # missing or broken, of which the reader tells
        parts = []
    return list(dict.fromkeys([file, *parts]))


__all__ = ["file_stamps"]

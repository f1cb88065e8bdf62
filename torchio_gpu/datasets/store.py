"""Folders and files of datasets: found where they are, or downloaded."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock

from .archives import ArchiveError, extract
from .download import cache_folder, download

#: Advice in errors of datasets that can be downloaded.
DOWNLOAD = "download=True downloads it"


def install(
    url: str,
    folders: Mapping[Path, str],
    *,
    md5: str | None = None,
    prepare: Callable[[Path], None] | None = None,
) -> None:
    """Download an archive and move folders of it into place, unless they are all there.

    Each folder appears at once and whole, and the archive is removed. An interrupted call leaves at
    most what the next one resumes from or removes; other processes wait.

    Args:
        url: Address of the archive.
        folders: Folders to create, side by side, with the path of each in the archive, or '.'.
        md5: Checksum of the archive.
        prepare: Function of the folder of extracted files, to change them before they are moved.
    """
    if all(folder.is_dir() for folder in folders):
        return
    parent = next(iter(folders)).parent
    parent.mkdir(parents=True, exist_ok=True)
    archive = parent / Path(urlsplit(url).path).name
    work = parent / f".{archive.name}.extracted"
    with FileLock(parent / f".{archive.name}.extracted.lock"):
        missing = {folder: inside for folder, inside in folders.items() if not folder.is_dir()}
        if not missing:
            return
        download(url, archive, md5=md5)
        try:
            shutil.rmtree(work, ignore_errors=True)  # of a process that was killed
            content = extract(archive, work / "content")
            if prepare is not None:
                prepare(content)
            for folder, inside in missing.items():
                if not (content / inside).is_dir():
                    raise ArchiveError(f"{url} must hold a folder {inside!r}, it does not")
                (content / inside).rename(folder)
        except ArchiveError:
            archive.unlink()  # another download may be better
            raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
        archive.unlink()


def install_in_cache(url: str, name: str, *, prepare: Callable[[Path], None] | None = None) -> Path:
    """Return the folder of an archive in the cache, downloaded unless it is there."""
    folder = cache_folder() / name
    install(url, {folder: "."}, prepare=prepare)
    return folder


def existing(folder: Path, *names: str) -> Path:
    """Return the first of several files that is in a folder of the cache."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder} has no {names[0]}: remove it, and it is downloaded again")


def nifti(folder: Path, stem: str) -> Path:
    """Return the NIfTI file of a name without suffix in a folder of the cache."""
    return existing(folder, f"{stem}.nii", f"{stem}.nii.gz")


def check_folder(folder: Path, remedy: str = DOWNLOAD) -> None:
    """Raise a FileNotFoundError unless a folder of a dataset exists."""
    if not folder.is_dir():
        raise FileNotFoundError(f"dataset not found, {folder} is no folder: {remedy}")

"""Checks of files before a library reads them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from .voxels import shown


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with ``~`` replaced by the home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # no such user
        raise ValueError(
            f"path must have a home folder for its '~': got '{shown(path)}'"
        ) from error


def without_member(path: Path) -> tuple[Path, str]:
    """Return the file of a path such as ``scans.h5::/raw/t1``, and the member that it names, or ''.

    A path with such a name that exists is a file by itself.
    """
    text = os.fspath(path)
    if "::" not in text or os.path.lexists(text):
        return path, ""
    file, _, member = text.partition("::")
    return Path(file), member


def check_exists(path: Path) -> None:
    """Raise unless the path names a file or folder that may be read; it may name a member of it.

    Raises FileNotFoundError, PermissionError, or ValueError for names that no file can have and
    for pipes, sockets and devices, which can keep a reader waiting for ever.
    """
    path, _ = without_member(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"path must name a file or folder, {shown(path)} does not exist"
        ) from None
    except PermissionError as error:
        raise PermissionError(
            f"path must name a file or folder that may be read: '{shown(path)}' may not"
        ) from error
    except (OSError, ValueError) as error:  # too long, a loop of links, a NUL
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(
            f"path must name a file or folder: '{shown(path)!s:.200}' cannot ({reason})"
        ) from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        kinds = (
            (stat.S_ISFIFO, "pipe"),
            (stat.S_ISSOCK, "socket"),
            (stat.S_ISCHR, "device"),
            (stat.S_ISBLK, "device"),
        )
        kind = next((name for test, name in kinds if test(mode)), "special file")
        raise ValueError(f"path must name a file or folder: '{shown(path)}' is a {kind}")
    if not os.access(path, os.R_OK):
        raise PermissionError(
            f"path must name a file or folder that may be read: '{shown(path)}' may not"
        )


def check_name(path: Path) -> None:
    """Raise a ValueError for names that are not UTF-8, on which SimpleITK ends the process."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"name must be UTF-8 for this format: got '{shown(path)}'") from None


def check_size(needed: int, capacity: float, what: str = "file") -> None:
    """Raise an OSError if a header claims more bytes of voxels than the file can hold."""
    if needed > capacity:
        raise OSError(f"the header claims {needed} bytes, the {what} can hold {int(capacity)}")


def data_files(header: Path, names: Iterable[str]) -> list[Path]:
    """Return the files that a detached header names, which must lie beside or below it.

    Otherwise a header from elsewhere could make any file of this machine be read.
    """
    paths = []
    for name in names:
        pure = PureWindowsPath(name)
        beside = not pure.drive and not pure.is_absolute() and not PurePosixPath(name).is_absolute()
        if not name or not beside or ".." in pure.parts:
            raise ValueError(f"data file must lie beside or below its header: got '{name}'")
        path = header.parent / name
        try:
            check_exists(path)
        except FileNotFoundError:
            raise ValueError(f"data file must exist: '{name}' does not") from None
        check_name(path)
        if path.is_dir():
            raise ValueError(f"data file must be a file: '{name}' is a folder")
        paths.append(path)
    return paths

"""Extraction of archives that come from elsewhere: nothing is written outside of one folder."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import posixpath
import re
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import IO, Any, Literal

from ..data.files import PathLike
from ..signature import checked

#: Errors that the libraries that read archives raise of damaged ones.
_DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, RuntimeError, ValueError, LookupError, OverflowError, OSError),
)
_COMPRESSED: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_Kind = Literal["file", "folder", "link", "special"]
_PIECE = 1 << 20  # bytes read at once
_HEADER = 1 << 24  # bytes of the largest header of a tar member
_LONGEST_LINK = 4096
_ANY_RATIO = 1 << 27  # bytes that a small archive may hold, however well they compress


class ArchiveError(ValueError):
    """Archive that is damaged, or whose members are not what data consist of."""


@dataclass(frozen=True)
class _Member:
    """Entry of an archive; ``open`` returns the bytes of a file, ``target`` the path of a link."""

    name: str
    kind: _Kind
    open: Callable[[], IO[bytes]]
    target: Callable[[], str]


@dataclass(frozen=True)
class Limits:
    """Limits of what one archive may hold, as counted while it is extracted.

    Args:
        size: Bytes of all files together.
        ratio: Bytes of all files over those of the archive; not for less than 128 MiB in all.
        members: Number of files, folders and links.
    """

    size: int = 1 << 38
    ratio: float = 200.0
    members: int = 1_000_000


@checked
def extract(archive: PathLike, folder: PathLike, limits: Limits | None = None) -> Path:
    """Extract a zip or tar archive, also one compressed by gzip, bzip2 or xz, to a new folder.

    The folder appears when all is extracted; nothing is left of an archive that is refused. Links
    become copies of the files that they name. Owners, permissions and times are not restored.

    Args:
        archive: The archive; its bytes, not its name, tell the format.
        folder: Folder to create.
        limits: Limits of size, ratio and number of members; by default 256 GiB, 200, and a million.

    Raises:
        FileExistsError: The folder exists.
        ArchiveError: The archive is none, or is damaged; a member has a path, or is a link, that
            leaves the folder, is there twice, or is neither file, folder nor link; or a limit is
            exceeded.
    """
    archive, folder = Path(archive), Path(folder)
    if folder.exists():
        raise FileExistsError(f"folder must not exist yet, {folder} does")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        content = Path(scratch, "content")
        content.mkdir()
        try:
            _Extraction(archive, content, limits or Limits()).run()
        except ArchiveError:
            raise
        except _DAMAGED as error:
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                raise  # of the disk
            raise ArchiveError(f"{archive} is damaged, or of a kind not known: {error}") from error
        content.rename(folder)
    return folder


class _Extraction:
    """One extraction to an empty folder, with a count of the bytes written."""

    def __init__(self, archive: Path, folder: Path, limits: Limits) -> None:
        self.archive = archive
        self.folder = folder
        self.limits = limits
        self.most = min(limits.size, max(limits.ratio * archive.stat().st_size, _ANY_RATIO))
        self.size = 0

    def run(self) -> None:
        links: list[_Member] = []
        with _members(self.archive) as members:
            for number, member in enumerate(members):
                if number >= self.limits.members:
                    self._refuse(member, f"is beyond the limit of {self.limits.members} members")
                if member.kind == "special":
                    self._refuse(member, "is neither a file, nor a folder, nor a link")
                path = self._path(member, member.name)
                if member.kind == "link":
                    links.append(member)
                elif member.kind == "file":
                    self._copy(member, member.open, path)
                else:
                    self._make(member, path)
            for member in links:  # last, so that no member is written through a link
                target = posixpath.normpath(member.target().replace("\\", "/"))
                source = self._path(member, target)
                if not source.is_file():
                    self._refuse(member, "is a link to what is no file of the archive")
                self._copy(member, partial(open, source, "rb"), self._path(member, member.name))

    def _refuse(self, member: _Member, fact: str) -> None:
        raise ArchiveError(f"{self.archive} is refused: its member {member.name!r} {fact}")

    def _path(self, member: _Member, name: str) -> Path:
        """Return the place of a path within the folder; raise unless it stays there."""
        parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]
        drive = any(PureWindowsPath(part).drive for part in parts)
        if name.startswith(("/", "\\")) or drive or ".." in parts or "\0" in name:
            self._refuse(member, f"leaves the folder, by the path {name!r}")
        return self.folder.joinpath(*parts)

    def _make(self, member: _Member, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            self._refuse(member, "has the path of a file")

    def _copy(self, member: _Member, source: Callable[[], Any], path: Path) -> None:
        self._make(member, path.parent)
        if path.exists():
            self._refuse(member, "is there twice")
        with source() as read, path.open("xb") as write:
            while piece := read.read(_PIECE):
                self.size += len(piece)
                if self.size > self.most:
                    self._refuse(member, f"exceeds the limit of {self.most:.0f} bytes in all")
                write.write(piece)


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    with archive.open("rb") as raw:
        magic = raw.read(6)
        raw.seek(0)
        if magic.startswith(b"PK"):
            with zipfile.ZipFile(raw) as file:
                yield _zip_members(file)
            return
        opened = next((f for start, f in _COMPRESSED.items() if magic.startswith(start)), None)
        stream: Any = _Bounded(raw if opened is None else opened(raw))
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            yield _tar_members(tar)
            stream.finish()


class _Bounded:
    """Stream that reads a bounded number of bytes at once, as a tar header may ask for many."""

    def __init__(self, stream: Any) -> None:
        self.seek, self.tell, self.stream = stream.seek, stream.tell, stream

    def read(self, size: int) -> bytes:
        if size > _HEADER:
            raise tarfile.ReadError(f"a header has {size} bytes")
        data: bytes = self.stream.read(size)
        return data

    def finish(self) -> None:
        """Read the padding of the archive, after which decompressors compare their checksums."""
        if len(self.stream.read(_HEADER)) == _HEADER:
            raise tarfile.ReadError("there are bytes after its last member")


def _zip_members(file: zipfile.ZipFile) -> Iterator[_Member]:
    for info in file.infolist():
        mode = info.external_attr >> 16
        kind: _Kind = "file" if stat.S_IFMT(mode) in (0, stat.S_IFREG) else "special"
        if info.is_dir():
            kind = "folder"
        elif stat.S_ISLNK(mode):
            kind = "link"

        def target(info: zipfile.ZipInfo = info) -> str:
            with file.open(info) as text:
                return _beside(info.filename, text.read(_LONGEST_LINK).decode("utf-8", "replace"))

        yield _Member(info.filename, kind, partial(file.open, info), target)


def _tar_members(tar: tarfile.TarFile) -> Iterator[_Member]:
    for info in tar:
        kind: _Kind = "file" if info.isreg() else "special"
        if info.isdir():
            kind = "folder"
        elif info.issym() or info.islnk():
            kind = "link"
        # hard links have the name of a member, symbolic links a path from the folder they lie in
        target = _beside(info.name, info.linkname) if info.issym() else info.linkname
        opened: Any = partial(tar.extractfile, info)  # which is None for what is no file
        yield _Member(info.name, kind, opened, partial(str, target))
        tar.members = []  # type: ignore[attr-defined]  # which would grow with the archive


def _beside(name: str, link: str) -> str:
    return posixpath.join(posixpath.dirname(name.replace("\\", "/")), link)

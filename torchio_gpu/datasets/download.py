"""Download of files over HTTP: resumed after an interruption, and in place only when complete."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import ssl
import time
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from filelock import FileLock

from ..data.files import PathLike
from ..progress import progress
from ..signature import checked

#: Environment variable that names the folder of downloaded files.
CACHE_VARIABLE = "TORCHIO_GPU_CACHE"
#: Errors of a connection, after which another try may succeed.
_DROPPED = (URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
#: Statuses of a server that may answer later: too slow, too many requests, or an error of its own.
_TRANSIENT = frozenset((408, 425, 429, 500, 502, 503, 504))
_PIECE = 1 << 20  # bytes between two updates of the progress bar


def cache_folder() -> Path:
    """Return the folder of downloaded files: $TORCHIO_GPU_CACHE, or ``~/.cache/torchio_gpu``."""
    return Path(os.environ.get(CACHE_VARIABLE) or "~/.cache/torchio_gpu").expanduser()


@checked
def download(
    url: str,
    path: PathLike,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    timeout: float = 30.0,
    tries: int = 5,
) -> Path:
    """Download a file, unless it is there.

    Bytes arrive in ``path`` + '.part', which gets its name when its size and checksum are right. A
    connection that drops is tried again, and a later call resumes what an earlier one left, by an
    HTTP range request (RFC 9110, section 14); it starts over if the server has no ranges, or if the
    file has changed there. Of several processes that want the same file, one downloads it and the
    others wait, by a lock on an empty hidden file beside it.

    Args:
        url: Address, of scheme http or https.
        path: File to create; so are its folders. One that exists is returned as it is.
        sha256, md5: Checksum of the file in hexadecimal digits.
        timeout: Seconds without an answer after which a connection counts as dropped.
        tries: Number of connections to make before giving up.

    Raises:
        OSError: The server refuses, or cannot be reached.
        ValueError: The scheme is another one, or the file has another checksum; it is removed.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"url must have scheme http or https, got {url!r}")
    if tries < 1:
        raise ValueError(f"tries must be at least 1, got {tries!r}")
    path = Path(path).expanduser()
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    checksums = {name: value for name, value in (("sha256", sha256), ("md5", md5)) if value}
    with FileLock(path.with_name(f".{path.name}.lock")):
        if not path.exists():  # another process may have been quicker
            part = _Part(url, path, resumable=bool(checksums))
            part.fetch(timeout, tries)
            part.finish(checksums)
    return path


class _Part:
    """Incomplete file beside the target, with a note of the version of the file it is a part of.

    Args:
        url: Address of the file.
        path: Target.
        resumable: Resume also what has no known version, since a checksum will be compared.
    """

    def __init__(self, url: str, path: Path, *, resumable: bool) -> None:
        self.url = url
        self.target = path
        self.path = path.with_name(f"{path.name}.part")
        self.note = path.with_name(f"{path.name}.part.version")
        self.resumable = resumable

    def fetch(self, timeout: float, tries: int) -> None:
        """Receive all bytes that are missing; raise an OSError after ``tries`` connections."""
        for number in range(tries):
            if number:
                time.sleep(min(0.25 * 2 ** (number - 1), 30))
            try:
                self._receive(timeout)
                return
            except _DROPPED as error:
                last = error
                if isinstance(error, HTTPError):
                    error.close()
                    if error.code not in _TRANSIENT:
                        raise OSError(f"{self.url} cannot be downloaded: {error}") from error
        raise OSError(
            f"{self.url} cannot be downloaded, in {tries} tries; the last error: {last}"
        ) from last

    def finish(self, checksums: dict[str, str]) -> None:
        """Give the file its name if its checksums are right, else remove it and raise."""
        for name, wanted in checksums.items():
            found = _digest(self.path, name)
            if found != wanted.lower():
                self._remove()
                raise ValueError(
                    f"{self.url} must have {name} {wanted}, got {found}: it was damaged on "
                    "its way, or has been replaced by another file"
                )
        self.path.replace(self.target)
        self.note.unlink(missing_ok=True)

    def _remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _receive(self, timeout: float) -> None:
        """Make one connection; raise one of ``_DROPPED`` if bytes are still missing after it."""
        start, version = self._state()
        headers = {"User-Agent": "torchio_gpu", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        if start and version:
            headers["If-Range"] = version
        try:
            response = urlopen(Request(self.url, headers=headers), timeout=timeout)
        except HTTPError as error:
            if error.code != 416:
                raise
            error.close()
            if start and error.headers.get("Content-Range") == f"bytes */{start}":
                return  # all bytes had been received
            self._remove()
            raise ConnectionError(f"the server has no bytes after the first {start}") from None
        with response:
            if response.status == 206:
                first, total = _content_range(response.headers)
                now = _version(response.headers)
                if first != start or (version and now and now != version):
                    self._remove()
                    raise ConnectionError(f"the server has no bytes after the first {start}")
            else:
                start, total = 0, response.length
            self._write(response, start, total)
        size = self.path.stat().st_size
        if total is not None and size != total:
            raise ConnectionError(f"the connection ended after {size} of {total} bytes")

    def _write(self, response: http.client.HTTPResponse, start: int, total: int | None) -> None:
        with (
            progress(f"bytes of {self.target.name}", total) as advance,
            self.path.open("ab" if start else "wb") as file,
        ):
            if not start:  # noted once the bytes of another version are gone
                self.note.write_text(f"{self.url}\n{_version(response.headers)}", "utf-8")
            advance(start)
            while piece := response.read(_PIECE):
                file.write(piece)
                advance(len(piece))

    def _state(self) -> tuple[int, str]:
        """Return the number of bytes to keep, and the version of the file that they are of."""
        if not self.path.exists():
            return 0, ""
        note = self.note.read_text("utf-8") if self.note.exists() else "\n"
        url, _, version = note.partition("\n")
        version = version if url == self.url else ""
        return (self.path.stat().st_size, version) if version or self.resumable else (0, "")


def _version(headers: Message) -> str:
    """Return what identifies the version of a file in an If-Range header, or ''."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _content_range(headers: Message) -> tuple[int, int | None]:
    """Return the first byte of a partial answer, and the size of the file if it is known."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
    if found is None:
        return -1, None
    first, total = found.groups()
    return int(first), None if total == "*" else int(total)


def _digest(path: Path, name: str) -> str:
    # not for security: checksums that publishers give, which are often MD5
    digest = hashlib.new(name, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()

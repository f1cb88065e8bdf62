"""Inflation of compressed files up to and including their checksums.

SimpleITK and fast gzip readers stop once they have the bytes they want, before the checksum that
follows them, so that a damaged file is read as wrong voxels.
"""

from __future__ import annotations

import bz2
import gzip
import io
import os
import zlib
from pathlib import Path
from typing import IO, Any, cast

GZIP_MAGIC = b"\x1f\x8b"
BZIP2_MAGIC = b"BZh"
_MAGIC = {"gzip": GZIP_MAGIC, "bzip2": BZIP2_MAGIC}
#: Deflate codes at most 258 bytes in two bits, https://zlib.net/zlib_tech.html.
MOST_INFLATED = 1032
_CHUNK = 1 << 18  # bytes; what it inflates to stays in a core's cache


def compression(path: Path) -> str:
    """Compression of a file by its first bytes: 'gzip', 'bzip2' or ''."""
    with path.open("rb") as file:
        start = file.read(3)
    return "gzip" if start[:2] == GZIP_MAGIC else "bzip2" if start == BZIP2_MAGIC else ""


class _Reader(io.BufferedReader):
    """File that takes memory for the bytes that are there, not for those that are asked for."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > 0:
            size = min(size, os.fstat(self.fileno()).st_size)
        return super().read(size)


def opened(path: Path) -> IO[bytes]:
    """Open a file for reading its content, inflated if it is compressed, whatever its name."""
    kind = compression(path)
    if kind == "gzip":
        return cast(IO[bytes], gzip.open(path))
    return bz2.open(path) if kind == "bzip2" else _Reader(io.FileIO(path))


def capacity(path: Path) -> float:
    """Upper bound of the bytes that the content of a file can have; infinite for bzip2."""
    kind, size = compression(path), path.stat().st_size
    return size * MOST_INFLATED if kind == "gzip" else float("inf") if kind else size


def inflate(
    path: Path,
    kind: str,
    start: int = 0,
    length: int | None = None,
    size: int | None = None,
    keep: bool = True,
) -> bytearray:
    """Inflate part of a file, and check that it ends as it should.

    Args:
        kind: 'gzip' (one or more members, each with CRC-32 and length), 'zlib' (Adler-32), or
            'bzip2' (CRC-32).
        start: Where the compressed bytes begin.
        length: How many they are; by default all up to the end of the file.
        size: How many inflated bytes to return, from the first, and the fewest that are allowed;
            by default none.
        keep: Return them; otherwise only look at them.

    Raises:
        OSError: The data are damaged, end too early, or are followed by anything but zeros.
    """
    limit = size or 0
    # No more is allocated for a header's claim than can come out.
    given_bytes = max(0, path.stat().st_size - start)
    room = min(limit, given_bytes * MOST_INFLATED) if keep and kind != "bzip2" else 0
    kept = bytearray(room)
    total = members = 0
    decoder: Any = None
    given, pending = b"", False
    with path.open("rb") as file:
        file.seek(start)
        left = given_bytes if length is None else length
        while given or left > 0 or pending:
            if not given and not pending:
                given = file.read(min(_CHUNK, left))
                left -= len(given)
                if not given:
                    raise OSError("the file ends within its compressed data")
            if decoder is None:
                given = given.lstrip(b"\0") if members else given  # padding after the last member
                if not given:
                    continue
                if members and (kind == "zlib" or given[:1] != _MAGIC[kind][:1]):
                    raise OSError("the compressed data are followed by other bytes")
                decoder = _decoder(kind)
            try:
                part, given, pending = _step(decoder, given)
            except (zlib.error, OSError, ValueError, EOFError) as error:
                raise OSError(f"the compressed data are damaged ({error})") from error
            if keep and total < limit:
                kept[total : total + len(part)] = part[: limit - total]
            total += len(part)
            if decoder.eof:
                given, pending, decoder, members = decoder.unused_data, False, None, members + 1
    if decoder is not None or not members:
        raise OSError("the compressed data end before their checksum")
    if total < limit:
        raise OSError(f"the compressed data hold {total} bytes instead of {size}")
    return kept


def _decoder(kind: str) -> Any:
    if kind == "bzip2":
        return bz2.BZ2Decompressor()
    return zlib.decompressobj(zlib.MAX_WBITS | (16 if kind == "gzip" else 0))


def _step(decoder: Any, given: bytes) -> tuple[bytes, bytes, bool]:
    """Output of some megabytes at most, input that is left, and whether more output waits."""
    part = decoder.decompress(given, _CHUNK * 16)
    if isinstance(decoder, bz2.BZ2Decompressor):  # keeps the rest of its input to itself
        return part, b"", not decoder.eof and not decoder.needs_input
    return part, decoder.unconsumed_tail, False

"""Compression of files, and inflation up to and including their checksums.

SimpleITK and fast gzip readers stop once they have the bytes they want, before the checksum that
follows them, so that a damaged file is read as wrong voxels.

The package isal, if installed, does the work of zlib in less time.
"""

from __future__ import annotations

import bz2
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

_zlib: Any = zlib
_Writer: Any = partial(gzip.GzipFile, compresslevel=1)
with suppress(ImportError):
    from isal import igzip, isal_zlib

    # a third of the time, for files of about the same size
    _zlib, _Writer = isal_zlib, partial(igzip.IGzipFile, compresslevel=2)

GZIP_MAGIC = b"\x1f\x8b"
BZIP2_MAGIC = b"BZh"
_MAGIC = {"gzip": GZIP_MAGIC, "bzip2": BZIP2_MAGIC}
#: Deflate codes at most 258 bytes in two bits, https://zlib.net/zlib_tech.html.
MOST_INFLATED = 1032
_CHUNK = 1 << 18  # bytes; small enough that their inflated data stay in the cache of a core


def compression(path: Path) -> str:
    """Return the compression of a file by its first bytes: 'gzip', 'bzip2' or ''."""
    with path.open("rb") as file:
        start = file.read(3)
    return "gzip" if start[:2] == GZIP_MAGIC else "bzip2" if start == BZIP2_MAGIC else ""


class _Reader(io.BufferedReader):
    """File that allocates memory for the bytes that exist, not for all that are requested."""

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


@contextmanager
def gzipped(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing in gzip; the same content makes the same bytes."""
    with path.open("wb") as file, _Writer("", "wb", fileobj=file, mtime=0) as stream:
        yield stream


def capacity(path: Path) -> float:
    """Return an upper bound of the inflated size of a file in bytes; infinite for bzip2."""
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
    """Inflate part of a file, and verify its checksums and its end.

    Args:
        kind: 'gzip' (one or more members, each with CRC-32 and length), 'zlib' (Adler-32), or
            'bzip2' (CRC-32).
        start: Offset of the compressed bytes in the file.
        length: Number of compressed bytes; by default all up to the end of the file.
        size: Number of inflated bytes to return, from the first on, and the least that is allowed;
            by default none.
        keep: Return the bytes; otherwise only verify them.

    Raises:
        OSError: The data are damaged, end too early, or are followed by anything but zeros.
    """
    limit = size or 0
    # A header may claim any size: allocate no more than the compressed bytes can yield.
    compressed_bytes = max(0, path.stat().st_size - start)
    allocated = min(limit, compressed_bytes * MOST_INFLATED) if keep and kind != "bzip2" else 0
    kept = bytearray(allocated)
    total = members = 0
    decoder: Any = None
    chunk, pending = b"", False
    with path.open("rb") as file:
        file.seek(start)
        left = compressed_bytes if length is None else length
        while chunk or left > 0 or pending:
            if not chunk and not pending:
                chunk = file.read(min(_CHUNK, left))
                left -= len(chunk)
                if not chunk:
                    raise OSError("the file ends within its compressed data")
            if decoder is None:
                chunk = chunk.lstrip(b"\0") if members else chunk  # padding after the last member
                if not chunk:
                    continue
                if members and (kind == "zlib" or chunk[:1] != _MAGIC[kind][:1]):
                    raise OSError("the compressed data are followed by other bytes")
                decoder = _decoder(kind)
            try:
                part, chunk, pending = _step(decoder, chunk)
            except (_zlib.error, OSError, ValueError, EOFError) as error:
                raise OSError(f"the compressed data are damaged ({error})") from error
            if keep and total < limit:
                kept[total : total + len(part)] = part[: limit - total]
            total += len(part)
            if decoder.eof:
                chunk, pending, decoder, members = decoder.unused_data, False, None, members + 1
    if decoder is not None or not members:
        raise OSError("the compressed data end before their checksum")
    if total < limit:
        raise OSError(f"the compressed data hold {total} bytes instead of {size}")
    return kept


def _decoder(kind: str) -> Any:
    if kind == "bzip2":
        return bz2.BZ2Decompressor()
    return _zlib.decompressobj(zlib.MAX_WBITS | (16 if kind == "gzip" else 0))


def _step(decoder: Any, chunk: bytes) -> tuple[bytes, bytes, bool]:
    """Return some megabytes of output, the remaining input, and True if more output is pending."""
    part = decoder.decompress(chunk, _CHUNK * 16)
    if isinstance(decoder, bz2.BZ2Decompressor):  # buffers the rest of its input itself
        return part, b"", not decoder.eof and not decoder.needs_input
    return part, decoder.unconsumed_tail, False

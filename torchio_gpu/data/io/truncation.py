"""Checks for truncated files, in formats that ITK does not check.

Of a truncated file, ITK returns fewer slices, or voxels that it never read.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .compressed import GZIP_MAGIC, inflate
from .guards import check_size

#: Byte order, and True for BigTIFF, by the first bytes of a TIFF.
_TIFF = {
    b"II*\0": ("<", False),
    b"MM\0*": (">", False),
    b"II+\0": ("<", True),
    b"MM\0+": (">", True),
}
_TIFF_SIZES = {
    **dict.fromkeys((1, 2, 6, 7), 1),
    **dict.fromkeys((3, 8), 2),
    **dict.fromkeys((4, 9, 11, 13), 4),
    **dict.fromkeys((5, 10, 12, 16, 17, 18), 8),
}
_TIFF_NUMBERS = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}
_COMPRESSION, _LSM = 259, 34412  # tags
#: JPEG marker outside coded voxels; padding and restart markers lie within them.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd8\xff]")
_PARTS = {273: 279, 324: 325}  # offsets of strips and of tiles, and the tags of their lengths


def check_pages(path: Path) -> None:
    """Raise an OSError if a page of a TIFF, or a value or part of one, lies outside the file.

    Other files pass.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(132).ljust(16, b"\0")
        if start[:4] not in _TIFF or start[128:] == b"DICM":  # whose preamble may look like a TIFF
            return
        order, big = _TIFF[start[:4]]
        at: int = struct.unpack(order + ("8xQ" if big else "4xI8x"), start[:16])[0]
        seen: set[int] = set()
        while at and at not in seen:
            seen.add(at)
            at = _check_page(file, size, at, order, big, len(seen))
        if at or not seen:
            raise OSError(f"the pages must form a chain with an end: page {len(seen)} goes to {at}")


def _check_page(file: BinaryIO, size: int, at: int, order: str, big: bool, number: int) -> int:
    """Check the page of a TIFF at an offset; return the offset of the next."""

    def piece(at: int, length: int) -> bytes:
        if at + length > size:
            raise OSError(
                f"page {number} must lie within the file: got bytes {at} to {at + length} of {size}"
            )
        file.seek(at)
        return file.read(length)

    head, entry, link = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    entry = order + entry
    count = struct.unpack(order + head, piece(at, struct.calcsize(order + head)))[0]
    at += struct.calcsize(order + head)
    table = piece(at, count * struct.calcsize(entry) + struct.calcsize(order + link))
    values: dict[int, np.ndarray] = {}
    for n in range(count):
        tag, kind, amount, value = struct.unpack_from(entry, table, n * struct.calcsize(entry))
        length = amount * _TIFF_SIZES.get(kind, 0)
        if length > len(value):
            value = piece(struct.unpack(order + link, value)[0], length)
        if kind in _TIFF_NUMBERS:
            values[tag] = np.frombuffer(value, order + _TIFF_NUMBERS[kind], amount)
    # Lengths in a compressed LSM are those of the inflated strips.
    exact = _LSM not in values or 1 in values.get(_COMPRESSION, (1,))
    for place, extent in _PARTS.items():
        lengths = values.get(extent) if exact else None
        starts = values.get(place, np.zeros(0, "u1")).tolist()
        ends = [1] * len(starts) if lengths is None else lengths.tolist()
        for begin, length in zip(
            starts, ends, strict=False
        ):  # libtiff ignores parts without a length
            if length and begin + length > size:
                piece(begin, length)
    return struct.unpack_from(order + link, table, len(table) - struct.calcsize(order + link))[0]


def check_ending(path: Path, numbers: int, itemsize: int) -> None:
    """Raise an OSError if a file that SimpleITK reads ends before its image does.

    Args:
        path: The file.
        numbers: Count of numbers in the image.
        itemsize: Bytes of each number without compression.
    """
    suffixes, size = [suffix.lower() for suffix in path.suffixes[-2:]], path.stat().st_size
    stored = numbers * itemsize
    with path.open("rb") as file:
        start = file.read(1 << 16)
    if start[128:132] == b"DICM":  # which may begin like any other format
        return
    if start[:2] == GZIP_MAGIC:
        inflate(path, "gzip", size=256 + stored if ".gipl" in suffixes else None, keep=False)
    elif start[:3] == b"\xff\xd8\xff":
        _check_jpeg(path.read_bytes())
    elif start[:2] == b"BM" and suffixes[-1:] == [".bmp"]:
        check_size(_bmp(start), size)
    elif suffixes[-1:] == [".gipl"]:
        check_size(256 + stored, size)
    elif suffixes[-1:] == [".mrc"] and len(start) >= 1024:
        order = ">" if start[212] == 0x11 else "<"
        (extended,) = struct.unpack_from(order + "i", start, 92)
        check_size(1024 + max(0, extended) + stored, size)
    elif start.startswith(b"# vtk DataFile"):
        wish = rb"(?im)^[ \t]*(scalars|vectors|color_scalars)\b.*\n([ \t]*lookup_table\b.*\n)?"
        match = re.search(wish, start)
        if match and start.split(b"\n", 3)[2].strip().lower() == b"ascii":
            words = len(path.read_bytes()[match.end() :].split())
            if words < numbers:
                raise OSError(f"the header claims {numbers} numbers, the file holds {words}")
        elif match:
            check_size(match.end() + stored, size)


def _bmp(start: bytes) -> int:
    """Return the size of a bitmap file in bytes, by its header of up to 124 bytes."""
    fields = start.ljust(64, b"\0")
    (begin, length) = struct.unpack_from("<II", fields, 10)
    if length == 12:  # the header of OS/2
        width, height, _, bits = struct.unpack_from("<HHHH", fields, 18)
        return begin + (width * bits + 31) // 32 * 4 * height
    width, height, _, bits, packed, voxels = struct.unpack_from("<iiHHII", fields, 18)
    if packed in (1, 2):  # run lengths
        return begin + voxels
    return begin + (width * bits + 31) // 32 * 4 * abs(height)


def _check_jpeg(content: bytes) -> None:
    """Raise an OSError unless the markers of a JPEG lead to its end; more bytes may follow."""
    at = 2
    while match := _MARKER.search(content, at):
        at, code = match.end(), match[0][-1]
        if code == 0xD9:
            return
        if code != 0x01:  # all others have a length, and may hold a smaller JPEG
            at += int.from_bytes(content[at : at + 2], "big")
    raise OSError(f"the file ends within its image, after {len(content)} bytes")

"""Elements of a DICOM file that SimpleITK does not show, above all those of single frames.

Reads the encodings of PS3.5 chapter 7: https://dicom.nema.org/medical/dicom/current/output/html/
part05.html. Voxels are not read here.
"""

from __future__ import annotations

import math
import mmap
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

IMPLICIT, BIG, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
_EXPLICIT = "1.2.840.10008.1.2.1"
#: Transfer syntaxes whose voxels are stored as they are.
PLAIN = (IMPLICIT, _EXPLICIT, BIG)
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_UNDEFINED = 0xFFFFFFFF
_LARGE = 1 << 24  # bytes
_PIXELS = (0x7FE0, 0x0010)
_ITEM, _ITEM_END, _END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)

SHARED, PER_FRAME = (0x5200, 0x9229), (0x5200, 0x9230)
FRAMES = (0x0028, 0x0008)
POSITION, ORIENTATION, SPACING = (0x0020, 0x0032), (0x0020, 0x0037), (0x0028, 0x0030)
SCALE = (0x0028, 0x1052), (0x0028, 0x1053)  # rescale intercept and slope
BETWEEN, OFFSETS = (0x0018, 0x0088), (0x3004, 0x000C)

Tag = tuple[int, int]
#: Values of elements by tag; a sequence holds a dict of elements for each of its items.
Elements = dict[Tag, "bytes | list[Elements]"]


@dataclass(frozen=True)
class Dataset:
    """Elements before the voxels, transfer syntax, byte order, and offset of the voxels."""

    elements: Elements
    syntax: str
    big: bool
    voxels: int | None

    def number(self, tag: Tag, default: int = 0) -> int:
        """Return the value of an element of type US."""
        value = self.elements.get(tag)
        if not isinstance(value, bytes) or len(value) != 2:
            return default
        return int(struct.unpack(">H" if self.big else "<H", value)[0])


#: First elements, little endian, of files without preamble, which scanners wrote before 1993.
_FIRST = tuple(
    struct.pack("<HH", group, element)
    for group, elements in ((2, (0, 1)), (8, (0, 1, 5, 8, 0x12, 0x13, 0x14, 0x16, 0x18)))
    for element in elements
)


def frames(dataset: Dataset) -> int:
    """Return the number of frames in the header of a file."""
    value = dataset.elements.get(FRAMES)
    number = (decimals(value, 1) or [1.0])[0] if isinstance(value, bytes) else 1.0
    return int(number) if 0 < number < 1 << 31 else 1


def is_dicom(path: Path) -> bool:
    """Return True if a file begins with DICOM's magic or, without preamble, its first elements."""
    with path.open("rb") as file:
        start = file.read(132)
    return start[128:] == b"DICM" or start.startswith(_FIRST)


def dataset(path: Path) -> Dataset | None:
    """Return the elements of a DICOM file up to its voxels; None if they cannot be parsed.

    Raises OSError for an element that claims megabytes that the file does not have.
    """
    if path.stat().st_size == 0:
        return None
    # mapped, so that the headers of a series are read without its voxels
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _dataset(content)


def _dataset(content: bytes | mmap.mmap) -> Dataset | None:
    try:
        at = 132 if content[128:132] == b"DICM" else 0
        explicit = content[at + 4 : at + 6].isalpha()
        syntax = _EXPLICIT if explicit and content[at : at + 2] != b"\2\0" else IMPLICIT
        while content[at : at + 2] == b"\2\0":
            tag, value, at = next(_elements(content, at, len(content), explicit, "<"))
            if tag == (2, 0x10) and isinstance(value, bytes):
                syntax = value.rstrip(b"\0 ").decode("ascii")
        if syntax == DEFLATED:
            content, at = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content[at:]), 0
        order = ">" if syntax == BIG else "<"
        explicit = (
            syntax != IMPLICIT and content[at + 4 : at + 6].isalpha()
        )  # some files name the wrong syntax
        found: Elements = {}
        voxels = None
        for tag, value, after in _elements(content, at, len(content), explicit, order):
            found[tag] = value
            if tag == _PIXELS:
                voxels = after
    except (struct.error, StopIteration, UnicodeDecodeError, zlib.error, RecursionError):
        return None
    return Dataset(found, syntax, order == ">", voxels)


def _elements(
    content: bytes | mmap.mmap, at: int, end: int, explicit: bool, order: str, depth: int = 0
) -> Iterator[tuple[Tag, bytes | list[Elements], int]]:
    """Yield the elements of a part of a file, each with the offset after it, up to the voxels."""
    if depth > 32:
        raise RecursionError
    while at < end:
        tag: Tag = struct.unpack_from(order + "HH", content, at)
        kind = content[at + 4 : at + 6] if explicit and tag[0] != 0xFFFE else b""
        if kind and kind not in _LONG:
            size, at = struct.unpack_from(order + "H", content, at + 6)[0], at + 8
        else:
            skip = 8 if kind else 4
            size, at = struct.unpack_from(order + "I", content, at + skip)[0], at + skip + 4
        if tag in (_ITEM_END, _END):
            yield tag, b"", at
            return
        if tag == _PIXELS and depth == 0:
            yield tag, b"", at
            if size != _UNDEFINED:
                _check_claim(tag, size, end - at)
                return
            while content[at : at + 4] == b"\xfe\xff\x00\xe0":  # fragments
                size = struct.unpack_from("<I", content, at + 4)[0]
                _check_claim(tag, size, end - at - 8)
                at += 8 + size
            if at + 8 <= end and content[at : at + 4] != b"\xfe\xff\xdd\xe0":
                raise OSError("the voxels must be fragments up to a delimiter: other bytes follow")
            return
        if kind == b"SQ" or size == _UNDEFINED or (not explicit and tag in (SHARED, PER_FRAME)):
            nested = explicit and kind != b"UN"  # unknown sequences are written implicitly
            items, at = _items(content, at, size, end, nested, order, depth)
            yield tag, items, at
            continue
        if not explicit and size >= 8 and content[at : at + 4] == b"\xfe\xff\x00\xe0":
            items, _ = _items(content, at, size, end, explicit, order, depth)
            yield tag, items, at + size
            at += size
            continue
        _check_claim(tag, size, end - at)
        yield tag, content[at : at + size], at + size
        at += size


def _check_claim(tag: Tag, size: int, left: int) -> None:
    """Raise an OSError if an element claims megabytes beyond the end of the file.

    GDCM tolerates some wrong lengths, but allocates memory for large ones.
    """
    if size > left and size > _LARGE:
        raise OSError(f"element ({tag[0]:04x},{tag[1]:04x}) claims {size} bytes, {left} are left")
    if size > left:
        raise struct.error


def _items(
    content: bytes | mmap.mmap, at: int, size: int, end: int, explicit: bool, order: str, depth: int
) -> tuple[list[Elements], int]:
    """Return the items of a sequence, and the offset after it."""
    items: list[Elements] = []
    stop = end if size == _UNDEFINED else at + size
    _check_claim(_ITEM, stop - at, end - at)
    while at < stop:
        group, element, length = struct.unpack_from(order + "HHI", content, at)
        at += 8
        if (group, element) == _END:
            return items, at
        if (group, element) != _ITEM:
            raise struct.error
        last = stop if length == _UNDEFINED else at + length
        _check_claim(_ITEM, last - at, stop - at)
        item: Elements = {}
        for tag, value, after in _elements(content, at, last, explicit, order, depth + 1):
            at = after
            if tag != _ITEM_END:
                item[tag] = value
        if length != _UNDEFINED:
            at = last
        items.append(item)
    return items, at


def find(elements: Elements, tag: Tag) -> bytes | None:
    """Return the value of a tag, at the top or in a functional group below; None if missing."""
    value = elements.get(tag)
    if isinstance(value, bytes):
        return value
    for inner in elements.values():
        for item in inner if isinstance(inner, list) else ():
            found = find(item, tag)
            if found is not None:
                return found
    return None


def decimals(value: bytes | None, count: int | None = None) -> list[float] | None:
    """Return the numbers of an element of type DS; None unless there are ``count`` of them."""
    if value is None:
        return None
    try:
        numbers = [float(text) for text in value.decode("ascii").strip("\0 ").split("\\")]
    except (ValueError, UnicodeDecodeError):
        return None
    valid = count in (None, len(numbers)) and all(map(math.isfinite, numbers))
    return numbers if valid else None

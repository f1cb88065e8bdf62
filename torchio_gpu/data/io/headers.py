"""Checks of the text headers of MetaImage and NRRD, before SimpleITK reads them.

ITK trusts these headers: some numbers of axes end the process or keep it busy for ever, sizes are
allocated before the file is looked at, and a header may name any file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .compressed import inflate
from .guards import check_size, data_files

#: Axes of a volume with channels and time, and the most that SimpleITK reads.
MOST_AXES = 5
_MOST_HEADER = 1 << 20  # bytes; gradient tables are some kilobytes

_META_BYTES = {
    **dict.fromkeys(("CHAR", "UCHAR"), 1),
    **dict.fromkeys(("SHORT", "USHORT"), 2),
    **dict.fromkeys(("INT", "UINT", "FLOAT"), 4),
    **dict.fromkeys(("LONG_LONG", "ULONG_LONG", "DOUBLE"), 8),
    **dict.fromkeys(("LONG", "ULONG"), 4),
}
_NRRD_BYTES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char"), 1),
    **dict.fromkeys(("uint8", "uint8_t", "char"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16"), 2),
    **dict.fromkeys(("int16_t", "ushort", "unsigned short", "unsigned short int"), 2),
    **dict.fromkeys(("uint16", "uint16_t"), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "uint", "unsigned int"), 4),
    **dict.fromkeys(("uint32", "uint32_t", "float"), 4),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long"), 8),
    **dict.fromkeys(("signed long long int", "int64", "int64_t", "ulonglong"), 8),
    **dict.fromkeys(("unsigned long long", "unsigned long long int", "uint64", "uint64_t"), 8),
    "double": 8,
}
_META_UNITS = {"um": 1e-3, "mm": 1.0, "cm": 10.0}
_NRRD_UNITS = {
    **dict.fromkeys(("mm", "millimeter", "millimetre", "millimeters", "millimetres", ""), 1.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometre"), 1e-3),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 10.0),
    **dict.fromkeys(("m", "meter", "metre"), 1e3),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-6),
}


@dataclass(frozen=True)
class Payload:
    """Place and size of the voxels that a header describes.

    Args:
        parts: Each file with the offset of its first byte of voxels, and their number; None for all
            up to the end.
        kind: Compression: 'gzip', 'zlib' or ''.
        bytes: Least size of all voxels in bytes.
        scale: Millimetres per unit of length.
    """

    parts: tuple[tuple[Path, int, int | None], ...]
    kind: str
    bytes: int
    scale: float

    def check_size(self) -> None:
        """Raise an OSError if the files are too small for the voxels."""
        held = sum(max(0, path.stat().st_size - start) for path, start, _ in self.parts)
        names = "file" if len(self.parts) > 1 else f"file '{self.parts[0][0].name}'"
        check_size(self.bytes, held * (1032 if self.kind else 1), names)

    def verify(self) -> None:
        """Inflate everything to verify checksums; raise an OSError if one is wrong."""
        for path, start, length in self.parts if self.kind else ():
            size = self.bytes if len(self.parts) == 1 else None
            inflate(path, self.kind, start, length, size, keep=False)


def meta_image(path: Path) -> Payload:
    """Return the payload of a .mha or .mhd file.

    Raises ValueError for an invalid header, or one that names files elsewhere.
    """
    fields: dict[str, str] = {}
    text, end = _header(path, rb"(?m)^[ \t]*ElementDataFile[ \t]*[=:][^\n]*(\n|\Z)")
    for line in text.split("\n"):
        key, separator, value = line.partition("=")
        key, value = key.strip(), value.strip()
        if not key and not value:
            continue
        if not separator or not re.fullmatch(r"\w{1,80}", key, re.ASCII):
            raise ValueError(f"header must have lines like 'NDims = 3': got '{line[:60]}'")
        if key in fields:
            raise ValueError(f"header must name each field once: got {key} twice")
        if len(value) > 4000:
            raise ValueError(f"fields must have at most 4000 characters: {key} has {len(value)}")
        fields[key] = value
    axes = _integer(fields, "NDims", 1, MOST_AXES)
    sizes = _integers(fields, "DimSize", axes, 1)
    channels = _integer(fields, "ElementNumberOfChannels", 1, 1 << 16, "1")
    for key in ("ElementSpacing", "ElementSize", "Offset", "Origin", "Position"):
        _numbers(fields, key, axes)
    for key in ("TransformMatrix", "Rotation", "Orientation"):
        _numbers(fields, key, axes * axes)
    _numbers(fields, "CenterOfRotation", axes)
    stored = fields.get("ElementType", "").removeprefix("MET_").removesuffix("_ARRAY")
    if stored not in _META_BYTES:
        raise ValueError(f"ElementType must be a type of numbers: got '{stored}'")
    needed = math.prod(sizes) * channels * _META_BYTES[stored]

    compressed = _flag(fields, "CompressedData", False)
    binary = _flag(fields, "BinaryData", True)
    length = _integer(fields, "CompressedDataSize", 0, 1 << 62, "0") if compressed else 0
    skip = _integer(fields, "HeaderSize", -1, 1 << 62, "0")
    name = fields["ElementDataFile"]
    parts: tuple[tuple[Path, int, int | None], ...]
    if name in ("LOCAL", "Local", "local"):
        parts = ((path, end, length or None),)
    elif name.startswith("LIST") or "%" in name:  # a list, whatever follows the word, as in MetaIO
        rest = path.read_bytes()[end:].decode("utf-8", "surrogateescape") if "%" not in name else ""
        names = [line.strip() for line in rest.splitlines() if line.strip()]
        if not names or compressed:
            raise ValueError(
                "ElementDataFile must be LOCAL, one file, whose name has no % and begins not with "
                f"LIST, or a LIST of files that are not compressed: got '{name}'"
            )
        parts = tuple((file, max(skip, 0), None) for file in data_files(path, names))
    else:
        (file,) = data_files(path, [name])
        start = skip
        if start == -1:
            start = max(0, file.stat().st_size - needed)
        parts = ((file, start, length or None),)
    kind = ""
    if compressed:
        with parts[0][0].open("rb") as stream:
            stream.seek(parts[0][1])
            kind = "gzip" if stream.read(2) == b"\x1f\x8b" else "zlib"
    count = math.prod(sizes) * channels
    scale = _META_UNITS.get(fields.get("DistanceUnits", "mm").lower(), 1.0)
    return Payload(parts, kind, needed if binary else count, scale)


def nrrd(path: Path) -> Payload:
    """Return the payload of a .nrrd or .nhdr file.

    Raises ValueError for an invalid header, or one that names files elsewhere.
    """
    fields: dict[str, str] = {}
    text, end = _header(path, rb"\r?\n\r?\n|\Z")
    lines = text.split("\n")
    if not re.match(r"NRRD\d{4}\s*$", lines[0]):
        raise ValueError(f"header must start with NRRD and a version: got '{lines[0][:20]}'")
    listed: list[str] | None = None
    for line in lines[1:]:
        line = line.rstrip("\r")
        if listed is not None:
            listed.append(line.strip())
        elif line.startswith("#") or ":=" in line or not line.strip():
            continue
        else:
            key, separator, value = line.partition(":")
            key = re.sub(r"\s+", " ", key.strip().lower())
            key = {"datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip"}.get(
                key, key
            )
            if not separator or key in fields:
                raise ValueError(f"header must name each field once: got '{line[:60]}'")
            fields[key] = value.strip()
            if key == "data file" and re.fullmatch(r"LIST(\s+\d+)?", fields[key]):
                listed = []
    axes = _integer(fields, "dimension", 1, MOST_AXES)
    sizes = _integers(fields, "sizes", axes, 1)
    stored = fields.get("type", "").lower()
    if stored not in _NRRD_BYTES:
        raise ValueError(f"type must be a type of numbers: got '{stored[:40]}'")
    encoding = fields.get("encoding", "").lower()
    if encoding in ("bz2", "bzip2"):
        raise ValueError("encoding must be raw, gzip, hex or ascii for SimpleITK: got bzip2")
    if encoding not in ("raw", "gzip", "gz", "ascii", "text", "txt", "hex"):
        raise ValueError(f"encoding must be raw, gzip, hex or ascii: got '{encoding[:40]}'")
    line_skip = _integer(fields, "line skip", 0, 1 << 20, "0")
    byte_skip = _integer(fields, "byte skip", -1, 1 << 62, "0")
    kind = "gzip" if encoding in ("gzip", "gz") else ""

    name = fields.get("data file")
    if name is None:
        files, start = [path], end
        if end == path.stat().st_size and not text.endswith("\n"):
            raise ValueError("header must name a data file or end with an empty line")
    elif listed is None and ("%" in name or name.startswith("LIST")):
        raise ValueError(
            "data file must be one file, whose name has no % and begins not with LIST, or a LIST "
            f"of files: got '{name}'"
        )
    else:
        files = data_files(path, [one for one in listed if one] if listed is not None else [name])
        start = 0
        if not files:
            raise ValueError("data file must name at least one file: got an empty LIST")
    skipped = [start + _lines(file, start, line_skip) for file in files]
    needed = math.prod(sizes) * _NRRD_BYTES[stored]
    if encoding in ("ascii", "text", "txt"):
        needed = math.prod(sizes)
    elif encoding == "hex":
        needed *= 2
    elif len(files) == 1 and byte_skip > 0:
        needed += byte_skip
    parts = tuple((file, at, None) for file, at in zip(files, skipped, strict=True))
    return Payload(parts, kind, needed, _nrrd_scale(fields))


def _nrrd_scale(fields: dict[str, str]) -> float:
    """Return the millimetres per unit of space; 1 if the unit is unknown or not given."""
    given = fields.get("space units", fields.get("units", ""))
    names = {name.strip().lower() for name in re.findall(r'"([^"]*)"', given)}
    if "space units" not in fields:
        names -= {"", "s", "sec", "seconds", "ms"}  # of other axes than those of space
    scales = {_NRRD_UNITS.get(name, 1.0) for name in names} or {1.0}
    if len(scales) > 1:
        raise ValueError(f"units must be the same along all axes of space: got {given}")
    return scales.pop()


def _header(path: Path, last: bytes) -> tuple[str, int]:
    """Return the text of a header and the offset after it; ``last`` matches its end."""
    with path.open("rb") as file:
        start = file.read(_MOST_HEADER)
    match = re.search(last, start)
    if match is None or len(start) == match.end() == _MOST_HEADER:
        raise ValueError("header must have an end, in its first megabyte: it has none")
    text = start[: match.end()]
    stray = re.search(rb"[\0-\x08\x0b\x0c\x0e-\x1f]", text)
    if stray:
        raise ValueError(f"header must be text: got byte {stray[0][0]} at {stray.start()}")
    return text.decode("utf-8", "surrogateescape"), match.end()


def _lines(path: Path, start: int, count: int) -> int:
    """Return the size in bytes of ``count`` lines from an offset on."""
    with path.open("rb") as file:
        file.seek(start)
        for _ in range(count):
            if not file.readline(1 << 20):
                raise ValueError(f"line skip must be within the file: got {count}")
        return file.tell() - start


def _integers(fields: dict[str, str], key: str, count: int, least: int) -> list[int]:
    words = fields.get(key, "").split()
    if len(words) != count or not all(re.fullmatch(r"\d{1,18}", word, re.ASCII) for word in words):
        raise ValueError(f"{key} must be {count} whole numbers: got '{fields.get(key, '')[:60]}'")
    values = [int(word) for word in words]
    if min(values) < least:
        raise ValueError(f"{key} must be at least {least}: got {values}")
    return values


def _integer(
    fields: dict[str, str], key: str, least: int, most: int, default: str | None = None
) -> int:
    text = fields.get(key, default) or ""
    if not re.fullmatch(r"[+-]?\d{1,19}", text, re.ASCII) or not least <= int(text) <= most:
        raise ValueError(f"{key} must be a number from {least} to {most}: got '{text[:40]}'")
    return int(text)


def _numbers(fields: dict[str, str], key: str, count: int) -> Sequence[float]:
    if key not in fields:
        return ()
    try:
        values = [float(word) for word in fields[key].split()]
    except ValueError:
        values = []
    if len(values) != count or not all(map(math.isfinite, values)):
        raise ValueError(f"{key} must be {count} finite numbers: got '{fields[key][:60]}'")
    return values


def _flag(fields: dict[str, str], key: str, default: bool) -> bool:
    text = fields.get(key, str(default)).lower()
    if text not in ("true", "false", "1", "0", "t", "f"):
        raise ValueError(f"{key} must be True or False: got '{text[:40]}'")
    return text[0] in "t1"

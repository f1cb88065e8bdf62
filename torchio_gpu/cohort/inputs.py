"""State of the files that a case reads, by which a change is noticed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .manifest import Case, Input

_CHUNK = 1 << 20


def describe_inputs(case: Case, checksum: bool) -> dict[str, dict[str, Any]]:
    """Return the size and the time, or a checksum, of what a case reads, by name.

    Args:
        case: The case.
        checksum: Compute checksums of all bytes (BLAKE2), for which they are read once more.

    Raises:
        FileNotFoundError: An input does not exist.
    """
    for name, (path, _) in case.inputs.items():
        if not path.exists():
            raise FileNotFoundError(f"{name} of case {case.id!r} is missing: no file '{path}'")
    return {name: _describe(each, checksum) for name, each in case.inputs.items()}


def have_changed(case: Case, before: Mapping[str, Mapping[str, Any]], checksum: bool) -> bool:
    """Return True if inputs of a case are not as they were described before.

    Inputs that cannot be read now, as where raw data are kept elsewhere, have not changed.

    Args:
        case: The case.
        before: Description of its inputs.
        checksum: Their bytes count, also where only size and time are known.
    """
    if before.keys() != case.inputs.keys():
        return True
    for name, each in case.inputs.items():
        by_bytes = checksum or "checksum" in before[name]
        try:
            if dict(before[name]) != _describe(each, by_bytes):
                return True
        except OSError:
            if before[name]["kind"] != each.kind:
                return True
    return False


def _describe(given: Input, checksum: bool) -> dict[str, Any]:
    path, kind = given
    path.stat()  # raises where there is no such file
    files = list(_files(path))
    size = sum(file.stat().st_size for file in files)
    if checksum:
        digest = hashlib.blake2b(digest_size=16)
        for file in files:
            digest.update(file.relative_to(path).as_posix().encode() if file != path else b"")
            with file.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
        return {"kind": kind, "size": size, "checksum": digest.hexdigest()}
    latest = max((f.stat().st_mtime_ns for f in files), default=0)
    return {"kind": kind, "path": str(path), "size": size, "time": latest}


def _files(path: Path) -> Iterator[Path]:
    """Yield a file, or all files of a folder, in order; and the voxels beside a header."""
    if path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.is_file())
        return
    yield path
    pair = {".hdr": ".img", ".img": ".hdr"}.get(path.suffix.lower())
    if pair is not None and path.with_suffix(pair).exists():
        yield path.with_suffix(pair)


__all__ = ["describe_inputs", "have_changed"]

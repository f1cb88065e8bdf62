"""State of the files that a case reads, by which a change is noticed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .manifest import Case

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
    return {name: _describe(path, checksum) for name, (path, _) in case.inputs.items()}


def have_changed(case: Case, before: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return True if inputs of a case are not as they were described before."""
    try:
        for name, (path, _) in case.inputs.items():
            known = before.get(name)
            if known is None or dict(known) != _describe(path, "checksum" in known):
                return True
    except OSError:
        return True
    return len(before) != len(case.inputs)


def _describe(path: Path, checksum: bool) -> dict[str, Any]:
    files = list(_files(path))
    size = sum(file.stat().st_size for file in files)
    if checksum:
        digest = hashlib.blake2b(digest_size=16)
        for file in files:
            digest.update(file.relative_to(path).as_posix().encode() if file != path else b"")
            with file.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
        return {"size": size, "checksum": digest.hexdigest()}
    return {"size": size, "time": max((f.stat().st_mtime_ns for f in files), default=0)}


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

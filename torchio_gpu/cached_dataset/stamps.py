"""Stamps of files and of voxels, by which a change of the input of a subject is noticed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.image import Image
from ..data.io import without_member

#: Suffixes of headers whose voxels may be in files beside them.
_DETACHED = (".hdr", ".img", ".mhd", ".nhdr", ".par", ".rec", ".head", ".brik")


def file_stamps(path: Path) -> list[list[Any]]:
    """Return path, size in bytes, and time of change in ns, of a file and what belongs to it.

    Those are all files in a folder, and all files with its stem beside a detached header.
    """
    return [[os.fspath(each), s.st_size, s.st_mtime_ns] for each, s in _files(path)]


def _files(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    file = without_member(path)[0].absolute()
    if file.is_dir():
        found = sorted(each for each in file.rglob("*") if each.is_file())
    elif any(file.name.lower().removesuffix(".gz").endswith(end) for end in _DETACHED):
        stem = file.name.split(".")[0]
        found = sorted(each for each in file.parent.iterdir() if each.name.split(".")[0] == stem)
    else:
        found = [file]
    for each in found:
        yield each, each.stat()


class Stamps:
    """Stamps of images: of their files, or of voxels that are in memory."""

    def __init__(self) -> None:
        self._digests: dict[int, tuple[Tensor, int, str]] = {}

    def of(self, image: Image) -> list[Any]:
        """Return kind, files or a digest of the voxels, and an affine that is not the file's."""
        reader = image.reader
        named = [type(image).__name__, image.kind, getattr(reader, "__qualname__", repr(reader))]
        paths = image.path if isinstance(image.path, list) else [image.path]
        if image.loaded:
            return [*named, self._digest(image.data), image.affine.tolist()]
        affine, header = image._affine, image._header
        own = affine is not None and (header is None or (header.affine.numpy() != affine).any())
        files = [stamp for path in paths if path is not None for stamp in file_stamps(path)]
        return [*named, files, affine.tolist() if own and affine is not None else None]

    def _digest(self, voxels: Tensor) -> str:
        """Return a digest of voxels; computed once for each version of a tensor."""
        known = self._digests.get(id(voxels))
        if known is None or known[0] is not voxels or known[1] != voxels._version:
            array = voxels.detach().cpu().contiguous().reshape(-1)
            digest = hashlib.blake2b(
                array.view(torch.uint8).numpy().data, digest_size=16
            ).hexdigest()
            text = f"{digest} {voxels.dtype} {tuple(voxels.shape)}"
            known = self._digests[id(voxels)] = voxels, voxels._version, text
        return known[2]


def mentioned_files(description: Any) -> list[Any]:
    """Return stamps of the files that the description of a pipeline names."""
    if isinstance(description, Mapping):
        description = list(description.values())
    if isinstance(description, (list, tuple)):
        return [stamp for each in description for stamp in mentioned_files(each)]
    if not isinstance(description, str) or (os.sep not in description and "." not in description):
        return []
    try:
        path = Path(description).expanduser()
        return file_stamps(path) if without_member(path)[0].is_file() else []
    except (OSError, ValueError, RuntimeError):  # no path
        return []


def digest_of(text: str) -> str:
    """Return a digest of a text, of 32 letters and digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


__all__ = ["Stamps", "digest_of", "mentioned_files"]

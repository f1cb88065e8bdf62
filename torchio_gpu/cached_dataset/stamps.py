"""Stamps of files and of voxels, by which a change of the input of a subject is noticed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from ..data.image import Image
from ..data.io import file_stamps, without_member


class Stamps:
    """Stamps of images: of their files, or of voxels that are in memory."""

    def __init__(self) -> None:
        # of the tensors that are still in use, each with its version
        self._digests: Any = WeakTensorKeyDictionary()

    def __reduce__(self) -> tuple[type[Stamps], tuple[()]]:
        return Stamps, ()  # weak references cannot be sent, and digests are made again

    def of(self, image: Image) -> list[Any]:
        """Return class, kind, reader, and affine if it is not the file's; files or digest last."""
        named = [type(image).__name__, image.kind]
        paths = image.path if isinstance(image.path, list) else [image.path]
        if image.loaded:
            return [*named, None, image.affine.tolist(), self._digest(image.data)]
        affine, header = image._affine, image._header
        own = affine is not None and (header is None or (header.affine.numpy() != affine).any())
        files = [stamp for path in paths if path is not None for stamp in file_stamps(path)]
        shown = affine.tolist() if own and affine is not None else None
        return [*named, repr(image.reader), shown, files]

    def _digest(self, voxels: Tensor) -> str:
        """Return a digest of voxels; computed once for a tensor, as long as its version tells."""
        version = None if voxels.is_inference() else voxels._version
        known = self._digests.get(voxels)
        if known is not None and known[0] == version is not None:
            return str(known[1])
        array = voxels.detach().cpu().contiguous().reshape(-1)
        digest = hashlib.blake2b(array.view(torch.uint8).numpy().data, digest_size=16).hexdigest()
        text = f"{digest} {voxels.dtype} {tuple(voxels.shape)}"
        if version is not None:
            self._digests[voxels] = version, text
        return text


def mentioned_files(description: Any) -> list[Any]:
    """Return stamps of the files and folders that the description of a pipeline names."""
    if isinstance(description, Mapping):
        description = list(description.values())
    if isinstance(description, (list, tuple)):
        return [stamp for each in description for stamp in mentioned_files(each)]
    if not isinstance(description, str) or not description:
        return []
    try:
        path = Path(description).expanduser()
        return file_stamps(path) if without_member(path)[0].exists() else []
    except (OSError, ValueError, RuntimeError):  # no path
        return []


def digest_of(text: str) -> str:
    """Return a digest of a text, of 32 letters and digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


__all__ = ["Stamps", "digest_of", "mentioned_files"]

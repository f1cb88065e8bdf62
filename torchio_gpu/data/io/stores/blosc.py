"""Arrays of Blosc2, .b2nd: compressed blocks, of which those of a patch are read and inflated."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..voxels import Opened, blosc2, failing_as, shown
from .arrays import NAME, array_source, chunked, described_affine, description
from .nnunet import is_preprocessed, preprocessed_affine

#: Edges of chunks and of blocks, in voxels: as patches, of which some are cut out of one chunk.
_CHUNK, _BLOCK = 128, 32


def open_blosc(path: Path) -> Opened:
    """Return header and voxels of a .b2nd file, also of one in a folder of nnU-Net."""
    library = blosc2()
    with failing_as(f"'{shown(path)}' should hold an array of Blosc2, but reading it failed"):
        # blosc2.open() would also rebuild expressions and references that a file may hold
        mapping = {} if os.name == "nt" else {"mmap_mode": "r"}
        array = library.blosc2_ext.open(
            str(path), mode="r", offset=0, dparams={"nthreads": 1}, **mapping
        )
        if not isinstance(array, library.NDArray):
            raise ValueError(f"it holds a {type(array).__name__}")
        others = [name for name in array.schunk.meta if name != "b2nd"]
        if others:
            raise ValueError(f"its voxels are computed or elsewhere, as {others[0]} says")
        values = array.schunk.vlmeta
        stored = _text(values.get_vlmeta(NAME)) if NAME in list(values) else None
    if stored is not None:
        return array_source(array, described_affine(stored))
    if is_preprocessed(path, array.shape):
        return array_source(array, preprocessed_affine(path), "CKJI")
    return array_source(array, np.eye(4))


def write_blosc(array: np.ndarray, affine: Tensor, kind: str, path: Path) -> None:
    """Write a volume, compressed by Zstandard; the same volume always gives the same bytes."""
    library = blosc2()
    written = library.asarray(
        array,
        urlpath=str(path),
        mode="w",
        chunks=chunked(array.shape, _CHUNK),
        blocks=chunked(array.shape, _BLOCK),
        cparams={
            "codec": library.Codec.ZSTD,
            "clevel": 5,
            "filters": [library.Filter.SHUFFLE],
            "nthreads": 1,  # several would write the blocks in the order in which they are ready
        },
    )
    written.schunk.vlmeta[NAME] = json.dumps(description(affine, kind))


def _text(packed: bytes) -> Any:
    """Return the value of an attribute: plain MessagePack, without objects of Blosc2."""
    import msgpack

    return msgpack.unpackb(packed)


__all__ = ["open_blosc", "write_blosc"]

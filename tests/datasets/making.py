"""Archives and files of datasets, with volumes of a few voxels."""

from __future__ import annotations

import hashlib
import io
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

import torchio_gpu as tio

SHAPE = (1, 3, 4, 5)
AFFINE = np.array([[0, -2.0, 0, 5], [1, 0, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])


def volume(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    """Voxels of integers, which label maps and images may hold."""
    numbers = torch.Generator().manual_seed(seed)
    return torch.randint(0, 100, shape, generator=numbers, dtype=torch.int16)


def image_bytes(name: str, seed: int = 0, data: torch.Tensor | None = None) -> bytes:
    """Bytes of an image file in the format of a name's suffix."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name.rpartition("/")[2])
        tio.ScalarImage(volume(seed) if data is None else data, affine=AFFINE).save(path)
        return path.read_bytes()


def images(*names: str) -> dict[str, bytes]:
    """Bytes of image files by name, the n-th with the voxels of seed n."""
    return {name: image_bytes(name, seed) for seed, name in enumerate(names)}


def zip_bytes(files: Mapping[str, bytes]) -> bytes:
    """Bytes of a zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def tar_bytes(files: Mapping[str, bytes], mode: str = "w") -> bytes:
    """Bytes of a tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files below a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def md5(data: bytes) -> str:
    """MD5 checksum."""
    return hashlib.md5(data).hexdigest()


def names(folder: Path) -> list[str]:
    """Names in a folder, without those of empty files, which are locks."""
    return sorted(p.name for p in folder.iterdir() if p.is_dir() or p.stat().st_size)

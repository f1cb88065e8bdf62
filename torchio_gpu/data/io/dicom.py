"""DICOM files, and folders that hold one series."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import dicom_tags
from .guards import check_exists, check_name
from .itk import open_itk
from .voxels import LPS, Header, Opened, Region, failing_as, shown, sitk

SUFFIXES = (".dcm", ".dicom", ".ima")


def open_file(path: Path) -> Opened:
    """Return header and voxels of one DICOM file; functional groups give the places of frames."""
    dataset = _dataset(path)
    header, load = _open_slice(path, dataset)
    if dataset is None:  # GDCM reads some files that end early, or have wrong lengths
        if header.shape[3] > 1:
            raise ValueError("frames must have positions: the elements cannot be parsed")
        return Opened(header, load)
    count = dicom_tags.frames(dataset)
    if count < 2:
        return Opened(header, load)
    if dicom_tags.PER_FRAME in dataset.elements or dicom_tags.SHARED in dataset.elements:
        return _frames(dataset, header, load, count)
    step = dicom_tags.find(dataset.elements, dicom_tags.BETWEEN)
    if step is None and dicom_tags.OFFSETS not in dataset.elements:
        warnings.warn(
            f"'{shown(path)}' has no spacing between its {count} frames: "
            "they are taken as slices 1 mm apart",
            stacklevel=2,
        )
    return Opened(header, load)


def _check_length(path: Path, dataset: dicom_tags.Dataset) -> None:
    if dataset.voxels is None:
        raise ValueError("it has no voxels")
    if dataset.syntax not in dicom_tags.PLAIN:
        return
    bits = dataset.number((0x0028, 0x0100))  # bits allocated; the type may be wider, by the scale
    colours = dataset.elements.get((0x0028, 0x0004))
    photometric = colours if isinstance(colours, bytes) else b""
    samples = dataset.number((0x0028, 0x0002), 1)
    rows, columns = dataset.number((0x0028, 0x0010)), dataset.number((0x0028, 0x0011))
    needed = rows * columns * samples * dicom_tags.frames(dataset) * bits // 8
    if b"422" in photometric or b"420" in photometric:
        needed = needed * 2 // 3 if b"422" in photometric else needed // 2
    held = path.stat().st_size - dataset.voxels
    if held < needed:
        raise ValueError(f"its voxels take {needed} bytes, of which {held} are there")


def _frames(
    dataset: dicom_tags.Dataset, header: Header, load: Callable[[Region], Tensor], count: int
) -> Opened:
    """Return header and voxels of an enhanced multi-frame image whose frames are slices."""
    elements = dataset.elements
    shared = (_sequence(elements, dicom_tags.SHARED) or [{}])[0]
    per_frame = _sequence(elements, dicom_tags.PER_FRAME)

    def values(tag: dicom_tags.Tag, size: int) -> np.ndarray | None:
        found = [
            dicom_tags.decimals(dicom_tags.find(frame, tag), size)
            or dicom_tags.decimals(dicom_tags.find(shared, tag), size)
            for frame in per_frame
        ]
        if len(found) != count or not all(found):
            return None
        return np.array(found)

    positions = values(dicom_tags.POSITION, 3)
    directions = values(dicom_tags.ORIENTATION, 6)
    spacings = values(dicom_tags.SPACING, 2)
    if positions is None or directions is None or spacings is None:
        raise ValueError(
            "frames must have a position, an orientation and a spacing: "
            f"not all of {count} frames do"
        )
    scales = {tuple(dicom_tags.find(frame, tag) for tag in dicom_tags.SCALE) for frame in per_frame}
    if len(scales) > 1:
        raise ValueError(
            "frames must share one rescale slope and intercept: GDCM applies the first"
        )
    if header.shape[3] != count:
        raise ValueError(f"frames must be as many as the file says: {count}, not {header.shape[3]}")
    affines = np.tile(np.eye(4), (count, 1, 1))
    affines[:, :3, 0] = directions[:, :3] * spacings[:, 1:]  # spacing between columns, along rows
    affines[:, :3, 1] = directions[:, 3:] * spacings[:, :1]
    affines[:, :3, 2] = np.cross(directions[:, :3], directions[:, 3:])
    affines[:, :3, 3] = positions
    placed = torch.from_numpy(LPS @ affines)
    along = positions @ affines[0, :3, 2]
    order = np.argsort(along, kind="stable")
    if order[0] > order[-1] and (order[::-1] == np.arange(count)).all():
        order = order[::-1]  # as stored: frames may go down
    order = order.copy()
    channels, i, j, _ = header.shape
    affine = stacked_affine(placed[order], i, j, "frames")

    def load_frames(region: Region) -> Tensor:
        wanted = order[region[2]]
        first, last = int(wanted.min()), int(wanted.max()) + 1
        whole = load((*region[:2], slice(first, last, 1)))
        return whole[..., torch.from_numpy(wanted - first)].contiguous()

    return Opened(Header((channels, i, j, count), affine, header.dtype), load_frames)


def _sequence(elements: dicom_tags.Elements, tag: dicom_tags.Tag) -> list[dicom_tags.Elements]:
    found = elements.get(tag)
    return found if isinstance(found, list) else []


def open_series(folder: Path) -> Opened:
    """Return header and voxels of a folder with one DICOM series."""
    check_name(folder)
    series = sitk().ImageSeriesReader
    with failing_as(f"'{shown(folder)}' should be a folder with a DICOM series, but is none"):
        entries = [entry for entry in sorted(folder.iterdir()) if not entry.is_dir()]
    files = [entry for entry in entries if not entry.name.startswith(".")]
    for file in files:
        check_name(file)
        check_exists(file)  # a broken link is a missing slice
    suspects = [file for file in files if _must_be_slice(file)]
    datasets = {
        file.name: _dataset(file) for file in suspects
    }  # checked before GDCM allocates what they claim
    with failing_as(f"'{shown(folder)}' should be a folder with a DICOM series, but is none"):
        ids = series.GetGDCMSeriesIDs(str(folder))
    if not ids:
        if suspects:
            raise ValueError(f"DICOM files must be whole: '{suspects[0].name}' cannot be parsed")
        raise FileNotFoundError(f"folder must hold a DICOM series: '{shown(folder)}' holds none")
    if len(ids) > 1:
        raise ValueError(f"folder must hold one DICOM series: got {', '.join(ids)}")
    names = series.GetGDCMSeriesFileNames(str(folder), ids[0])  # sorted by position
    _check_complete(files, suspects, {Path(name).name for name in names})
    if len(names) == 1:
        return open_file(Path(names[0]))
    slices = (_open_slice(path, datasets.get(path.name)) for path in map(Path, names))
    headers, loads = zip(*slices, strict=True)

    channels, i, j, _ = shape = (*headers[0].shape[:3], 1)
    for name, header in zip(names, headers, strict=True):
        if header.shape != shape:
            raise ValueError(f"slices must all be {shape}: '{shown(name)}' is {header.shape}")
    affine = stacked_affine(torch.stack([header.affine for header in headers]), i, j, "slices")
    dtype = headers[0].dtype
    for header in headers:  # each slice has its own scale, so some may be floats
        dtype = torch.promote_types(dtype, header.dtype)

    def load(region: Region) -> Tensor:
        one = slice(0, 1, 1)
        parts = []
        for k in range(region[2].start, region[2].stop, region[2].step):
            with failing_as(f"slice '{shown(Path(names[k]).name)}' could not be read"):
                parts.append(loads[k]((*region[:2], one)))
        return torch.cat(parts, dim=3).to(dtype)

    return Opened(Header((channels, i, j, len(names)), affine, dtype), load)


def _dataset(path: Path) -> dicom_tags.Dataset | None:
    with failing_as(f"'{shown(path)}' should be a whole DICOM file, but is not"):
        return dicom_tags.dataset(path)


def _open_slice(path: Path, dataset: dicom_tags.Dataset | None) -> Opened:
    """Return header and voxels of a file; raise an OSError if voxels are missing."""
    header, load = open_itk(path)
    if dataset is not None:
        with failing_as(f"'{shown(path)}' should be a whole DICOM file, but is not"):
            _check_length(path, dataset)
    return Opened(header, load)


def _must_be_slice(path: Path) -> bool:
    """Return True if a file is DICOM by its magic or its suffix."""
    if path.name.upper() == "DICOMDIR":
        return False
    return path.suffix.lower() in SUFFIXES or dicom_tags.is_dicom(path)


def _check_complete(files: list[Path], suspects: list[Path], read: set[str]) -> None:
    """Raise a ValueError if slices of a series are missing: GDCM omits those that it cannot parse.

    Files without magic and suffix count as slices if their names differ from a slice's in digits
    only.
    """
    patterns = {_pattern(name) for name in read}
    for file in files:
        alike = re.search(r"\d", file.name) and _pattern(file.name) in patterns
        if file.name not in read and (file in suspects or alike):
            raise ValueError(
                f"all slices must be whole DICOM files: '{shown(file.name)}' cannot be parsed"
            )


def _pattern(name: str) -> str:
    return re.sub(r"\d+", "0", name)


def stacked_affine(affines: Tensor, i: int, j: int, what: str) -> Tensor:
    """Return the affine of ordered slices with affines [K, 4, 4] and sizes (i, j).

    The positions of the slices, not their thickness and normal, give the step between them: gaps
    count, and a tilted gantry is a shear. Uneven slices have no affine: ValueError.
    """
    count = len(affines)
    step = (affines[-1, :, 3] - affines[0, :, 3]) / (count - 1)
    corners = [[0, i - 1, 0], [0, 0, j - 1], [0, 0, 0], [1, 1, 1]]
    placed = affines @ torch.tensor(corners, dtype=torch.float64)  # [K, 4, 3], mm
    even = placed[0] + torch.arange(count)[:, None, None] * step[:, None]
    astray, gap = (placed - even).norm(dim=1).max().item(), step.norm().item()
    if not astray < gap / 10:
        raise ValueError(
            f"{what} must be parallel and evenly spaced: with steps of {gap:.4g} mm one is "
            f"{astray:.4g} mm astray, so a slice may be missing or there twice"
        )
    return torch.stack([*affines[0, :, :2].T, step, affines[0, :, 3]], dim=1)

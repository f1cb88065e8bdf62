"""Writing of image files, atomically, and without overwriting the data of other files."""

from __future__ import annotations

import math
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..keys import INTENSITY
from .compressed import gzipped
from .guards import check_name, expanded
from .itk import PICTURES, picture, to_flat_sitk, to_sitk
from .minc import MINC, to_minc
from .nifti import PAIR, to_nibabel, twin
from .stores import WRITERS, check_affine, is_zarr, storable
from .voxels import NiftiFields, failing_as, nibabel, shown, sitk

NIFTI = (".nii", ".nii.gz", ".hdr", ".img")
DETACHED = (".nhdr", ".mhd")
HEADERS = (*DETACHED, ".nrrd", ".mha")  # formats whose header may name a data file
WRITABLE = (*NIFTI, ".nrrd", ".nhdr", ".mha", ".mhd", MINC, *WRITERS, *PICTURES)

_PREFIX = ".torchio_gpu-"  # of temporary folders
_MOST_HEADER = 1 << 20  # bytes that are searched for the name of a data file
_DAY = 24 * 3600  # seconds after which a temporary folder is taken as abandoned


def suffix_of(path: Path) -> str:
    """Return the suffix in lower case if its format can be written, else ''."""
    return next((suffix for suffix in WRITABLE if path.name.lower().endswith(suffix)), "")


def write(
    tensor: Tensor,
    affine: Tensor,
    path: str | os.PathLike[str],
    fields: NiftiFields | None = None,
    squeeze: bool = False,
    kind: str = INTENSITY,
) -> None:
    """Write a volume (C, I, J, K) and its affine (4, 4) in the format that the suffix names.

    NIfTI keeps the affine to float32, shears included; NRRD, MHA, MHD and MINC keep it to float64,
    and so do .b2nd, .zarr and .h5, which keep all types of voxels that numpy has, and bfloat16 as
    float32. .npy has no place for an affine, which must be the identity.
    PNG, JPEG and TIFF keep the pixel spacing at most, and hold 1 or 3 channels of the types in
    `PICTURES`; only TIFF holds more than one slice, and JPEG loses detail. bool becomes uint8,
    float16 and bfloat16 float32, int64 that fits int32 in NIfTI and MINC, and integers from 0 to
    65535 uint16 in PNG; in PNG and JPEG, fractions become uint8, with a warning. Nothing else is
    converted. Units are millimetres.

    The file appears whole or not at all: wherever writing is interrupted, what was there before or
    what was to be written can be read under the name. This holds for pairs, too. The data file of
    a .mhd or .nhdr is new (`x.raw`, or `x.2.raw` and so on where that exists) until the header
    names it; then the data file of the former header is removed, unless another header beside it
    names that, too. The .img of a .hdr is for a
    moment followed by the new voxels, to which the new header points. An interruption may leave
    an unused data file or a hidden folder `.torchio_gpu-…`; such folders are removed by the next
    write into the same folder once they are a day old. A .zarr is a folder, which cannot be
    replaced in one step: for a moment there is none.

    The target of a symbolic link is replaced, not the link, and permission bits are kept.

    fields: See :func:`to_nibabel`; other formats have no place for them.
    squeeze: Write a single slice, K = 1, as a 2D image. It must lie across the third axis, or be
        NIfTI, in which channels keep an axis of slices. Arrays keep four axes.
    kind: Kind of the image, which .b2nd, .zarr and .h5 keep.

    Raises ValueError for an unknown suffix or for what the format cannot hold, FileNotFoundError
    for a missing folder, OSError if writing fails.
    """
    path = expanded(path)
    suffix = suffix_of(path)
    if not suffix:
        raise ValueError(f"path must end in one of {', '.join(WRITABLE)}: got '{shown(path)}'")
    if suffix == ".zarr" and path.is_dir():
        if not is_zarr(path):
            raise ValueError(f"path must be a Zarr group to replace, or new: got '{shown(path)}'")
    else:
        check_target(path)
    save: Callable[[Any, str], None]
    if suffix in WRITERS:
        if squeeze:
            raise ValueError(f"squeeze must be False for {suffix}, which keeps four axes, got True")
        if path.name.lower().endswith(".nii.zarr"):
            raise ValueError(f"path must not end in .nii.zarr, which is only read: '{shown(path)}'")
        check_affine(suffix, affine)
        image, save = storable(tensor), partial(_save_array, WRITERS[suffix], affine, kind)
    elif suffix in NIFTI:
        image, save = to_nibabel(tensor, affine, fields, squeeze), _save_nifti
    else:
        check_name(path)
        if suffix in PICTURES:
            image = picture(tensor, affine, suffix)
        elif suffix == MINC:
            image = to_minc(tensor, affine)
        else:
            flat = squeeze and tensor.shape[3] == 1
            image = (to_flat_sitk if flat else to_sitk)(tensor, affine)
        save = sitk().WriteImage
    real = Path(os.path.realpath(path)) if path.is_symlink() else path
    if suffix == ".mhd" and "%" in str(real.parent):  # ITK would number the data file
        raise ValueError(f"path must lie in a folder without % for .mhd: got '{shown(path)}'")
    with failing_as(f"'{shown(path)}' could not be written"):
        _remove_stale(real.parent)
        # In the target's folder, so that the last step is a rename within one disk.
        with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=real.parent) as folder:
            # SimpleITK and NiBabel choose the format by the name, accept only some suffixes in
            # capitals, and read a % as a number format.
            draft = Path(folder, f"image{suffix}")
            save(image, str(draft))
            if suffix in DETACHED:
                _replace_detached(draft, real)
            elif suffix in PAIR:
                _replace_pair(draft, path)
            else:
                _replace(draft, real)


def _save_nifti(image: Any, path: str) -> None:
    if not path.endswith(".gz"):
        nibabel().save(image, path)
        return
    with gzipped(Path(path)) as stream:
        image.to_stream(stream)


def _save_array(
    writer: Callable[[np.ndarray, Tensor, str, Path], None],
    affine: Tensor,
    kind: str,
    array: np.ndarray,
    path: str,
) -> None:
    writer(array, affine, kind, Path(path))


def write_text(text: str, path: Path) -> None:
    """Write a text file in UTF-8; as by :func:`write`, it appears whole or not at all."""
    check_target(path)
    real = Path(os.path.realpath(path))
    with failing_as(f"'{shown(path)}' could not be written"):
        _remove_stale(real.parent)
        with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=real.parent) as folder:
            draft = Path(folder, "text")
            draft.write_text(text, encoding="utf-8", newline="")
            _replace(draft, real)


def check_target(path: Path) -> None:
    """Raise unless a path names a file, or none as yet, in a folder that exists."""
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"path must be in an existing folder: '{shown(path.parent)}' is none"
        )
    if path.exists() and not path.is_file():
        raise ValueError(f"path must be a file to replace, or new: '{shown(path)}' is neither")


def _replace(draft: Path, target: Path) -> None:
    """Replace a file by another, and keep its permissions; or a folder."""
    if draft.is_dir():
        former = draft.with_name("former")  # removed with the temporary folder
        _flush(draft)
        replaced = target.exists()
        if replaced:
            os.rename(target, former)
        try:
            os.rename(draft, target)
        except BaseException:
            if replaced:
                os.rename(former, target)
            raise
        return
    with suppress(FileNotFoundError):
        draft.chmod(stat.S_IMODE(target.stat().st_mode))
    os.replace(draft, target)


def _flush(folder: Path) -> None:
    """Wait until the files of a folder are on the disk, since the former ones are then removed."""
    for each in folder.rglob("*"):
        if each.is_file():
            with each.open("rb+") as file:
                os.fsync(file.fileno())


def _remove_stale(folder: Path) -> None:
    """Remove temporary folders of interrupted writers that are more than a day old."""
    with suppress(OSError):  # owned by someone else, or already removed
        for entry in folder.glob(_PREFIX + "*"):
            if time.time() - entry.stat().st_mtime > _DAY:
                shutil.rmtree(entry, ignore_errors=True)


def _replace_detached(draft: Path, target: Path) -> None:
    """Replace a header, with a new data file that no other header names."""
    (voxels,) = (file for file in draft.parent.iterdir() if file != draft)
    former = _data_name(target)
    data = _reserved(target.parent, _data_stem(target))
    try:
        if former is not None:
            with suppress(FileNotFoundError):
                voxels.chmod(stat.S_IMODE((target.parent / former).stat().st_mode))
        os.replace(voxels, data)
        names = rf"(?m)^(ElementDataFile = |data file: ){re.escape(voxels.name)}$"
        text = draft.read_text(encoding="utf-8", errors="surrogateescape")
        text, count = re.subn(names, lambda match: match[1] + data.name, text)
        if count != 1:
            raise OSError(f"the header should name '{voxels.name}' once, but does {count} times")
        draft.write_text(text, encoding="utf-8", errors="surrogateescape", newline="\n")
        _replace(draft, target)
    except BaseException:
        data.unlink(missing_ok=True)
        raise
    if former is not None and not _is_named(former, target):
        (target.parent / former).unlink(missing_ok=True)


def _is_named(data: str, header: Path) -> bool:
    """Return True if another header in the folder names a data file."""
    name = re.compile(rb"(?<![^\s/\\=:])" + re.escape(os.fsencode(data)) + rb"(?!\S)")
    for other in header.parent.iterdir():
        if other.suffix.lower() in HEADERS and other.name != header.name and other.is_file():
            most = _MOST_HEADER if other.suffix.lower() in DETACHED else 1 << 16
            with other.open("rb") as file:
                if name.search(file.read(most)):
                    return True
    return False


def _data_stem(header: Path) -> str:
    """Return a stem for data files that no reader takes as a list, a number format or a drive."""
    stem = re.sub(r"[%:\x00-\x1f\x7f]", "_", header.stem.strip())
    return f"_{stem}" if stem.startswith("LIST") or not stem else stem


def _reserved(folder: Path, stem: str) -> Path:
    """Create an empty data file of a new name, and return its path."""
    number = 1
    while True:
        path = folder / (f"{stem}.raw" if number == 1 else f"{stem}.{number}.raw")
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            number += 1
        else:
            return path


def _data_name(header: Path) -> str | None:
    """Return the data file of a header, if :func:`write` has named it; None otherwise."""
    try:
        with header.open("rb") as file:
            text = file.read(_MOST_HEADER).decode("utf-8", "surrogateescape")
    except OSError:
        return None
    match = re.search(r"(?m)^(?:ElementDataFile = |data file: )([^\r\n]+)$", text)
    ours = rf"{re.escape(_data_stem(header))}(\.\d+)?\.raw"
    return match[1] if match and re.fullmatch(ours, match[1]) else None


def _replace_pair(draft: Path, path: Path) -> None:
    """Replace a .hdr and its .img such that a complete pair can be read at any time.

    Two files cannot be renamed at once, but a header holds the offset of the voxels in its .img. So
    for a moment the .img holds both: the former voxels at the start and the new ones after them.
    """
    new = {part.suffix.lower(): part for part in draft.parent.iterdir()}
    old = {file.suffix.lower(): Path(os.path.realpath(file)) for file in (path, twin(path))}
    header, voxels = old[".hdr"], old[".img"]
    if header.exists() and voxels.exists():
        offset = max(voxels.stat().st_size, new[".img"].stat().st_size)
        step = 1 << max(4, offset.bit_length() - 20)  # NIfTI stores offsets as float32
        offset = math.ceil(offset / step) * step
        both = draft.with_suffix(".both")
        pointing = draft.with_suffix(".pointing")
        _join(both, offset, voxels, new[".img"])
        _replace(both, voxels)
        _point(new[".hdr"], pointing, offset)
        _replace(pointing, header)
        _join(both, offset, new[".img"], new[".img"])
        _replace(both, voxels)
        _replace(new[".hdr"], header)
        _replace(new[".img"], voxels)
    else:
        _replace(new[".img"], voxels)
        _replace(new[".hdr"], header)


def _join(target: Path, offset: int, first: Path, second: Path) -> None:
    """Write one file at the start of another, and a second one at an offset."""
    with target.open("wb") as file:
        for start, part in ((0, first), (offset, second)):
            file.seek(start)
            with part.open("rb") as source:
                shutil.copyfileobj(source, file, 1 << 20)


def _point(header: Path, target: Path, offset: int) -> None:
    """Copy a NIfTI header, with another offset of its voxels."""
    with header.open("rb") as file:
        fields = nibabel().Nifti1Pair.header_class.from_fileobj(file)
        rest = file.read()
    fields.set_data_offset(offset)
    target.write_bytes(fields.binaryblock + rest)

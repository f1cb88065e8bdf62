"""NIfTI and Analyze files, and other formats that only NiBabel reads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .compressed import capacity, compression, inflate, opened
from .guards import check_exists, check_size
from .voxels import (
    Header,
    NiftiFields,
    Opened,
    Region,
    checked_affine,
    failing_as,
    is_whole,
    nibabel,
    shape_of,
    shown,
    tensor_of,
    torch_dtype,
    writable_array,
)

PAIR = {".hdr": ".img", ".img": ".hdr"}
FREESURFER = (".mgh", ".mgz")
#: Suffixes of other formats that only NiBabel reads: Philips and AFNI.
FALLBACK = (".par", ".rec", ".head", ".brik", ".brik.gz")

_MM = {"meter": 1e3, "micron": 1e-3}  # millimetres in a unit; unknown is taken as mm
_SECONDS = {"msec": 1e-3, "usec": 1e-6}
_AFNI = {77001: 1e-3, 77002: 1.0}  # seconds in a unit of time


def open_nifti(path: Path) -> Opened:
    """Return header and voxels of a NIfTI, Analyze or FreeSurfer MGH file, compressed or not."""
    surfer = path.name.lower().endswith(FREESURFER)
    wish = f"should start with a{'n MGH' if surfer else ' NIfTI'} header, but reading it failed"
    parts = _parts(path)
    data = parts.get("image", path)
    with ExitStack() as stack:
        with failing_as(f"'{shown(path)}' {wish}"):
            with opened(parts["header"]) as file:
                start = file.read(540)
            cls = nibabel().MGHImage if surfer else _image_class(start, single=len(parts) == 1)
            image = _image(cls, parts, stack)
        header, _ = source(image)

    def load(region: Region) -> Tensor:
        with ExitStack() as stack:
            image = _image(cls, parts, stack)
            proxy = image.dataobj
            offset, stored = int(proxy.offset), proxy.dtype
            sizes = [int(n) for n in proxy.shape]
            count = _flat_end(sizes, region)
            end = offset + stored.itemsize * count
            check_size(end, capacity(data), f"file '{shown(data.name)}'")
            if offset < 0:
                raise ValueError(f"voxels must start within the file: got offset {offset}")
            kind = compression(data)
            if kind and not is_whole(region, header.shape[1:]):
                return source(image)[1](region)
        if kind:
            content = inflate(data, kind, size=end)
            array = np.ndarray(sizes, stored, content, offset, order="F")
        else:  # only pages that hold voxels of the region are read
            flat = np.memmap(data, stored, "c", offset, (count,))
            strides = [stored.itemsize * math.prod(sizes[:axis]) for axis in range(len(sizes))]
            stops = [part.stop for part in region[: len(sizes)]] + sizes[3:]
            array = np.lib.stride_tricks.as_strided(flat, stops, strides)
        return source(image, array)[1](region)

    return Opened(header, load)


def _parts(path: Path) -> dict[str, Path]:
    """Return the files of an image: 'header', and 'image' and 'mat' if they are separate files."""
    lower = path.name.lower()
    packed = next((path.suffix for suffix in (".gz", ".bz2") if lower.endswith(suffix)), "")
    plain = path.with_name(path.name[: len(path.name) - len(packed)])
    suffix = plain.suffix.lower()
    if suffix not in PAIR:
        return {"header": path}
    ends = dict.fromkeys((packed, "", ".gz"))
    twins = dict.fromkeys((twin(plain).name, plain.with_suffix(PAIR[suffix]).name))
    found = [path.parent / (name + end) for name in twins for end in ends]
    other = next((one for one in found if one.exists()), found[0])
    if not other.exists():
        raise FileNotFoundError(
            f"'{shown(path)}' should start with a NIfTI header, or be the voxels of one, and have "
            f"'{shown(other.name)}' beside it, which does not exist"
        )
    check_exists(other)
    files = {"header": path, "image": other}
    if suffix == ".img":
        files = {"header": other, "image": path}
    # SPM stores affines in separate files
    mats = [plain.with_suffix(".mat" + end) for end in ends]
    found = [mat for mat in mats if mat.is_file()]
    return files | ({"mat": found[0]} if found else {})


def twin(path: Path) -> Path:
    """Return the other file of a pair, with capitals in the suffix where the first has them."""
    letters = zip(PAIR[path.suffix.lower()], path.suffix, strict=True)
    return path.with_suffix("".join(a.upper() if b.isupper() else a for a, b in letters))


def _image_class(start: bytes, single: bool) -> Any:
    library = nibabel()
    if single:
        classes = [library.Nifti1Image, library.Nifti2Image]
    else:
        names = ("Spm2AnalyzeImage", "Spm99AnalyzeImage", "AnalyzeImage")
        classes = [library.Nifti1Pair, library.Nifti2Pair, *(getattr(library, n) for n in names)]
    for cls in classes:
        if cls.header_class.may_contain_header(start):
            return cls
    raise ValueError("file must start with a NIfTI or Analyze header")


def _image(cls: Any, parts: dict[str, Path], stack: ExitStack) -> Any:
    """Return a NiBabel image whose voxels can be read while the stack is open."""
    library = nibabel()
    files = {name: stack.enter_context(opened(path)) for name, path in parts.items()}
    files.setdefault("image", files["header"])
    if len(parts) == 1:
        del files["header"]
    if "mat" in dict(cls.files_types):
        files.setdefault("mat", BytesIO())  # NiBabel takes an empty one for none
    else:
        files.pop("mat", None)
    holders = {name: library.FileHolder(fileobj=file) for name, file in files.items()}
    with _missing_packages():
        return cls.from_file_map(holders)


@contextmanager
def _missing_packages() -> Iterator[None]:
    """Convert the error of a package that NiBabel lacks for a file into an OSError."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name == "nibabel":
            raise
        raise OSError(f"{error.name} is needed for it: pip install {error.name}") from error


def _flat_end(shape: Sequence[int], region: Region) -> int:
    """Return the number of stored voxels up to and including the last of a region."""
    last = [(part.stop - 1) for part in region[: len(shape)]] + [n - 1 for n in shape[3:]]
    return 1 + sum(at * math.prod(shape[:axis]) for axis, at in enumerate(last))


def open_other(path: Path) -> Opened:
    """Return header and voxels of a file in a format that only NiBabel reads."""
    with failing_as(
        f"'{shown(path)}' should be an image that NiBabel knows, but reading it failed"
    ):
        with _missing_packages():
            image: Any = nibabel().load(path)
        header, load = source(image)

    def checked(region: Region) -> Tensor:
        proxy = image.dataobj
        if hasattr(proxy, "offset"):
            data = Path(getattr(proxy.file_like, "name", proxy.file_like))
            if data.is_file():
                needed = proxy.offset + proxy.dtype.itemsize * math.prod(map(int, proxy.shape))
                check_size(needed, capacity(data))
        for holder in image.file_map.values():
            name = holder.filename and Path(holder.filename)
            kind = name and name.is_file() and compression(name)
            if kind:
                inflate(name, kind)  # for its checksum
        return load(region)

    return Opened(header, checked)


# ---- Images in memory


def source(image: Any, array: np.ndarray | None = None) -> Opened:
    """Return header and voxels of a NiBabel image.

    array: Voxels as stored; by default the image reads them.
    """
    proxy = image.dataobj
    stored: np.dtype = np.dtype(np.float32)
    # AFNI, PAR/REC and MINC scale each slice or volume, by factors of their own
    if isinstance(proxy, np.ndarray) or type(proxy) is nibabel().arrayproxy.ArrayProxy:
        stored = proxy.dtype
    colours = stored.names or ()  # NIfTI's RGB voxels are records
    if colours:
        stored = stored.fields[colours[0]][0]  # type: ignore[index]
    scale = (getattr(proxy, "slope", 1), getattr(proxy, "inter", 0))
    scaled = scale != (1, 0)
    dtype = torch.float32 if scaled and stored.kind in "iu" else torch_dtype(stored)
    shape = shape_of([int(n) for n in proxy.shape], max(1, len(colours)))

    def load(region: Region) -> Tensor:
        part = region[: len(proxy.shape)]
        if array is None:
            voxels = np.asanyarray(proxy[part])
        else:
            voxels = array[part]
            if scaled:
                voxels = nibabel().volumeutils.apply_read_scaling(voxels, *scale)
        if colours:
            voxels = np.stack([voxels[colour] for colour in colours], axis=-1)
        return tensor_of(voxels, region, dtype)

    affine = np.array(image.affine, dtype=np.float64)  # a copy: units are converted in place below
    header = Header(shape, torch.from_numpy(affine), dtype)
    return Opened(with_fields(header, image.header), load)


def with_fields(header: Header, stored: Any) -> Header:
    """Return a header in millimetres, with the NIfTI fields of a header of NiBabel."""
    affine = header.affine
    if not hasattr(stored, "get_xyzt_units"):
        step = _seconds(stored)
        if step is None:
            return header
        return replace(header, nifti=NiftiFields(0, 0, affine.numpy().copy(), step, "sec"))
    try:
        space, time = stored.get_xyzt_units()
    except KeyError:  # codes that NIfTI does not define
        space = time = "unknown"
    scale = _MM.get(space, 1.0)
    affine[:3] *= scale
    zooms = stored.get_zooms()
    step = float(zooms[3]) if len(zooms) > 3 else 1.0
    step, time = step * _SECONDS.get(time, 1.0), "sec" if time in _SECONDS else time
    sform, qform = int(stored["sform_code"]), int(stored["qform_code"])
    matrix = None
    if qform:
        with suppress(Exception):  # invalid quaternions; the sform is used
            matrix = np.diag([scale, scale, scale, 1.0]) @ stored.get_qform()
    return replace(
        header, nifti=NiftiFields(sform, qform, affine.numpy().copy(), step, time, matrix)
    )


def _seconds(stored: Any) -> float | None:
    """Return the seconds between volumes of a FreeSurfer, Philips or AFNI file; None if unknown."""
    name, zooms, unit = type(stored).__name__, stored.get_zooms(), None
    if len(zooms) < 4:
        return None
    if name == "MGHHeader":
        unit = 1e-3
    elif name == "PARRECHeader" and stored.general_info["dyn_scan"]:
        unit = 1.0
    elif name == "AFNIHeader":
        unit = _AFNI.get(stored.info.get("TAXIS_NUMS", [0, 0, 0])[2])
    return float(zooms[3]) * unit if unit and zooms[3] > 0 else None


def from_nibabel(image: Any) -> tuple[Tensor, Tensor]:
    """Return copied voxels (C, I, J, K) and affine (4, 4), in mm, of a NiBabel image.

    The affine is NiBabel's choice: the sform if it has a code, else the qform, else voxel sizes.
    """
    header, load = source(image)
    i, j, k = header.shape[1:]
    region = slice(0, i, 1), slice(0, j, 1), slice(0, k, 1)
    return load(region), checked_affine(header.affine, "NiBabel image")


def nifti_fields(image: Any) -> NiftiFields | None:
    """Return fields of the NIfTI header of a NiBabel image; None if it has another header."""
    return source(image)[0].nifti


def to_nibabel(
    tensor: Tensor, affine: Tensor, fields: NiftiFields | None = None, squeeze: bool = False
) -> Any:
    """Return a NIfTI-1 image of a volume (C, I, J, K) and its affine; C > 1 is the fourth axis.

    The sform holds the affine in float32. The qform cannot hold a shear, and then has no code, so
    that programs which prefer it do not go wrong. int64 voxels become int32 if all of them fit.
    Image and tensor may share memory.

    fields: Fields of the file that the image was read from. The step along the fourth axis and its
    unit are kept if there is such an axis. If the affine is still the file's, the qform is kept,
    too, and the codes of both. Otherwise both hold the affine with code 1, 'scanner', but the qform
    has no code if it differed from the sform.

    squeeze: Leave out the third axis of a single slice with one channel.
    """
    array = writable_array(tensor)
    if max(array.shape) > 32767:
        raise ValueError(f"tensor must be at most 32767 along each axis for NIfTI: {array.shape}")
    if array.dtype == np.int64 and array.min() >= -(2**31) and array.max() < 2**31:
        array = array.astype(np.int32)
    matrix = checked_affine(affine, "affine").numpy()
    array = array.transpose(1, 2, 3, 0) if len(array) > 1 else array[0]
    array = array[..., 0] if squeeze and array.ndim == 3 and array.shape[2] == 1 else array
    image = nibabel().Nifti1Image(array, matrix, dtype=array.dtype)
    header = image.header
    direction = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    sheared = np.abs(direction.T @ direction - np.eye(3)).max() > 1e-6  # float32 rounds, too
    header.set_sform(matrix, "scanner")
    header.set_qform(matrix, "unknown" if sheared else "scanner")
    header.set_xyzt_units("mm")
    if fields is None:
        return image
    if array.ndim > 3:
        if fields.step > 0 and math.isfinite(fields.step):
            header["pixdim"][4] = fields.step
        header.set_xyzt_units("mm", fields.step_unit)
    # float32 rounds to 1 part in 2^24 of the largest entry
    same = np.allclose(fields.affine, matrix, rtol=0, atol=1e-6 * np.abs(matrix).max())
    if same and (fields.sform_code or fields.qform_code):
        header["sform_code"] = fields.sform_code
        if fields.qform is None:
            header["qform_code"] = 0
        else:
            header.set_qform(fields.qform, fields.qform_code)
    elif fields.sform_code and fields.qform is not None:
        # float32 quaternions of half a turn are off by 3e-4
        spacing = np.linalg.norm(fields.affine[:3, :3], axis=0).max()
        if not np.allclose(fields.qform, fields.affine, rtol=0, atol=2e-3 * spacing):
            header["qform_code"] = 0
    return image

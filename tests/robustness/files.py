"""Damaged image files of all formats with headers.

Allowed are the right voxels (where the damage does not matter), the voxels of a damaged header or
of damaged bytes that no checksum guards, and an exception whose one sentence names the file.
Voxels of a damaged compressed payload must never be returned.
"""

from __future__ import annotations

import importlib.util
import random
import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from torchio_gpu.data import io

ALLOWED = (OSError, ValueError)
DICOM = "DICOM"
#: Values that have broken readers.
NUMBERS = (
    *("-1", "0", "1", "2", "3", "4", "5", "7", "16", "30000", "65536", "1000000", "99999999"),
    *("-2147483648", "2147483647", "4294967295", "4294967297", "9223372036854775807"),
    *("18446744073709551616", "1e308", "-1e308", "nan", "inf", "0.5", "0x10", "1e-320", "x"),
)
SHORTS = (-32768, -1, 0, 1, 2, 5, 7, 8, 255, 4096, 30000, 32767)


@dataclass(frozen=True)
class Original:
    """Undamaged image: its files by name, the name to read, and its voxels and affine.

    payload: The file that has the voxels, and where they begin in it. compressed: Whether a
    checksum guards them.
    """

    kind: str
    files: dict[str, bytes]
    name: str
    payload: tuple[str, int]
    compressed: bool
    voxels: torch.Tensor
    affine: torch.Tensor


ORIGINALS: list[Original] = []
FOLDER = Path()


def prepare(folder: Path) -> None:
    """Write the original files."""
    global FOLDER
    FOLDER = folder / "case"
    warnings.simplefilter("ignore")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    generator = np.random.default_rng(0)
    affine = torch.tensor(
        [[-0.9, 0.1, 0, 4], [0, 1.2, 0.3, -7], [0.2, 0, 2, 11], [0, 0, 0, 1]], dtype=torch.float64
    )
    for channels, dtype in ((1, np.int16), (3, np.uint8), (1, np.float32)):
        x = torch.from_numpy(generator.integers(0, 40, (channels, 7, 6, 5)).astype(dtype))
        for name in ("x.nii", "x.nii.gz", "x.hdr", "x.mha", "x.mhd", "x.nrrd", "x.nhdr"):
            place = folder / f"{name}-{channels}-{np.dtype(dtype).name}"
            place.mkdir()
            io.write(x, affine, place / name)
            _add(place, name)
            if name in ("x.mha", "x.mhd", "x.nrrd", "x.nhdr"):
                packed = place / "packed"
                packed.mkdir()
                image = io.to_sitk(x, affine)
                sitk.WriteImage(image, str(packed / name), useCompression=True)
                _add(packed, name)
    _add_dicom(folder)


def _add(folder: Path, name: str) -> None:
    voxels, affine = io.read(folder / name)
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    data = next((other for other in files if other != name), name)
    compressed = name.endswith(".gz") or folder.name == "packed"
    start = 0
    if data == name:
        ends = {".nii": rb"^.{352}", ".mha": rb"ElementDataFile = LOCAL\n", ".nrrd": rb"\n\n"}
        end = ends.get(Path(name).suffix)
        match = end and re.search(end, files[name], re.DOTALL)
        start = match.end() if match else 0
    kind = f"{name}{' compressed' if compressed else ''}"
    ORIGINALS.append(Original(kind, files, name, (data, start), compressed, voxels, affine))


def _add_dicom(folder: Path) -> None:
    """Add readable small files of the pydicom wheel, and a series of three slices."""
    spec = importlib.util.find_spec("pydicom")
    assert spec is not None
    assert spec.submodule_search_locations
    samples = Path(spec.submodule_search_locations[0], "data", "test_files")
    for path in sorted(samples.glob("*.dcm")):
        # GDCM takes seconds and gigabytes for the one whose syntax is another than it says
        if path.stat().st_size < 50_000 and path.name != "SC_rgb_jpeg.dcm":
            try:
                voxels, affine = io.read(path)
            except ALLOWED:
                continue
            content = {path.name: path.read_bytes()}
            here = (path.name, max(0, len(content[path.name]) - voxels.nbytes))
            ORIGINALS.append(Original(DICOM, content, path.name, here, False, voxels, affine))


def run(number: int, seed: int) -> tuple[str, str]:
    """Damage one file, read it, and judge the result."""
    rng = random.Random(f"{seed} {number}")
    # few formats beside many files of DICOM
    dicom = rng.random() < 0.2
    original = rng.choice([one for one in ORIGINALS if (one.kind == DICOM) == dicom])
    files = dict(original.files)
    damaged = rng.choice(list(files))
    before = files[damaged]
    mutate = rng.choice(MUTATIONS)
    after = files[damaged] = mutate(rng, before, original, damaged)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    for name, content in files.items():
        (FOLDER / name).write_bytes(content)
    what = f"{mutate.__name__} of {damaged} ({original.kind})"
    try:
        voxels, affine = io.read(FOLDER / original.name)
    except MemoryError as error:
        return "bad: memory", f"{what}: {error}"
    except ALLOWED as error:
        text = str(error)
        if original.name not in text or "\n" in text or len(text) > 600:
            return "bad: sentence", f"{what}: {type(error).__name__}: {text}"
        return "refused", text
    except Exception as error:
        return "bad: exception", f"{what}: {type(error).__name__}: {error}"
    same = voxels.shape == original.voxels.shape and torch.equal(voxels, original.voxels)
    if same and torch.equal(affine, original.affine):
        return "right", ""
    return _judge(original, damaged, before, after, voxels, what)


def _judge(
    original: Original, damaged: str, before: bytes, after: bytes, voxels: torch.Tensor, what: str
) -> tuple[str, str]:
    """Return the outcome of a read whose result is not the original."""
    data, start = original.payload
    if what.startswith("other_content") and len(after) > 20:
        return "changed: another file", what
    if original.kind == DICOM:
        return "changed: no checksum", what
    in_header = damaged != data or before[:start] != after[:start]
    if original.compressed and not (in_header and start + (damaged != data)):
        return "bad: wrong voxels", what
    if in_header:
        return "changed: header", what
    if len(after) < len(before):
        return "bad: voxels of a short file", what
    if voxels.shape != original.voxels.shape:
        return "bad: shape", what
    changed = sum(a != b for a, b in zip(before, after, strict=False))
    astray = int((voxels != original.voxels).sum())
    return ("changed: no checksum" if astray <= changed else "bad: wrong voxels"), what


# ---- Damages: of the content of one file


def flip_bits(rng: random.Random, content: bytes, original: Original, name: str) -> bytes:
    out = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def flip_header_bits(rng: random.Random, content: bytes, original: Original, name: str) -> bytes:
    out = bytearray(content)
    for _ in range(rng.choice((1, 2, 4))):
        out[rng.randrange(min(len(out), 420))] ^= 1 << rng.randrange(8)
    return bytes(out)


def set_header_bytes(rng: random.Random, content: bytes, original: Original, name: str) -> bytes:
    out = bytearray(content)
    at = rng.randrange(min(len(out), 352))
    out[at : at + 4] = bytes(rng.choice((0, 1, 127, 128, 255)) for _ in range(4))
    return bytes(out)


def set_field(rng: random.Random, content: bytes, original: Original, name: str) -> bytes:
    """Change a number of a text header, or of the first fields of NIfTI."""
    if name.endswith((".nii", ".hdr")):
        out = bytearray(content)
        at = rng.choice((40, 42, 44, 46, 48, 50, 52, 70, 72, 108, 110, 252, 254, 344))
        out[at : at + 2] = rng.choice(SHORTS).to_bytes(2, "little", signed=True)
        return bytes(out)
    numbers = list(re.finditer(rb"-?\b[\d.]+(e[+-]?\d+)?\b", content[:900]))
    if not numbers:
        return flip_bits(rng, content, original, name)
    match = rng.choice(numbers)
    return content[: match.start()] + rng.choice(NUMBERS).encode() + content[match.end() :]


def drop_word(rng: random.Random, content: bytes, original: Original, name: str) -> bytes:
    words = list(re.finditer(rb"[\w.]+|\n", content[:900])) or list(re.finditer(rb".", content))
    match = rng.choice(words)
    return content[: match.start()] + content[match.end() :]


def repeat_line(rng: random.Random, content: bytes, original: Original, name: str) -> bytes:
    lines = content.split(b"\n", 12)
    at = rng.randrange(len(lines))
    return b"\n".join([*lines[: at + 1], *lines[at:]])


def cut(rng: random.Random, content: bytes, original: Original, name: str) -> bytes:
    if rng.random() < 0.3:
        return content[: -rng.randint(1, min(12, len(content)))]
    return content[: rng.randrange(len(content))]


def remove_part(rng: random.Random, content: bytes, original: Original, name: str) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + content[at + rng.choice((1, 2, 16, 100)) :]


def insert_bytes(rng: random.Random, content: bytes, original: Original, name: str) -> bytes:
    at = rng.choice((rng.randrange(len(content)), len(content)))
    more = rng.choice((rng.randbytes(rng.choice((1, 8, 300))), b"\0" * 20, content[:50]))
    return content[:at] + more + content[at:]


def other_content(rng: random.Random, content: bytes, original: Original, name: str) -> bytes:
    other = rng.choice(ORIGINALS)
    return rng.choice((b"", b"\0" * 400, rng.randbytes(400), other.files[other.name]))


MUTATIONS: tuple[Callable[[random.Random, bytes, Original, str], bytes], ...] = (
    flip_bits,
    flip_bits,
    flip_header_bits,
    set_header_bytes,
    set_field,
    set_field,
    drop_word,
    repeat_line,
    cut,
    remove_part,
    insert_bytes,
    other_content,
)

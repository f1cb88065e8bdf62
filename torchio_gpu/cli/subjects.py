"""Image files as one subject: what is read, and where the result is written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..data import Subject
    from ..transforms import Transform

#: Images of a subject as options of a command.
ImageOption = Annotated[
    list[str] | None,
    typer.Option("--image", metavar="NAME=FILE", help="Scalar image to read, by name."),
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME=FILE", help="Label map to read, by name."),
]
#: Name of an image that is given without one, as transforms name it.
_ONLY = "default_image_name"


@dataclass(frozen=True)
class Source:
    """Image file of a subject.

    Args:
        name: Name of the image in the subject.
        path: File, or folder with a DICOM series.
        stem: Name of the file to write, without its suffix.
        is_label: The image is a label map.
    """

    name: str
    path: Path
    stem: str
    is_label: bool = False


def sources(files: Sequence[str], images: Iterable[str], labels: Iterable[str]) -> list[Source]:
    """Return the images of a subject.

    Args:
        files: Paths of scalar images, which are named by their files; a lone one is called
            ``default_image_name``.
        images, labels: Scalar images and label maps as NAME=FILE.

    Raises:
        ValueError: There is none, two have one name, or one does not look like NAME=FILE.
        FileNotFoundError: A file does not exist.
    """
    found = [Source(_stem(Path(file)), Path(file), _stem(Path(file))) for file in files]
    for option, pairs in (("image", images), ("label", labels)):
        for pair in pairs:
            name, _, file = pair.partition("=")
            if not name or not file or name != Path(name).name:
                raise ValueError(
                    f"--{option} must be NAME=FILE, such as t1=scan.nii.gz, got {pair!r}"
                )
            found.append(Source(name, Path(file), name, option == "label"))
    if len(found) == len(files) == 1:
        found = [Source(_ONLY, found[0].path, found[0].stem)]
    names = [source.name for source in found]
    for source in found:
        if names.count(source.name) > 1:
            raise ValueError(
                f"images must have different names, got {source.name!r} {names.count(source.name)} "
                "times: name them by --image NAME=FILE"
            )
        path = source.path.expanduser()
        if not path.exists() and not Path(os.fspath(path).partition("::")[0]).exists():
            raise FileNotFoundError(f"'{source.path}' does not exist")
    return found


def apply(
    transform: Transform, found: Sequence[Source], out: str, seed: int | None
) -> tuple[Subject, list[Path]]:
    """Read images as one subject, transform it, and write the result.

    Args:
        transform: Draws one set of spatial parameters for all images.
        found: What is read.
        out: File for a lone image; else a folder, which need not exist, for all images of the
            result. A file in it has the name of the file that was read, or the NAME that an option
            gave, or that of an image which the transform has added.
        seed: Seed of torch, or None.

    Returns:
        The result, and the files written.

    Raises:
        ValueError: ``out`` is not as above, or a file that is read would be overwritten.
    """
    import torch

    read = [each.path.expanduser() for each in found]
    folder, chosen = _targets(found, out)
    _check_targets(read, chosen.values())
    if seed is not None:
        torch.manual_seed(seed)
    result = transform(read_subject(found))
    made = result.get_images_dict(intensity_only=False)
    added = [name for name in made if name not in chosen]
    if added and folder is None:
        raise ValueError(f"OUT must be a folder, since {added[0]} is added, got '{out}'")
    if folder is not None:
        chosen = {n: chosen.get(n, folder / f"{n}.nii.gz") for n in made}
        _check_targets(read, chosen.values())
        folder.mkdir(parents=True, exist_ok=True)
    for name, path in chosen.items():
        made[name].save(path)
    return result, list(chosen.values())


def read_subject(found: Sequence[Source]) -> Subject:
    """Return images as one subject."""
    from ..data import LabelMap, ScalarImage, Subject

    return Subject(
        {each.name: (LabelMap if each.is_label else ScalarImage)(each.path) for each in found}
    )


def _targets(found: Sequence[Source], out: str) -> tuple[Path | None, dict[str, Path]]:
    """Return the folder to write to, or None for a lone file, and the file for each image."""
    from ..data.io import WRITABLE, is_zarr

    path = Path(out).expanduser()
    is_image = path.name.lower().endswith(WRITABLE)
    is_folder = path.is_dir() and not is_zarr(path)
    if is_folder or out.endswith(("/", os.sep)) or len(found) > 1:
        if path.is_file() or (is_image and not is_folder):
            raise ValueError(f"OUT must be a folder for several images, got '{out}'")
        return path, {
            each.name: path / (each.stem + _suffix(each.path, WRITABLE)) for each in found
        }
    if not is_image:
        raise ValueError(f"path must end in one of {', '.join(WRITABLE)}: got '{out}'")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"OUT must be in an existing folder: '{path.parent}' is none")
    return None, {found[0].name: path}


def _check_targets(read: Iterable[Path], written: Iterable[Path]) -> None:
    """Raise ValueError if a file would be written that is read, or twice."""
    taken = {key: "is read" for path in read for key in _files(path)}
    for path in written:
        keys = set(_files(path))
        reasons = [taken[key] for key in keys if key in taken]
        if reasons:
            raise ValueError(f"OUT must give each image a new file: '{path}' {reasons[0]}")
        taken |= dict.fromkeys(keys, "would be written twice")


def _suffix(path: Path, known: Sequence[str]) -> str:
    """Return the suffix of a file in ``known``, or .nii.gz for one that cannot be written."""
    name = path.name.lower()
    matching = [suffix for suffix in known if name.endswith(suffix)]
    readable_only = not matching or name.endswith(".nii.zarr")
    return ".nii.gz" if readable_only else path.name[-max(map(len, matching)) :]


def _stem(path: Path) -> str:
    name = path.resolve().name if path.name in ("", "..") else path.name
    stem = name.removesuffix(".zarr")
    if stem != name:  # OME-Zarr and NIfTI-Zarr have two suffixes
        return stem.removesuffix(".ome").removesuffix(".nii")
    stem = name[: -len(".gz")] if name.lower().endswith(".gz") else name
    return stem if path.is_dir() else Path(stem).stem


def _files(path: Path) -> Iterator[tuple[int, int] | str]:
    """Yield what identifies a file, and the other file of a NIfTI pair."""
    pair = {".hdr": ".img", ".img": ".hdr"}.get(path.suffix.lower())
    for each in (path, *((path.with_suffix(pair),) if pair else ())):
        real = os.path.realpath(each)
        yield os.path.normcase(real)
        if os.path.exists(real):  # under whatever name: links, and capitals where they are equal
            status = os.stat(real)
            yield status.st_dev, status.st_ino

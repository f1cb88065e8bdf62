"""Display of images by another program."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from torch import Tensor

from .itk import to_sitk
from .voxels import sitk

_COMMANDS = ("itksnap", "ITK-SNAP", "Slicer")
_PLACES = (  # on macOS, and on Windows
    ("/Applications", "ITK-SNAP.app/Contents/MacOS/ITK-SNAP"),
    ("/Applications", "Slicer.app/Contents/MacOS/Slicer"),
    ("C:/Program Files", "ITK-SNAP*/bin/itk-snap.exe"),
    ("C:/Program Files", "Slicer*/Slicer.exe"),
)


def show(
    tensor: Tensor, affine: Tensor, labels: bool, viewer: str | os.PathLike[str] | None = None
) -> None:
    """Open a volume (C, I, J, K) in another program, which runs on by itself.

    labels: The voxels are labels, which 3D Slicer then shows as a segmentation.
    viewer: The program; by default that of the environment variable SITK_SHOW_COMMAND, ITK-SNAP,
        3D Slicer or one that SimpleITK finds.

    Raises RuntimeError if there is no such program, or if it does not start.
    """
    image = to_sitk(tensor, affine)
    window = sitk().ImageViewer()
    if labels:
        window.SetFileExtension(".seg.nrrd")
    program = viewer or os.environ.get("SITK_SHOW_COMMAND") or _found()
    if program is not None:
        if shutil.which(program) is None and not Path(program).exists():
            raise RuntimeError(f"viewer_path must be a program, there is no '{program}'")
        window.SetApplication(str(program))
    try:
        window.Execute(image)
    except RuntimeError as error:
        raise RuntimeError(
            "no program was found that displays images: give viewer_path, or set the environment "
            "variable SITK_SHOW_COMMAND"
            if program is None
            else f"'{program}' could not display the image"
        ) from error


def _found() -> str | None:
    """Return the path of ITK-SNAP or 3D Slicer, if one is where it is usually installed."""
    for command in _COMMANDS:
        found = shutil.which(command)
        if found is not None:
            return found
    for folder, pattern in _PLACES:
        for path in sorted(Path(folder).glob(pattern)):
            return str(path)
    return None

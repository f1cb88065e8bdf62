"""Commands ``tiotr`` and ``tiohd``, with the syntax of those of TorchIO 1.x."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..names import nearest
from .construction import check_name, complete_name, construct, parse_keywords
from .errors import errors_as_exit_code
from .subjects import apply, sources

if TYPE_CHECKING:
    from rich.status import Status

_CLASSES = ("ScalarImage", "LabelMap")


def tiotr(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="Image to read.")],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Transform.", autocompletion=complete_name)
    ],
    target: Annotated[str, typer.Argument(metavar="OUTPUT", help="Image to write.")],
    kwargs: Annotated[
        str,
        typer.Option(
            "--kwargs", "-k", help='Arguments, such as "degrees=(-5,15) num_transforms=3".'
        ),
    ] = "",
    imclass: Annotated[
        str, typer.Option("--imclass", "-c", help="ScalarImage or LabelMap.")
    ] = "ScalarImage",
    seed: Annotated[
        int | None, typer.Option("--seed", "-s", help="Decides everything random.")
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose/--no-verbose", "-v", help="Print what was drawn.")
    ] = False,
    show_progress: Annotated[
        bool,
        typer.Option("--show-progress/--hide-progress", "-p/-P", help="Show that work is done."),
    ] = True,
) -> None:
    """Apply a transform to an image, with the arguments of TorchIO 1.x's tiotr."""
    with errors_as_exit_code():
        check_name(name)
        if imclass not in _CLASSES:
            raise ValueError(
                f"imclass must be ScalarImage or LabelMap, got {imclass!r}"
                f"{nearest(imclass, _CLASSES)}"
            )
        arguments = parse_keywords(kwargs)
        (read,) = sources([source], [], [])
        found = [replace(read, is_label=imclass == "LabelMap")]
        with _spinner(f"Applying {name}") if show_progress else nullcontext():
            made = construct(name, arguments, seed)
            result, written = apply(made, found, target, seed)
    if verbose:
        for record in result.history:
            typer.echo(str(record))
    for path in written:
        typer.echo(str(path))


def tiohd(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Image to read.")],
    plot: Annotated[
        bool,
        typer.Option("--plot/--no-plot", "-p/-P", help="Draw the image, and open the picture."),
    ] = False,
    show: Annotated[
        bool,
        typer.Option("--show/--no-show", "-s/-S", help="Open the file in the system's viewer."),
    ] = False,
    label: Annotated[
        bool, typer.Option("--label/--scalar", "-l", help="The image is a label map.")
    ] = False,
    load: Annotated[
        bool, typer.Option("--load/--no-load", help="Read the voxels, and print their size.")
    ] = False,
) -> None:
    """Print the header of an image, with the arguments of TorchIO 1.x's tiohd."""
    with errors_as_exit_code():
        from ..data import LabelMap, ScalarImage

        image = (LabelMap if label else ScalarImage)(file)
        if load:
            image.load()
        assert image.shape  # the header has been read
        typer.echo(str(image))
        if load:
            typer.echo(f"{image.data.nbytes / 2**20:.3g} MiB")
        if plot:
            picture = Path(tempfile.mkdtemp(prefix="torchio-gpu-"), "plot.png")
            image.plot().savefig(picture)
            typer.echo(str(picture))
            _open(picture)
        if show:
            _open(file)


def _open(path: Path) -> None:
    if typer.launch(str(path)):
        raise OSError(f"no program of this system opens '{path}'")


def _spinner(text: str) -> Status:
    from rich.console import Console

    return Console(stderr=True).status(text)

"""The command ``preview``: a page on which transforms are tuned by looking."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import errors_as_exit_code
from .subjects import ImageOption, LabelOption, Source, read_subject, sources

if TYPE_CHECKING:
    from ..preview.session import Session

PointsOption = Annotated[
    list[str] | None,
    typer.Option("--points", metavar="NAME=FILE", help="Points to read, by name."),
]


def preview(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[IN]...", help="Scalar images of one subject.")
    ] = None,
    image: ImageOption = None,
    label: LabelOption = None,
    points: PointsOption = None,
    pipeline: Annotated[
        Path | None,
        typer.Option("--pipeline", metavar="FILE", help="Pipeline to begin with, .yaml or .json."),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the page; 0 for any that is free.")
    ] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
) -> None:
    """Open a page on which one tunes transforms and sees the volume change.

    torchio-gpu preview t1.nii.gz

    torchio-gpu preview --image t1=a.nii.gz --label seg=b.nii.gz --pipeline augment.yaml

    Without files, an average head is shown. The page is for this machine alone: it listens on
    loopback, its address holds a secret, and it reads the files that are named here and no others.
    Nothing is written. End it by Ctrl+C.
    """
    with errors_as_exit_code():
        given = [files, image, label]
        found = sources(*(each or [] for each in given)) if any(given) else []
        marks = _points(points or [], {each.name for each in found})
        if marks and not found:
            raise ValueError("--points must be given with the images that they belong to")
        if pipeline is not None and not pipeline.expanduser().exists():
            raise FileNotFoundError(f"'{pipeline}' does not exist")
        missing = [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]
        if missing:
            raise ImportError(
                f"preview needs {' and '.join(missing)}, which is not installed: "
                'pip install "torchio-gpu[preview]"'
            )
        from ..preview.server import serve

        def announce(address: str) -> None:
            typer.echo(f"preview at {address} (end with Ctrl+C)")
            if browser:
                _open(address)

        message = serve(lambda: _session(found, marks, pipeline), port, announce)
        if message:
            raise ValueError(message)


def _session(
    found: Sequence[Source], points: Sequence[tuple[str, Path]], pipeline: Path | None
) -> Session:
    """Read the images and return what the page is about."""
    from ..preview import session
    from ..preview.texts import Input, subject_as_python

    made = session.demo() if not found else None
    if made is None:
        from ..data import Points

        subject = read_subject(found)
        inputs = [Input(each.name, str(each.path), each.is_label) for each in found]
        lines = subject_as_python(inputs)
        for name, path in points:
            subject[name] = Points(path)
            lines += f"\nsubject[{name!r}] = tio.Points({str(path)!r})"
        made = session.Session(subject, inputs, lines)
    if pipeline is not None:
        from ..configuration import load_pipeline

        made.pipeline = load_pipeline(pipeline)
    return made


def _points(pairs: Sequence[str], taken: set[str]) -> list[tuple[str, Path]]:
    """Return names and files of points."""
    found = []
    for pair in pairs:
        name, _, file = pair.partition("=")
        if not name or not file or name in taken:
            raise ValueError(
                f"--points must be NAME=FILE, such as marks=points.csv, with a NAME of its own, "
                f"got {pair!r}"
            )
        if not Path(file).expanduser().exists():
            raise FileNotFoundError(f"'{file}' does not exist")
        taken = {*taken, name}
        found.append((name, Path(file)))
    return found


def _open(address: str) -> None:
    """Open an address in a browser with a window, if there is a screen to show it on."""
    import threading
    import webbrowser

    windows = sys.platform in ("win32", "darwin") or {"DISPLAY", "WAYLAND_DISPLAY"} & set(
        os.environ
    )
    if windows:  # others would take over the terminal
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

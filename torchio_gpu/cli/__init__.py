"""The command line, ``torchio-gpu`` or ``python -m torchio_gpu``.

Help, versions, completion and errors of usage are quick: what imports torch is imported by the
command that needs it, and transforms are named in ``torchio_gpu/names.py``.
"""

from __future__ import annotations

from typing import Annotated

import typer

from .cohort_commands import failures, fit, preprocess, status
from .pipeline_commands import check, schema
from .preview_command import preview
from .reports import bench, demo, info
from .torchio_syntax import tiohd, tiotr
from .transform_command import HELP_OF_TRANSFORM, transform

app = typer.Typer(
    help="Augmentation and preprocessing of 3D medical images.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command that the arguments name; the entry point of ``torchio-gpu``."""
    app(prog_name="torchio-gpu")  # as ``python -m torchio_gpu``, too


def _print_version(wanted: bool) -> None:
    if wanted:
        from ..version import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Augmentation and preprocessing of 3D medical images."""


app.command()(demo)
app.command()(info)
app.command(
    context_settings={"ignore_unknown_options": True},
    options_metavar="[OPTIONS] [IN]... OUT NAME",
    add_help_option=False,  # which would not know of NAME
    epilog=HELP_OF_TRANSFORM,
)(transform)
app.command()(preview)
app.command()(check)
app.command()(schema)
app.command()(preprocess)
app.command()(status)
app.command()(failures)
app.command()(fit)
app.command()(bench)
app.command()(tiotr)
app.command()(tiohd)

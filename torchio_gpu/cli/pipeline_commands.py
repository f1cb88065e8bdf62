"""Commands about pipelines in files: ``check`` and ``schema``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .errors import errors_as_exit_code
from .subjects import ImageOption, LabelOption, read_subject, sources


def check(
    pipeline: Annotated[Path, typer.Argument(help="File .yaml, .yml or .json.")],
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[IN]...", help="Scalar images of one subject.")
    ] = None,
    image: ImageOption = None,
    label: LabelOption = None,
) -> None:
    """Check a pipeline in a file, and print its plan: which steps share a pass over the voxels.

    With images, it is the plan for these. Nothing is written. Where the file is wrong, the line is
    named, and the exit code is 2.
    """
    with errors_as_exit_code():
        from ..configuration import load_pipeline
        from ..transforms import Compose

        loaded = load_pipeline(pipeline)
        whole = loaded if isinstance(loaded, Compose) else Compose([loaded])
        given = [files, image, label]
        found = sources(*(each or [] for each in given)) if any(given) else None
        typer.echo(whole.explain(None if found is None else read_subject(found)))


def schema() -> None:
    """Print the JSON schema of pipelines, with which editors complete and check them."""
    with errors_as_exit_code():
        from ..configuration import schema as schema_of_pipelines

        typer.echo(json.dumps(schema_of_pipelines(), indent=1))

"""The command ``transform``: images of one subject, from files to files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..names import TRANSFORMS, nearest
from ..words import parse_options
from .construction import check_name, complete_name, construct
from .documentation import documentation
from .errors import errors_as_exit_code
from .subjects import ImageOption, LabelOption, apply, sources

_OPTIONS = ("--image", "--label", "--pipeline", "--seed", "--help")
HELP_OF_TRANSFORM = (
    "torchio-gpu transform NAME --help documents the arguments of a transform. There are "
    f"{', '.join(TRANSFORMS)}."
)


def _complete_word(context: typer.Context, incomplete: str) -> list[str]:
    # after IN and OUT at the earliest; before that, shells complete files
    return complete_name(incomplete) if incomplete or len(context.params["words"] or ()) > 1 else []


def transform(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="--param value",
            hidden=True,
            autocompletion=_complete_word,
        ),
    ] = None,
    image: ImageOption = None,
    label: LabelOption = None,
    pipeline: Annotated[
        Path | None,
        typer.Option("--pipeline", metavar="FILE", help="Pipeline to apply, .yaml or .json."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Decides everything random.")] = None,
    wants_help: Annotated[
        bool,
        typer.Option(
            "--help", help="Show this message, or the documentation of a transform NAME, and exit."
        ),
    ] = False,
) -> None:
    """Apply a transform to an image, or to several images and label maps of one subject.

    torchio-gpu transform t1.nii.gz out.nii.gz RandomAffine --degrees 15

    torchio-gpu transform --image t1=a.nii.gz --label seg=b.nii.gz out/ RandomAffine

    torchio-gpu transform t1.nii.gz out.nii.gz --pipeline augment.yaml

    IN are scalar images; those by --image and --label add to them. All are one subject, and share
    spatial parameters. OUT is a file for one image, else a folder, in which files are named like
    those that were read, or by the NAME of the option. Files that are read are never overwritten.
    NAME is a transform; a file named by --pipeline stands in its place. Options after it are its
    arguments: numbers (--degrees 15), lists (--scales 0.9,1.1), words (--image-interpolation
    nearest), Python literals, or nothing for True (--rician).
    """
    words = words or []
    if wants_help and not words:
        typer.echo(context.get_help())
        return
    with errors_as_exit_code():
        if pipeline is not None and not wants_help:
            _check_files(words, inputs=bool(image or label))
            from ..configuration import load_pipeline

            found = sources(words[:-1], image or [], label or [])
            _print(apply(load_pipeline(pipeline), found, words[-1], seed)[1])
            return
        before, name, after = _split(words, inputs=bool(image or label), alone=wants_help)
        if wants_help:
            typer.echo(documentation(name))
            return
        found = sources(before[:-1], image or [], label or [])
        arguments = parse_options(after)
        made = construct(name, arguments, seed, [option[2:] for option in _OPTIONS])
        _print(apply(made, found, before[-1], seed)[1])


def _print(written: list[Path]) -> None:
    for path in written:
        typer.echo(str(path))


def _check_files(words: list[str], inputs: bool) -> None:
    """Raise a ValueError unless words are files to read and one to write.

    Args:
        words: As on the command line, without options of the command.
        inputs: Images are given by options as well.
    """
    for word in words:
        if word.startswith("--"):
            known = ", ".join(_OPTIONS)
            hint = nearest(word, _OPTIONS)
            raise ValueError(f"options beside --pipeline are {known}, got {word!r}{hint}")
        if word in TRANSFORMS:
            raise ValueError(f"{word} must not be given with --pipeline, which names a file")
    if len(words) < (1 if inputs else 2):
        wanted, got = "OUT" if inputs else "IN OUT", " ".join(words) or "nothing"
        raise ValueError(f"transform --pipeline needs {wanted}; got {got}")


def _split(words: list[str], inputs: bool, alone: bool) -> tuple[list[str], str, list[str]]:
    """Return the words before the name of the transform, that name, and the words after it.

    Args:
        words: As on the command line, without options of the command.
        inputs: Images are given by options as well.
        alone: The name of the transform may be the only word.
    """
    options = (n for n, word in enumerate(words) if word.startswith("--"))
    end = next(options, len(words))
    known = [n for n, word in enumerate(words[:end]) if word in TRANSFORMS]
    place = known[-1] if known else end - 1
    if not known and any(word in TRANSFORMS for word in words[end:]):
        raise ValueError(
            f"options before NAME are {', '.join(_OPTIONS)}, got {words[end]!r}"
            f"{nearest(words[end], _OPTIONS)}"
        )
    if place >= 0:
        check_name(words[place])
    if place < (0 if alone else 1 if inputs else 2):
        wanted = "OUT NAME" if inputs else "IN OUT NAME"
        got = " ".join(words) or "nothing"
        raise ValueError(
            f"transform needs {wanted}, then arguments such as --degrees 15; got {got}"
        )
    return words[:place], words[place], words[place + 1 :]

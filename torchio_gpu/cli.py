"""The command line: ``torchio-gpu demo``, ``info``, ``transform`` and ``bench``.

Modules that take long to import are imported by the command that needs them.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from .data import Image
    from .transforms import Transform

app = typer.Typer(
    help="Augmentation and preprocessing of 3D medical images.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command that the arguments name; the entry point of ``torchio-gpu``."""
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        from . import __version__

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


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("demo-output"),
    device: Annotated[
        str | None, typer.Option(help="Where to compute; the GPU if there is one, else the CPU.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 60,
    seed: Annotated[int, typer.Option(help="Decides everything random.")] = 0,
    patches: Annotated[
        bool,
        typer.Option("--patches", help="Learn from patches all over the head, not crops of it."),
    ] = False,
) -> None:
    """Train a small network on a brain with augmentation, and draw what it finds in the whole head.

    A gallery shows each augmentation.

    Nothing is downloaded: the brain comes with nilearn (pip install "torchio-gpu[demo]").
    """
    with _errors_as_exit_code():
        from .demo import run

        report = run(output, device, steps, seed, patches=patches)
    losses, times = report["losses"], report["milliseconds"]
    typer.echo(f"device        {report['device']['name']}")
    typer.echo(f"loss          {losses[0]:.3f} at step 1, {losses[-1]:.3f} at step {len(losses)}")
    for part, milliseconds in times.items():
        typer.echo(f"{part.replace('_', ' '):13} {milliseconds:.1f} ms a step (median)")
    for overlap, dice in report["dice"].items():
        found = ", ".join(f"{tissue} {value:.3f}" for tissue, value in dice.items())
        typer.echo(f"dice, {overlap:7} {found}")
    for name in ("gallery.png", "prediction.png", "loss.png", "report.json"):
        typer.echo(str(output / name))


@app.command()
def info(
    files: Annotated[list[Path], typer.Argument(help="Images, or folders with a DICOM series.")],
) -> None:
    """Print shape, spacing, orientation, origin and type of images, from their headers alone."""
    from .data import Image

    for file in files:
        with _errors_as_exit_code():
            lines = _describe(Image(file))
        typer.echo(f"{file}")
        for name, value in lines.items():
            typer.echo(f"  {name:12} {value}")


def _describe(image: Image) -> dict[str, str]:
    def triple(values: Sequence[float]) -> str:
        return " ".join(f"{value:.6g}" for value in values)

    channels, *shape = image.shape
    return {
        "shape": f"{triple(shape)} (I J K), {channels} channel{'s' * (channels > 1)}",
        "spacing": f"{triple(image.spacing)} mm",
        "orientation": f"{image.orientation_str}+",
        "origin": f"{triple(image.origin)} mm",
        "dtype": str(image.dtype).removeprefix("torch."),
    }


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    options_metavar="[OPTIONS]",
)
def transform(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="IN", help="Image to read.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Image to write.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Transform, such as RandomAffine.")],
    label: Annotated[bool, typer.Option("--label", help="IN is a label map.")] = False,
    seed: Annotated[int | None, typer.Option(help="Decides everything random.")] = None,
) -> None:
    """Apply a transform to an image file: transform IN OUT NAME [--param value ...].

    Options after NAME are arguments of the transform: numbers (--degrees 15), lists
    (--scales 0.9,1.1), words (--image-interpolation nearest), Python literals, or nothing for
    True (--rician).
    """
    with _errors_as_exit_code():
        cls = _find(name)
        arguments = _parse(context.args)
        if seed is not None and "seed" in inspect.signature(cls).parameters:
            arguments["seed"] = seed  # deterministic noise, which draws nothing
        made = _build(cls, arguments)

        import torch

        from .data import LabelMap, ScalarImage

        if seed is not None:
            torch.manual_seed(seed)
        image = (LabelMap if label else ScalarImage)(source)
        made(image).save(target)


@app.command()
def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Transforms, such as RandomAffine; or all."),
    ] = None,
    shape: Annotated[tuple[int, int, int], typer.Option(help="Voxels along I, J and K.")] = (
        128,
        128,
        128,
    ),
    batch: Annotated[int, typer.Option(min=1, help="Samples.")] = 2,
    channels: Annotated[int, typer.Option(min=1, help="Of the image.")] = 1,
    device: Annotated[
        str | None, typer.Option(help="Where to compute; the GPU if there is one, else the CPU.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="On a CPU; all by default.")] = None,
) -> None:
    """Time transforms on this machine: a batch of random images with their label maps.

    Parameters are the defaults, p is 1. A copy of the batch is the floor.
    """
    with _errors_as_exit_code():
        import torch

        from .bench import measure
        from .demo import find_device
        from .shapes import check_triple

        where = find_device(device)
        if threads is not None:
            torch.set_num_threads(threads)
        name = torch.cuda.get_device_name(where) if where.type == "cuda" else str(where)
        typer.echo(f"{name}, torch {torch.__version__}, {torch.get_num_threads()} threads")
        size = "x".join(map(str, (batch, channels, *shape)))
        typer.echo(f"{size} float32 with uint8 labels, ms a call: median (quartiles), copies")
        for cost in measure(check_triple(shape, "shape"), batch, channels, where, names or None):
            times = f"{cost.median:9.2f} ({cost.low:.2f}-{cost.high:.2f})"
            typer.echo(f"{cost.name:32} {times:28} {cost.copies:8.1f} x copy")


def _known() -> dict[str, type[Transform]]:
    """Return the transforms that the command line can construct, by name."""
    from . import transforms

    others = (transforms.Compose, transforms.Recorded)
    found = {name: getattr(transforms, name) for name in transforms.__all__}
    return {
        name: cls
        for name, cls in found.items()
        if inspect.isclass(cls)
        and issubclass(cls, transforms.Transform)
        and not inspect.isabstract(cls)
        and not issubclass(cls, others)
    }


def _find(name: str) -> type[Transform]:
    known = _known()
    if name not in known:
        raise ValueError(f"there is no transform {name!r}; there are {', '.join(sorted(known))}")
    return known[name]


def _parse(words: Sequence[str]) -> dict[str, Any]:
    """Parse ``--some-name value`` pairs; ``--name=value`` and a bare ``--name`` as well."""
    arguments: dict[str, Any] = {}
    left = list(words)
    while left:
        option, equals, value = left.pop(0).partition("=")
        if not option.startswith("--"):
            raise ValueError(f"arguments of a transform look like --degrees 15, got {option!r}")
        if not equals:
            value = "True" if not left or left[0].startswith("--") else left.pop(0)
        arguments[option[2:].replace("-", "_")] = _value(value)
    return arguments


def _value(word: str) -> Any:
    """Return a Python literal, else a list of such, else the word itself."""
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError):
        return tuple(map(_value, word.split(","))) if "," in word else word


def _build(cls: type[Transform], arguments: dict[str, Any]) -> Transform:
    from .transforms import Transform

    names: dict[str, inspect.Parameter] = {}
    for signature in (inspect.signature(cls), inspect.signature(Transform)):
        names |= {n: p for n, p in signature.parameters.items() if p.kind is not p.VAR_KEYWORD}
    unknown = [name for name in arguments if name not in names]
    if unknown:
        raise ValueError(f"{cls.__name__} takes {', '.join(names)}; got {', '.join(unknown)}")
    missing = [n for n, p in names.items() if p.default is p.empty and n not in arguments]
    if missing:
        raise ValueError(f"{cls.__name__} needs {', '.join(missing)}")
    for name, value in arguments.items():
        if value is True and not isinstance(names[name].default, bool):
            raise ValueError(f"{name} of {cls.__name__} needs a value")
    return cls(**arguments)


@contextmanager
def _errors_as_exit_code() -> Iterator[None]:
    """Print the message of an error, and end with exit code 2."""
    try:
        yield
    except (
        ValueError, TypeError, KeyError, OSError, ImportError, RuntimeError, MemoryError,
    ) as error:  # fmt: skip
        message = str(error.args[0] if isinstance(error, KeyError) else error)
        if (
            isinstance(error, MemoryError) or "allocate memory" in message
        ):  # torch raises RuntimeError
            needed = re.search(r"allocate (\d+ bytes|.*for an array.*)", message)
            message = f"there is not enough memory{f' for {needed[1]}' if needed else ''}"
        elif isinstance(error, RuntimeError):  # torch appends a C++ trace
            message = message.partition("\n")[0]
        typer.echo(f"torchio-gpu: {message}", err=True)
        raise typer.Exit(2) from error


if __name__ == "__main__":
    main()

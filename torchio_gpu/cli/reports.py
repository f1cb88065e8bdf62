"""Commands that print what is so: ``info`` of images, ``demo`` and ``bench`` of this machine."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..version import __version__
from .construction import check_name, complete_name
from .errors import errors_as_exit_code

if TYPE_CHECKING:
    from ..data import Image

#: Distributions whose versions a report of a bug names.
_PACKAGES = ("torch", "numpy", "nibabel", "SimpleITK", "triton", "numba")


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
    with errors_as_exit_code():
        from ..demo import run

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


def info(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Images, or folders with a DICOM series.")
    ] = None,
) -> None:
    """Print shape, spacing, orientation, origin and type of images, from their headers alone.

    Without files, print versions and the device, for reports of bugs.
    """
    if not files:
        for name, value in _environment().items():
            typer.echo(f"{name:12} {value}")
        return

    from ..data import Image

    for file in files:
        with errors_as_exit_code():
            lines = _describe(Image(file))
        typer.echo(f"{file}")
        for name, value in lines.items():
            typer.echo(f"  {name:12} {value}")


def _environment() -> dict[str, str]:
    import torch

    found = {"torchio-gpu": __version__, "Python": platform.python_version()}
    found["system"] = platform.platform()
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    has_gpu = torch.cuda.is_available()
    return {**found, "device": torch.cuda.get_device_name() if has_gpu else "cpu"}


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


def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Transforms, such as RandomAffine; or all.",
            autocompletion=complete_name,
        ),
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
    with errors_as_exit_code():
        for each in names or []:
            check_name(each, ["pipeline"])

        import torch

        from ..bench import measure
        from ..demo import find_device
        from ..shapes import check_triple

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

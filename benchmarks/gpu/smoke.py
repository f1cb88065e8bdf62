"""Launches against float64, with their times: ``python -m benchmarks.gpu.smoke``.

The first look at a GPU: each intrinsic of the kernels over its input range, then each kernel once,
on random voxels, compared with the definition in float64 on the CPU. New memory holds NaN, so that
a voxel that is not written shows.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import torchio_gpu as tio
from torchio_gpu import functional as F

from .. import clock, machine
from ..failure import FailureError
from ..static.cases import affine_and_elastic, bias, gamma, noise, rician
from ..versus.harness import statistics
from . import intrinsics, joined, parser, stamp, tables, write

#: Of a label map, the share of voxels that may differ: those read within rounding of a tie.
_TIES = 1e-3


@dataclass(frozen=True)
class Launch:
    """One call.

    Args:
        run: From a volume to the result; the volume is float64 where it is the reference.
        most: Largest ||out - reference|| / ||reference||.
        whole: Whether the volume is a label map, of which a share of :data:`_TIES` may differ.
    """

    run: Callable[[Tensor], Tensor]
    most: float = 1e-5
    whole: bool = False


def _backward(x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    known = [torch.from_numpy(a).to(x.device) for a in _where(x).values()]
    points = [a.requires_grad_() for a in known]
    y = F.warp(x, *points)
    weight = torch.linspace(-1, 1, y.numel(), dtype=x.dtype, device=x.device).view(y.shape)
    g_x, g_matrix, g_points = torch.autograd.grad(y, [x, *points], weight)
    grads = [
        g.flatten().double() for g in (g_x, g_matrix[:, :3], g_points)
    ]  # the last row is fixed
    return torch.cat([g / g.norm() for g in grads])


def _pair(x: Tensor) -> Tensor:
    labels = (x * 5).to(torch.uint8)
    return F.warp_pair(x, labels, **_where(x))[0]


def _patches(x: Tensor) -> Tensor:
    first, size = _grid(x)
    return F.extract_patches(x[:1], first, size)


def _aggregated(x: Tensor) -> Tensor:
    first, size = _grid(x)
    cut = F.extract_patches(x[:1], first, size)
    return F.aggregate_patches(cut, first, tuple(x.shape[2:]), mode="hann")


def _grid(x: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
    """First voxels of patches of half the volume, three along each axis."""
    size = [n // 2 + 1 for n in x.shape[2:]]
    along = [torch.tensor([0, (n - s) // 2, n - s]) for n, s in zip(x.shape[2:], size, strict=True)]
    return torch.cartesian_prod(*along), (size[0], size[1], size[2])


def _where(x: Tensor, bent: bool = True) -> dict[str, Any]:
    with mock.patch("benchmarks.static.cases._RANDOM", _generator()):
        return affine_and_elastic(x, bent)


def _program(*operations: Callable[[Tensor], Any]) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        with mock.patch("benchmarks.static.cases._RANDOM", _generator()):
            program = [operation(x) for operation in operations]
        return F.pointwise(x, program)

    return run


def _generator() -> Any:
    import numpy as np

    return np.random.default_rng(0)


_LANDMARKS = [n**2 / 10 for n in range(13)]
#: Rounding of coordinates in float32, 2e-7 of a hundred voxels, times the slope of random voxels.
_WARPED = 1e-4
LAUNCHES = {
    "affine": Launch(lambda x: F.warp(x, **_where(x, False)), _WARPED),
    "affine and elastic": Launch(lambda x: F.warp(x, **_where(x)), _WARPED),
    "labels, nearest": Launch(lambda x: F.warp(x, **_where(x), mode="nearest"), whole=True),
    "labels, most common": Launch(lambda x: F.warp(x, **_where(x), mode="label"), whole=True),
    "image with label map": Launch(_pair, _WARPED),
    "bias, gamma, noise": Launch(_program(bias, gamma, noise)),
    "Rician noise": Launch(_program(rician)),
    "backward of the warp": Launch(_backward, 1e-3),
    "patches cut out": Launch(_patches, 0.0),
    "patches added up": Launch(_aggregated),
    "products along all axes": Launch(lambda x: F.blur(x, (1.0, 2.0, 0.5))),
    "lines of k-space": Launch(lambda x: F.ghosting(x, 3, 0.7, axis=1)),
    "counts and landmarks": Launch(lambda x: F.match_landmarks(x, _LANDMARKS)),
}


@contextmanager
def poisoned() -> Iterator[None]:
    """Let new memory of floating-point numbers hold NaN."""
    empty = torch.empty

    def poison(*arguments: Any, **options: Any) -> Tensor:
        tensor = empty(*arguments, **options)
        if tensor.is_floating_point() and tensor.device.type != "meta":
            tensor.fill_(float("nan"))
        return tensor

    with mock.patch.object(torch, "empty", poison):
        yield


def run(device: str, tiny: bool, repeats: int = 10) -> dict[str, Any]:
    """Make all launches, compare and time them."""
    found = stamp("smoke", device, tiny)
    shape = (2, 1, 3, 4, 5) if tiny else (2, 1, 61, 72, 88)
    found["shape"] = list(shape)
    x = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    found["rows"] = [_intrinsic(name, device, tiny) for name in intrinsics.CHECKS]
    for name, launch in LAUNCHES.items():
        row: dict[str, Any] = {"launch": name, "most": launch.most}
        try:
            row |= _compare(launch, x, device)
            if device == "cuda":
                given = _given(launch, x).to(device)
                time = clock.on_device([lambda launch=launch, x=given: launch.run(x)], repeats)
                row |= {**statistics(time.seconds), "late": time.late}
        except Exception as error:
            row["failure"] = str(FailureError.of(error))
        found["rows"].append(row)
    return found


def _intrinsic(name: str, device: str, tiny: bool) -> dict[str, Any]:
    """Compare an intrinsic of the kernels with its definition, over its input range."""
    row: dict[str, Any] = {"launch": f"intrinsic {name}", "most": 1.0}
    try:
        error = intrinsics.error(name, device, 2**9 if tiny else 2**16)
        row |= {"error": error, "of": "allowed error", "right": error <= 1}
    except Exception as error:
        row["failure"] = str(FailureError.of(error))
    return row


def _given(launch: Launch, x: Tensor) -> Tensor:
    return (x * 5).to(torch.uint8) if launch.whole else x


def _compare(launch: Launch, x: Tensor, device: str) -> dict[str, Any]:
    """The error of one launch, and whether it is small enough."""
    given = _given(launch, x)
    exact = given if launch.whole else given.double()
    with tio.backend("reference"):
        wish = launch.run(exact).double()
    with tio.backend("triton"), poisoned():
        out = launch.run(given.to(device)).double().cpu()
    if launch.whole:
        error = (out != wish).double().mean().item()
        return {"error": error, "of": "voxels that differ", "right": error <= _TIES}
    error = ((out - wish).norm() / wish.norm()).item()
    right = bool(torch.isfinite(out).all()) and error <= launch.most
    return {"error": error, "of": "norm", "right": right}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print and write the result; exit with 1 where a launch is wrong."""
    given = parser("smoke", __doc__).parse_args(arguments)
    warnings.simplefilter("ignore")  # of shapes that are tiny
    found = run(machine.device(given.device), given.tiny)
    print(tables.text(joined([write(found, given.output)])))
    if not all(row.get("right") for row in found["rows"]):
        sys.exit("benchmarks.gpu.smoke: not all launches are right")


if __name__ == "__main__":
    main()

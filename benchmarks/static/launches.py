"""Kernels as the library launches them, compiled for a GPU that need not be there.

Operations of this library are called as anybody calls them, on tensors in host memory, while a
stand-in takes the place of the GPU's driver: Triton specialises and compiles each kernel for the
arguments of its launch, by its own rules, and nothing is launched. Voxels are never touched, and
so results are not to be looked at.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torchio_gpu_kernels
import triton
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torchio_gpu_kernels import tiling
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

import torchio_gpu as tio

from . import sass

#: Where cuobjdump and nvdisasm are: they come with Triton.
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
_KERNELS = Path(torchio_gpu_kernels.__file__).parent
#: Threads of a warp.
LANES = 32
#: How often tensors of a kernel pass through memory, where it is not once. What atomic additions
#: go to is filled with zeros, read and written. Of the volumes that patches are cut out of, no
#: more is read than the patches hold.
_PASSES = {
    "warp_backward_kernel": {"g_x": 3, "g_columns": 3},
    "gather_kernel": {"like": 0, "out": 2},
}


class Launch(NamedTuple):
    """One launch of a kernel.

    Args:
        kernel: Its name.
        grid: How many programs there are along each axis.
        arguments: By name.
        compiled: The kernel, compiled for them.
    """

    kernel: str
    grid: tuple[int, ...]
    arguments: Mapping[str, Any]
    compiled: Any

    @property
    def form(self) -> str:
        """What it was compiled for, in short: launches of one form have the same code."""
        return str(self.compiled.hash)

    @property
    def threads(self) -> int:
        """Of all programs together."""
        return int(np.prod(self.grid)) * self.compiled.metadata.num_warps * LANES

    def bytes(self) -> int:
        """What must move between the GPU and its memory: every tensor once, however it is used."""
        passes = _PASSES.get(self.kernel, {})
        once: dict[int, int] = {}
        for name, value in self.arguments.items():
            if isinstance(value, Tensor):
                size = value.numel() * value.element_size() * passes.get(name, 1)
                # what is not needed is given as something that is
                once[value.data_ptr()] = max(size, once.get(value.data_ptr(), 0))
        return sum(once.values())

    def trips(self, loop: sass.Loop) -> float:
        """How often a loop runs each time it is reached, by its line in the source."""
        for file, line in loop.places:
            # code in Triton's cache may have been compiled from another copy of the same source
            own = _KERNELS / Path(file).name
            text = linecache.getline(str(own) if own.exists() else file, line)
            if re.match(r"\s*for number in range\(begin, begin \+ runs_per_block\):", text):
                return float(self.arguments["runs_per_block"])
            if re.match(r"\s*for tile in range\(tiles\):", text):
                return _tiles_per_run(self)
            if found := re.match(r"\s*for \w+ in range\((\w+)\):", text):
                return float(self.arguments[found[1]])
            if re.match(r"\s*while bits\b", text):
                return _patches_per_word(self)
        raise ValueError(f"of a loop in {self.kernel} it is not known how often it runs: {loop}")


@contextmanager
def recorded(arch: int, kernel: str = "") -> Iterator[list[Launch]]:
    """Record what is launched within.

    Args:
        arch: What to compile for: 90 for sm_90.
        kernel: Kernels without this in their name are left out.

    Raises:
        RuntimeError: Triton was imported to interpret kernels.
    """
    if type(_any_kernel()) is not JITFunction:
        raise RuntimeError("kernels are compiled where TRITON_INTERPRET is not set")
    found: list[Launch] = []
    compile_ = JITFunction.run

    def run(self: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        if kernel not in self.fn.__name__:
            return None
        compiled = compile_(self, *arguments, grid=grid, warmup=True, **options)
        named = dict(zip(self.arg_names, arguments, strict=False))
        named |= {name: options[name] for name in self.arg_names if name in options}
        found.append(Launch(self.fn.__name__, tuple(grid), named, compiled))
        return compiled

    before = driver._active
    driver.set_active(_Driver(arch))  # type: ignore[arg-type]
    try:
        with (
            mock.patch.object(JITFunction, "run", run),
            mock.patch("torchio_gpu.functional.dispatch.backend._why_no_triton", return_value=None),
            tio.backend("triton"),
        ):
            yield found
    finally:
        driver._active = before


class Passes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Operators of torch, but for those that make tensors or launch this library's kernels."""

    _FREE = ("empty", "new_empty", "new_empty_strided", "empty_like", "detach", "alias")

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._found: list[tuple[str, list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        space, _, name = func._schema.name.partition("::")
        if space == "aten" and name not in self._FREE and not func.is_view:
            values = tree_flatten((args, kwargs, out))[0]
            self._found.append((name, [v for v in values if isinstance(v, Tensor)]))
        return out

    def over(self, volumes: Sequence[Tensor]) -> list[tuple[str, int]]:
        """Name and bytes of each operator that reads or writes as much as one of the volumes."""
        least = min(x.numel() for x in volumes)
        return [
            (name, sum(t.numel() * t.element_size() for t in tensors))
            for name, tensors in self._found
            if any(t.numel() >= least for t in tensors)
        ]


class _Driver:
    """In the place of a GPU's driver: knows what to compile for."""

    def __init__(self, arch: int) -> None:
        self.arch = arch

    def get_current_device(self) -> int:
        return self.arch  # kernels that are compiled are kept by device

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.arch, LANES)


def _any_kernel() -> Any:
    from torchio_gpu_kernels.columns import columns_kernel

    return columns_kernel


def _tiles_per_run(launch: Launch) -> float:
    """Tiles of a run of rows, on average over all runs; see ``torchio_gpu_kernels.warp.Map``."""
    if launch.arguments["N"] > 0:
        runs = launch.arguments["runs"].reshape(-1, 4)
        return float((-((runs[:, 0] - runs[:, 2]) // tiling.BJ)).double().mean())
    blocks = launch.grid[0] // launch.arguments["KB"]
    return -(-launch.arguments["J"] // tiling.BJ) / blocks


def _patches_per_word(launch: Launch) -> float:
    """Patches that touch a tile, for each word of their masks, on average over all tiles."""
    a = launch.arguments
    J, K = a["JB"], a["KB"]
    bits = a["masks"].numpy().astype(np.uint64).reshape(-1, a["words"])  # [planes + J + K, words]
    n = len(bits) - J - K
    along_i, along_j, along_k = bits[:n], bits[n : n + J], bits[n + J :]
    both = along_j[:, None] & along_k[None, :]  # [J, K, words]
    counts = [np.unpackbits((both & row).view(np.uint8)).sum() for row in along_i]
    return float(np.sum(counts)) / (n * J * K * bits.shape[1])

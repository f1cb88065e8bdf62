"""Kernels as the library launches them, compiled for a GPU that need not be there.

Operations are called on tensors in host memory while a stand-in takes the place of the GPU's
driver: Triton compiles each kernel for the arguments of its launch, and nothing is launched.
"""

from __future__ import annotations

import linecache
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
import torchio_gpu_kernels
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torchio_gpu_kernels import tiling
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

import torchio_gpu as tio
from torchio_gpu.functional.dispatch import backend

from ..counting import GPUS, WARP, Recorder, rounded
from ..workloads import WORKLOADS
from . import Row, sass
from .cases import CASES

_KERNELS = Path(torchio_gpu_kernels.__file__).parent
#: How often tensors of a kernel pass through memory, where it is not once. Targets of atomic
#: additions are filled with zeros, read and written. Of the volumes that patches are cut out of, no
#: more is read than the patches hold.
_PASSES = {
    "warp_backward_kernel": {"g_x": 3, "g_columns": 3},
    "gather_kernel": {"like": 0, "out": 2},
}


class KernelLaunch(NamedTuple):
    """A launch of a kernel."""

    kernel: str
    grid: tuple[int, ...]
    arguments: dict[str, Any]
    compiled: Any

    def bytes(self) -> int:
        """Return what moves between the GPU and its memory: every tensor once."""
        passes, once = _PASSES.get(self.kernel, {}), {}
        for name, value in self.arguments.items():
            if isinstance(value, Tensor):  # one that is not needed is given as another that is
                key, size = value.data_ptr(), value.nbytes * passes.get(name, 1)
                once[key] = max(size, once.get(key, 0))
        return sum(once.values())

    def trips(self, loop: sass.Loop) -> float:
        """Return how often a loop runs each time it is reached, by its line in the source."""
        for file, line in filter(None, loop.places):
            # code in Triton's cache may have been compiled from another copy of the same source
            own = _KERNELS / Path(file).name
            text = linecache.getline(str(own) if own.exists() else file, line).strip()
            if text.startswith("for number in range(begin, begin + runs_per_block):"):
                return float(self.arguments["runs_per_block"])
            if text.startswith("for tile in range(tiles):"):
                return _tiles_per_run(self)
            if found := re.match(r"for \w+ in range\((\w+)\):", text):
                return float(self.arguments[found[1]])
            if text.startswith("for n in tl.range(N, "):
                return 0.0  # of voxels that are not finite
            if re.match(r"while bits\b", text):
                return _patches_per_word(self)
        raise ValueError(f"trips of a loop in {self.kernel} are not known: {loop.places}")

    def row(self, gpu: Any, voxels: int) -> Row:
        """Return the facts of the kernel; ``voxels`` are those of the batch."""
        registers, spilled, code = sass.disassemble(self.compiled.asm["cubin"])
        ops = [op for _, op in code.nodes(data="op")]
        warps = float(np.prod(self.grid)) * self.compiled.metadata.num_warps
        executed, memory = sass.executed(code, self.trips) * warps, gpu.moves(self.bytes())
        return Row(
            self.kernel.removesuffix("_kernel"),
            registers,
            spilled,
            sum(op.startswith("BAR.") for op in ops),
            rounded(executed * WARP / voxels),
            rounded(memory),
            rounded(max(memory, gpu.issues(executed))),
            sass.widths(ops, "LDG"),
            sass.widths(ops, "STG"),
        )


def _tiles_per_run(launch: KernelLaunch) -> float:
    """Tiles of a run of rows, on average over all runs; see ``torchio_gpu_kernels.warp.Map``."""
    if launch.arguments["N"] > 0:
        runs = launch.arguments["runs"].reshape(-1, 4)
        return float((-((runs[:, 0] - runs[:, 2]) // tiling.BJ)).double().mean())
    blocks = launch.grid[0] // launch.arguments["KB"]
    return -(-launch.arguments["J"] // tiling.BJ) / blocks


def _patches_per_word(launch: KernelLaunch) -> float:
    """Patches that touch a tile, for each word of their masks, on average over all tiles."""
    a = launch.arguments
    bits = a["masks"].numpy().astype(np.uint64).reshape(-1, a["words"])  # [planes + J + K, words]
    ends = len(bits) - a["JB"] - a["KB"], len(bits) - a["KB"]
    along_i, along_j, along_k = np.split(bits, ends)
    both = along_j[:, None] & along_k[None, :]  # [J, K, words]
    counts = [np.unpackbits((both & row).view(np.uint8)).sum() for row in along_i]
    return float(np.mean(counts)) / both.size


def look(arch: int, name: str) -> tuple[dict[str, Any], list[Row]]:
    """Return facts of a call, and a row for each launch: kernels, then torch's over volumes."""
    case, gpu, launches, compile_ = CASES[name], GPUS[arch], [], JITFunction.run

    def run(self: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        compiled = compile_(self, *arguments, grid=grid, warmup=True, **options)
        named = {**options, **dict(zip(self.arg_names, arguments, strict=False))}
        launches.append(KernelLaunch(self.fn.__name__, tuple(grid), named, compiled))
        return compiled

    stand_in = SimpleNamespace(
        get_current_device=lambda: arch,  # kernels that are compiled are kept by device
        get_current_stream=lambda device: 0,
        get_current_target=lambda: GPUTarget("cuda", arch, WARP),
    )
    named = isinstance(case.batch, str)
    x = torch.empty(WORKLOADS[case.batch].shape if named else case.batch, dtype=case.dtype)
    with (
        mock.patch.object(driver, "_active", stand_in),
        mock.patch.object(JITFunction, "run", run),
        mock.patch.object(backend, "_why_no_triton", return_value=None),
        tio.backend("triton"),
        Recorder("cpu") as recorder,
    ):
        returned = case.call(x)
    volumes = [x] if returned is None else tree_leaves(returned)
    rows = [launch.row(gpu, volumes[0].numel()) for launch in launches]
    own = "torch backward" if any("backward" in row.kernel for row in rows) else "torch"
    for each in recorder.launched:
        if "::" not in each.name and each.voxels >= min(v.numel() for v in volumes):
            us = rounded(gpu.moves(each.bytes))
            rows.append(Row(f"{own} {each.name}", 0, 0, 0, 0, us, us, "", ""))
    workload = case.batch if named else "x".join(map(str, case.batch))
    copy = rounded(gpu.moves(2 * sum(v.nbytes for v in volumes)), 8)
    return {"workload": workload, "copy_us": copy, "budget": case.budget}, rows

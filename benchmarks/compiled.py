"""Kernels as the library launches them, compiled for a GPU that need not be there.

Operations are called on tensors in host memory while a stand-in takes the place of the GPU's
driver: Triton compiles each kernel for the arguments of its launch, and nothing is launched.
"""

from __future__ import annotations

import linecache
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import permutations
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import networkx as nx
import numpy as np
import torch
import torchio_gpu_kernels
import triton
from torch import Tensor
from torchio_gpu_kernels import tiling
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

import torchio_gpu as tio
from torchio_gpu.functional.dispatch import backend

from .cases import CASES
from .counting import GPUS, WARP, Recorder, rounded
from .workloads import WORKLOADS

_KERNELS = Path(torchio_gpu_kernels.__file__).parent
_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
_USAGE = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)")
_PLACE = re.compile(r'//## File "(.+?)", line (\d+)')
_LABEL = re.compile(r"^(\.L\w+):")
_CODE = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)(.*?);")
#: Calls of functions, as of the slow path of a division, lead to names of another kind.
_TARGET = re.compile(r"`\((\.L\w+)\)")
#: How often tensors of a kernel pass through memory, where it is not once. Targets of atomic
#: additions are filled with zeros, read and written. Of the volumes that patches are cut out of, no
#: more is read than the patches hold.
_PASSES = {
    "warp_backward_kernel": {"g_x": 3, "g_columns": 3},
    "gather_kernel": {"like": 0, "out": 2},
}


class Loop(NamedTuple):
    """Instructions that are executed over and over, by their numbers."""

    header: int  # the one that is executed first
    members: set[int]
    places: list[tuple[str, int]]  # file and line of the jumps back to the header, then of it


class KernelLaunch(NamedTuple):
    """A launch of a kernel."""

    kernel: str
    grid: tuple[int, ...]
    arguments: dict[str, Any]
    compiled: Any

    def bytes(self) -> int:
        """Return what moves between the GPU and its memory: every tensor once."""
        passes, once = _PASSES.get(self.kernel, {}), Counter()
        for name, value in self.arguments.items():
            if isinstance(value, Tensor):  # one that is not needed is given as another that is
                once |= Counter({value.data_ptr(): value.nbytes * passes.get(name, 1)})
        return once.total()

    def trips(self, loop: Loop) -> float:
        """Return how often a loop runs each time it is reached, by its line in the source."""
        for file, line in filter(None, loop.places):
            # code in Triton's cache may have been compiled from another copy of the same source
            own = _KERNELS / Path(file).name
            text = linecache.getline(str(own) if own.exists() else file, line).strip()
            if text.startswith("for tile in range(tiles):"):
                return self._tiles_per_run()
            if found := re.match(r"for \w+ in range\((?:begin, begin \+ )?(\w+)\):", text):
                return float(self.arguments[found[1]])
            if text.startswith("for n in tl.range(N, "):
                return 0.0  # of voxels that are not finite
            if re.match(r"while bits\b", text):
                return self._patches_per_word()
        raise ValueError(f"trips of a loop in {self.kernel} are not known: {loop.places}")

    def _tiles_per_run(self) -> float:
        """Return tiles of a run of rows, on average; see ``torchio_gpu_kernels.warp.Map``."""
        if self.arguments["N"] > 0:
            runs = self.arguments["runs"].reshape(-1, 4)
            return float((-((runs[:, 0] - runs[:, 2]) // tiling.BJ)).double().mean())
        blocks = self.grid[0] // self.arguments["KB"]
        return -(-self.arguments["J"] // tiling.BJ) / blocks

    def _patches_per_word(self) -> float:
        """Return patches that touch a tile, for each word of their masks, on average."""
        a = self.arguments
        bits = a["masks"].numpy().astype(np.uint64).reshape(-1, a["words"])  # [I + J + K, words]
        ends = len(bits) - a["JB"] - a["KB"], len(bits) - a["KB"]
        along_i, along_j, along_k = np.split(bits, ends)
        both = along_j[:, None] & along_k[None, :]  # [J, K, words]
        counts = [np.unpackbits((both & row).view(np.uint8)).sum() for row in along_i]
        return float(np.mean(counts)) / both.size


def look(arch: int, name: str) -> dict[str, Any]:
    """Return facts of a call and of each launch: kernels, then torch's over volumes."""
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
    shape = WORKLOADS[case.batch].shape if isinstance(case.batch, str) else case.batch
    call, *volumes = case.make(torch.empty(shape, dtype=case.dtype))
    with (
        mock.patch.object(driver, "_active", stand_in),
        mock.patch.object(JITFunction, "run", run),
        mock.patch.object(backend, "_why_no_triton", return_value=None),
        tio.backend("triton"),
        Recorder("cpu") as recorder,
    ):
        call()
    rows = []
    for launch in launches:
        registers, spilled, code = disassemble(launch.compiled.asm["cubin"])
        warps = float(prod(launch.grid)) * launch.compiled.metadata.num_warps
        instructions, memory = executed(code, launch.trips) * warps, gpu.moves(launch.bytes())
        facts = {
            "registers": registers,
            "spilled": spilled,  # bytes of each thread
            "barriers": sum(op.startswith("BAR.") for _, op in code.nodes(data="op")),
            "instructions": rounded(instructions * WARP / volumes[0].numel()),  # of a voxel
            "us": rounded(max(memory, gpu.issues(instructions))),
        }
        rows.append((launch.kernel.removesuffix("_kernel"), rounded(memory), facts))
    own = "torch backward" if any("backward" in kernel for kernel, *_ in rows) else "torch"
    for each in recorder.launched:
        if "::" not in each.name and each.voxels >= min(v.numel() for v in volumes):
            us = rounded(gpu.moves(each.bytes))
            rows.append((f"{own} {each.name}", us, {**dict.fromkeys(facts, 0), "us": us}))
    return {
        "case": name,
        "workload": case.batch if isinstance(case.batch, str) else "x".join(map(str, case.batch)),
        "copy_us": rounded(gpu.moves(2 * sum(v.nbytes for v in volumes)), 8),
        "budget": case.budget,
        "launches": [
            {"kernel": kernel, "memory_us": memory, triton.__version__: facts}
            for kernel, memory, facts in rows
        ],
    }


@lru_cache
def disassemble(cubin: bytes) -> tuple[int, int, nx.DiGraph]:
    """Return registers of a thread, bytes that it spills, and the code; see :func:`parse`."""

    def run(tool: str, *options: str) -> str:
        command = [_TOOLS / tool, *options, file.name]
        return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage, text = run("cuobjdump", "-res-usage"), run("nvdisasm", "-c", "-g")
    registers, stack, local = map(int, _USAGE.search(usage).groups())
    return registers, stack + local, parse(text)


def parse(text: str) -> nx.DiGraph:
    """Return the flow of code that ``nvdisasm -c -g`` prints: instructions, by 'op' and 'place'.

    Those that are never reached, or by calls only, are left out: padding, slow paths of divisions.
    """
    code, labels, jumps, place = nx.DiGraph(), {}, {}, None
    for line in text.splitlines():
        if found := _PLACE.search(line):
            place = found[1], int(found[2])
        elif found := _LABEL.match(line):
            labels[found[1]] = len(code)
        elif found := _CODE.match(line):
            predicate, op, rest = found.groups()
            if op.startswith(("BRA", "CALL")) and (target := _TARGET.search(rest)):
                jumps[len(code)] = target[1]
            # a second predicate may stand among the operands: BRA P1, target
            always = predicate is None and not re.match(r"\s*!?U?P\d", rest)
            ends = always and op.startswith(("BRA", "EXIT", "RET"))
            code.add_node(len(code), op=op, place=place, ends=ends)
    following = [n for n, ends in code.nodes(data="ends") if not ends and n + 1 in code]
    code.add_edges_from((n, n + 1) for n in following)
    code.add_edges_from((n, labels[label]) for n, label in jumps.items() if label in labels)
    return code.subgraph({0} | nx.descendants(code, 0)).copy()


def loops(code: nx.DiGraph, within: set[int]) -> Iterator[Loop]:
    """Yield natural loops, each before those within it."""
    for members in nx.strongly_connected_components(code.subgraph(within)):
        if len(members) > 1:
            (header,) = (n for n in members if n == 0 or code.pred[n].keys() - members)
            back = sorted(code.pred[header].keys() & members)
            yield Loop(header, members, [code.nodes[n]["place"] for n in (*back, header)])
            yield from loops(code, members - {header})


def executed(code: nx.DiGraph, trips: Callable[[Loop], float]) -> float:
    """Return how many instructions a thread executes: those of a loop times its trips.

    Both sides of a forward branch count, so this is an upper bound where there are branches. Of two
    loops that come from one line, the longer is unrolled, and the shorter does what it leaves over.
    """
    found = sorted(loops(code, set(code)))
    counts = [float(trips(loop)) for loop in found]
    for (one, long), (other, short) in permutations(enumerate(found), 2):
        twins = long.places[0] == short.places[0] and not long.members & short.members
        if twins and len(long.members) > len(short.members):
            unrolled = round(len(long.members) / len(short.members))
            counts[one], counts[other] = divmod(trips(long), unrolled)
    times = dict.fromkeys(code, 1.0)
    for loop, count in zip(found, counts, strict=True):
        times.update((n, times[n] * count) for n in loop.members)
    return sum(times.values())

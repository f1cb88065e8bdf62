"""Work that a call launches on a GPU, counted without one, and how long a GPU takes for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from torchio_gpu.functional.dispatch import backend
from torchio_gpu.functional.dispatch.launch import PackedCopies

from . import machine
from .markdown import number, table

#: Instructions of a thread for each multiplication of a product along an axis, as compiled for
#: sm_90 by Triton 3.6 to 3.9: what it prepares for tensor cores takes longer than these do.
INSTRUCTIONS = 1.05
#: Threads of a warp.
WARP = 32
#: Microseconds from one launch to the next, where launches are queued.
LAUNCH = 2.0
#: Operators that launch nothing, beside views.
_FREE = {"empty", "new_empty", "new_empty_strided", "empty_like", "empty_strided", "detach"} | {
    *("alias", "_unsafe_view", "_reshape_alias", "set_", "lift_fresh"),
}
#: Operators that overwrite their first tensor without reading it.
_WRITES = {"copy_", "fill_", "zero_", "uniform_", "normal_", "random_"}
#: Operators that touch as much of their first tensor as their index has elements.
_SPARSE = {"gather", "index_select", "index", "scatter_", "scatter_add_", "index_put_", "scatter"}
_PRODUCTS = {"bmm", "mm", "baddbmm", "addmm", "baddbmm_"}


class Gpu(NamedTuple):
    """Properties of a GPU that times depend on."""

    name: str
    bandwidth: float  # bytes per second in a copy, read and written: 0.9 of what the memory can do
    sms: int  # multiprocessors; each starts four instructions of a warp every clock
    clock: float  # Hz

    def moves(self, size: float) -> float:
        """Return microseconds for some bytes, read or written."""
        return 1e6 * size / self.bandwidth

    def issues(self, instructions: float) -> float:
        """Return microseconds for the instructions of some warps."""
        return 1e6 * instructions / (self.sms * 4 * self.clock)


#: By the architecture that is compiled for: 90 is sm_90.
GPUS = {90: Gpu("H200", 4.3e12, 132, 1.75e9), 80: Gpu("A100 80GB", 1.8e12, 108, 1.41e9)}


class Launch(NamedTuple):
    """Work of one operator."""

    name: str  # of one of this library with 'torchio_gpu::'
    launches: int
    bytes: int  # between the GPU and its memory: each tensor once
    voxels: int  # of its largest tensor
    fourier: int = 0  # passes of Fourier transforms, one for each axis
    instructions: float = 0  # of all threads, for the multiplications of a matrix product

    def us(self, gpu: Gpu) -> float:
        """Return the microseconds that it takes."""
        issued = gpu.issues(self.instructions / WARP)
        return max(gpu.moves(self.bytes), issued, LAUNCH * self.launches)


class Recorder(TorchDispatchMode):
    """Record the operators that are called on a device: 'meta'."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device, self.launched = device, []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        here = any(t.device.type == self.device for t in _tensors((args, kwargs, out)))
        name = func._schema.name.removeprefix("aten::")
        if here and not (func.is_view or name in _FREE):
            count = _fourier if name.startswith("_fft_") else _launch
            self.launched.append(count(name, func._schema, args, kwargs or {}, _tensors(out)))
        return out


def counted(call: Callable[[], Any]) -> list[Launch]:
    """Count the launches of a call on ``meta`` tensors; its second call, as constants are kept."""
    with (
        mock.patch.object(backend, "_why_no_triton", return_value=None),
        backend.rehearsing(torch.device("cuda")),
        PackedCopies().running(),
    ):
        call()
        with Recorder("meta") as recorder:
            call()
    return recorder.launched


def _launch(name: str, schema: Any, args: Any, kwargs: dict[str, Any], made: Any) -> Launch:
    given, read, written = _tensors((args, kwargs)), {}, []
    for place, argument in enumerate(schema.arguments):
        tensors = _tensors(args[place] if place < len(args) else kwargs.get(argument.name))
        writes = argument.alias_info is not None and argument.alias_info.is_write
        written += tensors * writes
        if not writes or (name.endswith("_") and name not in _WRITES):
            read |= {id(t): t for t in tensors}
    written += [t for t in made if not any(t is other for other in given)]
    most = math.inf
    if name in _SPARSE:
        index = max((t for t in given if not t.dtype.is_floating_point), key=Tensor.numel)
        most = max(t.numel() for t in (index, *(t for t in made if t is not args[0])))
    size = sum(min(most, _elements(t)) * t.element_size() for t in (*read.values(), *written))
    launches, instructions = 1, 0.0
    if name.startswith("_embedding_bag"):  # a row of the table for each weight, none from a cache
        size += given[1].numel() * given[0].shape[1] * given[0].element_size()
    elif name in _PRODUCTS:
        instructions = made[0].numel() * given[-2].shape[-1]
    elif name == "torchio_gpu::along":  # a kernel for each axis that occurs; of a sample, one
        each = INSTRUCTIONS if given[0].dtype == torch.float32 else 1
        launches, instructions = len(args[4]), made[0].numel() * given[1].shape[2] * each
    elif name == "sort":  # radix sort: four passes over keys of 8 bits, and places of 8 bytes
        launches, size = 2 * given[0].element_size(), size * given[0].element_size()
    voxels = max(t.numel() for t in (*given, *made))
    return Launch(name, launches, size, voxels, instructions=instructions)


def _fourier(name: str, schema: Any, args: Any, kwargs: dict[str, Any], made: Any) -> Launch:
    """Count passes of cuFFT, one for each axis, and what torch does before and after them."""
    x, out, axes = args[0], made[0], len(args[1])
    moved = x.nbytes + out.nbytes + 2 * (axes - 1) * (out if name == "_fft_r2c" else x).nbytes
    last = sorted(a % x.ndim for a in args[1]) == [*range(x.ndim - axes, x.ndim)]
    # the input of an inverse is overwritten; a result is divided in a pass of its own
    copied, scaled = name == "_fft_c2r" or not (last and x.is_contiguous()), bool(args[2])
    moved += 2 * copied * x.nbytes + 2 * scaled * out.nbytes
    return Launch(name, axes + copied + scaled, moved, max(x.numel(), out.numel()), axes)


def _elements(x: Tensor) -> int:
    """Return how many elements of memory a tensor shows."""
    return math.prod(n for n, s in zip(x.shape, x.stride(), strict=True) if s or n == 0)


def _tensors(values: Any) -> list[Tensor]:
    return [v for v in tree_leaves(values) if isinstance(v, Tensor)]


def about(suite: str) -> dict[str, Any]:
    """Return what a result begins with."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"suite": suite, "date": now, **machine.commit(), "torch": torch.__version__}


def origin(result: dict[str, Any]) -> str:
    """Return date and commit of a result, as an item of a list."""
    where = f"commit {result['commit']}{' with changes not committed' * bool(result['dirty'])}"
    return f"- Counted {result['date'][:10]} at {where} with torch {result['torch']}."


def over_budget(row: dict[str, Any]) -> list[str]:
    """Return the names of what takes more than its budget, or is not known."""
    return [name for name, most in row["budget"].items() if row.get(name, math.inf) > most]


def budgets(rows: Sequence[dict[str, Any]]) -> str:
    """Return a table of rows, whose values may be times; each is beside its budget, if any."""
    head = [*dict.fromkeys(key for row in rows for key in row if key != "budget")]
    return table(head, [[_cell(row, name) for name in head] for row in rows])


def _cell(row: dict[str, Any], name: str) -> str:
    value, budget = row.get(name, "-"), row.get("budget", {})
    if isinstance(value, dict):
        value = "{} ({}-{})".format(*(number(value[f"{q}_ms"]) for q in ("median", "q1", "q3")))
    shown = number(value) if isinstance(value, float) else str(value).replace("|", "/")
    shown += f" of {budget[name]:g}" if name in budget else ""
    return f"**{shown}: missed**" if name in budget and name in over_budget(row) else shown


def rounded(value: float, digits: int = 4) -> float:
    return float(f"{value:.{digits}g}")

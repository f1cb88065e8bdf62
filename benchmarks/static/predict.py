"""What can be said of a kernel's speed before a GPU has run it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from . import launches, sass
from .cases import CASES
from .launches import Launch

#: How it is done, for those who read the tables.
HOW = (
    "PREDICTION, not a measurement: no GPU was used. Kernels are compiled for the arguments with "
    "which the library launches them. Instructions of a voxel: those before and after loops, and "
    "those within times the trips of the loop, both sides of branches, of all threads together, "
    "divided by the voxels of the batch. Bytes of a voxel: every tensor that a kernel is given "
    "passes through memory once, voxels and tables alike; what atomic additions go to, three "
    "times. The predicted time of a kernel is the longer of two: for these bytes at {bandwidth} "
    "TB/s, read and written, and for these instructions at {sms} x 4 warps a clock of {clock} GHz: "
    "an {name}. Left out are latency, reads that caches do not catch, lanes with nothing to do, "
    "instructions that take more than one clock, and what launches themselves cost. Torch's "
    "own operators that go through a volume, as the minimum that is the fill, take the time of "
    "their bytes. A copy reads and writes the batch."
)


class Gpu(NamedTuple):
    """What the time of a kernel depends on.

    Args:
        bandwidth: Bytes per second in a copy, read and written.
        sms: Multiprocessors; each starts four instructions of a warp every clock.
        clock: Of the multiprocessors, Hz.
    """

    name: str
    bandwidth: float
    sms: int
    clock: float

    def moves(self, size: float) -> float:
        """Microseconds for some bytes, read or written."""
        return 1e6 * size / self.bandwidth

    def issues(self, instructions: float) -> float:
        """Microseconds for the instructions of some warps."""
        return 1e6 * instructions / (self.sms * 4 * self.clock)

    def how(self) -> str:
        """What the predictions rest on."""
        return HOW.format(
            name=self.name,
            sms=self.sms,
            bandwidth=self.bandwidth / 1e12,
            clock=self.clock / 1e9,
        )


#: By the architecture that is compiled for. Both copy at nine tenths of what the memory can do.
GPUS = {90: Gpu("H200", 4.3e12, 132, 1.75e9), 80: Gpu("A100 80GB", 1.8e12, 108, 1.41e9)}


def look(arch: int, name: str, kernel: str = "") -> dict[str, Any]:
    """Compile what one case launches.

    Args:
        arch: See :data:`GPUS`.
        name: See :data:`.cases.CASES`.
        kernel: Kernels without this in their name are left out.

    Returns:
        Of the case as a whole, and under 'kernels' of each launch.
    """
    case, gpu = CASES[name], GPUS[arch]
    with launches.recorded(arch, kernel) as found, launches.Passes() as passes:
        floor = case.run()
    size = sum(x.numel() * x.element_size() for x in floor)
    copy = gpu.moves(2 * size)
    rows = [_row(gpu, launch, floor[0].numel(), copy) for launch in found]
    forward = [row for row in rows if not _is_backward(row)]
    counted = [row for row in rows if _is_backward(row)] if case.backward else rows
    torch = [_pass(gpu, name, size, copy) for name, size in passes.over(floor)]
    total = _time([*counted, *torch])
    unit = _time(forward) if case.backward else copy
    facts: dict[str, Any] = {"case": name, "workload": case.workload, "launches": len(counted)}
    facts |= {"predicted_us": total, "copy_us": _round(copy), "copies": _round(total / copy)}
    if case.budget is not None and unit and not kernel:
        of = "forward" if case.backward else "copy"
        ratio = _round(total / unit)
        facts["budget"] = {"most": case.budget, "of": of, "is": ratio}
    return {**facts, "torch": torch, "kernels": rows}


def _pass(gpu: Gpu, name: str, size: int, copy: float) -> dict[str, Any]:
    """One operator of torch."""
    time = gpu.moves(size)
    return {"op": name, "predicted_us": _round(time), "copies": _round(time / copy)}


def _is_backward(row: dict[str, Any]) -> bool:
    return "backward" in row["kernel"]


def _time(rows: Iterable[dict[str, Any]]) -> float:
    return _round(sum(row["predicted_us"] for row in rows))


def _row(gpu: Gpu, launch: Launch, voxels: int, copy: float) -> dict[str, Any]:
    """One launch.

    Args:
        voxels: Of the batch.
        copy: Microseconds that a copy takes.
    """
    usage, code = sass.disassemble(launch.compiled.asm["cubin"], launches.TOOLS)
    mix = code.mix()
    executed = code.executed(launch.trips) * launch.threads
    memory, issue = gpu.moves(launch.bytes()), gpu.issues(executed / launches.LANES)
    metadata = launch.compiled.metadata
    return {
        "kernel": launch.kernel,
        "form": launch.form,
        "grid": list(launch.grid),
        "warps": metadata.num_warps,
        **usage._asdict(),
        "shared": metadata.shared,
        **code.memory(),
        "barriers": mix["BAR"],
        "instructions": sum(mix.values()),
        "instructions_per_voxel": _round(executed / voxels),
        "bytes_per_voxel": _round(launch.bytes() / voxels),
        "memory_us": _round(memory),
        "issue_us": _round(issue),
        "predicted_us": _round(max(memory, issue)),
        "copies": _round(max(memory, issue) / copy),
    }


def _round(value: float) -> float:
    return float(f"{value:.4g}")

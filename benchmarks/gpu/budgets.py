"""Budgets of this library, each against its bound: ``python -m benchmarks.gpu.budgets``.

A job is timed on the device, replayed from a CUDA graph, from end to end and on the host, beside
the copy that is its bound and the same job in plain torch. Inputs are rotated, so that none is
found in the L2 cache.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import torchio_gpu as tio
from torchio_gpu import functional as F

from .. import clock, machine
from ..failure import FailureError
from ..static.cases import affine_and_elastic, bias, gamma, noise
from ..versus.harness import log, statistics
from ..versus.inputs import labels_of, patches
from ..versus.peers import torchio_gpu as ours
from ..versus.workloads import WORKLOADS
from ..waits import refused
from . import joined, parser, stamp, tables, write

Call = Callable[[], Any]
_CUDA = torch.autograd.DeviceType.CUDA
#: Name of the part that a workload belongs to.
HOST = "W0"


@dataclass(frozen=True)
class Job:
    """A job that has a budget.

    Args:
        make: From a batch to the call that is timed, and the call that is its bound.
        most: Bounds that it may take by card; on a card that is not named, as many as on an H200.
            Of a job whose host time counts, milliseconds.
        floor: Name of the bound.
        workloads: Workloads on which it is measured.
        host: Whether the time of the host counts.
    """

    make: Callable[[Tensor], tuple[Call, Call]]
    most: dict[str, float] = field(default_factory=dict)
    floor: str = "copy"
    workloads: tuple[str, ...] = ("W1", "W2", "W3")
    host: bool = False

    def budget(self, card: str | None) -> float | None:
        """Return the budget on a card."""
        named = (most for name, most in self.most.items() if name in (card or ""))
        return next(named, self.most.get("H200"))


def _affine_and_elastic(x: Tensor) -> tuple[Call, Call]:
    where = affine_and_elastic(x)
    return lambda: F.warp(x, **where), x.clone


def _with_labels(x: Tensor) -> tuple[Call, Call]:
    where, labels = affine_and_elastic(x), labels_of(x)
    return lambda: F.warp_pair(x, labels, **where), lambda: (x.clone(), labels.clone())


def _pointwise(x: Tensor) -> tuple[Call, Call]:
    program = [bias(x), gamma(x), noise(x)]
    return lambda: F.pointwise(x, program), x.clone


def _pipe6(x: Tensor) -> tuple[Call, Call]:
    labels = labels_of(x)
    batch = tio.SubjectsBatch(
        {"image": tio.ImagesBatch(x), "label": tio.ImagesBatch(labels, kind=tio.LABEL)}
    )
    return lambda: ours.PIPE6(batch), lambda: (x.clone(), labels.clone())


def _backward(x: Tensor) -> tuple[Call, Call]:
    known = [torch.from_numpy(a).to(x.device) for a in affine_and_elastic(x).values()]
    given = [tensor.clone().requires_grad_() for tensor in (x, *known)]
    grad = torch.ones_like(x)
    graphs: dict[str, Tensor] = {}  # of each backend

    def forward() -> Tensor:
        return F.warp(*given)

    def backward() -> tuple[Tensor, ...]:
        name = tio.backend.current()
        if name not in graphs:
            graphs[name] = forward()
        return torch.autograd.grad(graphs[name], given, grad, retain_graph=True)

    return backward, forward


def _aggregate(x: Tensor) -> tuple[Call, Call]:
    cut, locations = patches(x)
    return lambda: ours.aggregate(cut, locations), cut.clone


#: By name, in the order of the table.
JOBS = {
    "warp": Job(_affine_and_elastic),
    "warp with labels": Job(_with_labels, {"H200": 2.1, "H100": 1.6}, "copy of both"),
    "bias, gamma, noise": Job(_pointwise, {"H200": 1.25, "H100": 1.2}),
    "pipe6 with labels": Job(_pipe6, {"H200": 3, "H100": 2.3}, "copy of both"),
    "backward of the warp": Job(_backward, {"H200": 3}, "forward"),
    "Hann aggregation": Job(_aggregate, {"H200": 2}, "copy of the patches", ("P",)),
    "host time of pipe6": Job(_pipe6, {"H200": 0.5}, "ms", (HOST,), host=True),
}


def measure(
    device: str, workloads: Sequence[str], tiny: bool = False, repeats: int | None = None
) -> dict[str, Any]:
    """Measure the jobs of some workloads; return their rows, and facts of pipe6.

    Args:
        device: 'cpu' or 'cuda'.
        workloads: Names of workloads.
        tiny: Batches of a few voxels, to see whether it runs.
        repeats: Measurements of each time.
    """
    found: dict[str, Any] = {"rows": [], "facts": []}
    for workload in workloads:
        for name, job in JOBS.items():
            if workload in job.workloads:
                row = {
                    "job": name,
                    "workload": workload,
                    **_time(job, workload, device, tiny, repeats),
                }
                found["rows"].append(row)
                log(f"{name} {workload}: {row.get('failure') or row.get('ratio')}")
        if workload in JOBS["pipe6 with labels"].workloads:
            found["facts"].append({"workload": workload, **_facts(_batch(workload, device, tiny))})
            log(f"pipe6 {workload}: {found['facts'][-1]}")
    return found


def _batch(workload: str, device: str, tiny: bool, seed: int = 0) -> Tensor:
    batch, channels, *size = WORKLOADS[workload].shape
    if tiny:
        batch, size = 2, [16 if workload == "P" else 8] * 3
    torch.manual_seed(seed)
    return torch.rand(batch, channels, *size).to(device)


def _time(job: Job, workload: str, device: str, tiny: bool, repeats: int | None) -> dict[str, Any]:
    """All times of a job on a workload."""
    cuda = device == "cuda"
    often = repeats or (300 if job.host else 20)
    card = torch.cuda.get_device_name() if cuda else None
    row: dict[str, Any] = {"floor": job.floor, "most": job.budget(card)}
    try:
        first = _batch(workload, device, tiny)
        number = clock.rotations(first.numel() * first.element_size(), device)
        batches = [first, *(_batch(workload, device, tiny, n) for n in range(1, number))]
        calls, bounds = zip(*(job.make(x) for x in batches), strict=True)
        for call in (*calls, *bounds, *calls):
            call()  # kernels are compiled, constants brought, numbers of patches known
        row |= _times(calls, bounds, often, cuda, job.host)
        if not job.host:
            with tio.backend("reference"):
                calls[0]()
                row["reference"] = statistics(_plain(calls[0], max(3, often // 4), cuda))
    except Exception as error:
        return {**row, "failure": str(FailureError.of(error))}
    finally:
        if cuda:
            torch.cuda.empty_cache()
    if job.host:
        row["ratio"] = row["host"]["median_ms"]
    else:
        of = row["device" if cuda else "end_to_end"]["median_ms"]
        row["ratio"] = float(f"{of / row['bound']['median_ms']:.4g}")
    return row


def _times(
    calls: Sequence[Call], bounds: Sequence[Call], repeats: int, cuda: bool, host: bool
) -> dict[str, Any]:
    """Times of calls and of their bounds, each as statistics."""
    ends = [clock.end_to_end(calls[n % len(calls)], cuda) for n in range(repeats)]
    hosts = [clock.host(calls[n % len(calls)], cuda) for n in range(repeats)]
    found: dict[str, Any] = {"end_to_end": statistics(ends), "host": statistics(hosts)}
    if not cuda:
        found["bound"] = statistics([clock.end_to_end(bounds[0], False) for _ in range(repeats)])
        return found
    bound, device = clock.on_device(bounds, repeats), clock.on_device(calls, repeats)
    found |= {"bound": statistics(bound.seconds), "device": statistics(device.seconds)}
    found["late"] = device.late
    if not host:
        try:
            replay = clock.replayed(calls, repeats)
            found["replay"] = statistics(replay.seconds)
        except FailureError as failure:
            found["replay_failure"] = str(failure)
    return found


def _plain(call: Call, repeats: int, cuda: bool) -> list[float]:
    """Seconds of a call in plain torch, on the device where there is one."""
    if cuda:
        return clock.on_device([call], repeats).seconds
    return [clock.end_to_end(call, False) for _ in range(repeats)]


def _facts(x: Tensor) -> dict[str, Any]:
    """Kernels that a call of pipe6 with labels launches, what it waits for, its peak memory."""
    call, floor = _pipe6(x)
    call()  # what is loaded and compiled once does not count
    if not x.is_cuda:
        return {"launches": None, "waits": None, "memory": None}
    size = sum(tensor.numel() * tensor.element_size() for tensor in floor())
    torch.cuda.synchronize()
    return {"launches": launched(call), "waits": waits(call), "memory": memory(call, size)}


def launched(call: Call) -> dict[str, int]:
    """Count launches of a call by the kernel's name; copies are among them."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        call()
        torch.cuda.synchronize()
    events = profile.events() or []
    return dict(Counter(event.name for event in events if event.device_type == _CUDA))


def waits(call: Call) -> str | None:
    """Return torch's message where a call waits for the GPU; None if it does not."""
    try:
        with refused():
            call()
    except RuntimeError as error:
        return str(FailureError.of(error))
    return None


def memory(call: Call, size: int) -> float:
    """Return the peak of a call's allocations, result included, over a size in bytes."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return round((torch.cuda.max_memory_allocated() - before) / size, 3)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and write the part."""
    p = parser("budgets", __doc__)
    p.add_argument("--workload", nargs="+", choices=[*WORKLOADS], default=["W1"])
    p.add_argument("--repeats", type=int)
    given = p.parse_args(arguments)
    warnings.simplefilter("ignore")  # of batches that are tiny
    device = machine.device(given.device)
    name = "host" if given.workload == [HOST] else f"budgets-{'-'.join(given.workload)}"
    part = {**stamp(name, device, given.tiny), "rows": [], "facts": []}
    for workload in given.workload:
        found = measure(
            device, [workload], given.tiny, given.repeats or (2 if given.tiny else None)
        )
        part["rows"] += found["rows"]
        part["facts"] += found["facts"]
        part = write(part, given.output)
    print(tables.text(joined([part])))


if __name__ == "__main__":
    main()

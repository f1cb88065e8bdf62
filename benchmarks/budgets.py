"""What this library may take, measured: each job against its floor, and without its kernels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import torchio_gpu as tio
from torchio_gpu import functional as F

from .failure import FailureError
from .static.cases import affine_and_elastic, bias, gamma, noise
from .versus import harness
from .versus.inputs import labels_of, patches
from .versus.peers import torchio_gpu as ours
from .versus.worker import Runner
from .versus.workloads import WORKLOADS

#: Something to be timed.
Call = Callable[[], Any]
_CUDA = torch.autograd.DeviceType.CUDA


@dataclass(frozen=True)
class Job:
    """What has a budget.

    Args:
        make: From a batch: what is timed, and its floor.
        most: How many floors it may take; where its host time counts, milliseconds.
        floor: What the floor is called.
        workloads: Where it is measured.
    """

    make: Callable[[Tensor], tuple[Call, Call]]
    most: float | None = None
    floor: str = "copy"
    workloads: tuple[str, ...] = ("W1", "W2", "W3")


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
    "warp with labels": Job(_with_labels, 2.5, "copy of both"),
    "bias, gamma, noise": Job(_pointwise, 1.4),
    "pipe6 with labels": Job(_pipe6, 4, "copy of both"),
    "backward of the warp": Job(_backward, 4, "forward"),
    "Hann aggregation": Job(_aggregate, 2, "copy of the patches", ("P",)),
    "host time of pipe6": Job(_pipe6, 1.0, "ms", ("W0",)),
}


class _Timed(Runner):
    """A job that makes its own input."""

    def __init__(self, call: Call, floor: Call, x: Tensor, host: bool, backend: str) -> None:
        self.backend = backend
        super().__init__({"copy": lambda _: floor(), "job": lambda _: call()}, x, host)

    def check(self, op: str) -> str | None:
        """Warm up: tests look at results."""
        for _ in range(3):
            self._call(op)
        return None

    def _call(self, op: str) -> Any:
        with tio.backend(self.backend):
            return super()._call(op)


def measure(device: str, tiny: bool = False, repeats: int | None = None) -> dict[str, Any]:
    """Measure all jobs; returns a plain dict.

    Args:
        device: 'cpu' or 'cuda'.
        tiny: Batches of a few voxels, to see whether it runs.
        repeats: Timed calls of each.
    """
    found: dict[str, Any] = {"tiny": tiny, "rows": [], "facts": []}
    for name, job in JOBS.items():
        for workload in job.workloads:
            x = _batch(workload, device, tiny)
            found["rows"].append({"job": name, "workload": workload, **_time(job, x, repeats)})
            harness.log(f"{name} {workload}: {_result(found['rows'][-1])}")
            del x
    for workload in JOBS["pipe6 with labels"].workloads:
        x = _batch(workload, device, tiny)
        found["facts"].append({"workload": workload, **_facts(x)})
        harness.log(f"pipe6 {workload}: {found['facts'][-1]}")
    return found


def _batch(workload: str, device: str, tiny: bool) -> Tensor:
    batch, channels, *size = WORKLOADS[workload].shape
    if tiny:
        batch, size = 2, [16 if workload == "P" else 8] * 3
    torch.manual_seed(0)
    return torch.rand(batch, channels, *size).to(device)


def _result(row: Mapping[str, Any]) -> str:
    return str(row.get("failure") or f"{row['median_ms']} ms, {row.get('floors')} floors")


def _time(job: Job, x: Tensor, repeats: int | None) -> dict[str, Any]:
    host = job.floor == "ms"
    backends = ["auto"] if host else ["auto", "reference"]
    try:
        call, floor = job.make(x)
        players = {name: _Timed(call, floor, x, host, name) for name in backends}
        copy, mine, *others = harness.measure(players, "job", repeats or (300 if host else 30))
    except FailureError as failure:
        return {"failure": str(failure)}
    if "failure" in copy:
        return {"failure": f"{job.floor}: {copy['failure']}"}
    row = {name: value for name, value in mine.items() if name not in ("op", "contender", "copies")}
    row |= {"floor": job.floor, "most": job.most}
    if "median_ms" in mine:
        row["floor_ms"] = copy["median_ms"]
        row["floors"] = mine["median_ms"] if host else mine["copies"]
    for other in others:
        row["reference_ms"] = other.get("median_ms")
    return row


def _facts(x: Tensor) -> dict[str, Any]:
    """Of pipe6 with labels: kernels that a call launches, what it waits for, its peak memory."""
    call, floor = _pipe6(x)
    call()  # what is loaded and compiled once does not count
    if not x.is_cuda:
        return {"launches": None, "waits": None, "memory": None}
    size = sum(tensor.numel() * tensor.element_size() for tensor in floor())
    torch.cuda.synchronize()
    return {"launches": launched(call), "waits": waits(call), "memory": memory(call, size)}


def launched(call: Call) -> dict[str, int]:
    """Kernels of a call and how often each is launched; copies are among them by their names."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        call()
        torch.cuda.synchronize()
    events = profile.events() or []
    return dict(Counter(event.name for event in events if event.device_type == _CUDA))


def waits(call: Call) -> str | None:
    """What a call waits for the GPU for, if it does."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        call()
    except RuntimeError as error:
        return str(FailureError.of(error))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return None


def memory(call: Call, size: int) -> float:
    """The most that a call allocates, its result included, in multiples of a size in bytes."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return round((torch.cuda.max_memory_allocated() - before) / size, 3)

"""Times, kernels, waits and memory, beside their budgets: ``python -m benchmarks.gpu.budgets``."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from math import inf
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

import torchio_gpu as tio
from torchio_gpu import functional as F

from .. import clock, machine, records
from ..clock import Call
from ..failure import FailureError
from ..inputs import grid_patches, labels_of
from ..rivals import torchio_gpu as ours
from ..static.cases import affine_and_elastic, bias, gamma, noise
from ..versus import statistics
from ..worker import peak_memory
from ..workloads import WORKLOADS
from . import SUITE, Result

Calls = Sequence[Call]

SHAPES = {name: workload.shape for name, workload in WORKLOADS.items()}
SHAPES["1GB"] = (1, 1, 1024, 512, 512)  # more than any cache holds


def _host(calls: Calls, bounds: Calls, repeats: int, cuda: bool) -> Result:
    """Time calls on an idle device; the value is their time on the host, in ms."""
    both = [clock.host_and_end(calls[n % len(calls)], cuda) for n in range(repeats)]
    host, end = (statistics(seconds) for seconds in zip(*both, strict=True))
    return {"host": host, "end to end": end, "value": host["median_ms"]}


def _device(calls: Calls, bounds: Calls, repeats: int, cuda: bool) -> Result:
    """Time calls; the value is their time on the device over that of their bounds."""
    times = [clock.on_device(each, repeats, cuda) for each in (calls, bounds)]
    device, bound = (statistics(time.seconds) for time in times)
    row = {"device": device, "bound": bound, **_host(calls, bounds, repeats, cuda)}
    row["value"] = device["median_ms"] / bound["median_ms"]
    return {**row, "note": "waits for the host"} if times[0].late else row


def _plain(calls: Calls, bounds: Calls, repeats: int, cuda: bool) -> Result:
    """Time calls by plain torch."""
    with tio.backend("reference"):
        calls[0]()
        return _device(calls, bounds, max(2, repeats // 10), cuda)


def _kernels(calls: Calls, bounds: Calls, repeats: int, cuda: bool) -> Result:
    """Count the kernels that a call launches."""
    with torch.profiler.profile() as profile:
        calls[0]()
    on_device = torch.autograd.DeviceType.CUDA
    names = Counter(e.name for e in profile.events() or [] if e.device_type == on_device)
    kernels = sum(n for name, n in names.items() if not name.startswith("Mem"))
    return {"value": kernels, "note": ", ".join(f"{name} {n}" for name, n in names.items())}


def _waits(calls: Calls, bounds: Calls, repeats: int, cuda: bool) -> Result:
    """Fail where a call waits for the GPU."""
    with clock.waits_refused():
        calls[0]()
    return {"value": 0}


def _memory(calls: Calls, bounds: Calls, repeats: int, cuda: bool) -> Result:
    """Measure the peak of a call, result included, in batches."""
    return {"value": peak_memory(calls[0], cuda) / sum(x.nbytes for x in bounds[0]())}


def _warp_pair(x: Tensor) -> tuple[Call, Call]:
    where, labels = affine_and_elastic(x), labels_of(x)
    return lambda: F.warp_pair(x, labels, **where), lambda: (x.clone(), labels.clone())


def _gradient(x: Tensor) -> tuple[Call, Call]:
    where = [torch.from_numpy(a).to(x.device) for a in affine_and_elastic(x).values()]
    given = [tensor.clone().requires_grad_() for tensor in (x, *where)]
    grad = torch.ones_like(x)
    return lambda: torch.autograd.grad(F.warp(*given), given, grad), lambda: F.warp(*given)


def _pointwise(x: Tensor) -> tuple[Call, Call]:
    program = [bias(x), gamma(x), noise(x)]
    return lambda: F.pointwise(x, program), x.clone


def _pipe6(x: Tensor, captured: bool = False) -> tuple[Call, Call]:
    labels = labels_of(x)
    images = {"image": tio.ImagesBatch(x), "label": tio.ImagesBatch(labels, kind=tio.LABEL)}
    batch = tio.SubjectsBatch(images)
    pipe6 = tio.Captured(ours.PIPE6, batch) if captured and x.is_cuda else ours.PIPE6
    return lambda: pipe6(batch), lambda: (x.clone(), labels.clone())


def _aggregate(x: Tensor) -> tuple[Call, Call]:
    cut, locations = grid_patches(x)
    return lambda: ours.aggregate(cut, locations), cut.clone


class Job(NamedTuple):
    """Work that has a budget."""

    make: Callable[[Tensor], tuple[Call, Call]]  # of a batch: the call, and its bound
    most: float | None = None  # largest value
    on_h100: float | None = None  # the same on an H100, if not as on an H200
    workloads: Sequence[str] = ("W1", "W2", "W3")
    measure: Callable[[Calls, Calls, int, bool], Result] = _device  # of calls on rotated inputs


#: By name, in the order of the table. Times on the device are in copies of what is changed.
JOBS = {
    "copy, 2.15 GB read and written": Job(lambda x: (x.clone, x.clone), workloads=["1GB"]),
    "warp with labels": Job(_warp_pair, 2.1, 1.6),
    "warp with its gradient, in warps": Job(_gradient, 4),
    "bias, gamma, noise": Job(_pointwise, 1.25, 1.2),
    "pipe6": Job(_pipe6, 3, 2.3),
    "pipe6, replayed": Job(lambda x: _pipe6(x, captured=True), 3, 2.3),
    "pipe6, plain torch": Job(_pipe6, measure=_plain),
    "pipe6, kernels": Job(_pipe6, 6, measure=_kernels),
    "pipe6, waits": Job(_pipe6, 0, measure=_waits),
    "pipe6, batches of memory": Job(_pipe6, 1.5, measure=_memory),
    "pipe6, ms of the host": Job(_pipe6, 0.5, None, ["W0"], _host),
    "Hann aggregation": Job(_aggregate, 2, None, ["P"]),
}


def rows(workload: str, device: str, tiny: bool) -> Iterator[Result]:
    """Measure the jobs of a workload, or of a few voxels to see whether they run."""
    cuda, repeats = device == "cuda", 2 if tiny else 50
    first = torch.rand((2, 1, 16, 16, 16) if tiny else SHAPES[workload], device=device)
    more = clock.rotations(first.nbytes, device) - 1
    inputs = [first, *(torch.rand_like(first) for _ in range(more))]
    h100 = cuda and "H100" in torch.cuda.get_device_name()
    for name, job in JOBS.items():
        if workload not in job.workloads:
            continue
        row: Result = {"job": name}
        try:
            calls, bounds = zip(*map(job.make, inputs), strict=True)
            for call in (*calls, *bounds, *calls):
                call()  # compiles kernels, and brings constants to the device
            row |= job.measure(calls, bounds, repeats, cuda)
        except Exception as error:
            row["note"] = f"failed: {FailureError.of(error)}"
        most = (h100 and job.on_h100) or job.most
        yield row if most is None else {**row, "most": most, "kept": row.get("value", inf) <= most}


def profile(x: Tensor) -> None:
    """Launch the kernels that a profiler looks at, each compiled before."""
    for make in (_pipe6, _pointwise, _gradient):
        call, _ = make(x)
        call()
        with torch.cuda.profiler.profile():
            call()
            torch.cuda.synchronize()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print and keep each row as soon as it is measured."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.gpu.budgets", description=__doc__)
    p.add_argument("--workload", choices=SHAPES, default="W1")
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    p.add_argument("--tiny", action="store_true", help="a few voxels; numbers mean nothing")
    p.add_argument("--output", type=Path, help="JSON file")
    given = p.parse_args(arguments)
    device = machine.device(given.device)
    part: Result = records.stamp(SUITE, device, torch.get_num_threads())
    part |= {"part": given.workload, "tiny": given.tiny, "rows": []}
    for row in rows(given.workload, device, given.tiny):
        print(given.workload, row)
        part["rows"].append(row)
        records.write(part, given.output)


if __name__ == "__main__":
    main()

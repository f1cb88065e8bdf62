"""Times, kernels, waits and memory on a GPU beside their budgets: ``benchmarks/gpu.sh``."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import DeviceType

import torchio_gpu as tio

from . import cases, clock, records
from .counting import budgets
from .failure import FailureError
from .inputs import grid_patches
from .rivals.torchio_gpu import aggregate
from .versus import statistics
from .worker import peak_memory
from .workloads import WORKLOADS

SUITE = "gpu"
SHAPES = {name: workload.shape for name, workload in WORKLOADS.items()}
SHAPES["1GB"] = (1, 1, 1024, 512, 512)  # more than any cache holds

Result = dict[str, Any]


class Job(NamedTuple):
    """Work that has budgets, the most of some numbers of :func:`measure`."""

    make: cases.Make
    budget: dict[str, float]
    on_h100: float | None = None  # bounds that an H100 may take, if not as an H200
    workloads: Sequence[str] = ("W1", "W2", "W3")
    bound: cases.Make | None = None  # a call whose time is the bound, if not a copy of the volumes


def _plain(x: Tensor) -> tuple[Any, ...]:
    def call() -> Any:
        with tio.backend("reference"):
            return fused()

    fused, *volumes = cases.pipe6(x)
    return call, *volumes


def _aggregate(x: Tensor) -> tuple[Any, ...]:
    cut, locations = grid_patches(x)
    return partial(aggregate, cut, locations), cut


_WHOLE = {"bounds": 3, "kernels": 6, "waits": 0, "batches": 1.5}
#: By name, in the order of the table.
JOBS = {
    "copy, 2.15 GB read and written": Job(cases.on(Tensor.clone), {}, workloads=["1GB"]),
    "warp with labels": Job(cases.warp_pair, {"bounds": 2.1}, 1.6),
    "warp with its gradient, in warps": Job(cases.warp_back(), {"bounds": 4}, bound=cases.warp()),
    "bias, gamma, noise": Job(cases.pointwise(*cases.THREE), {"bounds": 1.25}, 1.2),
    "pipe6": Job(cases.pipe6, _WHOLE, 2.3),
    "pipe6, replayed": Job(partial(cases.pipe6, captured=True), {"bounds": 3}, 2.3),
    "pipe6, plain torch": Job(_plain, {}),
    "pipe6, host": Job(cases.pipe6, {"host, ms": 0.5}, workloads=["W0"]),
    "Hann aggregation": Job(_aggregate, {"bounds": 2}, workloads=["P"]),
}


def _copy(volumes: Sequence[Tensor]) -> list[Tensor]:
    return [volume.clone() for volume in volumes]


def measure(job: Job, inputs: Sequence[Tensor], repeats: int, cuda: bool) -> Result:
    """Return the numbers of a job: 'bounds' and 'batches' are its time and memory in those."""
    made = [job.make(x) for x in inputs]
    calls: list[clock.Call] = [call for call, *_ in made]
    copies: list[clock.Call] = [partial(_copy, volumes) for _, *volumes in made]
    bounds = [job.bound(x)[0] for x in inputs] if job.bound else copies
    for call in (*calls, *bounds, *calls):
        call()  # compiles kernels, and brings constants to the device
    repeats = max(2, min(repeats, int(1 / clock.end_to_end(calls[0], cuda))))  # a second or so
    times = [clock.on_device(each, repeats, cuda) for each in (calls, bounds)]
    ends = [clock.host_and_end(calls[n % len(calls)], cuda) for n in range(repeats)]
    seconds = [*(time.seconds for time in times), *zip(*ends, strict=True)]
    device, bound, host, end = map(statistics, seconds)
    with torch.profiler.profile() as profile:
        calls[0]()
    on_device = [e for e in profile.events() or [] if e.device_type == DeviceType.CUDA]
    try:
        with clock.waits_refused():
            calls[0]()
        waits = 0
    except RuntimeError:  # of a call that did without an error before
        waits = 1
    return {
        "device": device,
        "bound": bound,
        "host": host,
        "end to end": end,
        "bounds": device["median_ms"] / bound["median_ms"],
        "late": times[0].late,
        "host, ms": host["median_ms"],
        "kernels": sum(not e.name.startswith("Mem") for e in on_device),
        "waits": waits,
        "batches": peak_memory(calls[0], cuda) / sum(x.nbytes for x in made[0][1:]),
    }


def run(device: str, workload: str, tiny: bool) -> Iterator[Result]:
    """Measure the jobs of a workload, or of a few voxels to see whether they run."""
    cuda = device == "cuda"
    result: Result = {**records.stamp(SUITE, device, torch.get_num_threads()), "tiny": tiny}
    result["rows"] = rows = []
    first = torch.rand((2, 1, 16, 16, 16) if tiny else SHAPES[workload], device=device)
    more = clock.rotations(first.nbytes, device) - 1
    inputs = [first, *(torch.rand_like(first) for _ in range(more))]
    h100 = cuda and "H100" in torch.cuda.get_device_name()
    for name, job in JOBS.items():
        if workload in job.workloads:
            other = {"bounds": job.on_h100} if h100 and job.on_h100 else {}
            rows.append({"job": name, "workload": workload, "budget": {**job.budget, **other}})
            try:
                rows[-1] |= measure(job, inputs, 2 if tiny else 50, cuda)
            except Exception as error:
                rows[-1]["note"] = f"failed: {FailureError.of(error)}"
            yield result


def profile(x: Tensor) -> None:
    """Launch the kernels that a profiler looks at, each compiled before."""
    for name in ("pipe6", "bias, gamma, noise", "warp with its gradient, in warps"):
        call, *_ = JOBS[name].make(x)
        call()
        with torch.cuda.profiler.profile():
            call()
            torch.cuda.synchronize()


def collect(folder: Path, into: Path = records.FOLDER) -> list[Path]:
    """Keep the results of a run, the rows of all workloads together, each with tests and steps."""
    steps = [*csv.DictReader(_lines(folder / "steps.tsv"), ("step", "status", "s"), delimiter="\t")]
    said = [x for x in _lines(folder / "tests.log") if re.match(r"FAILED|ERROR|\d+ .* in ", x)]
    passed = any((step["step"], step["status"]) == ("tests", "0") for step in steps)
    tests = {"green": passed and " passed" in said[-1], "said": said[-20:]}
    more = {"tests": tests, "steps": steps, "counters": counters(folder)}
    kept: dict[Path, Result] = {}
    for file in sorted(folder.glob("*.json")):
        (result,) = records.read([file])
        place = into / records.path(result).name
        kept.setdefault(place, {**result, **more, "rows": []})["rows"] += result["rows"]
    for place, result in kept.items():
        records.write(result, place)
    return [*kept]


def counters(folder: Path) -> list[Result]:
    """Read what Nsight Compute counted: a row for each launch, of a line for each metric."""
    lines = [line for line in _lines(folder / "counters.csv") if line.startswith('"')]
    launches: dict[str, Result] = {}
    for line in csv.DictReader(lines):
        row = launches.setdefault(line["ID"], {"kernel": line["Kernel Name"].partition("(")[0]})
        row[line["Metric Name"]] = f"{line['Metric Value']} {line['Metric Unit']}".strip()
    return list(launches.values())


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def text(result: Result) -> str:
    """Return rows with their budgets, counters and steps of a card, and where they are from."""
    shown = [f"**{result['machine']['gpu'] or 'no GPU'}**: medians and quartiles in ms"]
    shown += map(budgets, filter(None, map(result.get, ("rows", "counters", "steps"))))
    tiny = " A rehearsal on a few voxels: these numbers mean nothing." * result["tiny"]
    return with_tests("\n\n".join([*shown, f"- {records.origin(result)}{tiny}"]), result)


def with_tests(text: str, result: Result) -> str:
    """Return a text and the tests of its commit; unless these passed, each number is marked."""
    tests = result.get("tests") or {"green": False, "said": ["none"]}
    if not tests["green"]:  # each cell with a digit in the bodies of tables, but for their names
        cell = re.compile(r"(?!^)(\|[^|\n]*\d[^|\n]*?) *(?=\|)", re.MULTILINE)
        bodies = re.compile(r"^(\|[-| ]+\n)((?:\|.*\n?)+)", re.MULTILINE)
        text = bodies.sub(lambda rows: rows[1] + cell.sub(r"\1 (tests red) ", rows[2]), text)
    return f"{text}\n\nTests at that commit: {'; '.join(tests['said'])}"


main = records.command(
    __doc__,
    run,
    lambda result: "\n".join(map(str, result["rows"])),
    device={},
    workload={"required": True, "choices": [*SHAPES]},
    tiny={"action": "store_true", "help": "a few voxels; numbers mean nothing"},
)

if __name__ == "__main__":
    main()

"""The loop that all contenders are measured in, on a CPU and on a GPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean, median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from ..failure import FailureError
from . import pairs
from .setup import Setup
from .sources import Source

#: The host is at most so many steps ahead of a GPU.
_AHEAD = 2


class HostMarks:
    """Points in time where the host does the work: what is marked has been done."""

    def mark(self) -> Any:
        return perf_counter()

    def reached(self, mark: Any) -> bool:
        return True

    def wait(self, mark: Any) -> None:
        """Until it is reached."""

    def seconds(self, first: Any, last: Any) -> float:
        return float(last - first)


class StreamMarks(HostMarks):
    """Points in the work that a GPU is given."""

    def mark(self) -> Any:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def reached(self, mark: Any) -> bool:
        return bool(mark.query())

    def wait(self, mark: Any) -> None:
        mark.synchronize()

    def seconds(self, first: Any, last: Any) -> float:
        return float(first.elapsed_time(last)) / 1000


def measure(
    make: Callable[[], Source],
    step: Callable[[Tensor, Tensor], Tensor],
    setup: Setup,
    augmented: bool,
    marks: HostMarks,
) -> dict[str, Any]:
    """Train: first steps whose patches are looked at, then those that count.

    Args:
        make: What the source is made by.
        step: Learns from a batch of images and of label maps; its loss.
        setup: How many steps.
        augmented: Whether images should be.
        marks: Of the device.

    Returns:
        Numbers named in :mod:`benchmarks.training`. ``gap_s`` is the time between steps on the
        device, ``late_s`` what of it is that of batches which came too late.

    Raises:
        FailureError: The patches are not right, the source ends, or a loss is not finite.
    """
    start = perf_counter()
    source = make()
    image, label = _next(source)
    marks.wait(marks.mark())
    first_batch = perf_counter() - start
    losses, looked_at = [], []
    # A round ends where the next batches are prepared; so does what comes before the first.
    warmup = source.round * math.ceil(setup.warmup / source.round)
    for n in range(warmup):
        if n:
            image, label = _next(source)
        if n < setup.warmup:
            looked_at.append((image, label))
        losses.append(step(image, label))
    shape = (setup.batch, 1, *[setup.patch] * 3)
    correlation = pairs.check(looked_at, shape, augmented)
    del looked_at

    waits: list[float] = []
    begins, ends, late = [], [marks.mark()], []
    marks.wait(ends[0])
    start = perf_counter()
    while True:
        n = len(waits)
        spent = n >= setup.steps or perf_counter() - start >= setup.seconds
        if n and n % source.round == 0 and spent:
            break
        called = perf_counter()
        image, label = _next(source)
        waits.append(perf_counter() - called)
        begins.append(marks.mark())
        late.append(marks.reached(ends[-1]))
        losses.append(step(image, label))
        ends.append(marks.mark())
        marks.wait(ends[max(0, n + 1 - _AHEAD)])
    marks.wait(ends[-1])
    numbers = [loss.item() for loss in losses]
    if not all(map(math.isfinite, numbers)):
        raise FailureError("a loss is not finite")
    wall = marks.seconds(ends[0], ends[-1])
    steps = [marks.seconds(*pair) for pair in zip(begins, ends[1:], strict=True)]
    gaps = [marks.seconds(*pair) for pair in zip(ends, begins, strict=False)]
    found = {
        "wall_s": wall,
        "steps_per_s": len(steps) / wall,
        "wait_ms": 1000 * median(waits),
        "mean_wait_ms": 1000 * fmean(waits),
        "step_ms": 1000 * median(steps),
        "mean_step_ms": 1000 * fmean(steps),
        "first_batch_s": first_batch,
        "gap_s": sum(gaps),
        "late_s": sum(gap for gap, missed in zip(gaps, late, strict=True) if missed),
        "correlation": correlation,
        "first_loss": numbers[0],
        "last_loss": fmean(numbers[-4:]),  # of one batch it says little
    }
    rounded = {name: float(f"{value:.4g}") for name, value in found.items()}
    return {"steps": len(steps), "round": source.round, "warmup": warmup, **rounded}


def _next(source: Source) -> tuple[Tensor, Tensor]:
    try:
        return next(source.batches)
    except StopIteration as error:
        raise FailureError("it has no more batches") from error

"""Transforms captured in a CUDA graph, with new random numbers at each replay."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from .. import random
from ..data import SubjectsBatch
from ..functional.dispatch.backend import rehearsing
from ..functional.dispatch.launch import PackedCopies
from .base import Transform
from .convert import to_batch
from .pipeline.executor import run
from .pipeline.steps import SUBJECT

#: Graphs that one transform may need, at most.
_MAX_GRAPHS = 16


class Captured:
    """Transform whose kernels are launched by the replay of a CUDA graph.

    The launches depend on the structure of the pipeline and on the shapes of the images, and are
    captured once; the random numbers, drawn anew at each call, are copied to the device before the
    graph is replayed. Where random decisions change the launches (``p`` below 1 in small batches,
    :class:`OneOf`), a graph is captured for each case that occurs.

    The result of a call is that of calling the transform: same types, same random numbers, same
    history. But its voxels are those of the graph: the next call on the same stream overwrites
    them, so clone results that are to be kept. Each stream has graphs of its own. There are no
    gradients.

    Args:
        transform: The transform.

    Raises:
        ValueError: The transform takes one subject at a time; or, when called, the voxels are not
            on a CUDA device, or require a gradient.
        RuntimeError: When called, the launches depend on the numbers themselves (as in
            :class:`RandomSwap`), so that no graph can be replayed.

    >>> augment = Captured(RandomAffine())
    >>> augment(SubjectsBatch({"t1": ImagesBatch(torch.rand(2, 1, 8, 8, 8))}))
    Traceback (most recent call last):
    ValueError: voxels must be on a CUDA device to be captured in a graph, got 't1' on cpu
    """

    def __init__(self, transform: Transform) -> None:
        taking = [s.transform.name for s in transform.plan().steps if s.role == SUBJECT]
        if taking:
            raise ValueError(
                f"transform must not hold functions of a subject, which a graph cannot repeat: "
                f"got {', '.join(taking)}"
            )
        self.transform = transform
        self._graphs: dict[Hashable, _Graph] = {}

    def __call__(self, x: Any) -> Any:
        """Transform anything that transforms take, on a CUDA device."""
        transform = self.transform
        batch, restore = to_batch(x, transform.include, transform.label_keys)
        device = torch.device("cuda")
        for name, images in batch.images.items():
            device = images.data.device
            if not images.data.is_cuda:
                raise ValueError(
                    "voxels must be on a CUDA device to be captured in a graph, "
                    f"got {name!r} on {images.data.device}"
                )
            if images.data.requires_grad:
                raise ValueError(f"voxels must not require a gradient in a graph, {name!r} does")
        streams = batch.streams or random.streams_for(batch.batch_size)
        before = random.Streams(streams.seeds, streams.used.copy())
        batch = batch.replace(dict(batch.images))
        batch.streams = streams
        key, numbers, out = rehearse(transform, batch)
        # a call on another stream must not overwrite buffers that this stream still reads
        key = key, torch.cuda.current_stream(device).cuda_stream
        graph = self._graphs.get(key)
        if graph is None:
            if len(self._graphs) == _MAX_GRAPHS:
                raise RuntimeError(
                    f"{transform.name} cannot be captured: its launches depend on random numbers, "
                    f"{_MAX_GRAPHS} calls needed as many graphs"
                )
            batch.streams = before
            graph = self._graphs[key] = _capture(transform, batch, numbers)
        graph.numbers.copy_(concatenated(numbers).pin_memory(), non_blocking=True)
        for name, voxels in graph.inputs.items():
            voxels.copy_(batch.images[name].data)
        graph.graph.replay()
        for name, voxels in graph.outputs.items():
            out.images[name] = out.images[name].with_data(voxels, out.images[name].affine)
        return restore(out)


@dataclass
class _Graph:
    graph: torch.cuda.CUDAGraph
    numbers: Tensor  # all numbers that a call copies to the device, as bytes (uint8)
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


def rehearse(
    transform: Transform, batch: SubjectsBatch
) -> tuple[Hashable, list[Tensor], SubjectsBatch]:
    """Execute a call on the ``meta`` device, to record its launches.

    Args:
        transform: The transform.
        batch: Images on a device, with streams, whose positions are used up.

    Returns:
        A key of the images and of all launches, without the numbers in packed copies; these copies,
        as bytes on the host; and the resulting batch, with voxels on ``meta``.

    Raises:
        RuntimeError: Numbers are copied to the device in another way.
    """
    images = {
        name: each.with_data(each.data.to("meta"), each.affine)
        for name, each in batch.images.items()
    }
    empty = batch.replace(images)
    empty.streams = batch.streams
    device = next(iter(batch.images.values())).data.device
    copies, log = PackedCopies(), _LaunchLog()
    with rehearsing(device), copies.running(), log:
        out = run(transform.plan(), empty)
    # images without launches are not in the log, but are inputs of the graph
    inputs = tuple((name, each.kind, each.shape, each.dtype) for name, each in images.items())
    sizes = tuple(len(buffer) for buffer in copies.buffers)
    return (device, inputs, tuple(log.lines), sizes), copies.buffers, out


def concatenated(numbers: list[Tensor]) -> Tensor:
    """Concatenate packed copies; there may be none."""
    return torch.cat([torch.empty(0, dtype=torch.uint8), *numbers])


def _capture(transform: Transform, batch: SubjectsBatch, numbers: list[Tensor]) -> _Graph:
    device = next(iter(batch.images.values())).data.device
    inputs = {name: each.data.clone() for name, each in batch.images.items()}
    on_device = concatenated(numbers).to(device)

    def call() -> SubjectsBatch:
        images = {
            name: each.with_data(inputs[name], each.affine) for name, each in batch.images.items()
        }
        again = batch.replace(images)
        again.streams = random.Streams(batch.streams.seeds, batch.streams.used.copy())  # type: ignore[union-attr]
        parts = torch.split(on_device, [len(n) for n in numbers])
        with PackedCopies(parts).running():
            return run(transform.plan(), again)

    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        call()  # compiles kernels and cuFFT plans, which cannot be captured
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # thread_local: other threads, such as one that pins memory for a loader, may use the device
    with torch.cuda.device(device), torch.cuda.graph(graph, capture_error_mode="thread_local"):
        out = call()
    outputs = {name: each.data for name, each in out.images.items()}
    return _Graph(graph, on_device, inputs, outputs)


class _LaunchLog(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Log of the operators that are called, with their tensors and numbers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lines: list[Hashable] = []
        self._seen: dict[int, tuple[int, Tensor]] = {}  # kept alive, so that no two share an id

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        inputs = tree_flatten((args, kwargs))[0]
        outputs = [t for t in tree_flatten(out)[0] if isinstance(t, Tensor)]
        if any(t.device.type == "meta" for t in (*_tensors(inputs), *outputs)):
            if any(t.device.type == "cpu" for t in _tensors(inputs)):
                raise RuntimeError(
                    f"{func} copies numbers to the device that a graph could not update: this part "
                    "of the pipeline cannot be captured"
                )
            line = [self._name(each) for each in inputs]
            self.lines.append((str(func), *line, *map(self._name, outputs)))
        return out

    def _name(self, value: Any) -> Hashable:
        if not isinstance(value, Tensor):
            return repr(value)
        number, _ = self._seen.setdefault(id(value), (len(self._seen), value))
        return number, tuple(value.shape), tuple(value.stride()), str(value.dtype)


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    return [v for v in values if isinstance(v, Tensor)]


__all__ = ["Captured", "rehearse"]

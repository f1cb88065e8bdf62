"""Transforms captured in a CUDA graph, with new random numbers at each replay."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import random
from ..data import Image, ImagesBatch, Subject, SubjectsBatch
from ..functional.dispatch import backend
from ..functional.dispatch.launch import PackedCopies
from .base import Transform
from .convert import to_batch
from .pipeline.executor import run
from .pipeline.host import HostCall, HostProgram
from .pipeline.plan import Plan
from .pipeline.steps import SUBJECT

#: Graphs that one transform may need, at most.
_MAX_GRAPHS = 16
#: Structures of batches whose host programs are kept.
_MAX_PROGRAMS = 64


class Captured:
    """Transform whose kernels are launched by the replay of a CUDA graph.

    The launches depend on the structure of the pipeline and on the shapes of the images, and are
    captured once; so is the way from random numbers to the numbers that kernels read. A call draws
    new random numbers, computes these numbers, copies them to the device in one piece, and replays
    the graph. Where random decisions change the launches (``p`` below 1 in small batches,
    :class:`OneOf`), a graph is captured for each case that occurs.

    The result of a call is that of calling the transform: same types, same random numbers, same
    history. But its voxels are those of the graph: the next call on the same stream overwrites
    them, so clone results that are to be kept. Each stream has graphs of its own. There are no
    gradients.

    Args:
        transform: The transform.
        inputs: Images on a CUDA device whose memory is that of the graph, such as a batch into
            which a loader copies; anything that transforms take. They stay the caller's: a call
            without argument reads what they hold when the stream comes to it, and with it the seeds
            and the affines that they have when it is made. By default a graph has memory of its
            own, into which each call copies its voxels.

    Raises:
        ValueError: The transform takes one subject at a time; the voxels are not on a CUDA device,
            or require a gradient; or, when called, images differ from ``inputs`` in names, shape,
            strides, dtype or device.
        RuntimeError: When called, the launches depend on the numbers themselves (as in
            :class:`RandomSwap`), so that no graph can be replayed.

    >>> augment = Captured(RandomAffine())
    >>> augment(SubjectsBatch({"t1": ImagesBatch(torch.rand(2, 1, 8, 8, 8))}))
    Traceback (most recent call last):
    ValueError: voxels must be on a CUDA device to be captured in a graph, got 't1' on cpu
    """

    def __init__(
        self,
        transform: Transform,
        inputs: SubjectsBatch
        | ImagesBatch
        | Subject
        | Image
        | Tensor
        | Mapping[str, object]
        | None = None,
    ) -> None:
        taking = [s.transform.name for s in transform.plan().steps if s.role == SUBJECT]
        if taking:
            raise ValueError(
                f"transform must not hold functions of a subject, which a graph cannot repeat: "
                f"got {', '.join(taking)}"
            )
        mixing = transform.plan().mixing
        if mixing is not None:
            raise ValueError(
                f"transform must not mix samples, whose partners change from call to call: apply "
                f"{mixing.transform.name} to the result"
            )
        self.transform, self.inputs = transform, inputs
        self._device = self._graph_device()
        self._static: dict[str, Tensor] | None = None
        if inputs is not None:
            batch, _ = to_batch(inputs, transform.include, transform.label_keys)
            self._check(batch)
            self._static = {name: images.data for name, images in batch.images.items()}
        self._programs: dict[Hashable, HostProgram] = {}
        self._graphs: dict[Hashable, _Graph] = {}
        self._launches: dict[Hashable, int] = {}
        #: A plan, and its transforms whose probability may change without another plan.
        self._changing: tuple[Plan | None, list[Any]] = None, []
        self._lock = threading.Lock()

    def __call__(self, x: Any = None) -> Any:
        """Transform anything that transforms take, on a CUDA device.

        Args:
            x: The images; by default those of ``inputs``.
        """
        if x is None:
            if self.inputs is None:
                raise TypeError("x must be given where Captured was made without inputs")
            x = self.inputs
        transform = self.transform
        batch, restore = to_batch(x, transform.include, transform.label_keys)
        device = self._check(batch)
        streams = batch.streams or random.streams_for(batch.batch_size)
        before = random.Streams(streams.seeds, streams.used)
        with self._lock:  # the bytes of a program are overwritten by its next call
            call = self._program(batch, device).call(batch, streams)
            numbers = self._device.stage(call.content())
            graph = self._graph(batch, device, call, numbers, before)
        self._device.copy(graph.numbers, numbers)
        for name, voxels in graph.inputs.items():
            data = batch.images[name].data
            if data.data_ptr() != voxels.data_ptr():
                self._device.copy(voxels, data)
        graph.replay()
        return restore(call.result(batch, graph.outputs))

    def _check(self, batch: SubjectsBatch) -> torch.device:
        """Return the device of the voxels; raise if they cannot be captured."""
        device = torch.device("cpu")
        for name, images in batch.images.items():
            data, device = images.data, images.data.device
            if device.type != self._device.type:
                raise ValueError(
                    "voxels must be on a CUDA device to be captured in a graph, "
                    f"got {name!r} on {device}"
                )
            if data.requires_grad:
                raise ValueError(f"voxels must not require a gradient in a graph, {name!r} does")
        if self._static is not None:
            given = {name: _layout(images.data) for name, images in batch.images.items()}
            static = {name: _layout(data) for name, data in self._static.items()}
            if given != static:
                raise ValueError(f"images must be as those of inputs, {static}, got {given}")
        return device

    def _program(self, batch: SubjectsBatch, device: torch.device) -> HostProgram:
        """Return the host program for a batch of some structure."""
        plan = self.transform.plan()
        known, changing = self._changing
        if known is not plan:
            changing = [t for t in self.transform.modules() if getattr(t, "p", 1) != 1]
            self._changing = plan, changing
        images = [
            (name, each.kind, each.data.dtype, each.data.shape, each.data.stride())
            for name, each in batch.images.items()
        ]
        key = (
            plan, *[t.p for t in changing], device, backend.backend.current(),
            torch.are_deterministic_algorithms_enabled(), *images, *batch.metadata,
        )  # fmt: skip
        program = self._programs.get(key)
        if program is None:
            if len(self._programs) >= _MAX_PROGRAMS:
                self._programs.clear()
            program = self._programs[key] = HostProgram(plan, batch, device)
        return program

    def _graph(
        self,
        batch: SubjectsBatch,
        device: torch.device,
        call: HostCall,
        staged: Tensor,
        before: random.Streams,
    ) -> _Graph:
        """Return the graph of the launches of a call, on the current stream."""
        outcome = call.outcome
        if outcome.number is None:
            outcome.number = self._launches.setdefault(outcome.launches, len(self._launches))
        # a call on another stream must not overwrite buffers that this stream still reads
        key = outcome.number, self._device.stream(device)
        graph = self._graphs.get(key)
        if graph is None:
            if len(self._graphs) == _MAX_GRAPHS:
                raise RuntimeError(
                    f"{self.transform.name} cannot be captured: its launches depend on random "
                    f"numbers, {_MAX_GRAPHS} calls needed as many graphs"
                )
            numbers = staged.to(device, copy=True)
            graph = self._capture(batch, device, numbers, outcome.sizes, before)
            self._graphs[key] = graph
        return graph

    def _capture(
        self,
        batch: SubjectsBatch,
        device: torch.device,
        numbers: Tensor,
        sizes: list[int],
        before: random.Streams,
    ) -> _Graph:
        given = {name: images.data for name, images in batch.images.items()}
        inputs = self._static or {name: data.clone() for name, data in given.items()}
        plan = self.transform.plan()

        def launch() -> dict[str, Tensor]:
            images = {
                name: each.with_data(inputs[name], each.affine)
                for name, each in batch.images.items()
            }
            again = batch.replace(images)
            again.streams = random.Streams(before.seeds, before.used)
            parts = torch.split(numbers, sizes)
            with PackedCopies(parts).running():
                out = run(plan, again)
            return {name: each.data for name, each in out.images.items()}

        replay, outputs = self._device.capture(launch, device)
        return _Graph(replay, numbers, inputs, outputs)

    @staticmethod
    def _graph_device() -> Any:
        return CudaGraphs()


@dataclass
class _Graph:
    replay: Callable[[], None]
    numbers: Tensor  # all numbers that a call copies to the device, as bytes (uint8)
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


def _layout(data: Tensor) -> tuple[Any, ...]:
    return tuple(data.shape), data.stride(), data.dtype, data.device


class CudaGraphs:
    """Streams, page-locked memory and graphs of CUDA devices."""

    type = "cuda"

    def stream(self, device: torch.device) -> Hashable:
        """Return a key of the current stream of a device."""
        return torch.cuda.current_stream(device).cuda_stream

    def stage(self, content: np.ndarray) -> Tensor:
        """Return a copy of bytes in page-locked memory, to be copied to a device asynchronously.

        torch hands the memory out again only after the copies from it are done, so that a call may
        be made before the one before it is.
        """
        staged = torch.empty(len(content), dtype=torch.uint8, pin_memory=True)
        staged.numpy()[:] = content
        return staged

    def copy(self, target: Tensor, source: Tensor) -> None:
        """Copy on the current stream; the host does not wait."""
        target.copy_(source, non_blocking=True)

    def capture(
        self, launch: Callable[[], Any], device: torch.device
    ) -> tuple[Callable[[], None], Any]:
        """Capture launches in a graph; return its replay, and what the function returned."""
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            launch()  # compiles kernels and cuFFT plans, which cannot be captured
        torch.cuda.current_stream(device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # thread_local: other threads, such as one that pins memory for a loader, may use the device
        with torch.cuda.device(device), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            out = launch()
        return graph.replay, out


__all__ = ["Captured", "CudaGraphs"]

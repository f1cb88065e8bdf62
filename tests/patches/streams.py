"""Dry run of CUDA streams: voxels on ``meta``, and a record of what each stream has waited for.

The recorder takes the place of ``torch.cuda``'s streams and events. Each stream has a clock, and
knows the time of the others up to which it has waited for them. A read of a tensor before the write
that made it is an error, and so is memory that a stream uses without the knowledge of the
allocator, which could give it away before the work on it is done.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from torchio_gpu.functional.dispatch import backend
from torchio_gpu.functional.dispatch.launch import PackedCopies


class Recorder:
    """Streams of a device, what they wait for, and the faults found."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        #: Copies from the host: the stream, its time, and the bytes.
        self.copies: list[tuple[str, int, int]] = []
        self.current: Any = None
        self.made: dict[int, tuple[Any, int]] = {}  # storage: stream that wrote it, and when
        self.used: dict[int, set[Any]] = defaultdict(set)  # storage: streams that read it
        self.told: dict[int, set[Any]] = defaultdict(set)  # storage: streams the allocator knows
        self.pinned: set[int] = set()
        self.kept: list[Tensor] = []  # so that no storage is taken for another
        recorder = self

        class Event:
            def __init__(self, seen: dict[Any, int]) -> None:
                self.seen = seen

            def synchronize(self) -> None:
                recorder.faults.append("the host waits for an event")

        class Stream:
            def __init__(self, device: Any = None, name: str = "copies") -> None:
                self.name = name
                self.seen: dict[Any, int] = defaultdict(int)

            def record_event(self) -> Event:
                return Event(dict(self.seen))

            def wait_event(self, event: Event) -> None:
                for stream, time in event.seen.items():
                    self.seen[stream] = max(self.seen[stream], time)

            def wait_stream(self, other: Stream) -> None:
                self.wait_event(other.record_event())

            def synchronize(self) -> None:
                recorder.faults.append("the host waits for a stream")

        self.Stream = Stream
        self.current = Stream(name="default")

    @contextmanager
    def stream(self, stream):
        """Make a stream the current one, as ``torch.cuda.stream`` does."""
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def tell(self, tensor, stream):
        """Record that the allocator knows of a stream that uses a tensor."""
        self.told[_key(tensor)].add(stream)

    def pin(self, tensor):
        """Return a copy that counts as pinned."""
        copy = tensor.clone()
        self.kept.append(copy)
        self.pinned.add(_key(copy))
        return copy

    @contextmanager
    def running(self, monkeypatch):
        """Replace the streams of torch, and decide as for a GPU."""
        with monkeypatch.context() as patch, PackedCopies().running():
            patch.setattr(torch.cuda, "Stream", self.Stream)
            patch.setattr(torch.cuda, "stream", self.stream)
            patch.setattr(torch.cuda, "current_stream", lambda device=None: self.current)
            patch.setattr(torch.cuda, "synchronize", lambda *_: self.faults.append("host waits"))
            patch.setattr(Tensor, "record_stream", lambda tensor, stream: self.tell(tensor, stream))
            patch.setattr(Tensor, "pin_memory", lambda tensor: self.pin(tensor))
            patch.setattr(backend, "_why_no_triton", lambda device: None)
            with backend.rehearsing(torch.device("cuda")), _Operators(self):
                yield self
        for key, streams in self.used.items():
            for stream in streams - {self.made[key][0]} - self.told[key]:
                self.faults.append(f"memory may be reused while stream {stream.name} reads it")


class _Operators(TorchDispatchMode):
    """Operators, on the stream that is current."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        given, made = (_tensors(each) for each in ((args, kwargs), out))
        if any(t.is_meta for t in made) and not func.is_view:
            self.record(func._schema.name, given, made, kwargs or {})
        return out

    def record(self, name, given, made, kwargs):
        recorder, stream = self.recorder, self.recorder.current
        stream.seen[stream] += 1
        for tensor in given:
            if tensor.is_meta:
                key = _key(tensor)
                writer, time = recorder.made[key]
                if stream.seen[writer] < time:
                    recorder.faults.append(f"{name} reads on stream {stream.name} before a write")
                recorder.used[key].add(stream)
            elif name == "aten::_to_copy":
                recorder.copies.append((stream.name, stream.seen[stream], tensor.nbytes))
                if not kwargs.get("non_blocking") or _key(tensor) not in recorder.pinned:
                    recorder.faults.append(f"a copy of {tensor.nbytes} bytes blocks the host")
        for tensor in made:
            recorder.kept.append(tensor)
            recorder.made.setdefault(_key(tensor), (stream, stream.seen[stream]))


def _tensors(values) -> list[Tensor]:
    return [v for v in tree_flatten(values)[0] if isinstance(v, Tensor)]


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata

"""Order among CUDA streams of the copies of subjects to a GPU and the work on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .cached_subject import CachedSubject


class StreamOrder:
    """Order of copies, on a stream of their own, and of the work on what they bring.

    The host never waits: streams wait for events. Memory that one stream allocated and another uses
    is recorded with the allocator, which reuses it when the work of both is done.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._latest: Any = None  # stream of the latest work

    def prepare(self, subject: CachedSubject) -> CachedSubject:
        """Return a subject in pinned memory: copies from other memory block the host.

        Voxels that have a gradient are left where they are.
        """
        batch = subject.batch
        if batch.device.type != "cpu":
            subject.arrival = torch.cuda.current_stream(batch.device).record_event()
        elif not any(images.data.requires_grad for images in subject.read_images()):
            subject, maps = CachedSubject(batch.pin_memory()), subject.maps
            subject.maps = maps
        return subject

    def copy(self, subject: CachedSubject) -> CachedSubject:
        """Start to copy a subject to the GPU, from pinned memory or from another GPU."""
        if subject.batch.device == self.device:
            return subject
        if subject.arrival is not None:  # computed on another GPU
            self._copies.wait_event(subject.arrival)
        with torch.cuda.stream(self._copies):
            moved = subject.to(self.device, non_blocking=True)
            moved.arrival = self._copies.record_event()
        return moved

    def use(self, subjects: Sequence[CachedSubject]) -> None:
        """Let the current stream wait for subjects and for the work so far.

        Args:
            subjects: Subjects that it reads. Values are cached with them, so that a stream also
                waits for earlier work on another one.
        """
        current = torch.cuda.current_stream(self.device)
        if self._latest is not None and self._latest != current:
            current.wait_stream(self._latest)
        self._latest = current
        for subject in subjects:
            if subject.stream == current:
                continue
            if subject.arrival is not None:
                current.wait_event(subject.arrival)
            for tensor in subject.tensors():
                tensor.record_stream(current)
            subject.stream = current


__all__ = ["StreamOrder"]

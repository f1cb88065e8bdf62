"""Times on a simulated GPU: all work is queued before the first event."""

import warnings
from types import SimpleNamespace

import pytest
import torch

from benchmarks import clock


class StubGpu:
    """Device with a queue, and a host that fills it, each with a clock of its own in ms."""

    host = device = 0.0

    def call(self, host: float = 3.0) -> None:
        self.host += host
        self.queue(0.5)

    def queue(self, work: float = 0) -> float:
        self.device = max(self.device, self.host) + work
        return self.device

    def synchronize(self) -> None:
        self.host = max(self.host, self.device)

    def event(self, enable_timing: bool) -> SimpleNamespace:
        event = SimpleNamespace(elapsed_time=lambda last: last.at - event.at)
        event.record = lambda: setattr(event, "at", self.queue())
        event.query = lambda: event.at <= self.host
        return event


def test_device_time_excludes_host_time(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = StubGpu()
    monkeypatch.setattr(torch.cuda, "synchronize", gpu.synchronize)
    monkeypatch.setattr(torch.cuda, "_sleep", lambda n: gpu.queue(1000 * n / clock._CYCLES))
    monkeypatch.setattr(torch.cuda, "Event", gpu.event)
    monkeypatch.setattr(clock, "perf_counter", lambda: gpu.host / 1000)
    hosts = iter([3.0] * 4 + [15.0] * 99)  # the first sleep is too short
    time = clock.on_device([lambda: gpu.call(next(hosts))] * 4, repeats=3)
    assert time == (pytest.approx([0.0005] * 3), False)
    assert clock.host_and_end(gpu.call, True) == pytest.approx((0.003, 0.0035))
    assert clock.on_device([lambda: (gpu.call(), gpu.synchronize())], repeats=2).late
    card = SimpleNamespace(L2_cache_size=60 * 2**20)  # which inputs are together larger than
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    assert [clock.rotations(n * 2**20, "cuda") for n in (1, 60, 2048)] == [32, 4, 2]


def test_waits_are_refused_within_a_block_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []

    def set_mode(mode: str) -> None:
        if not modes:  # as torch does; as an error it would leave the mode as it was
            warnings.warn("Synchronization debug mode is a prototype feature", stacklevel=1)
        modes.append(mode)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", set_mode)
    with pytest.raises(KeyError), clock.waits_refused():
        raise KeyError
    assert modes == ["error", "default"]

"""GPU timing on a simulated GPU: work is queued before the first event."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from benchmarks import clock, waits

#: Milliseconds that a call takes the host and the device.
HOST, DEVICE = 3.0, 0.5


class StubGpu:
    """Simulated device with a queue, and a host that fills it, each with its own clock."""

    def __init__(self) -> None:
        self.host = self.device = 0.0  # ms

    def call(self) -> None:
        self.host += HOST
        self.queue(DEVICE)

    def queue(self, work: float) -> None:
        self.device = max(self.device, self.host) + work

    def synchronize(self) -> None:
        self.host = max(self.host, self.device)

    def sleep(self, cycles: int) -> None:
        self.queue(1000 * cycles / clock._CYCLES)

    def event(self, enable_timing: bool) -> SimpleNamespace:
        event = SimpleNamespace()

        def record() -> None:
            self.queue(0)
            event.at = self.device

        event.record = record
        event.query = lambda: event.at <= self.host
        event.elapsed_time = lambda last: last.at - event.at
        return event


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> StubGpu:
    made_up = StubGpu()
    monkeypatch.setattr(torch.cuda, "synchronize", made_up.synchronize)
    monkeypatch.setattr(torch.cuda, "_sleep", made_up.sleep)
    monkeypatch.setattr(torch.cuda, "Event", made_up.event)
    monkeypatch.setattr(clock, "perf_counter", lambda: made_up.host / 1000)
    return made_up


def test_device_time_excludes_host_time(gpu: StubGpu) -> None:
    time = clock.on_device([gpu.call] * 4, repeats=3)
    assert time.seconds == pytest.approx([DEVICE / 1000] * 3)
    assert not time.late
    # events alone would show the host
    first, last = gpu.event(True), gpu.event(True)
    gpu.synchronize()
    first.record()
    gpu.call()
    last.record()
    assert first.elapsed_time(last) >= HOST


def test_a_synchronizing_call_is_reported(gpu: StubGpu) -> None:
    def waiting() -> None:
        gpu.call()
        gpu.synchronize()

    assert clock.on_device([waiting], repeats=2).late


def test_a_too_short_sleep_is_extended(gpu: StubGpu, monkeypatch) -> None:
    slow = iter([1, 5, 1, 1, 1, 1, 1, 1])

    def call() -> None:
        gpu.host += HOST * next(slow)
        gpu.queue(DEVICE)

    time = clock.on_device([call], repeats=2)
    assert time.seconds == pytest.approx([DEVICE / 1000] * 2)
    assert not time.late


def test_host_and_end_to_end(gpu: StubGpu) -> None:
    assert clock.host(gpu.call, cuda=True) == pytest.approx(HOST / 1000)
    assert clock.end_to_end(gpu.call, cuda=True) == pytest.approx((HOST + DEVICE) / 1000)


@pytest.mark.parametrize(("size", "number"), [(2**20, 32), (60 * 2**20, 4), (2**31, 2)])
def test_inputs_are_rotated_through_more_than_the_cache(size, number, monkeypatch) -> None:
    card = SimpleNamespace(L2_cache_size=60 * 2**20)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    assert clock.rotations(size, "cuda") == number
    assert clock.rotations(size, "cpu") == 1


def test_the_synchronization_mode_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting the mode warns; as an error, the warning would leave it set."""
    import warnings

    modes: list[str] = []

    def set_mode(mode: str) -> None:
        warnings.warn(
            "Synchronization debug mode is a prototype feature", UserWarning, stacklevel=1
        )
        modes.append(mode)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", set_mode)
    with waits.refused():
        assert modes == ["error"]
    with pytest.raises(KeyError), waits.refused():
        raise KeyError
    assert modes == ["error", "default"] * 2

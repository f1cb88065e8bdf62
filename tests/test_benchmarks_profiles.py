"""Profiles separate torch from Python; a missing GPU is refused."""

from __future__ import annotations

import time

import pytest
import torch

from benchmarks import machine, profiles
from benchmarks.failure import FailureError


def test_a_profile_separates_torch_from_python() -> None:
    x = torch.rand(300, 300)
    slow = profiles.look(lambda: time.sleep(0.003))
    busy = profiles.look(lambda: [x @ x for _ in range(20)])
    assert slow["within"] < 0.1
    assert slow["ms"] > 3
    assert busy["within"] > 0.5
    assert next(iter(busy["most"])) == "mm"
    assert busy["calls"] >= 20


def test_a_missing_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [machine.device(name) for name in ("auto", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(FailureError, match="there is no GPU that torch can use"):
        machine.device("cuda")

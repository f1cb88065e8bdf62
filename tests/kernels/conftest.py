"""Kernels that are tested: of Triton and of numba."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch

from tests.devices import interpreted, needs_gpu
from tests.kernels.cases import Target


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what does not exist: numba has no kernel of mode 'label'."""

    def exists(item: pytest.Item) -> bool:
        parameters = getattr(item, "callspec", None) and item.callspec.params
        by_numba = parameters and parameters.get("target") == ("numba", "cpu")
        return not (by_numba and parameters.get("mode") == "label")

    items[:] = filter(exists, items)


@pytest.fixture(
    params=[
        pytest.param(("triton", "cpu"), id="triton-cpu", marks=interpreted),
        pytest.param(("triton", "cuda"), id="triton-cuda", marks=[pytest.mark.gpu, needs_gpu]),
        pytest.param(("numba", "cpu"), id="numba"),
    ]
)
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Target:
    """Kernels, for tests of values: of Triton, in its interpreter or on a GPU, and of numba."""
    name, device = request.param
    if name == "numba":
        pytest.importorskip("numba", reason="NOT TESTED: needs numba, torchio-gpu[cpu]")
        _poison(monkeypatch)
    return Target(name, torch.device(device))


@pytest.fixture
def triton(device: torch.device) -> Target:
    """Kernels of Triton, for tests of gradients."""
    return Target("triton", device)


@pytest.fixture
def numba(monkeypatch: pytest.MonkeyPatch) -> Target:
    """Kernels of numba, for tests of what is theirs alone."""
    pytest.importorskip("numba", reason="NOT TESTED: needs numba, torchio-gpu[cpu]")
    _poison(monkeypatch)
    return Target("numba", torch.device("cpu"))


def _poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill what numba's kernels write to with ones, so that a voxel left out is detected."""
    from torchio_gpu_kernels.cpu import memory

    def poisoned(shape, dtype):
        out = memory.empty(shape, dtype)
        if out.numel():
            out.view(torch.uint8).fill_(255)  # NaN in all floating-point types
        return out

    for module in ("pointwise", "warp"):
        monkeypatch.setattr(import_module(f"torchio_gpu_kernels.cpu.{module}"), "empty", poisoned)

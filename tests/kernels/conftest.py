"""Kernels that are tested, held against the noise that plain torch makes on a GPU."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch

from tests.devices import interpreted, needs_gpu
from tests.kernels.cases import Target


@pytest.fixture(autouse=True)
def _noise(noise_of_kernels: None) -> None: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what does not exist: numba has no kernel of mode 'label'."""
    items[:] = [item for item in items if not _is_label_by_numba(item)]


def _is_label_by_numba(item: pytest.Item) -> bool:
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    return parameters.get("mode") == "label" and parameters.get("target") == ("numba", "cpu")


@pytest.fixture(
    params=[
        pytest.param(("triton", "cpu"), id="triton-cpu", marks=interpreted),
        pytest.param(("triton", "cuda"), id="triton-cuda", marks=[pytest.mark.gpu, needs_gpu]),
        pytest.param(("numba", "cpu"), id="numba"),
    ]
)
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Target:
    """Kernels, for tests of values: those of Triton, in its interpreter or on a GPU, and numba's."""
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

"""Fixtures of all tests: poisoned memory, a seed, and the device on which kernels run."""

from __future__ import annotations

import locale
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tests.devices import INTERPRETED, interpreted, needs_gpu
from tests.interpreter import patch_once_a_launch
from torchio_gpu import memory
from torchio_gpu.functional.dispatch import backend


@pytest.fixture(autouse=True)
def _locale() -> Iterator[None]:
    """Restore the locale: SimpleITK sets it to "C" when it writes DICOM, which makes text ASCII."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)


@pytest.fixture(autouse=True)
def _poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill uninitialized memory with NaN, so that a voxel that was not written is detected."""
    empty = torch.empty

    def poisoned(*args, **kwargs):
        tensor = empty(*args, **kwargs)
        if tensor.is_floating_point() and tensor.device.type != "meta":
            tensor.fill_(float("nan"))
        return tensor

    monkeypatch.setattr(torch, "empty", poisoned)
    # bytes of ones are NaN in all floating-point types
    monkeypatch.setattr(memory, "_large", lambda size: np.full(size, 255, np.uint8))


@pytest.fixture(scope="session", autouse=True)
def _interpreter() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        if INTERPRETED:
            patch_once_a_launch(monkeypatch)
        yield


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(
    params=[
        pytest.param("cpu", marks=interpreted),
        pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu]),
    ]
)
def device(request: pytest.FixtureRequest) -> torch.device:
    """Device on which kernels run: a GPU, or a CPU in Triton's interpreter."""
    return torch.device(request.param)


@pytest.fixture
def gpu_like(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A device on which 'auto' launches kernels: a GPU, or a CPU in its place."""
    monkeypatch.setattr(backend, "AUTOMATIC", (device.type,))
    return device

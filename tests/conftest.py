"""What all tests share: poisoned memory and a seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from torchio_gpu import memory


@pytest.fixture(autouse=True)
def _poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that nobody has written reads as NaN, so that a forgotten voxel shows."""
    empty = torch.empty

    def poisoned(*args, **kwargs):
        tensor = empty(*args, **kwargs)
        if tensor.is_floating_point() and tensor.device.type != "meta":
            tensor.fill_(float("nan"))
        return tensor

    monkeypatch.setattr(torch, "empty", poisoned)
    # bytes of ones are NaN in all floating-point types
    monkeypatch.setattr(memory, "_large", lambda size: np.full(size, 255, np.uint8))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)

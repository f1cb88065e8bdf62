"""Where kernels run: on a GPU, or on a CPU in Triton's interpreter."""

from __future__ import annotations

import os

import pytest
import torch

from torchio_gpu import gaussian

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


@pytest.fixture(
    params=[
        pytest.param(
            "cpu",
            marks=pytest.mark.skipif(
                not INTERPRETED,
                reason="without a GPU, kernels run in Triton's interpreter alone: "
                "set TRITON_INTERPRET=1",
            ),
        ),
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(
                    INTERPRETED or not torch.cuda.is_available(),
                    reason="needs a GPU, and TRITON_INTERPRET not to be set",
                ),
            ],
        ),
    ]
)
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture(autouse=True)
def noise_of_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU plain torch makes other noise; kernels are held against what it makes elsewhere."""
    monkeypatch.setattr(gaussian, "HOST", ())

"""Marks of tests that need a GPU or Triton's interpreter."""

from __future__ import annotations

import os

import pytest
import torch

#: Kernels run in Triton's interpreter.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
needs_gpu = pytest.mark.skipif(
    INTERPRETED or not torch.cuda.is_available(),
    reason="NOT TESTED: needs a GPU, and TRITON_INTERPRET not to be set",
)
needs_two_gpus = pytest.mark.skipif(
    INTERPRETED or torch.cuda.device_count() < 2,
    reason="NOT TESTED: needs two GPUs, and TRITON_INTERPRET not to be set",
)
interpreted = pytest.mark.skipif(
    not INTERPRETED,
    reason="without a GPU, kernels run in Triton's interpreter alone: set TRITON_INTERPRET=1",
)

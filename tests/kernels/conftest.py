"""Kernels are held against the noise that plain torch makes on a GPU."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _noise(noise_of_kernels: None) -> None: ...

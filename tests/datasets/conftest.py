"""A server of files, and a cache folder of each test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.datasets.server import Served, serve
from torchio_gpu.datasets.download import CACHE_VARIABLE


@pytest.fixture
def server() -> Iterator[Served]:
    """Server on 127.0.0.1 that ends with the test."""
    with serve() as served:
        yield served


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of downloaded files, empty."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"

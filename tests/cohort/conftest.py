from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cohort.runs import Zygote


@pytest.fixture(scope="session")
def _zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture
def zygote(_zygote: Zygote) -> Iterator[Zygote]:
    """Process whose copies run modules; those that a test leaves are ended."""
    yield _zygote
    _zygote.end_all()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """File that processes print to."""
    return tmp_path / "log.txt"

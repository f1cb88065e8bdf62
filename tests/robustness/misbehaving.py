"""Fuzzer that tests the pool: its cases crash, hang, raise or pass."""

from __future__ import annotations

import os
import time
from pathlib import Path


def prepare(folder: Path) -> None:
    pass


def run(number: int, seed: int) -> tuple[str, str]:
    if number == 1:
        os.abort()
    if number == 2:
        time.sleep(60)
    if number == 3:
        raise RuntimeError("no case")
    return ("refused", "a sentence") if number == 4 else ("right", "")

"""The probes of one library, in its own interpreter: ``python -m benchmarks.features.probe NAME``.

Prints one line of JSON: name, version, and the cells by the keys of questions.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import random
import sys
from collections.abc import Callable
from dataclasses import asdict
from types import ModuleType
from typing import Any

import numpy as np
import torch

from ..failure import FailureError
from .answers import Answer, lacks, no, yes
from .facts import facts
from .questions import ABSENT, QUESTIONS


def ask(probe: Callable[[], Answer | bool]) -> Answer:
    """What a probe answers; 'failed' if it raises, so that no broken probe looks like a no."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    try:
        answer = probe()
    except Exception as error:
        return Answer("failed", str(FailureError.of(error)))
    if isinstance(answer, bool):
        return yes() if answer else no("tried, and the result is wrong")
    if not isinstance(answer, Answer):
        return Answer("failed", f"the probe returned {type(answer).__name__}")
    return answer


def cells(library: ModuleType) -> dict[str, Answer]:
    """All rows of one library. What it has no probe for, it does not offer."""
    found = {}
    for key in QUESTIONS:
        probe = getattr(library, key, None)
        found[key] = lacks(ABSENT) if probe is None else ask(probe)
    return {**found, **facts(library)}


def main(name: str) -> None:
    """Answer all questions for one library."""
    # What a library prints must not end up in the answer.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(1)  # tiny volumes
    try:
        library = importlib.import_module(f"benchmarks.features.libraries.{name}")
        reply: dict[str, Any] = {
            "name": library.NAME,
            "version": library.VERSION,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cells": {key: asdict(answer) for key, answer in cells(library).items()},
        }
    except ImportError as error:
        reply = {"failure": f"not installed: {error}"}
    print(json.dumps(reply), file=out, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

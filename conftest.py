"""Names that docstring examples may use without importing them."""

from __future__ import annotations

import math
from importlib.util import find_spec

import numpy as np
import pytest
import torch

import torchio_gpu as tio

#: Modules that cannot be imported for their examples, since what they derive from is not installed.
collect_ignore = (
    [f"torchio_gpu/adapters/nnunet/{part}" for part in ("trainer.py", "trainers")]
    if find_spec("nnunetv2") is None
    else []
)
collect_ignore += ["docs/docstrings.py"] if find_spec("griffe") is None else []


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict) -> None:
    doctest_namespace.update({name: getattr(tio, name) for name in tio.__all__})
    doctest_namespace.update(torch=torch, np=np, math=math, tio=tio)

"""Names that docstring examples may use without importing them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import torchio_gpu as tio


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict) -> None:
    doctest_namespace.update({name: getattr(tio, name) for name in tio.__all__})
    doctest_namespace.update(torch=torch, np=np, math=math, tio=tio)

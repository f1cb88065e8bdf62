"""Dry run of all transforms as on a GPU: the host never waits for the device.

Voxels are on ``meta``, which has none, and everything is decided as on a GPU. A look at a value, or
a result whose size only the device knows, raises by itself; copies that block are listed.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

import torchio_gpu as tio
from tests.transforms.test_all_transforms import REGRIDS, TRANSFORMS
from tests.volumes import batch_of, subject
from torchio_gpu.functional.dispatch import backend
from torchio_gpu.functional.dispatch.launch import PackedCopies


class RecordSynchronizations(TorchDispatchMode):
    """List operators that would make the host wait."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        given, made = (_tensors(each) for each in ((args, kwargs), out))
        name = func._schema.name.partition("::")[2]
        if any(t.is_meta for t in (*given, *made)):
            for t in given:
                if t.device.type == "cpu" and name in ("_to_copy", "copy_"):
                    if not (len(args) > 2 and args[2]) and not (kwargs or {}).get("non_blocking"):
                        self.found.append(f"{name} blocks")
                elif t.device.type == "cpu" and t.ndim and func.namespace == "aten":
                    self.found.append(f"{name} mixes host and device")
        return out


def _tensors(values) -> list[Tensor]:
    return [v for v in tree_flatten(values)[0] if isinstance(v, Tensor)]


def synchronizations(transform, monkeypatch, kernels: bool) -> list[str]:
    """List what a call would wait for."""
    reason = None if kernels else "kernels are left out"
    monkeypatch.setattr(backend, "_why_no_triton", lambda device: reason)
    monkeypatch.setattr(backend, "_warn_once", lambda missing: None)
    batch = batch_of([subject(seed=n) for n in range(3)], [1, 2, 3]).to("meta")
    with backend.rehearsing(torch.device("cuda")), PackedCopies().running():
        transform(batch)  # constants are brought to the device once
        batch.streams = tio.random.Streams(np.array([1, 2, 3]))
        with RecordSynchronizations() as mode:
            transform(batch)
    return mode.found


@pytest.mark.filterwarnings("ignore:max_displacement should stay below")
@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "plain torch"])
@pytest.mark.parametrize("name", [*TRANSFORMS, *REGRIDS])
def test_no_transform_synchronizes(name, kernels, monkeypatch):
    make = {**TRANSFORMS, **REGRIDS}[name]
    assert synchronizations(make(), monkeypatch, kernels) == []


@pytest.mark.parametrize("transform", [tio.MixUp(exclude=["seg"]), tio.CutMix()], ids=str)
def test_mixing_does_not_synchronize(transform, monkeypatch):
    assert synchronizations(transform, monkeypatch, kernels=False) == []


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (lambda x: x + torch.arange(x.shape[-1]).to(x.device), "_to_copy blocks"),
        (lambda x: x.clone().copy_(torch.zeros(x.shape)), "copy_ blocks"),
    ],
)
def test_blocking_copies_are_detected(function, found, monkeypatch):
    assert found in synchronizations(tio.Lambda(function, batched=True), monkeypatch, kernels=True)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * x.mean().item(),
        lambda x: x + torch.nonzero(x > 0).sum(),
    ],
)
def test_reading_a_voxel_raises(function, monkeypatch):
    with pytest.raises((RuntimeError, NotImplementedError), match=r"meta|item"):
        synchronizations(tio.Lambda(function, batched=True), monkeypatch, kernels=True)

"""Operators of one call of a pipeline on a GPU, counted: each costs time of the host.

Operators run on ``meta``, with kernels chosen as on a GPU.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import torchio_gpu as tio
from tests.data.test_known_fills import collated
from torchio_gpu.functional.dispatch import backend

CUDA = torch.device("cuda")
COPIES = ("aten::_to_copy",)
VIEWS = ("aten::as_strided", "aten::view", "aten::expand", "aten::detach")
#: Memory of a result, which starts nothing.
MEMORY = ("aten::empty",)


class Operators(TorchDispatchMode):
    """Counter of operators, by name."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[func._schema.name] += 1
        return func(*args, **(kwargs or {}))

    def count(self, names):
        return sum(self.counts.pop(name, 0) for name in names)


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(backend, "_why_no_triton", lambda device: None)


def pipe6():
    return tio.Compose(
        [
            tio.RandomAffine(),
            tio.RandomElasticDeformation(max_displacement=0.5),
            tio.RandomFlip(axes=(0, 1, 2)),
            tio.RandomBiasField(),
            tio.RandomGamma(),
            tio.RandomNoise(),
        ]
    )


def operators(transform, batch):
    """Return the number of copies and of views of a call, and all other operators."""
    batch.streams = tio.random.Streams(np.arange(batch.batch_size))
    with backend.rehearsing(CUDA), Operators() as found:
        transform(batch)
    found.count(MEMORY)
    return found.count(COPIES), found.count(VIEWS), dict(found.counts)


def with_labels():
    images = {
        "t1": tio.ImagesBatch(torch.rand(3, 1, 9, 10, 11, device="meta")),
        "seg": tio.ImagesBatch(
            torch.zeros(3, 1, 9, 10, 11, device="meta", dtype=torch.uint8), kind="label"
        ),
    }
    return tio.SubjectsBatch(images)


def test_a_pipeline_with_labels_is_two_kernels_and_one_copy():
    copies, views, others = operators(pipe6(), with_labels())
    assert others == {
        "torchio_gpu::columns": 1,
        "torchio_gpu::warp_pair": 1,
        "aten::amin": 1,  # minimum, finite
        "aten::nan_to_num": 1,
    }
    assert copies == 1
    assert views <= 18  # ten tables of one buffer, in three dtypes


def test_a_known_minimum_is_a_copy_instead_of_a_pass():
    batch = collated().to("meta")
    copies, views, others = operators(pipe6(), batch)
    assert others == {"torchio_gpu::columns": 1, "torchio_gpu::warp": 1}
    assert copies == 2
    assert views <= 22  # and those of the minimum


def test_intensity_is_one_kernel_and_one_copy():
    transform = tio.Compose([tio.RandomBiasField(), tio.RandomGamma(), tio.RandomNoise()])
    copies, views, others = operators(transform, with_labels())
    assert others == {"torchio_gpu::pointwise": 1}
    assert copies == 1
    assert views <= 8


def test_images_of_one_grid_share_their_columns():
    batch = with_labels()
    batch.images["t2"] = tio.ImagesBatch(torch.rand(3, 1, 9, 10, 11, device="meta"))
    copies, _, others = operators(tio.RandomElasticDeformation(max_displacement=0.5), batch)
    assert others["torchio_gpu::columns"] == 1
    assert others["torchio_gpu::warp_pair"] + others["torchio_gpu::warp"] == 2
    assert copies <= 3

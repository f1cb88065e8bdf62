"""Transforms of volumes on a GPU: launches, bytes and Fourier passes, counted without one."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import embedding_bag

pytest.importorskip("triton")

from benchmarks import passes, records
from benchmarks.passes.cases import CASES
from benchmarks.passes.counting import counted

_SHAPE = (2, 3, 4, 5, 6)
_VOXELS = 720
_INDEX = torch.zeros(5, dtype=torch.long, device="meta")


@pytest.mark.parametrize("name", CASES)
def test_transforms_keep_their_budgets(name):
    row = passes.look(name)
    assert passes.over_budget(row) == [], row


def test_stored_results_are_of_all_transforms_and_keep_their_budgets():
    (kept,) = (each for each in records.read() if each["suite"] == passes.SUITE)
    assert [row["case"] for row in kept["rows"]] == list(CASES)
    assert [row["budget"] for row in kept["rows"]] == [c.budget._asdict() for c in CASES.values()]
    assert not any(map(passes.over_budget, kept["rows"]))
    assert "PREDICTION" in passes.text(kept)


def test_exceeded_budgets_are_named():
    row = {"copies": 3, "launches": 4, "fourier": 0}
    budget = {"copies": 2, "launches": 3, "fourier": 0}
    assert passes.over_budget({**row, "budget": budget}) == ["copies", "launches"]


@pytest.mark.parametrize(
    ("call", "launches", "moved"),
    [
        (lambda x: x + 1, 1, 2 * _VOXELS),
        (lambda x: x.add_(1), 1, 2 * _VOXELS),
        (lambda x: x.clone().zero_(), 2, 3 * _VOXELS),
        (lambda x: x[:, :1].expand_as(x) + x, 1, (2 + 1 / 3) * _VOXELS),
        (lambda x: x.movedim(4, 2).flatten(), 1, 2 * _VOXELS),
        (lambda x: x.view(-1)[:10].sum(), 1, 11),
        (lambda x: x.flatten()[_INDEX], 1, 5 * 4),
    ],
    ids=["sum", "in place", "fill", "expanded", "transpose", "part", "index"],
)
def test_launches_and_elements_are_counted(call, launches, moved):
    x = torch.empty(_SHAPE, device="meta")
    counts = counted(lambda: call(x))
    assert (counts.launches, counts.bytes, counts.fourier) == (launches, 4 * moved, 0)


def test_each_row_of_a_weighted_sum_is_counted():
    table, index = torch.empty(9, 8, device="meta"), torch.empty(5, 3, device="meta").int()
    weights = torch.empty(5, 3, device="meta")
    counts = counted(lambda: embedding_bag(index, table, per_sample_weights=weights, mode="sum"))
    (launch,) = (each for each in counts.launched if "embedding" in each.name)
    tensors = table.nbytes + index.nbytes + weights.nbytes + 5 * 8 * 4
    # and 6 offsets, of which the operator makes more as it returns them
    assert 0 <= launch.bytes - tensors - 15 * 8 * 4 <= 5 * 6 * 8


def test_fourier_passes_are_counted():
    x = torch.empty(4, 6, 8, device="meta")
    real, half = 4 * 192, 8 * 4 * 6 * 5
    counts = counted(lambda: torch.fft.rfft(x))
    assert (counts.launches, counts.fourier, counts.bytes) == (1, 1, real + half)
    counts = counted(lambda: torch.fft.rfftn(x))
    assert (counts.launches, counts.fourier, counts.bytes) == (3, 3, real + 5 * half)
    # torch copies the input of an inverse transform, and divides in a pass of its own
    y = torch.empty(4, 6, 5, dtype=torch.complex64, device="meta")
    counts = counted(lambda: torch.fft.irfft(y))
    assert (counts.launches, counts.fourier, counts.bytes) == (3, 1, 3 * half + 3 * real)


def test_matrix_products_are_counted():
    x, y = torch.empty(2, 3, 4, device="meta"), torch.empty(2, 4, 5, device="meta")
    (launch,) = counted(lambda: x @ y).launched
    assert (launch.name, launch.multiplications) == ("bmm", 2 * 3 * 4 * 5)

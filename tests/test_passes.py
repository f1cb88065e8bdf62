"""Transforms of volumes on a GPU: launches, bytes and Fourier passes, counted without one."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import embedding_bag

pytest.importorskip("triton")

from benchmarks import passes, records
from benchmarks.counting import counted

_VOXELS = 720
_INDEX = torch.zeros(5, dtype=torch.long, device="meta")


def _volume(*shape, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device="meta")


def _sums(call):
    launched = counted(call)
    names = "launches", "fourier", "bytes"
    return tuple(sum(getattr(each, name) for each in launched) for name in names)


@pytest.mark.parametrize("name", passes.CASES)
def test_transforms_keep_their_budgets(name):
    row = passes.look(name)
    assert passes.over_budget(row) == [], row


def test_stored_results_are_of_all_transforms_and_keep_their_budgets():
    (kept,) = (each for each in records.read() if each["suite"] == passes.SUITE)
    stored = {row["case"]: tuple(row["budget"].values()) for row in kept["rows"]}
    assert stored == {name: case[1:] for name, case in passes.CASES.items()}
    assert not any(map(passes.over_budget, kept["rows"]))
    assert "PREDICTION" in passes.text(kept)
    kept["rows"][0] |= {"copies": 1e3, "launches": 1000}
    assert passes.over_budget(kept["rows"][0]) == ["copies", "launches"]
    assert passes.text(kept).count("**copies, launches missed**") == 1


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
    x = _volume(2, 3, 4, 5, 6)
    assert _sums(lambda: call(x)) == (launches, 0, 4 * moved)


def test_each_row_of_a_weighted_sum_is_counted():
    table, index, weights = _volume(9, 8), _volume(5, 3).int(), _volume(5, 3)
    size = _sums(lambda: embedding_bag(index, table, per_sample_weights=weights, mode="sum"))[2]
    tensors = table.nbytes + index.nbytes + weights.nbytes + 5 * 8 * 4
    # and 6 offsets, of which the operator makes more as it returns them
    assert 0 <= size - tensors - 15 * 8 * 4 <= 5 * 6 * 8


def test_fourier_passes_are_counted():
    x, real, half = _volume(4, 6, 8), 4 * 192, 8 * 4 * 6 * 5
    assert _sums(lambda: torch.fft.rfft(x)) == (1, 1, real + half)
    assert _sums(lambda: torch.fft.rfftn(x)) == (3, 3, real + 5 * half)
    # torch copies the input of an inverse transform, and divides in a pass of its own
    y = _volume(4, 6, 5, dtype=torch.complex64)
    assert _sums(lambda: torch.fft.irfft(y)) == (3, 1, 3 * half + 3 * real)


def test_matrix_products_are_counted():
    x, y = _volume(2, 3, 4), _volume(2, 4, 5)
    (launch,) = counted(lambda: x @ y)
    assert (launch.name, launch.instructions) == ("bmm", 2 * 3 * 4 * 5)

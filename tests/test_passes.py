"""Transforms of volumes on a GPU: launches, bytes and Fourier passes, counted without one."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from benchmarks import passes, records
from benchmarks.counting import counted, over_budget


@pytest.mark.parametrize("name", passes.CASES)
def test_transforms_keep_their_budgets(name):
    row = passes.look(name)
    assert over_budget(row) == [], row


def test_stored_results_are_of_all_transforms_and_keep_their_budgets():
    (kept,) = (each for each in records.read() if each["suite"] == passes.SUITE)
    stored = {row["transform"]: (*row["budget"].values(),) for row in kept["rows"]}
    assert stored == {name: (*most, 0)[:3] for name, (_, *most) in passes.CASES.items()}
    assert not any(map(over_budget, kept["rows"]))
    row = kept["rows"][0]
    row |= {name: most + 1 for name, most in row["budget"].items() if name != "launches"}
    assert over_budget(row) == ["predicted, copies", "Fourier passes"]
    assert passes.text(kept).count(": missed**") == 2
    assert "PREDICTION" in passes.text(kept)


_X, _HALF = torch.empty(2, 3, 4, 5, 6, device="meta"), torch.empty(5, 4).to("meta", torch.complex64)
_INDEX = torch.zeros(5, dtype=torch.long, device="meta")
_TABLE, _W = torch.empty(9, 8, device="meta"), torch.empty(5, 3, device="meta")
_BAG = torch.nn.functional.embedding_bag


@pytest.mark.parametrize(
    ("call", "launches", "fourier", "elements"),
    [
        (lambda: _X + 1, 1, 0, 2 * 720),
        (lambda: _X.add_(1), 1, 0, 2 * 720),
        (lambda: _X.clone().zero_(), 2, 0, 3 * 720),
        (lambda: _X[:, :1].expand_as(_X) + _X, 1, 0, (2 + 1 / 3) * 720),
        (lambda: _X.movedim(4, 2).flatten(), 1, 0, 2 * 720),
        (lambda: _X.view(-1)[:10].sum(), 1, 0, 11),
        (lambda: _X.flatten()[_INDEX], 1, 0, 5 * 4),
        (lambda: torch.fft.rfft(_X), 1, 1, 720 + 2 * 480),
        (lambda: torch.fft.rfftn(_X, dim=(2, 3, 4)), 3, 3, 720 + 5 * 2 * 480),
        # torch copies the input of an inverse transform, and divides in a pass of its own
        (lambda: torch.fft.irfft(_HALF), 3, 1, 3 * 2 * 20 + 3 * 30),
        (lambda: _X[0] @ _X[1].mT, 1, 0, 2 * 360 + 300),
        # a copy of the index, and offsets; then inputs, all rows, the sum, and what torch keeps
        (lambda: _BAG(_W.int(), _TABLE, None, None, 2.0, False, "sum", False, _W), 3, 0, 322),
    ],
)
def test_launches_and_elements_are_counted(call, launches, fourier, elements):
    found = counted(call)
    assert sum(each.launches for each in found) == launches
    assert sum(each.fourier for each in found) == fourier
    assert sum(each.bytes for each in found) == 4 * elements
    multiplications = sum(each.instructions for each in found)
    assert multiplications == 3 * 4 * 5 * 6 * 5 * (found[0].name == "bmm")


def test_commands_keep_whole_results_and_fail_where_a_budget_is_missed(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    run = lambda threads, n: iter([{**records.stamp("s", "cpu", threads), "rows": [n]}])  # noqa: E731
    missed = lambda result: ["too much"] * (result["rows"][0] > 1)  # noqa: E731
    main = records.command("", run, str, missed, threads={}, n={"type": int, "default": 1})
    with pytest.raises(SystemExit, match="too much"):
        main(["--n", "2"])
    assert not [*tmp_path.iterdir()]
    main(["--threads", "1"])
    assert [result["threads"] for result in records.read(tmp_path.iterdir())] == [1]
    main(["--n", "0", "--output", str(tmp_path / "n")])
    assert records.read([tmp_path / "n"])[0]["rows"] == [0]

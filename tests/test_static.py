"""Kernels compiled without a GPU: register budgets, and counts of instructions."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("triton")

from benchmarks import machine, records, static
from benchmarks.static import Row, sass

#: Committed predictions, by architecture.
_KEPT = {result["arch"]: result for result in records.read() if result["suite"] == static.SUITE}
_PIPE6 = "pipe6, with its label map"


def _rows(result: dict[str, Any], name: str) -> Iterator[tuple[str, list[Row]]]:
    for triton, rows in result["calls"][name]["kernels"].items():
        yield triton, [Row._make(row) for row in rows]


def _compiled(*command: str) -> str:
    """Return the output of a command in which kernels are compiled and not interpreted."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    python = [sys.executable, "-W", "ignore", *command]
    options: dict[str, Any] = {"capture_output": True, "encoding": "utf-8"}
    done = subprocess.run(python, cwd=machine.ROOT, env=environment, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("arch", _KEPT)
def test_stored_results_are_of_these_kernels_and_all_versions(arch: str) -> None:
    result = _KEPT[arch]
    assert result["kernels"] == static.digest(), "kernels have changed: run make static"
    assert static.excesses(result) == []
    versions, kernels = [*static.SUPPORTED, *static.FOR_INFORMATION], set()
    for name, call in result["calls"].items():
        assert list(call["kernels"]) == versions
        kernels |= {row.kernel for _, rows in _rows(result, name) for row in rows}
    assert {"warp", "warp_backward", "columns", "pointwise", "scatter", "gather"} <= kernels
    for _, (row,) in _rows(result, "bias, gamma, noise"):  # four float32 at once, in and out
        assert row.stores == "4x128"
        assert row.loads.endswith(" 4x128")
    for _, rows in _rows(result, "warp, channels last"):  # a gather reads one voxel at a time
        assert [row.loads.split("x")[1:] for row in rows if row.kernel == "warp"] == [["32"]]


def test_the_installed_triton_gives_the_stored_registers(tmp_path) -> None:
    options = "--arch", "90", "--case", _PIPE6, "--output", str(tmp_path)
    _compiled("-m", "benchmarks.static", *options)
    found = json.loads((tmp_path / "static--sm_90.json").read_text(encoding="utf-8"))
    stored = dict(_rows(_KEPT["sm_90"], _PIPE6))
    assert max(row.registers for row in stored["3.6.0"]) <= 100
    ((triton, rows),) = _rows(found, _PIPE6)
    if triton in stored:
        assert rows == stored[triton]


_PLANTED = """
import json
from benchmarks.static import predict
from torchio_gpu_kernels import tiles
tiles.OPTIONS["maxnreg"] = 32
facts, rows = predict.look(90, "warp, affine and elastic")
print(json.dumps(rows[1]))
"""


def test_a_spill_is_detected() -> None:
    row = Row._make(json.loads(_compiled("-c", _PLANTED)))
    assert row.kernel == "warp"
    assert row.registers <= 32
    assert row.spilled > 0


def test_excesses_are_reported_and_shown() -> None:
    result = copy.deepcopy(_KEPT["sm_90"])
    calls = {triton: rows[0] for triton, rows in result["calls"][_PIPE6]["kernels"].items()}
    calls["3.7.0"][1], calls["3.8.0"][2], calls["3.9.0"][1] = 129, 8, 255  # no torch pins the last
    first, second = static.excesses(result)
    assert first.endswith(f"Triton 3.7.0: columns in '{_PIPE6}' takes 129 registers")
    assert second.endswith("registers and spills")
    assert "**spills 8 B**" in static.text(result)
    assert static.brief(result).count("**missed**") < static.brief(result).count(": kept")
    result["calls"][_PIPE6]["budget"] = 0.1
    for text in (static.brief(result), static.text(result)):
        assert "PREDICTION" in text
        (line,) = (line for line in text.splitlines() if line.startswith(f"| {_PIPE6} (W1)"))
        assert line.count("**missed**") == len(calls)


def test_an_unknown_version_is_refused(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(static, "FOLDER", tmp_path)
    with pytest.raises(SystemExit, match=r"triton 0\.0\.0 cannot be installed"):
        static.main(["--triton", "0.0.0"])
    assert not (tmp_path / "0.0.0").exists()


def _parsed(*lines: str | int) -> Any:
    """Parse instructions as nvdisasm prints them; numbers are lines of the source."""
    text = {int: '\t//## File "/a/kernel.py", line {}', str: "        /*0000*/  {} ;"}
    made = [line if f"{line}"[0] == "." else text[type(line)].format(line) for line in lines]
    return sass.parse("\n".join(made))


def test_instructions_are_counted() -> None:
    code = _parsed(
        *(2, "S2R R9, SR_CTAID.Y", "LDG.E.128 R4, desc[UR10][R4.64]", "@!P0 EXIT"),
        *(".L_1:", 4, "@P1 LDG.E.U8 R4, desc[UR10][R4.64]", ".L_0:", 6, "FADD R1, R1, R2"),
        *(5, "@P2 BRA `(.L_0)", 7, "@!P4 BRA `(.L_2)", "CALL.REL `($kernel$__div_slowpath)"),
        *(".L_2:", "STG.E.64 desc[UR10][R8.64], R4", 3, "@P0 CALL.REL `(.L_3)", "BRA `(.L_1)"),
        *(".L_3:", 8, "BAR.SYNC.DEFER_BLOCKING 0x0", "BRA P1, `(.L_4)", "EXIT"),
        *("STL [R1], R4", "RET.REL R2 `(kernel)", ".L_5:", "BRA `(.L_5)", ".L_4:", "EXIT", "NOP"),
    )
    assert len(code) == 15  # of 19; padding and the function are not reached by jumps
    outer, inner = sorted(sass.loops(code, set(code)))
    assert (len(outer.members), len(inner.members)) == (8, 2)
    trips = {"/a/kernel.py": {3: 10, 5: 4}}
    # 7 outside of loops, 6 in the outer one alone, 2 in the inner one
    count = sass.executed(code, lambda loop: trips[loop.places[0][0]][loop.places[0][1]])
    assert count == 7 + 10 * (6 + 4 * 2)
    ops = [op for _, op in code.nodes(data="op")]
    assert (sass.widths(ops, "LDG"), sass.widths(ops, "STG")) == ("1x8 1x128", "1x64")


def test_iterations_of_unrolled_loops_are_shared() -> None:
    unrolled = [3, ".L_0:", *["FADD R1, R1, R2"] * 7, "@P0 BRA `(.L_0)"]
    code = _parsed(*unrolled, ".L_1:", "FADD R1, R1, R2", "@P0 BRA `(.L_1)", "EXIT")
    # of 11 rounds, two times four and three
    assert sass.executed(code, lambda loop: 11) == 2 * 8 + 3 * 2 + 1

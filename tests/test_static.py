"""Kernels compiled without a GPU: register budgets, and counts of instructions."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

from benchmarks import compiled, machine, records, static

#: Committed predictions, by architecture.
_KEPT = {result["arch"]: result for result in records.read() if result["suite"] == static.SUITE}
_PIPE6 = "pipe6, with its label map"


def _row(result):
    (row,) = (row for row in result["rows"] if row["case"] == _PIPE6)
    return row


def _compiled(*command):
    """Return the output of a command in which kernels are compiled and not interpreted."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    python = [sys.executable, "-W", "ignore", *command]
    options = {"cwd": machine.ROOT, "env": environment, "encoding": "utf-8"}
    return subprocess.run(python, check=True, stdout=subprocess.PIPE, **options).stdout


@pytest.mark.parametrize("result", _KEPT.values(), ids=_KEPT)
def test_stored_results_are_of_these_kernels_and_all_versions(result):
    assert result["kernels"] == static.digest(), "kernels have changed: run make static"
    assert static.excesses(result) == []
    makefile = (machine.ROOT / "Makefile").read_text(encoding="utf-8")
    assert f".venv-triton/,{' '.join(result['triton'])})" in makefile
    assert set(static.FOR_INFORMATION) < set(result["triton"])
    assert [row["case"] for row in result["rows"]] == [*static.CASES]


def test_the_installed_triton_gives_the_stored_numbers(tmp_path):
    file = tmp_path / "static.json"
    _compiled("-m", "benchmarks.static", "--case", _PIPE6, "--output", str(file))
    (found,) = records.read([file])
    launches, stored = _row(found)["launches"], _row(_KEPT["sm_90"])["launches"]
    assert [launch["kernel"] for launch in launches] == ["columns", "warp", "torch amin"]
    assert all(launch["3.6.0"]["registers"] <= 100 for launch in stored)
    for launch, same in zip(launches, stored, strict=True):
        assert found["triton"][0] in launch
        assert launch == {name: same.get(name, launch[name]) for name in launch}


def test_a_spill_is_detected():
    planted = 'from torchio_gpu_kernels import tiles; tiles.OPTIONS["maxnreg"] = 32'
    look = 'compiled.look(90, "warp, affine and elastic")["launches"][1]'
    code = f"{planted}; from benchmarks import compiled; import json; print(json.dumps({look}))"
    name, _, kernel = json.loads(_compiled("-c", code)).values()
    assert (name, kernel["registers"] <= 32, kernel["spilled"] > 0) == ("warp", True, True)


def test_excesses_are_reported_and_shown():
    result = copy.deepcopy(_KEPT["sm_90"])
    columns = _row(result)["launches"][0]
    columns["3.7.0"]["registers"], columns["3.8.0"]["spilled"] = 129, 8
    columns["3.9.0"]["registers"] = 255  # which no torch pins
    first, second = static.excesses(result)
    assert first.endswith(f"Triton 3.7.0: columns in '{_PIPE6}' takes 129 registers")
    assert second.endswith("registers and spills")
    assert "**spills 8 B**" in static.text(result)
    _row(result)["budget"] = 0.1
    for text in (static.brief(result), static.text(result)):
        assert "PREDICTION" in text
        (line,) = (line for line in text.splitlines() if line.startswith(f"| {_PIPE6} (W1)"))
        assert line.count("**missed**") == len(result["triton"])
        assert "1.53 x forward: kept" in text  # of a backward


def test_instructions_are_counted():
    def parsed(*lines):  # as nvdisasm prints them; numbers are lines of the source
        text = {int: '\t//## File "/a/kernel.py", line {}', str: "        /*0000*/  {} ;"}
        made = [line if f"{line}"[0] == "." else text[type(line)].format(line) for line in lines]
        return compiled.parse("\n".join(made))

    code = parsed(
        *(2, "S2R R9, SR_CTAID.Y", "LDG.E.128 R4, desc[UR10][R4.64]", "@!P0 EXIT"),
        *(".L_1:", 4, "@P1 LDG.E.U8 R4, desc[UR10][R4.64]", ".L_0:", 6, "FADD R1, R1, R2"),
        *(5, "@P2 BRA `(.L_0)", 7, "@!P4 BRA `(.L_2)", "CALL.REL `($kernel$__div_slowpath)"),
        *(".L_2:", "STG.E.64 desc[UR10][R8.64], R4", 3, "@P0 CALL.REL `(.L_3)", "BRA `(.L_1)"),
        *(".L_3:", 8, "BAR.SYNC.DEFER_BLOCKING 0x0", "BRA P1, `(.L_4)", "EXIT"),
        *("STL [R1], R4", "RET.REL R2 `(kernel)", ".L_5:", "BRA `(.L_5)", ".L_4:", "EXIT", "NOP"),
    )
    assert len(code) == 15  # of 19: padding and the function are not reached by jumps
    outer, inner = sorted(compiled.loops(code, set(code)))
    assert (len(outer.members), len(inner.members)) == (8, 2)
    # 7 outside of loops, 6 in the outer one alone, 2 in the inner one
    trips = {("/a/kernel.py", 3): 10, ("/a/kernel.py", 5): 4}
    assert compiled.executed(code, lambda loop: trips[loop.places[0]]) == 7 + 10 * (6 + 4 * 2)
    # as Triton and ptxas make of one line: four rounds at once, then what is left of them
    unrolled = [3, ".L_0:", *["FADD R1, R1, R2"] * 7, "@P0 BRA `(.L_0)"]
    code = parsed(*unrolled, ".L_1:", "FADD R1, R1, R2", "@P0 BRA `(.L_1)", "EXIT")
    assert compiled.executed(code, lambda loop: 11) == 2 * 8 + 3 * 2 + 1

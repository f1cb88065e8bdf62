"""Kernels compiled without a GPU: register budgets, and counts of instructions."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

from benchmarks import machine, records, static
from benchmarks.static import Row, sass

#: Committed predictions, by architecture.
_KEPT = {result["arch"]: result for result in records.read() if result["suite"] == static.SUITE}
_PIPE6 = "pipe6, with its label map"


def _rows(result, name):
    """Return the rows of a call by version of Triton."""
    kernels = result["calls"][name]["kernels"]
    return {triton: [Row._make(row) for row in rows] for triton, rows in kernels.items()}


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
    assert result["triton"] == [*static.SUPPORTED, *static.FOR_INFORMATION]
    assert all(list(call["kernels"]) == result["triton"] for call in result["calls"].values())
    for (row,) in _rows(result, "bias, gamma, noise").values():  # four float32 at once, in and out
        assert (row.loads.split()[-1], row.stores) == ("4x128", "4x128")
    for _, row in _rows(result, "warp, channels last").values():  # one voxel at a time
        assert (row.kernel, row.loads.split("x")[1:]) == ("warp", ["32"])


def test_the_installed_triton_gives_the_stored_registers(tmp_path):
    options = "--arch", "90", "--case", _PIPE6, "--output", str(tmp_path)
    _compiled("-m", "benchmarks.static", *options)
    found = json.loads((tmp_path / "static--sm_90.json").read_text(encoding="utf-8"))
    stored = _rows(_KEPT["sm_90"], _PIPE6)
    assert max(row.registers for row in stored["3.6.0"]) <= 100
    ((triton, rows),) = _rows(found, _PIPE6).items()
    assert rows == stored.get(triton, rows)
    assert [row.kernel for row in rows] == ["columns", "warp", "torch amin"]


def test_a_spill_is_detected():
    planted = 'from torchio_gpu_kernels import tiles; tiles.OPTIONS["maxnreg"] = 32'
    look = 'predict.look(90, "warp, affine and elastic")[1][1]'
    code = (
        f"{planted}; from benchmarks.static import predict; import json; print(json.dumps({look}))"
    )
    row = Row._make(json.loads(_compiled("-c", code)))
    assert (row.kernel, row.registers <= 32, row.spilled > 0) == ("warp", True, True)


def test_excesses_are_reported_and_shown():
    result = copy.deepcopy(_KEPT["sm_90"])
    rows = {triton: rows[0] for triton, rows in result["calls"][_PIPE6]["kernels"].items()}
    rows["3.7.0"][1], rows["3.8.0"][2], rows["3.9.0"][1] = 129, 8, 255  # no torch pins the last
    first, second = static.excesses(result)
    assert first.endswith(f"Triton 3.7.0: columns in '{_PIPE6}' takes 129 registers")
    assert second.endswith("registers and spills")
    assert "**spills 8 B**" in static.text(result)
    result["calls"][_PIPE6]["budget"] = 0.1
    for text in (static.brief(result), static.text(result)):
        assert "PREDICTION" in text
        (line,) = (line for line in text.splitlines() if line.startswith(f"| {_PIPE6} (W1)"))
        assert line.count("**missed**") == len(rows)
        assert "1.53 x forward: kept" in text  # of a backward


def test_an_unknown_version_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(static, "FOLDER", tmp_path)
    with pytest.raises(SystemExit, match=r"triton 0\.0\.0 cannot be installed"):
        static.main(["--triton", "0.0.0"])
    assert not (tmp_path / "0.0.0").exists()


def _parsed(*lines):
    """Parse instructions as nvdisasm prints them; numbers are lines of the source."""
    text = {int: '\t//## File "/a/kernel.py", line {}', str: "        /*0000*/  {} ;"}
    made = [line if f"{line}"[0] == "." else text[type(line)].format(line) for line in lines]
    return sass.parse("\n".join(made))


def test_instructions_are_counted():
    code = _parsed(
        *(2, "S2R R9, SR_CTAID.Y", "LDG.E.128 R4, desc[UR10][R4.64]", "@!P0 EXIT"),
        *(".L_1:", 4, "@P1 LDG.E.U8 R4, desc[UR10][R4.64]", ".L_0:", 6, "FADD R1, R1, R2"),
        *(5, "@P2 BRA `(.L_0)", 7, "@!P4 BRA `(.L_2)", "CALL.REL `($kernel$__div_slowpath)"),
        *(".L_2:", "STG.E.64 desc[UR10][R8.64], R4", 3, "@P0 CALL.REL `(.L_3)", "BRA `(.L_1)"),
        *(".L_3:", 8, "BAR.SYNC.DEFER_BLOCKING 0x0", "BRA P1, `(.L_4)", "EXIT"),
        *("STL [R1], R4", "RET.REL R2 `(kernel)", ".L_5:", "BRA `(.L_5)", ".L_4:", "EXIT", "NOP"),
    )
    assert len(code) == 15  # of 19: padding and the function are not reached by jumps
    outer, inner = sorted(sass.loops(code, set(code)))
    assert (len(outer.members), len(inner.members)) == (8, 2)
    # 7 outside of loops, 6 in the outer one alone, 2 in the inner one
    trips = {("/a/kernel.py", 3): 10, ("/a/kernel.py", 5): 4}
    assert sass.executed(code, lambda loop: trips[loop.places[0]]) == 7 + 10 * (6 + 4 * 2)
    ops = [op for _, op in code.nodes(data="op")]
    assert (sass.widths(ops, "LDG"), sass.widths(ops, "STG")) == ("1x8 1x128", "1x64")
    # as Triton and ptxas make of one line: four rounds at once, then what is left of them
    unrolled = [3, ".L_0:", *["FADD R1, R1, R2"] * 7, "@P0 BRA `(.L_0)"]
    code = _parsed(*unrolled, ".L_1:", "FADD R1, R1, R2", "@P0 BRA `(.L_1)", "EXIT")
    assert sass.executed(code, lambda loop: 11) == 2 * 8 + 3 * 2 + 1

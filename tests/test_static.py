"""Kernels compiled without a GPU: register budgets, and counts of instructions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton")

from benchmarks import records, static
from benchmarks.static import sass, versions

ROOT = Path(__file__).resolve().parent.parent
#: Committed predictions, by architecture.
_KEPT = [result for result in records.read() if result["suite"] == static.SUITE]
#: Two loops, one within the other, of lines 3 and 5; a function that a slow path calls; padding.
TEXT = """
	//## File "/a/kernel.py", line 2
        /*0000*/                   S2R R9, SR_CTAID.Y ;
        /*0010*/                   LDG.E.128 R4, desc[UR10][R4.64] ;
        /*0020*/              @!P0 EXIT ;
.L_x_1:
	//## File "/a/kernel.py", line 4
        /*0030*/               @P1 LDG.E.U8 R4, desc[UR10][R4.64] ;
.L_x_0:
	//## File "/a/kernel.py", line 6
        /*0040*/                   FADD R1, R1, R2 ;
	//## File "/a/kernel.py", line 5
        /*0050*/               @P2 BRA `(.L_x_0) ;
	//## File "/a/kernel.py", line 7
        /*0060*/              @!P4 BRA `(.L_x_2) ;
        /*0070*/                   CALL.REL.NOINC `($kernel$__internal_0_$__cuda_div_slowpath) ;
.L_x_2:
        /*0080*/                   STG.E.64 desc[UR10][R8.64], R4 ;
	//## File "/a/kernel.py", line 3
        /*0090*/               @P0 CALL.REL.NOINC `(.L_x_3) ;
        /*00a0*/                   BRA `(.L_x_1) ;
.L_x_3:
	//## File "/a/kernel.py", line 8
        /*00b0*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
        /*00c0*/                   EXIT ;
$kernel$__internal_0_$__cuda_div_slowpath:
        /*00d0*/                   STL [R1], R4 ;
        /*00e0*/                   RET.REL.NODEC R2 `(kernel) ;
.L_x_4:
        /*00f0*/                   BRA `(.L_x_4);
        /*0100*/                   NOP ;
"""
#: As Triton and ptxas make of one line: four rounds at once, then what is left of them.
UNROLLED = """
	//## File "/a/kernel.py", line 3
.L_x_0:
        /*0000*/                   FADD R1, R1, R2 ;
        /*0010*/                   FADD R1, R1, R2 ;
        /*0020*/                   FADD R1, R1, R2 ;
        /*0030*/                   FADD R1, R1, R2 ;
        /*0040*/                   FADD R1, R1, R2 ;
        /*0050*/                   FADD R1, R1, R2 ;
        /*0060*/                   FADD R1, R1, R2 ;
        /*0070*/               @P0 BRA `(.L_x_0) ;
.L_x_1:
        /*0080*/                   FADD R1, R1, R2 ;
        /*0090*/               @P0 BRA `(.L_x_1) ;
        /*00a0*/                   EXIT ;
"""


def _compiled(*command: str) -> str:
    """Return the output of a command in which kernels are compiled and not interpreted."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


#: A gather reads one voxel at a time: of these bits, or the few numbers of a table.
_GATHERS = {"warp, channels last": {"32"}, "warp of int64 labels": {"32", "64"}}


def _check_registers_and_widths(result: dict[str, Any]) -> None:
    """Assert that no kernel spills or exceeds its registers, and that loads are wide."""
    assert static.excesses(result) == []
    for cases in result["cases"].values():
        seen = {row["kernel"] for case in cases for row in case["kernels"]}
        assert {"warp_kernel", "warp_backward_kernel", "columns_kernel"} <= seen
        assert {"pointwise_kernel", "pointwise_backward_kernel", "scatter_kernel"} <= seen
        kernels = {case["case"]: case["kernels"] for case in cases}
        for row in kernels["bias, gamma, noise"]:  # four float32 at once, in and out
            assert {"128"} == set(row["stores"])
            assert row["loads"]["128"] == row["stores"]["128"]
        for case, widths in _GATHERS.items():
            rows = [row for row in kernels[case] if row["kernel"] == "warp_kernel"]
            assert [set(row["loads"]) for row in rows] == [widths]


def test_the_installed_triton_gives_the_stored_registers(tmp_path: Path) -> None:
    case = "pipe6, with its label map"
    _compiled("-m", "benchmarks.static", "--arch", "90", "--case", case, "--output", str(tmp_path))
    result = json.loads((tmp_path / "static--sm_90.json").read_text(encoding="utf-8"))
    assert static.excesses(result) == []
    (kept,) = (each for each in _KEPT if each["arch"] == "sm_90")
    for triton, found in result["cases"].items():
        if triton in kept["cases"]:
            pair = (e for e in (*found, *kept["cases"][triton]) if e["case"] == case)
            one, other = ([row["registers"] for row in each["kernels"]] for each in pair)
            assert one == other


@pytest.mark.parametrize("result", _KEPT, ids=[result["arch"] for result in _KEPT])
def test_stored_results_are_of_these_kernels_and_all_versions(result: dict[str, Any]) -> None:
    assert result["kernels"] == static.digest(), "kernels have changed: run make static"
    assert list(result["cases"]) == [*versions.SUPPORTED, *versions.FOR_INFORMATION]
    _check_registers_and_widths(result)
    main = {case["case"]: case["kernels"] for case in result["cases"]["3.6.0"]}
    if result["arch"] == "sm_90":
        assert max(row["registers"] for row in main["pipe6, with its label map"]) <= 100


def test_excesses_are_reported() -> None:
    result = json.loads(json.dumps(_KEPT[0]))
    result["cases"]["3.7.0"][0]["kernels"][0]["registers"] = 129
    result["cases"]["3.8.0"][1]["kernels"][0]["local_loads"] = {"32": 1}
    result["cases"]["3.9.0"][0]["kernels"][0]["registers"] = 255  # which no torch pins
    first, second = static.excesses(result)
    assert "Triton 3.7.0: " in first
    assert "takes 129 registers" in first
    assert "Triton 3.8.0: " in second
    assert second.endswith("and spills")


def test_results_of_versions_are_joined() -> None:
    one, other = ({"arch": "sm_90", "cases": {v: [v]}} for v in ("3.6.0", "3.8.0"))
    assert static.merged([[one], [other]]) == [
        {"arch": "sm_90", "cases": {"3.6.0": ["3.6.0"], "3.8.0": ["3.8.0"]}}
    ]


def test_an_unknown_version_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(versions, "FOLDER", tmp_path)
    with pytest.raises(SystemExit, match=r"triton 0\.0\.0 cannot be installed"):
        static.main(["--triton", "0.0.0"])
    assert not (tmp_path / "0.0.0" / "ready").exists()


def test_instructions_are_counted() -> None:
    code = sass.Code.parse(TEXT)
    assert len(code.all) == 17
    # padding and the function are not reached by jumps
    assert len(code.reached) == 13
    outer, inner = code.loops()
    assert [loop.places[0] for loop in (outer, inner)] == [("/a/kernel.py", 3), ("/a/kernel.py", 5)]
    assert (len(outer.members), len(inner.members)) == (8, 2)
    trips = {3: 10, 5: 4}
    # 5 outside of loops, 6 in the outer one alone, 2 in the inner one
    assert code.executed(lambda loop: trips[loop.places[0][1]]) == 5 + 10 * (6 + 4 * 2)
    memory = code.memory()
    assert memory["loads"] == {8: 1, 128: 1}
    assert memory["stores"] == {64: 1}
    assert memory["local_stores"] == {32: 1}  # of the function, too
    assert code.mix()["BAR"] == 1


def test_iterations_of_unrolled_loops_are_shared() -> None:
    code = sass.Code.parse(UNROLLED)
    assert len(code.loops()) == 2
    # of 11 rounds, two times four and three
    assert code.executed(lambda loop: 11) == 2 * 8 + 3 * 2 + 1


_PLANTED = """
import json
from benchmarks.static import predict
from torchio_gpu_kernels import tiles
tiles.OPTIONS["maxnreg"] = 32
found = predict.look(90, "warp, affine and elastic", "warp_kernel")
print(json.dumps(found["kernels"][0]))
"""


def test_a_spill_is_detected() -> None:
    row: dict[str, Any] = json.loads(_compiled("-c", _PLANTED))
    assert row["kernel"] == "warp_kernel"
    assert row["registers"] <= 32
    assert static.spills(row)
    assert row["stack"] > 0
    assert row["local_stores"]
    assert row["local_loads"]


def test_tables_show_budgets_and_spills() -> None:
    row = {"kernel": "a_kernel", "form": "1", "registers": 9, "stack": 4, "local": 0, "shared": 0}
    row |= {"loads": {"32": 3, "128": 1}, "stores": {}, "atomics": {}, "local_loads": {"32": 1}}
    row |= {"local_stores": {}, "barriers": 2, "instructions_per_voxel": 10, "bytes_per_voxel": 8}
    row |= {"memory_us": 30, "issue_us": 60, "predicted_us": 60, "copies": 2}
    case = {"case": "a call", "workload": "W1", "launches": 1, "predicted_us": 60, "copies": 2}
    case |= {"budget": {"most": 1.5, "of": "copy", "is": 2}, "kernels": [row]}
    case["torch"] = [{"op": "amin", "predicted_us": 12, "copies": 0.4}]
    result = {"arch": "sm_90", "how": "PREDICTION", "date": "2025-01-01T00:00", "commit": "abc"}
    cases = {"3.6.0": [case], "3.8.0": [{**case, "kernels": [{**row, "registers": 8}]}]}
    text = static.text({**result, "dirty": True, "cases": cases})
    for part in (
        *("60.0 (2.00x): **missed**", "amin 0.400x", "1.5 x copy", "**4**", "3x32 1x128"),
        *("| 9, 10.0 **spills** | 8, 10.0 **spills** |", "Triton 3.6.0, 3.8.0", "abc"),
    ):
        assert part in text, part
    assert text.index("PREDICTION") > 0

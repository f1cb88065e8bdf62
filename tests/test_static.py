"""Kernels compiled without a GPU: do they fit into registers, and are instructions counted well?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton")

from benchmarks import static
from benchmarks.static import sass

ROOT = Path(__file__).resolve().parent.parent
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
    """What a command prints where kernels are compiled, whatever this process does with them."""
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


def test_kernels_fit_into_registers_and_move_wide(tmp_path: Path) -> None:
    _compiled("-m", "benchmarks.static", "--output", str(tmp_path))
    for arch in ("sm_90", "sm_80"):
        result = json.loads((tmp_path / f"static--{arch}.json").read_text(encoding="utf-8"))
        rows = [
            (f"{row['kernel']} in {case['case']!r} for {arch}", row)
            for case in result["cases"]
            for row in case["kernels"]
        ]
        seen = {row["kernel"] for _, row in rows}
        assert {"warp_kernel", "warp_backward_kernel", "columns_kernel"} <= seen
        assert {"pointwise_kernel", "pointwise_backward_kernel"} <= seen
        spilled = [name for name, row in rows if static.spills(row)]
        assert not spilled
        # four float32 at once, in and out
        wide = {case["case"]: case["kernels"] for case in result["cases"]}["bias, gamma, noise"]
        for row in wide:
            assert {"128"} == set(row["stores"])
            assert row["loads"]["128"] == row["stores"]["128"]


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


def test_unrolled_loops_share_their_trips() -> None:
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


def test_planted_spill_is_seen() -> None:
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
    result = {"arch": "sm_90", "how": "PREDICTION", "date": "2025-01-01T00:00", "commit": "abc"}
    text = static.text({**result, "dirty": True, "triton": "3", "cases": [case]})
    for part in ("2.00 of 1.5 x copy: **missed**", "**4**", "3x32 1x128", "instructions", "abc"):
        assert part in text, part
    assert text.index("PREDICTION") > 0

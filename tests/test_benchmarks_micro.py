"""Microbenchmarks run, and their result can be shown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks import micro

ROOT = Path(__file__).resolve().parent.parent


def test_microbenchmarks_run_and_report_their_times():
    """Run each once and time one, in a process of its own, which pytest-benchmark needs."""
    code = "from benchmarks import micro; status, result = micro.run({options}); "
    every = code.format(options=["--benchmark-disable"]) + "assert status == 0, status"
    one = code.format(options=["-k", "seeds_of_a_batch"]) + (
        "(row,) = result['rows']; assert row['piece'] == 'seeds of a batch', row; "
        "assert row['room'] == 'ground'; assert 0 < row['q1_us'] <= row['median_us'], row; "
        "assert '| ground | seeds of a batch |' in micro.text(result)"
    )
    # pytest-benchmark times nothing in a process that believes to be one of pytest-xdist's
    alone = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    for each in (every, one):
        done = subprocess.run(
            [sys.executable, "-c", each], cwd=ROOT, env=alone, capture_output=True, encoding="utf-8"
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_is_found():
    files = sorted(micro.HERE.glob("bench_*.py"))
    assert len(files) == 5
    for file in files:
        assert "def bench_" in file.read_text(encoding="utf-8")

"""State of runs of many cases, from synthetic records, and progress while they compute."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from torchio_gpu.cohort import progress
from torchio_gpu.cohort.progress import Progress
from torchio_gpu.cohort.records import Records
from torchio_gpu.cohort.sbatch import array_script, megabytes
from torchio_gpu.cohort.state import failures_of, state_of

RECIPE = "0123456789abcdef"


def write_run(out: Path, cases: int, files: int = 4) -> Records:
    """Write records as a run leaves them: each tenth case failed first; each hundredth still does.

    The last tenth of the cases is left.
    """
    records = Records(out / "_cohort")
    for name in ("records", "drafts"):
        (records.path / name).mkdir(parents=True)
    records.run_file.write_text(json.dumps({"hash": RECIPE}))
    with records.cases_file.open("w") as file:
        for n in range(cases):
            file.write(json.dumps({"id": f"sub-{n:06}", "t1:intensity": f"/s/{n}.nii.gz"}) + "\n")
    begun = time.time() - 300
    lines: list[list[str]] = [[] for _ in range(files)]
    for n in range(cases * 9 // 10):
        for attempt in range(2 if n % 10 == 0 else 1):
            failed = n % 100 == 0 or (n % 10 == 0 and attempt == 0)
            record = {
                "time": begun + n / cases - attempt,  # of a machine whose clock is late
                "id": f"sub-{n:06}",
                "recipe": RECIPE,
                "status": "failed" if failed else "ok",
                "run": 1 + attempt,
                "inputs": {"t1": {"size": 1234567, "time": 1700000000000000000}},
                "outputs": {"": {"t1:intensity": f"sub-{n:06}/t1.nii.gz"}},
                "error": {"class": "OSError", "message": "it is {broken"},
                "versions": {"torchio_gpu": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
                "host": "node",
            }
            # the later attempt may stand in an earlier file
            lines[(n + 3 * attempt) % files].append(json.dumps(record, separators=(",", ":")))
    for number, each in enumerate(lines):
        path = records.path / "records" / f"node-{number}.jsonl"
        path.write_text("\n".join(each) + "\n" + each[0][: len(each[0]) // 2])  # a torn line
    return records


def test_the_state_is_that_of_the_latest_records(tmp_path):
    write_run(tmp_path, 1000)
    state = state_of(tmp_path)
    assert (state.total, state.outcomes, state.left) == (1000, Counter(ok=891, failed=9), 100)
    assert 295 < state.idle < 310
    # 900 outcomes over 300 s
    assert str(state).startswith(
        "1000 cases: 891 computed, 9 failed, 100 left\nlatest outcome 5 min"
    )
    assert state.rate == pytest.approx(899 / 5, rel=0.05)
    failures = failures_of(tmp_path)
    assert [each.id for each in failures] == [f"sub-{n:06}" for n in range(0, 900, 100)]
    assert failures[0][1:] == ("failed", "OSError", "it is {broken", "node")


def test_records_of_other_recipes_and_cases_do_not_count(tmp_path):
    records = write_run(tmp_path, 100)
    records.run_file.write_text(json.dumps({"hash": "another"}))
    assert state_of(tmp_path).outcomes == Counter()
    assert failures_of(tmp_path) == []
    records.append({"id": "sub-000007", "recipe": "another", "status": "ok", "run": 3})
    records.append({"id": "nobody", "recipe": "another", "status": "ok", "run": 3})
    state = state_of(tmp_path)
    assert (state.outcomes, state.left) == (Counter(ok=1), 99)


def test_the_state_of_many_cases_is_quick_and_small(tmp_path):
    """20,000 cases in a fifth of 2 s of one core, and memory for ids alone."""
    for cases in (200, 20_000):
        write_run(tmp_path / str(cases), cases)
    code = """
import resource, sys, time
from torchio_gpu.cohort.state import state_of
used = []
for folder in sys.argv[1:]:
    before = time.process_time()
    state_of(folder)
    used += [time.process_time() - before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
print(*used)
assert "torch" not in sys.modules and "numpy" not in sys.modules
"""
    words = [sys.executable, "-c", code, tmp_path / "200", tmp_path / "20000"]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", check=True)
    _, small, seconds, large = map(float, done.stdout.split())
    assert seconds < 0.8  # 0.14 here: twice what 2 s for 100,000 cases allow, for slower machines
    assert large - small < 10_000  # KiB; 3,500 here, while the records are 8 MB


def test_progress_without_a_terminal_is_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0.05)
    with Progress(10) as shown:
        shown.add(Counter(ok=3, failed=1))
        time.sleep(0.3)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 6
    form = r"4 of 10 cases, 1 failed, [\d.e+]+ a minute, about \d+ s left"
    assert all(re.fullmatch(form, line) for line in lines), lines
    time.sleep(0.15)
    assert capsys.readouterr().err == ""  # it ends with the block
    with Progress(10, shown=False) as shown:
        shown.add(Counter(ok=3))
        time.sleep(0.15)
    assert capsys.readouterr().err == ""


def test_progress_in_a_terminal_is_a_bar():
    code = """
from collections import Counter
from torchio_gpu.cohort.progress import Progress
with Progress(4) as shown:
    shown.add(Counter(ok=3))
    shown.add(Counter(failed=1))
"""
    pty = pytest.importorskip("pty")
    parent, child = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", code], stderr=child, env={**os.environ, "TERM": "xterm"}
    )
    os.close(child)
    shown = os.read(parent, 100_000).decode()
    os.close(parent)
    assert done.returncode == 0
    assert "cases, 1 failed" in shown
    assert "4/4" in shown


def test_scripts_quote_what_shells_would_read(tmp_path):
    out = tmp_path / "50% of $all"
    script = array_script(["fit", str(out)], out, 3, memory="1.5GiB", workers=4, gpus=1)
    assert f"#SBATCH --output='{tmp_path}/50%% of $all/_cohort/logs/%a-%A.txt'\n" in script
    assert "#SBATCH --cpus-per-task=4 --mem=6440M --gres=gpu:1\n" in script
    assert f"'{out}' \\\n" in script
    assert subprocess.run(["bash", "-n"], input=script, encoding="utf-8").returncode == 0


@pytest.mark.parametrize("wrong", ["time=3", "", "--time=3\nrm x"])
def test_options_of_sbatch_are_options(tmp_path, wrong):
    with pytest.raises(ValueError, match="sbatch must be options of sbatch in one line"):
        array_script(["fit"], tmp_path, 3, directives=[wrong])


@pytest.mark.parametrize("wrong", ["8", "lots", "8XB", "", "1.2.3GB", "-8GB"])
def test_memory_has_a_unit(wrong):
    with pytest.raises(ValueError, match="memory must be at least 1 MB and have a unit"):
        megabytes(wrong)

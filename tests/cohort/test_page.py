"""The page about cohorts of the documentation: its commands run, and its script is the one."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from torchio_gpu.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "recipes" / "cohort_on_your_cluster.md"


@pytest.fixture(scope="module")
def text() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_commands_and_script(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = re.search(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    exec(compile(first[1], str(PAGE), "exec"), {})
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    codes, shown = [], ""
    for line in "".join(blocks).replace("\\\n", " ").splitlines():
        if line.startswith("torchio-gpu "):
            words = shlex.split(line)
            monkeypatch.setattr(sys, "argv", words)
            done = CliRunner().invoke(app, words[1:])
            codes.append(done.exit_code)
            shown += done.stdout
    assert codes == [1, 1, 1, 0], shown  # one scan is broken
    assert shown.startswith(
        "8 cases: 7 computed, 1 failed\n8 cases: 7 computed, 1 failed, 0 left\n"
    )
    assert "\nsub-3  failed on " in shown
    assert shown.endswith("prepare.sbatch: 8 cases in 4 shards\n")
    script = Path("prepare.sbatch").read_text(encoding="utf-8")
    script = script.replace(str(tmp_path), "/home/me/study")
    script = script.replace(sys.executable, "/home/me/env/bin/python")
    # where lines are broken depends on the path of the interpreter
    assert _words(script) in map(_words, blocks), script


def _words(script):
    return script.replace("\\\n", " ").split()

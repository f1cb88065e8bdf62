"""Commands that compute nothing answer without importing torch."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

import torchio_gpu as tio
from torchio_gpu import names


def start(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a new process, and assert that it did not import torch."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "torchio_gpu", *words],
        capture_output=True, encoding="utf-8", timeout=60,
        env={**os.environ, "COLUMNS": "100", **environment},
    )  # fmt: skip
    lines = done.stderr.splitlines(keepends=True)
    trace = [line for line in lines if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip() for line in trace}
    assert "torchio_gpu.names" in imported
    assert not imported & {"torch", "numpy", "torchio_gpu.public"}
    done.stderr = "".join(line for line in lines if line not in trace)
    return done


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--help"], "Usage: .*--install-completion.*info .*transform .*tiotr .*tiohd "),
        (["--version"], f"^{re.escape(tio.__version__)}\n$"),
        (["transform", "--help"], r"Usage: .*--image NAME=FILE.*RandomAffine,.*Zipper\."),
        (["tiotr", "--help"], "--kwargs"),
        (["bench", "--help"], "--threads"),
        (["check", "--help"], "Check a pipeline .*--label NAME=FILE"),
        (["schema", "--help"], "JSON schema"),
        (["preview", "--help"], "--points NAME=FILE.*--no-browser"),
    ],
)
def test_help_and_version(words, shown):
    done = start(*words)
    assert done.returncode == 0, done.stderr
    assert re.search(shown, done.stdout, re.DOTALL)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trasform"], "No such command 'trasform'. Did you mean 'transform'"),
        (["--versio"], "No such option: --versio .*--version"),
        (["transform"], "transform needs IN OUT NAME"),
        (["transform", "a.nii", "b.nii", "RandomAfine"], r"did you mean RandomAffine\?"),
        (["transform", "--sed", "1", "a.nii", "b.nii", "Flip"], r"did you mean --seed\?"),
        (["transform", "--image"], "'--image' requires an argument"),
        (["transform", "none.nii", "b.nii", "Flip"], "'none.nii' does not exist"),
        (["transform", "RandomAfine", "--help"], r"did you mean RandomAffine\?"),
        (["tiotr", "a.nii"], "Missing argument"),
        (["tiotr", "a.nii", "RandomAfine", "b.nii"], r"did you mean RandomAffine\?"),
        (["info", "--bogus"], "No such option"),
        (["bench", "RandomFlp"], r"did you mean RandomFlip\?"),
        (["check"], "Missing argument"),
        (["preview", "none.nii"], "'none.nii' does not exist"),
        (["preview", "--points", "a"], "--points must be NAME=FILE, such as marks=points.csv"),
        (["transform", "--pipeline", "p.yaml"], "transform --pipeline needs IN OUT"),
    ],
)
def test_errors_of_usage(words, message):
    done = start(*words)
    assert done.returncode == 2
    assert re.search(message, done.stderr), done.stderr


def test_without_a_command_there_is_help():
    done = start()
    assert "Usage: torchio-gpu" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("tr", ["transform"]),
        ("transform a.nii out.nii RandomAf", ["RandomAffine", "RandomAffineElasticDeformation"]),
        ("transform RandomSw", ["RandomSwap"]),
        ("transform ", []),  # the shell completes files
        ("transform a.nii out.nii ", list(names.TRANSFORMS)),
        ("transform a.nii out.nii Flip --se", ["--seed"]),
        ("tiotr a.nii Gho", ["Ghosting"]),
        ("bench ZN", ["ZNormalization"]),
    ],
)
def test_completion(typed, expected):
    words = f"torchio-gpu {typed}"
    done = start(
        _TORCHIO_GPU_COMPLETE="complete_bash",
        COMP_WORDS=words, COMP_CWORD=str(words.count(" ")),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == expected

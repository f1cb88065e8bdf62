"""Compilation by numba: what is cached, for whom, and what is said meanwhile."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import timeit
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

ROOT = Path(__file__).parents[2]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

#: Two kernels, of which one is tedious to compile.
MODULE = """
from torchio_gpu_kernels.cpu.compiling import Kernel, inlined

@inlined
def twice(x):
    return 2 * x

@Kernel
def double(x, out, start, stop):
    for i in range(start, stop):
        out[i] = twice(x[i])

@Kernel
def tedious(x, start, stop):
    y = x[0]
    for i in range(3):
BODY
    x[0] = y

@Kernel
def wrong(x, start, stop):
    x.no_such_attribute
""".replace("BODY", "\n".join(f"        y = y * {i} + (y // {i + 1}) % 7" for i in range(1, 30)))
RUN = """
import sys, numpy as np, mine
x = np.arange(5, dtype=sys.argv[1] if len(sys.argv) > 1 else "float32")
out = np.zeros_like(x)
mine.double(x, out, count=len(x))
stats = mine.double.dispatcher.stats
print(out.tolist(), sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""
DOUBLED = "[0.0, 2.0, 4.0, 6.0, 8.0]"


@pytest.fixture
def start(tmp_path):
    """Function that starts Python on code, which may import the kernels from ``mine``."""
    (tmp_path / "mine.py").write_text(MODULE)

    def start(code: str, *arguments: str, **variables: str) -> subprocess.Popen:
        path = os.pathsep.join([str(tmp_path), str(ROOT), str(ROOT / "kernels")])
        kept = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
        cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env={**kept, **cache, "PYTHONPATH": path, **variables},
        )

    return start


@pytest.fixture
def run(start):
    """Function that runs code as ``start`` does, and returns what it prints."""

    def run(code: str, *arguments: str, **variables: str) -> str:
        process = start(code, *arguments, **variables)
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        return out.strip()

    return run


@pytest.fixture
def compiling(tmp_path, monkeypatch):
    """Module under test, with the folder of ``start`` for compiled code."""
    from torchio_gpu_kernels.cpu import compiling

    monkeypatch.setattr(compiling.numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    return compiling


@pytest.fixture
def mine(compiling, tmp_path, monkeypatch):
    """Function that imports kernels anew, as another process would, and returns ``double``."""
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)

    def imported():
        sys.modules.pop("mine", None)
        return importlib.import_module("mine").double

    yield imported
    sys.modules.pop("mine", None)


def counts(double, dtype: str = "float32") -> tuple[int, int]:
    """Call a kernel, and return how often it was loaded and how often it was compiled."""
    x = np.arange(5, dtype=dtype)
    out = np.zeros_like(x)
    double(x, out, count=len(x))
    assert out.tolist() == (2 * x).tolist()
    stats = double.dispatcher.stats
    return sum(stats.cache_hits.values()), sum(stats.cache_misses.values())


def files(folder: Path, suffix: str) -> list[Path]:
    return sorted(folder.rglob(f"*.{suffix}"))


def test_processes_that_start_at_once_compile_once(start, mine, tmp_path):
    started = [start(RUN, dtype) for dtype in ["float32", "float32", "float64"]]
    outputs = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0] * 3, outputs
    lines = [out.strip() for out, _ in outputs]
    # of those of the same types one compiles and the other loads
    assert sorted(lines[:2]) == [f"{DOUBLED} 0 1", f"{DOUBLED} 1 0"]
    assert lines[2] == f"{DOUBLED} 0 1"
    assert len(files(tmp_path / "cache", "nbc")) == 2
    for dtype in ("float32", "float64"):
        assert counts(mine(), dtype) == (1, 0)


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_damaged_files_are_compiled_anew(mine, tmp_path, suffix):
    assert counts(mine()) == (0, 1)
    (file,) = files(tmp_path / "cache", suffix)
    file.write_bytes(file.read_bytes()[:20])
    assert counts(mine())[1] == 1  # without the cache, whose files are deleted
    assert counts(mine()) == (0, 1)
    assert counts(mine()) == (1, 0)


def test_folder_of_numba_stays(compiling, mine, tmp_path):
    assert counts(mine()) == (0, 1)
    assert str(tmp_path / "cache") == compiling.numba.config.CACHE_DIR


def test_folder_that_cannot_be_written(mine, tmp_path):
    (tmp_path / "cache").write_text("")
    double = mine()
    assert counts(double) == (0, 1)
    assert double.dispatcher.stats.cache_path is None
    assert not files(tmp_path, "nbi")


def test_folder_that_vanishes(mine, tmp_path):
    double = mine()
    assert counts(double) == (0, 1)
    folder = Path(double.dispatcher.stats.cache_path)
    shutil.rmtree(folder)
    assert counts(double, "float64")[0] == 0
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_text("")
    assert counts(double, "int32")[0] == 0
    assert counts(mine()) == (0, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="folders of Linux")
def test_folder_is_that_of_the_user(compiling, tmp_path, monkeypatch):
    assert compiling.cache_folder().parents[1] == tmp_path / "cache"
    monkeypatch.setattr(compiling.numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert compiling.cache_folder().parents[1] == tmp_path / "xdg"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert compiling.cache_folder().parents[1] == tmp_path / ".cache"
    assert compiling.cache_folder().parent.name == "torchio_gpu"


@pytest.mark.parametrize("path", ["cpu/another.py", "shared.py"])
def test_folder_changes_with_any_source_of_the_kernels(compiling, tmp_path, monkeypatch, path):
    copy = tmp_path / "package"
    shutil.copytree(ROOT / "kernels/torchio_gpu_kernels", copy)
    before = compiling._version()
    monkeypatch.setattr(compiling, "__file__", str(copy / "cpu/compiling.py"))
    assert compiling._version() == before
    with (copy / path).open("a") as file:
        file.write("# changed")
    assert compiling._version() != before


SAY = """
import mine, sys, numpy as np
from torchio_gpu_kernels.cpu import compiling
compiling.PATIENCE = float(sys.argv[1])
for x in np.ones(1), np.ones(1, np.int64):
    mine.tedious(x, count=1)
"""


def test_slow_compilation_is_told_once(start):
    sentence = "torchio_gpu: compiling kernels for the CPU, once\n"
    for patience, said in [("0.1", sentence), ("60", "")]:
        _, errors = start(SAY, patience).communicate(timeout=120)
        assert errors == said


def test_quick_compilation_is_not_told(mine, capfd):
    assert counts(mine()) == (0, 1)
    assert capfd.readouterr() == ("", "")


def test_threads_that_call_at_once_compile_once(mine):
    double = mine()
    with ThreadPoolExecutor(6) as pool:
        assert [one[1] for one in pool.map(counts, [double] * 6)] == [1] * 6


@needs_fork
def test_fork_during_a_compilation(run):
    """The child compiles, too: the lock of the compiler is not left taken."""
    code = """
import os, signal, threading, time, numpy as np, mine
from torchio_gpu_kernels.cpu.compiling import _compiling
thread = threading.Thread(target=mine.tedious, args=(np.ones(1),), kwargs={"count": 1})
thread.start()
while _compiling.acquire(blocking=False):
    _compiling.release()
    time.sleep(0.001)
child = os.fork()
if child == 0:
    signal.alarm(60)
    out = np.zeros(3)
    mine.double(np.ones(3), out, count=3)
    os._exit(int(out.sum()))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
thread.join()
"""
    assert run(code) == "6"


def test_failed_compilation_lets_others_go_on(compiling, mine):
    from numba.core.errors import TypingError

    double = mine()
    with pytest.raises(TypingError, match="no_such_attribute"):
        sys.modules["mine"].wrong(np.ones(1), count=1)
    assert counts(double) == (0, 1)


def test_a_call_costs_microseconds(mine):
    double, x = mine(), np.ones(3)
    call = lambda: double(x, x, count=1)  # noqa: E731
    call()
    assert min(timeit.repeat(call, number=1000, repeat=5)) / 1000 < 50e-6


def test_nothing_imports_numba_before_it_is_needed(run):
    code = "import sys, torchio_gpu_kernels, torchio_gpu as tio; tio.Compose, tio.backend; "
    assert run(code + "print('numba' in sys.modules)") == "False"


def test_division_by_zero_and_nan_count(compiling):
    @compiling.inlined
    def divide(x, y):
        return x / y, x != x

    assert divide(1.0, 0.0) == (float("inf"), False)
    assert divide(float("nan"), 1.0)[1]

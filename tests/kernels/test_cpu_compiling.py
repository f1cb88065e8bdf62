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
from torchio_gpu_kernels.cpu.compiling import inlined, kernel

@inlined
def twice(x):
    return 2 * x

@kernel
def double(x, out):
    for i in range(len(x)):
        out[i] = twice(x[i])

@kernel
def tedious(x):
    y = x
    for i in range(3):
BODY
    return y

@kernel
def wrong(x):
    return x.no_such_attribute
""".replace("BODY", "\n".join(f"        y = y * {i} + (y // {i + 1}) % 7" for i in range(1, 30)))
RUN = """
import sys, numpy as np, mine
x = np.arange(5, dtype=sys.argv[1] if len(sys.argv) > 1 else "float32")
out = np.zeros_like(x)
mine.double(x, out)
stats = mine.double.stats
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
    yield compiling
    compiling._version.cache_clear()


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
    double(x, out)
    assert out.tolist() == (2 * x).tolist()
    return sum(double.stats.cache_hits.values()), sum(double.stats.cache_misses.values())


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
    assert counts(mine()) == (0, 1)
    assert counts(mine()) == (1, 0)


def test_folder_of_numba_stays(compiling, mine, tmp_path):
    assert counts(mine()) == (0, 1)
    assert str(tmp_path / "cache") == compiling.numba.config.CACHE_DIR


def test_folder_that_cannot_be_written(mine, tmp_path):
    (tmp_path / "cache").write_text("")
    assert counts(mine()) == (0, 1)
    assert mine().stats.cache_path is None
    assert not files(tmp_path, "nbi")


def test_lock_that_nobody_releases(compiling, mine, monkeypatch):
    """A process that has waited long enough compiles for itself."""
    monkeypatch.setattr(compiling, "_LOCK_TIMEOUT", 0.1)
    double = mine()
    code = """
import sys, time, filelock
with filelock.FileLock(sys.argv[1]):
    print("locked", flush=True)
    sys.stdin.read()
"""
    path = Path(double.stats.cache_path) / "mine.double.lock"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"locked\n"
        assert counts(double) == (0, 1)
        process.stdin.close()
    assert counts(mine()) == (0, 1)
    assert counts(mine()) == (1, 0)


def test_folder_that_vanishes(mine, tmp_path):
    """A kernel whose folder was deleted, or cannot be written any more, computes all the same."""
    double = mine()
    shutil.rmtree(double.stats.cache_path)
    assert counts(double) == (0, 1)
    double = mine()
    (index,) = files(tmp_path / "cache", "nbi")
    index.unlink()
    index.mkdir()
    assert counts(double) == (0, 1)
    double = mine()
    shutil.rmtree(double.stats.cache_path)
    Path(double.stats.cache_path).write_text("")
    assert counts(double) == (0, 1)


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


def test_folder_changes_with_any_source_of_the_kernels(compiling, tmp_path):
    copy = tmp_path / "package"
    shutil.copytree(ROOT / "kernels/torchio_gpu_kernels", copy)
    (copy / "no_source.txt").write_text("")
    names = [compiling._version(), compiling._version(copy)]
    assert names[0] == names[1]
    for path in ("cpu/another.py", "shared.py"):
        with (copy / path).open("a") as file:
            file.write("# changed")
        compiling._version.cache_clear()
        names.append(compiling._version(copy))
    assert len(set(names)) == 3


SAY = """
import mine, sys
from torchio_gpu_kernels.cpu import compiling
compiling.PATIENCE = float(sys.argv[1])
for x in 1, 1.0:
    mine.tedious(x)
"""


def test_slow_compilation_is_told_once_and_not_when_it_is_loaded(start):
    sentence = "torchio_gpu: compiling CPU kernels, once\n"
    for patience, said in [("0.01", sentence), ("0.01", "")]:  # the second process loads
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
thread = threading.Thread(target=mine.tedious, args=(1,))
thread.start()
while not sum(mine.tedious.stats.cache_misses.values()):
    time.sleep(0.001)
child = os.fork()
if child == 0:
    signal.alarm(60)
    out = np.zeros(3)
    mine.double(np.ones(3), out)
    os._exit(int(out.sum()))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
thread.join()
"""
    assert run(code) == "6"


def test_failed_compilation_lets_others_go_on(compiling, mine):
    from numba.core.errors import TypingError

    mine()
    first = sys.modules["mine"].wrong
    mine()
    for kernel in (first, sys.modules["mine"].wrong):
        with pytest.raises(TypingError, match="no_such_attribute"):
            kernel(1)
        assert not compiling._kernels[kernel]._lock.is_locked


def test_a_call_costs_microseconds(compiling):
    """Kernels are the dispatchers of numba themselves: nothing is done on each call."""

    @compiling.kernel
    def add(x, y):
        return x + y

    assert add(1, 2) == 3
    assert min(timeit.repeat(lambda: add(1, 2), number=1000, repeat=5)) / 1000 < 20e-6


def test_nothing_imports_numba_before_it_is_needed(run):
    code = "import sys, torchio_gpu_kernels, torchio_gpu as tio; tio.Compose, tio.backend; "
    assert run(code + "print('numba' in sys.modules)") == "False"


def test_division_by_zero_and_nan_count(compiling):
    @compiling.kernel
    def divide(x, y):
        return x / y, x != x

    assert divide(1.0, 0.0) == (float("inf"), False)
    assert divide(float("nan"), 1.0)[1]

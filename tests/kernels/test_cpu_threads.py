"""Threads of kernels on the CPU: every range once, no deadlock, in children and at exit too."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import timeit
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

threads = pytest.importorskip("torchio_gpu_kernels.cpu.threads")
in_parallel = threads.in_parallel

ROOT = Path(__file__).parents[2]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def numbers_of(count: int) -> list[int]:
    """Collect all numbers of the ranges."""
    found: list[int] = []
    in_parallel(lambda start, stop: found.extend(range(start, stop)), count)
    return sorted(found)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 1000])
@pytest.mark.parametrize("number", [1, 2, 5])
def test_ranges_cover_all_once(number, count):
    torch.set_num_threads(number)
    assert numbers_of(count) == list(range(count))


def test_as_many_threads_as_torch_has():
    for number in (1, 4, 2, 1, 3):
        torch.set_num_threads(number)
        meet = threading.Barrier(number)
        names = set()

        def work(start, stop, meet=meet, names=names):
            if threading.get_ident() not in names:
                names.add(threading.get_ident())
                meet.wait(20)  # for all others

        in_parallel(work, 100)
        assert len(names) == number
        assert threading.get_ident() in names


def test_one_thread_calls_once_in_place():
    torch.set_num_threads(1)
    calls = []
    in_parallel(lambda *bounds: calls.append((threading.get_ident(), bounds)), 100)
    assert calls == [(threading.get_ident(), (0, 100))]


@pytest.mark.parametrize("error", [IndexError("of work"), KeyboardInterrupt()])
def test_errors_are_raised_when_all_threads_have_ended(error):
    began, ended = [], []

    def work(start, stop):
        began.append(start)
        time.sleep(0.02 if start == 0 else 0.1)
        if start == 0:
            raise error
        ended.append(start)

    for _ in range(3):
        began.clear(), ended.clear()
        with pytest.raises(type(error)):
            in_parallel(work, 1000)
        assert len(began) <= 2
        assert ended == [start for start in began if start]
    assert numbers_of(100) == list(range(100))


def test_calls_from_many_threads_and_within_calls():
    """Every thread may be busy with a call that calls again."""

    def nested(depth: int) -> int:
        found = []

        def work(start, stop):
            for _ in range(start, stop):
                found.append(1 if depth == 0 else nested(depth - 1))

        in_parallel(work, 5)
        return sum(found)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(nested, [2] * 32)) == [125] * 32


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_children_have_threads_of_their_own():
    """A child is forked while threads of its parent run, and makes new ones."""
    running, stop = threading.Event(), threading.Event()

    def work(first, last):
        running.set()
        stop.wait(20)

    busy = threading.Thread(target=in_parallel, args=(work, 2))
    busy.start()
    assert running.wait(20)
    child, right = os.fork(), False
    if child == 0:
        try:
            torch.set_num_threads(2)
            meet = threading.Barrier(2)
            in_parallel(lambda start, stop: meet.wait(10), 2)
            right = True
        finally:
            os._exit(0 if right else 1)
    stop.set()
    deadline = time.monotonic() + 30
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    if ended[0] == 0:
        os.kill(child, 9)
        os.waitpid(child, 0)
    busy.join()
    assert ended == (child, 0)


class _Pools(Dataset):
    """Threads of the pool that a worker process has."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        in_parallel(lambda start, stop: None, 1000)
        return 0 if threads._pool is None else 1


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_workers_of_a_loader_have_one_thread():
    assert numbers_of(10) == list(range(10))
    loader = DataLoader(_Pools(), num_workers=2, multiprocessing_context="fork")
    assert torch.cat(list(loader)).tolist() == [0] * 4


AT_EXIT = """
import atexit, threading, time, torch
from torchio_gpu_kernels.cpu.threads import in_parallel

def call():
    found = []
    in_parallel(lambda start, stop: found.extend(range(start, stop)), 100)
    return sorted(found) == list(range(100))

def on():
    while call(): pass

torch.set_num_threads(2)
atexit.register(lambda: print(call()))
print(call())
threading.Thread(target=on, daemon=True).start()  # calls until the interpreter is gone
time.sleep(0.1)
"""


def test_interpreter_ends():
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")])},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "True"]


def test_threads_of_smaller_pools_end():
    before = threading.active_count()
    for number in (2, 3, 4, 5):
        torch.set_num_threads(number)
        assert numbers_of(1000) == list(range(1000))
    deadline = time.monotonic() + 10
    while threading.active_count() > before + 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before + 4


def test_a_call_costs_little():
    seconds = min(timeit.repeat(lambda: in_parallel(lambda a, b: None, 100), number=100, repeat=10))
    assert seconds / 100 < 500e-6

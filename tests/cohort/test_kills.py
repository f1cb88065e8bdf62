"""Kills of drivers, workers and schedulers at random moments; results are as without any.

``KILLS=20 pytest tests/cohort/test_kills.py`` kills each of them so many times.
"""

from __future__ import annotations

import os
import random
import socket
import time
from pathlib import Path

import pytest

from tests.cohort.runs import (
    Zygote,
    alive,
    children,
    deed_command,
    make_table,
    records,
    remains,
    results,
    wait_for,
)

KILLS = int(os.environ.get("KILLS", "2"))
CASES = 16
SECONDS = 0.1  # that a case takes


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ids = (f"case-{number:02}" for number in range(CASES))
    return make_table(tmp_path_factory.mktemp("in"), dict.fromkeys(ids, f"compute {SECONDS}"))


@pytest.fixture(scope="module")
def undisturbed(_zygote: Zygote, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert _zygote.run(deed_command(table, folder / "out"), folder / "log") == 0
    return folder / "out"


def check(out: Path, undisturbed: Path, log: Path) -> None:
    said = log.read_text()
    assert results(out) == results(undisturbed), said
    assert records(out) == records(undisturbed), said
    assert not remains(out), said


def written(out: Path) -> int:
    """Return the number of records."""
    folder = out / "_cohort" / "records"
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("*"))


def begun(out: Path) -> bool:
    return (out / "_cohort" / "records").exists()


@pytest.mark.parametrize("seed", range(KILLS))
def test_driver_in_one_process(
    zygote: Zygote, table: Path, undisturbed: Path, tmp_path: Path, log: Path, seed: int
) -> None:
    out, words, chance = (
        tmp_path / "out",
        deed_command(table, tmp_path / "out"),
        random.Random(seed),
    )
    for _ in range(3):
        pid = zygote.start(words, log)
        time.sleep(chance.uniform(0, CASES * SECONDS))
        zygote.kill(pid)
    assert zygote.run(words, log) == 0
    check(out, undisturbed, log)


@pytest.mark.parametrize("seed", range(KILLS))
def test_driver_with_workers(
    zygote: Zygote, table: Path, undisturbed: Path, tmp_path: Path, log: Path, seed: int
) -> None:
    out, chance = tmp_path / "out", random.Random(seed)
    words = deed_command(table, out, workers=2, batch=3)
    driver = zygote.start(words, log)
    wait_for(lambda: begun(out))
    when = chance.randrange(CASES)
    wait_for(lambda: written(out) >= when)
    time.sleep(chance.uniform(0, 2 * SECONDS))
    workers = children(driver)
    zygote.kill(driver)
    wait_for(lambda: not alive(workers), 10)
    assert zygote.run(deed_command(table, out), log) == 0
    check(out, undisturbed, log)


@pytest.mark.parametrize("seed", range(KILLS))
def test_worker(
    zygote: Zygote, table: Path, undisturbed: Path, tmp_path: Path, log: Path, seed: int
) -> None:
    out, chance = tmp_path / "out", random.Random(seed)
    address, _, workers = cluster(zygote, tmp_path)
    driver = zygote.start(deed_command(table, out, scheduler=address, batch=3), log)
    when = chance.randrange(CASES)
    wait_for(lambda: written(out) >= when)
    time.sleep(chance.uniform(0, 2 * SECONDS))
    zygote.kill(chance.choice(workers))
    assert zygote.wait(driver) == 0
    check(out, undisturbed, log)


@pytest.mark.parametrize("seed", range(KILLS))
def test_scheduler(
    zygote: Zygote, table: Path, undisturbed: Path, tmp_path: Path, log: Path, seed: int
) -> None:
    out, chance = tmp_path / "out", random.Random(seed)
    address, scheduler, workers = cluster(zygote, tmp_path)
    driver = zygote.start(deed_command(table, out, scheduler=address, batch=8), log)
    when = chance.randrange(CASES - 1)
    wait_for(lambda: written(out) >= when)
    time.sleep(chance.uniform(0, SECONDS))
    ended = not alive({driver})
    zygote.kill(scheduler)
    assert zygote.wait(driver, 20) == (0 if ended else 1)
    assert ended or "the scheduler was lost: the same command goes on" in log.read_text()
    wait_for(lambda: not alive(set(workers)), 20)
    assert zygote.run(deed_command(table, out), log) == 0
    check(out, undisturbed, log)


def test_workers_stop_once_their_driver_has_ended(
    zygote: Zygote, table: Path, undisturbed: Path, tmp_path: Path, log: Path
) -> None:
    out = tmp_path / "out"
    address, _, workers = cluster(zygote, tmp_path)
    driver = zygote.start(deed_command(table, out, scheduler=address, batch=CASES), log)
    wait_for(lambda: written(out) >= 2)
    zygote.kill(driver)
    time.sleep(CASES / 2 * SECONDS)
    before = written(out)
    time.sleep(5 * SECONDS)
    assert written(out) == before < CASES
    assert alive(set(workers)) == set(workers)
    assert zygote.run(deed_command(table, out, scheduler=address), log) == 0
    check(out, undisturbed, log)


def cluster(zygote: Zygote, folder: Path) -> tuple[str, int, list[int]]:
    """Start a scheduler and two workers; return its address and the processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, local = f"tcp://127.0.0.1:{port}", ["--host", "127.0.0.1", "--no-dashboard"]
    scheduler = zygote.start(
        ["distributed.cli.dask_scheduler", "--port", str(port), *local], folder / "scheduler.txt"
    )
    words = ["distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", *local]
    words += ["--local-directory", str(folder / "dask")]
    return address, scheduler, [zygote.start(words, folder / "workers.txt") for _ in range(2)]

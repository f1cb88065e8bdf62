"""Cases that end their process, full disks, interrupts, and several processes at once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import torchio_gpu as tio
from tests.cohort.runs import (
    Zygote,
    alive,
    children,
    command,
    deed_command,
    environment,
    make_images,
    make_table,
    records,
    remains,
    results,
    wait_for,
)
from torchio_gpu.cohort.records import process_name
from torchio_gpu.cohort.state import failures_of

HARM = {"kill": "kill", "crash": "crash"}


def outcomes(out: Path) -> dict[str, str]:
    return {id: record["status"] for id, record in records(out).items()}


@pytest.mark.parametrize("deed", HARM)
def test_a_case_that_ends_its_process_is_left_alone_after_three_attempts(
    zygote: Zygote, tmp_path: Path, log: Path, deed: str
) -> None:
    out = tmp_path / "out"
    words = deed_command(make_table(tmp_path / "in", {"a": "", "b": deed, "c": ""}), out)
    for _ in range(3):
        assert zygote.run(words, log) < 0
    assert outcomes(out) == {"a": "ok", "c": "ok"}  # which the second process computed
    for _ in range(2):
        assert zygote.run(words, log) == 1
        assert outcomes(out) == {"a": "ok", "b": "killed", "c": "ok"}
        assert not remains(out)
    assert "the process ended 3 times" in failures_of(out)[0].message


SLOW = pytest.mark.skipif("KILLS" not in os.environ, reason="takes half a minute; KILLS=1 runs it")


@pytest.mark.parametrize(
    ("deed", "outcome"),
    [
        ("kill", "killed"),
        pytest.param("wait 60", "timeout", marks=SLOW),
        pytest.param("take 30", "killed", marks=SLOW),
    ],
)
def test_workers_that_a_case_ends_are_replaced(tmp_path: Path, deed: str, outcome: str) -> None:
    out, table = tmp_path / "out", make_table(tmp_path / "in", {"a": "", "b": deed, "c": "exit"})
    words = deed_command(table, out, workers=1, timeout=20, memory="900MB", batch=2)
    # not from the zygote, so that workers begin anew as they do for users
    ended = subprocess.run(
        [sys.executable, "-m", *words], env=environment(), capture_output=True, timeout=240
    )
    said = ended.stderr.decode()
    assert ended.returncode == 1, said
    assert outcomes(out) == {"a": "ok", "b": outcome, "c": "failed"}, said
    assert not remains(out)
    assert {path.split("/")[0] for path in results(out)} == {"a"}


def test_a_case_that_takes_too_long_or_exits_is_a_failure(
    zygote: Zygote, tmp_path: Path, log: Path
) -> None:
    deeds = {"a": "", "b": "exit", "c": "wait 60"}  # the first one imports, which takes time
    out, table = tmp_path / "out", make_table(tmp_path / "in", deeds)
    assert zygote.run(deed_command(table, out, timeout=8), log) == 1, log.read_text()
    assert outcomes(out) == {"a": "ok", "b": "failed", "c": "timeout"}
    assert zygote.run(deed_command(table, out, timeout=8), log, 30) == 1  # at once
    assert not remains(out)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_is_stopped_counts_no_attempt(
    zygote: Zygote, tmp_path: Path, log: Path, number: signal.Signals, workers: int
) -> None:
    deeds = {"a": "", "b": "wait 60", "c": "wait 60", "d": "wait 60"}
    out, table = tmp_path / "out", make_table(tmp_path / "in", deeds)
    pid = zygote.start(deed_command(table, out, workers=workers, batch=1), log)
    wait_for(lambda: outcomes_so_far(out) and len(list((out / "_cohort/drafts").iterdir())) > 0)
    started, below = time.monotonic(), children(pid)
    os.killpg(pid, number)  # as a terminal and SLURM do
    assert zygote.wait(pid) == 128 + number, log.read_text()
    assert time.monotonic() - started < (12 if workers else 3)
    wait_for(lambda: not alive(below), 5)
    assert not remains(out), log.read_text()
    assert outcomes(out) == {"a": "ok"}


def outcomes_so_far(out: Path) -> dict[str, str]:
    return outcomes(out) if (out / "_cohort" / "run.json").exists() else {}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd"])
def test_a_full_disk_ends_the_run_with_a_sentence(
    zygote: Zygote, small_disk: Path, tmp_path: Path, log: Path, suffix: str
) -> None:
    out, images = small_disk / "out", make_images(tmp_path / "in", 8, 48)
    words = command(out, images, "--format", suffix)
    assert zygote.run(words, log) == 1, log.read_text()
    said = log.read_text()
    assert f"torchio-gpu: '{out}' cannot be written to (" in said, said
    assert not remains(out)
    complete = {id for id, status in outcomes(out).items() if status == "ok"}
    assert {path.split("/")[0] for path in results(out)} == complete
    assert set(outcomes(out).values()) <= {"ok"}  # no case is to blame
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert zygote.run(words, log) == 0, log.read_text()
    assert not remains(out)
    assert len(results(out)) == 16


def test_a_folder_that_becomes_read_only_or_is_removed(
    zygote: Zygote, small_disk: Path, tmp_path: Path, log: Path
) -> None:
    deeds = {"a": "", "b": "wait 1", "c": "wait 1"}
    table = make_table(tmp_path / "in", deeds)
    out = small_disk / "out"
    pid = zygote.start(deed_command(table, out), log)
    wait_for(lambda: outcomes_so_far(out))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert zygote.wait(pid) == 1
    assert f"'{out}' cannot be written to (" in log.read_text()
    out = tmp_path / "removed"
    pid = zygote.start(deed_command(table, out), log)
    wait_for(lambda: outcomes_so_far(out))
    shutil.rmtree(out)
    assert zygote.wait(pid) == 1
    assert f"'{out}' cannot be written to (" in log.read_text()
    assert not out.exists()


def test_processes_that_compute_the_same_cases(zygote: Zygote, tmp_path: Path, log: Path) -> None:
    out = tmp_path / "out"
    table = make_table(tmp_path / "in", {f"{n:02}": "" for n in range(40)})
    assert zygote.run(deed_command(table, tmp_path / "alone"), log) == 0
    pids = [zygote.start(deed_command(table, out), log) for _ in range(4)]
    pids += [zygote.start(deed_command(table, out, shard="1/2"), log) for _ in range(2)]
    assert [zygote.wait(pid) for pid in pids] == [0] * 6, log.read_text()
    assert results(out) == results(tmp_path / "alone")
    assert records(out) == records(tmp_path / "alone")
    assert not remains(out)


def preprocess(folder: Path, out: Path, **others: object) -> str:
    cohort = tio.Cohort.from_pattern(folder, {"t1": "{id}_t1.nii.gz"})
    return str(tio.preprocess(tio.RandomNoise(), cohort, out, progress=False, **others))


def test_torn_lines_and_clocks_that_are_ahead(tmp_path: Path) -> None:
    images, out = make_images(tmp_path / "in", 3, 8), tmp_path / "out"
    assert preprocess(images, out) == "3 cases: 3 computed"
    before = results(out)
    (file,) = (out / "_cohort" / "records").iterdir()
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines)[:-20])
    assert preprocess(images, out) == "3 cases: 2 computed before, 1 computed"
    assert preprocess(images, out) == "3 cases: 3 computed before"
    assert results(out) == before
    # another machine, whose clock is a day ahead, has written all records
    ahead = [json.loads(line) for path in file.parent.iterdir() for line in good_lines(path)]
    for path in file.parent.iterdir():
        path.unlink()
    file.write_text("".join(json.dumps(r | {"time": r["time"] + 86400}) + "\n" for r in ahead))
    image = images / "01_t1.nii.gz"
    tio.Crop(1)(tio.ScalarImage(image)).save(image)
    shutil.rmtree(out / "02")
    assert preprocess(images, out) == "3 cases: 1 computed before, 2 computed"
    assert preprocess(images, out) == "3 cases: 3 computed before"
    image.write_bytes(b"")
    assert preprocess(images, out) == "3 cases: 2 computed before, 1 failed"
    assert [failure.id for failure in failures_of(out)] == ["01"]
    assert not (out / "01").exists()
    assert not remains(out)


def good_lines(path: Path) -> Iterator[bytes]:
    for line in path.read_bytes().splitlines():
        if line.endswith(b"}"):
            yield line


def test_records_of_another_recipe_do_not_count(tmp_path: Path) -> None:
    images, out, other = make_images(tmp_path / "in", 2, 8), tmp_path / "out", tmp_path / "other"
    preprocess(images, out)
    preprocess(images, other, seed=1)
    for file in (other / "_cohort" / "records").iterdir():
        shutil.copy(file, out / "_cohort" / "records" / f"other-{file.name}")
    shutil.rmtree(out / "00")
    assert preprocess(images, out) == "2 cases: 1 computed before, 1 computed"
    with pytest.raises(ValueError, match="another seed"):
        preprocess(images, out, seed=1)
    shutil.rmtree(out / "01")
    assert preprocess(images, out, seed=1, force=True) == "2 cases: 2 computed"
    assert results(out) == results(other)
    assert preprocess(images, out, seed=1) == "2 cases: 2 computed before"


def test_drafts_that_other_processes_left(tmp_path: Path) -> None:
    images, out = make_images(tmp_path / "in", 2, 8), tmp_path / "out"
    preprocess(images, out)
    drafts, ended = out / "_cohort" / "drafts", subprocess.Popen(["true"])
    ended.wait()
    host = process_name().rsplit("-", 2)[0]
    (drafts / f"00@{host}-{ended.pid}-0123abcd").mkdir()
    (drafts / f"_run.json@{host}-{ended.pid}-0123abcd").mkdir()
    (drafts / "01@elsewhere-1-0123abcd").mkdir()
    assert preprocess(images, out) == "2 cases: 2 computed before"
    assert [path.name for path in drafts.iterdir()] == ["01@elsewhere-1-0123abcd"]
    day_ago = time.time() - 90000
    os.utime(drafts / "01@elsewhere-1-0123abcd", (day_ago, day_ago))
    preprocess(images, out)
    assert not remains(out)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd"])
def test_results_are_the_same_bytes_whoever_computes(
    zygote: Zygote, tmp_path: Path, log: Path, suffix: str
) -> None:
    images = make_images(tmp_path / "in", 5, 20)
    base = ("--format", suffix, "--copies", "2")
    assert zygote.run(command(tmp_path / "0", images, *base), log) == 0, log.read_text()
    expected = results(tmp_path / "0")
    assert len(expected) == 20
    for number in (3, 1, 2):
        words = command(tmp_path / "shards", images, *base, "--shard", f"{number}/3")
        assert zygote.run(words, log) == 0
    assert results(tmp_path / "shards") == expected
    for count in (1, 2) if suffix == ".nii.gz" else ():
        words = command(tmp_path / str(count), images, *base, "--workers", str(count))
        assert zygote.run(words, log) == 0
        assert results(tmp_path / str(count)) == expected


def test_results_do_not_depend_on_threads(tmp_path: Path) -> None:
    import torch

    images = make_images(tmp_path / "in", 2, 40)
    cohort = tio.Cohort.from_pattern(
        images, {"t1": "{id}_t1.nii.gz", "seg:label": "{id}_seg.nii.gz"}
    )
    steps = [tio.RandomAffine(), tio.Blur(2), tio.RandomNoise(), tio.ZNormalization()]
    before = torch.get_num_threads()
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            tio.preprocess(tio.Compose(steps), cohort, tmp_path / str(threads), progress=False)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert results(tmp_path / "1") == results(tmp_path / "4")

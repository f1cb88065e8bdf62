"""Downloads: resumed, checked, tried again, and whole or not there."""

from __future__ import annotations

import hashlib
import multiprocessing
import random
import socket
import time
from pathlib import Path

import pytest

from tests.datasets.server import Served
from torchio_gpu.datasets.download import cache_folder, download

DATA = random.Random(0).randbytes(3_000_000)
OTHER = random.Random(1).randbytes(2_500_000)
HALF = len(DATA) // 2


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "file.bin"


@pytest.fixture
def url(server: Served) -> str:
    server.files["/file.bin"] = DATA
    server.tags["/file.bin"] = '"first"'
    return f"{server.url}/file.bin"


def left(target: Path) -> list[str]:
    """Names of the files beside a target that hold bytes."""
    return sorted(path.name for path in target.parent.iterdir() if path.stat().st_size)


def test_a_file_is_downloaded_once(server, url, target):
    checksums = {name: hashlib.new(name, DATA).hexdigest() for name in ("sha256", "md5")}
    for _ in range(2):
        assert download(url, target, **checksums) == target
    assert target.read_bytes() == DATA
    assert len(server.requests) == 1
    assert left(target) == ["file.bin"]


def test_a_dropped_connection_is_resumed(server, url, target):
    server.cuts = [HALF]
    download(url, target)
    assert target.read_bytes() == DATA
    assert server.ranges_asked() == [None, f"bytes={HALF}-"]
    assert server.requests[1][1]["If-Range"] == '"first"'
    assert left(target) == ["file.bin"]


def test_a_later_call_resumes(server, url, target):
    server.cuts = [HALF]
    with pytest.raises(OSError, match=r"file\.bin cannot be downloaded, in 1 tries"):
        download(url, target, tries=1)
    assert not target.exists()
    download(url, target)
    assert target.read_bytes() == DATA
    assert server.ranges_asked() == [None, f"bytes={HALF}-"]


def test_a_server_without_ranges_starts_over(server, url, target):
    server.cuts, server.ranges = [HALF], False
    download(url, target)
    assert target.read_bytes() == DATA
    assert server.ranges_asked() == [None, f"bytes={HALF}-"]


def test_a_file_that_has_changed_starts_over(server, url, target):
    server.cuts = [HALF]
    with pytest.raises(OSError, match="in 1 tries"):
        download(url, target, tries=1)
    server.files["/file.bin"], server.tags["/file.bin"] = OTHER, '"second"'
    download(url, target)
    assert target.read_bytes() == OTHER


def test_a_server_that_ignores_versions_starts_over(server, url, target):
    """Answers with the rest of another file, as it looks at Range alone, but names its version."""
    server.cuts = [HALF]
    with pytest.raises(OSError, match="in 1 tries"):
        download(url, target, tries=1)
    (target.parent / "file.bin.part.version").write_text(f'{url}\n"older"', "utf-8")
    answer = server.tags["/file.bin"]
    server.tags["/file.bin"] = Equal(answer)
    download(url, target)
    assert target.read_bytes() == DATA
    assert server.ranges_asked() == [None, f"bytes={HALF}-", None]


class Equal(str):
    """Tag that equals any other."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


@pytest.mark.parametrize("checksum", [False, True])
def test_without_a_version_only_a_checksum_lets_resume(server, url, target, checksum):
    del server.tags["/file.bin"]
    server.cuts = [HALF]
    download(url, target, md5=hashlib.md5(DATA).hexdigest() if checksum else None)
    assert target.read_bytes() == DATA
    assert server.ranges_asked() == [None, f"bytes={HALF}-" if checksum else None]


def test_a_weak_tag_is_no_version(server, url, target):
    server.tags["/file.bin"] = 'W/"first"'
    server.cuts = [HALF]
    download(url, target)
    assert server.ranges_asked() == [None, None]


def test_another_address_starts_over(server, url, target):
    server.cuts = [HALF]
    with pytest.raises(OSError, match="in 1 tries"):
        download(url, target, tries=1)
    server.files["/other.bin"], server.tags["/other.bin"] = OTHER, '"first"'
    download(f"{server.url}/other.bin", target)
    assert target.read_bytes() == OTHER


def test_a_complete_part_needs_no_more_bytes(server, url, target):
    target.parent.mkdir()
    (target.parent / "file.bin.part").write_bytes(DATA)
    download(url, target, md5=hashlib.md5(DATA).hexdigest())
    assert target.read_bytes() == DATA
    assert server.ranges_asked() == [f"bytes={len(DATA)}-"]
    assert left(target) == ["file.bin"]


def test_a_part_that_is_too_long_starts_over(server, url, target):
    target.parent.mkdir()
    (target.parent / "file.bin.part").write_bytes(DATA + b"more")
    download(url, target, md5=hashlib.md5(DATA).hexdigest())
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("name", ["sha256", "md5"])
def test_another_checksum_is_an_error_and_leaves_nothing(url, target, name):
    wrong = hashlib.new(name, OTHER).hexdigest()
    right = hashlib.new(name, DATA).hexdigest()
    with pytest.raises(ValueError, match=f"must have {name} {wrong}, got {right}"):
        download(url, target, **{name: wrong})
    assert left(target) == []


def test_errors_of_the_server_are_tried_again(server, url, target):
    server.statuses = [503, 500]
    download(url, target)
    assert target.read_bytes() == DATA
    assert len(server.requests) == 3


def test_refusals_are_not_tried_again(server, target):
    with pytest.raises(OSError, match=r"none\.bin cannot be downloaded: HTTP Error 404"):
        download(f"{server.url}/none.bin", target)
    assert len(server.requests) == 1
    assert left(target) == []


def test_a_server_that_does_not_answer_is_an_error(server, url, target):
    closed = url.replace(server.url, "http://127.0.0.1:9")  # discard, which nobody listens on
    with pytest.raises(OSError, match="in 2 tries"):
        download(closed, target, tries=2)


def test_a_server_that_falls_silent_is_an_error(target):
    start = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file.bin"
        with pytest.raises(OSError, match=r"in 1 tries; the last error: .*timed out"):
            download(url, target, timeout=0.2, tries=1)
    assert time.monotonic() - start < 20  # seconds, where the default would wait for 30


def test_files_of_unknown_length_are_downloaded(server, url, target):
    server.sized = False
    download(url, target)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a.b/c", "data:,x", "x.bin"])
def test_other_schemes_are_refused(url, target):
    with pytest.raises(ValueError, match="url must have scheme http or https"):
        download(url, target)


def test_arguments_are_checked(url, target):
    with pytest.raises(ValueError, match="tries must be at least 1, got 0"):
        download(url, target, tries=0)
    with pytest.raises(TypeError, match="md5 must be a string or None"):
        download(url, target, md5=5)


def _download(url: str, target: Path) -> None:
    download(url, target)


def test_processes_that_want_the_same_file_share_it(server, url, target):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_download, args=(url, target)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert target.read_bytes() == DATA
    assert len(server.requests) == 1
    assert left(target) == ["file.bin"]


def test_the_cache_folder_is_that_of_the_variable(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("TORCHIO_GPU_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "torchio_gpu"

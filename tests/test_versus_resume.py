"""Interrupted runs are continued, or the reason why not is given."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.versus import harness, resume

OPS = ("affine", "flip", "noise", "motion")


class Stub(AbstractContextManager["Stub"]):
    """Contender that records the operations it times and may be interrupted."""

    versions: dict[str, str]
    asked: list[tuple[str, str, str]]
    stop_at: tuple[str, str, str] | None

    def __init__(self, peer: str, python: str, threads: int, device: str) -> None:
        self.peer, self.workload = peer, ""
        self.ops = ["copy", *OPS]
        facts = {"name": peer, "version": self.versions[peer], "python": "3", "torch": "2"}
        self.facts = {**facts, "ops": list(OPS), "device": "cpu"}

    def __exit__(self, *_: object) -> None:
        pass

    def load(self, workload: str) -> None:
        self.workload = workload

    def check(self, op: str) -> None:
        job = self.peer, self.workload, op
        if job == self.stop_at:
            raise KeyboardInterrupt
        if op != "copy":
            self.asked.append(job)

    def turn(self, op: str, calls: int) -> list[float]:
        return [0.001 * (1 + len(op)) + (self.peer == "slow")] * calls

    def memory(self, op: str) -> float:
        self.check(f"memory of {op}")
        return 1.5


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> type[Stub]:
    """Contenders whose calls take no time."""
    Stub.versions = {harness.OURS: "1", "slow": "1"}
    Stub.asked, Stub.stop_at = [], None
    monkeypatch.setattr(harness, "Remote", Stub)
    monkeypatch.setattr(resume, "code", lambda: "as it is")
    monkeypatch.setattr(harness.records, "stamp", _stamp)
    return Stub


def _stamp(suite: str, device: str, threads: int) -> dict[str, Any]:
    stamp = dict.fromkeys(resume.SAME, "some")
    return {**stamp, "suite": suite, "device": device, "threads": threads, "date": "today"}


def _run(file: Path | None, **options: Any) -> dict[str, Any]:
    pythons = {harness.OURS: "python", "slow": "python"}
    chosen = {"workloads": ["CPU", "W0"], "ops": OPS, "threads": 1, **options}
    return harness.run(harness.Options(pythons=pythons, **chosen), lambda result: file)


def _jobs() -> Iterator[tuple[str, str, str]]:
    for workload in ("CPU", "W0"):
        for op in OPS:
            for peer in (harness.OURS, "slow"):
                yield peer, workload, op


def test_an_interrupted_run_is_continued(
    stub: type[Stub], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "result.json"
    whole = _run(None)
    peaks = [(peer, "CPU", "memory of motion") for peer in (harness.OURS, "slow")]
    assert stub.asked == [*_jobs(), *peaks]
    assert not any(tmp_path.iterdir())
    # In the second operation, in the second workload, in the last.
    stops = ("slow", "CPU", "flip"), ("slow", "W0", "affine"), ("slow", "CPU", "memory of motion")
    stub.asked.clear()
    for stop in stops:
        stub.stop_at = stop
        with pytest.raises(KeyboardInterrupt):
            _run(file)
        assert [path.name for path in tmp_path.iterdir()] == ["result.json.part"]
    stub.stop_at = None
    assert _run(file) == whole
    # Nothing was measured twice but by the one who had finished when the other was interrupted.
    twice = [job for job in stub.asked if stub.asked.count(job) > 1]
    assert set(twice) == {(harness.OURS, "CPU", "flip"), (harness.OURS, "W0", "affine")}
    assert set(stub.asked) == {*_jobs(), *peaks}
    said = capsys.readouterr().err
    assert "goes on with a run of today: 3 rows are there" in said
    assert "10 of 10 done, some 0 min left" in said
    resume.done(file)
    assert not any(tmp_path.iterdir())
    resume.done(file)  # nothing was kept


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda stub, patch: stub.versions.update(slow="2"), "contender slow was {"),
        (lambda stub, patch: patch(resume, "code", lambda: "changed"), "code was as it is, is ch"),
        (
            lambda stub, patch: patch(
                harness.records, "stamp", lambda *given: {**_stamp(*given), "commit": "other"}
            ),
            "commit was some, is other",
        ),
    ],
)
def test_a_changed_run_is_restarted(
    change: Callable[[type[Stub], Any], None],
    reason: str,
    stub: type[Stub],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "result.json"
    stub.stop_at = "slow", "W0", "flip"
    with pytest.raises(KeyboardInterrupt):
        _run(file)
    stub.stop_at = None
    stub.asked.clear()
    change(stub, monkeypatch.setattr)
    _run(file)
    assert stub.asked[: len(OPS) * 4] == list(_jobs())
    assert f"starts anew: {reason}" in capsys.readouterr().err


def test_other_options_restart_the_run(
    stub: type[Stub], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "result.json"
    _run(file, repeats=2)
    _run(file, repeats=3)
    assert "starts anew: repeats was 2, is 3" in capsys.readouterr().err
    _run(file, repeats=3, threads=2)
    assert "starts anew: threads was 1, is 2" in capsys.readouterr().err


def test_an_unreadable_file_is_ignored(
    stub: type[Stub], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "result.json"
    for text in ("{", "[]", '{"conditions": {}}'):
        resume.part(file).write_text(text, encoding="utf-8")
        _run(file)
        assert "starts anew: result.json.part cannot be read" in capsys.readouterr().err
    kept = json.loads(resume.part(file).read_text(encoding="utf-8"))
    assert kept["result"]["rows"]


def test_the_digest_changes_with_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "ROOT", tmp_path)
    file = tmp_path / resume.CODE[0] / "room" / "module.py"
    file.parent.mkdir(parents=True)
    file.write_text("x = 1", encoding="utf-8")
    before = resume.code()
    assert resume.code() == before
    file.write_text("x = 2", encoding="utf-8")
    assert resume.code() != before

"""Environments of peers: missing ones are built, all are found, and failures are not fatal."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from benchmarks.versus import environments, remote

INDEX = "ERROR: No matching distribution found for torchio==2.0.0a2"
GIT = "fatal: unable to access 'somewhere': Could not resolve host\nerror: subprocess-exited"


class StubShell:
    """Record commands instead of running them; installing an absent package fails."""

    def __init__(self, folder: Path, absent: dict[str, str]) -> None:
        self.folder, self.absent = folder, absent
        self.installed: list[str] = []
        self.constraints: list[str] = []

    def __call__(self, *command: str) -> str:
        if command[1:3] == ("-m", "venv"):
            Path(command[3], "packages").mkdir(parents=True)
            return ""
        peer = Path(command[0]).relative_to(self.folder).parts[0]
        if command[1] == "-c":
            return f"{self.folder / peer / 'packages'}\n"
        if peer in self.absent:
            raise subprocess.CalledProcessError(1, command, stderr=self.absent[peer])
        self.installed.append(command[-1])
        pinned = command[command.index("--constraint") + 1]
        self.constraints.append(Path(pinned).read_text(encoding="utf-8"))
        return ""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty folder of environments; this interpreter has no peers."""
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    monkeypatch.setattr(environments, "here", lambda peer: False)
    monkeypatch.delenv(environments.BATCHAUG, raising=False)
    monkeypatch.delenv(remote.VARIABLE, raising=False)
    return tmp_path


def _shell(folder: Path, monkeypatch: pytest.MonkeyPatch, **absent: str) -> StubShell:
    shell = StubShell(folder, absent)
    monkeypatch.setattr(environments, "_run", shell)
    return shell


def test_missing_environments_are_built_and_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = _shell(folder, monkeypatch)
    assert remote.interpreters([]) == {}
    environments.main()
    expected = {peer: str(folder / peer / "bin" / "python") for peer in environments.PEERS}
    assert capsys.readouterr().out.splitlines() == [f"{p}={where}" for p, where in expected.items()]
    assert shell.installed == list(environments.PEERS.values())
    # All run the torch of this interpreter: it is shared, and pip may not bring another.
    assert set(shell.constraints) == {f"torch=={metadata.version('torch')}\n"}
    shared = (folder / "kornia" / "packages" / "shared.pth").read_text(encoding="utf-8")
    assert any(Path(line, "torch").is_dir() for line in shared.splitlines())
    # Found without being told; what is told wins.
    assert remote.interpreters([]) == expected
    given = remote.interpreters(["kornia=mine"], {remote.VARIABLE: "torchio2=other"})
    assert given == {**expected, "kornia": "mine", "torchio2": "other"}


def test_complete_environments_are_kept_and_interrupted_ones_rebuilt(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = _shell(folder, monkeypatch)
    environments.main()
    shell.installed.clear()
    environments.main()
    assert shell.installed == []
    (folder / "kornia" / environments.MARKER).unlink()
    left_over = folder / "kornia" / "left-over"
    left_over.touch()
    another = {**environments.PEERS, "cornucopia": "cornucopia==9"}
    monkeypatch.setattr(environments, "PEERS", another)
    assert not {"kornia", "cornucopia"} & set(remote.interpreters([]))
    environments.main()
    assert shell.installed == ["cornucopia==9", environments.PEERS["kornia"]]
    assert not left_over.exists()
    assert {"kornia", "cornucopia"} < set(remote.interpreters([]))
    # What shares with another interpreter than this one is no use to it.
    monkeypatch.setattr(environments, "shared", lambda: ["other/site-packages"])
    assert remote.interpreters([]) == {}


def test_failures_are_reported_and_other_environments_built(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = _shell(folder, monkeypatch, torchio2=INDEX, batchaug=GIT)
    environments.main()
    said = capsys.readouterr()
    assert "torchio2: failed, and is left out: No matching distribution found" in said.err
    assert "batchaug: failed, and is left out: unable to access 'somewhere'" in said.err
    names = [line.partition("=")[0] for line in said.out.splitlines()]
    assert names == ["monai", "cornucopia", "batchgeneratorsv2", "kornia"]
    assert set(remote.interpreters([])) == set(names)
    # They are tried again the next time.
    shell.absent.clear()
    environments.main()
    assert shell.installed[-2:] == [environments.PEERS[name] for name in ("torchio2", "batchaug")]


def test_no_interpreter_to_build_with_is_a_failure(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", str(folder / "no-such-python"))
    environments.main()
    assert capsys.readouterr().err.count("failed, and is left out") == len(environments.PEERS)


def test_batchaug_can_be_taken_from_elsewhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(environments.BATCHAUG, "a/folder")
    shell = _shell(folder, monkeypatch)
    environments.main()
    assert shell.installed[-1] == "a/folder"
    assert environments.PEERS["kornia"] in shell.installed
    # Once built, it is found wherever it came from.
    monkeypatch.delenv(environments.BATCHAUG)
    assert "batchaug" in remote.interpreters([])


def test_peers_of_this_interpreter_need_no_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(environments, "FOLDER", folder)
    versions = {"kornia": "0.9.0", "torchio": "1.2.1", "batchaug": "3"}

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "version", version)
    found = [peer for peer in environments.PEERS if environments.here(peer)]
    assert found == ["kornia", "batchaug"]  # TorchIO is there, but another one
    monkeypatch.setattr(environments, "PEERS", {"kornia": "kornia==0.9.0"})
    _shell(folder, monkeypatch)
    environments.main()
    assert "kornia: this interpreter has it" in capsys.readouterr().err
    assert not any(folder.iterdir())


def test_each_environment_belongs_to_a_contender() -> None:
    assert set(environments.PEERS) < set(remote.peers())
    assert environments.FOLDER.parent == remote.ROOT

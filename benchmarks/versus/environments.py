"""An environment for each peer that needs one: ``python -m benchmarks.versus.environments``.

They lie in ``.venv-peers/`` and hold what a peer brings along. Torch, and whatever else suits it,
is that of the interpreter which builds them. What is there already stays, so that a build which was
interrupted goes on. A peer that cannot be installed is named, and the others are built all the
same. Prints NAME=PYTHON of all there are; ``python -m benchmarks`` finds them by itself.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from ..machine import ROOT

FOLDER = ROOT / ".venv-peers"
#: What is installed for each peer. The others come with this library's extra 'parity'.
PEERS = {
    "monai": "monai[skimage,pydicom]==1.6.1",  # which some of its transforms need
    "torchio2": "torchio==2.0.0a2",
    "cornucopia": "cornucopia==0.5.1",
    "batchgeneratorsv2": "batchgeneratorsv2==0.3.6",
    "kornia": "kornia==0.9.0",
    "batchaug": "git+https://github.com/halleewong/batchaug",  # no index has it
}
#: Where to take BatchAug from instead: a folder, or "git+..." for pip.
BATCHAUG = "TORCHIO_GPU_BENCH_BATCHAUG"
#: Written last, in the folder of an environment: one without it was interrupted.
MARKER = "ready"


def requirement(peer: str, environment: Mapping[str, str] = os.environ) -> str:
    """What pip is asked for."""
    return (peer == "batchaug" and environment.get(BATCHAUG)) or PEERS[peer]


def python(peer: str) -> Path:
    """The interpreter of a peer, whether built or not."""
    return FOLDER / peer / "bin" / "python"


def shared() -> list[str]:
    """Folders with packages of this interpreter, torch among them."""
    return [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]


def complete(peer: str) -> bool:
    """Whether a peer has an environment that was finished, and shares with this interpreter."""
    marker = FOLDER / peer / MARKER
    return marker.exists() and marker.read_text(encoding="utf-8") == _mark(peer)


def built() -> dict[str, str]:
    """Interpreters of the peers that have an environment."""
    return {peer: str(python(peer)) for peer in PEERS if complete(peer)}


def here(peer: str) -> bool:
    """Whether this interpreter has the peer, in the version that is asked for."""
    name, _, wanted = PEERS[peer].rpartition("/")[2].partition("==")
    try:
        return metadata.version(name) == (wanted or metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def build(peer: str, asked: str) -> None:
    """Make an environment, anew if there is a part of it.

    Args:
        peer: Whose.
        asked: What pip installs.

    Raises:
        subprocess.CalledProcessError: A step failed; its output says why.
    """
    folder = FOLDER / peer
    shutil.rmtree(folder, ignore_errors=True)
    _run(sys.executable, "-m", "venv", str(folder))
    program = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(_run(str(python(peer)), "-c", program).strip())
    # Stands behind what is installed there, which so comes first.
    (packages / "shared.pth").write_text("\n".join(shared()) + "\n", encoding="utf-8")
    pinned = folder / "constraints.txt"
    pinned.write_text(f"torch=={metadata.version('torch')}\n", encoding="utf-8")
    pip = [str(python(peer)), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    _run(*pip, "--constraint", str(pinned), asked)
    (folder / MARKER).write_text(_mark(peer), encoding="utf-8")


def main() -> None:
    """Build what is missing."""
    for peer in PEERS:
        asked = requirement(peer)
        if complete(peer):
            continue
        if here(peer):
            log(f"{peer}: this interpreter has it")
            continue
        log(f"{peer}: installing {asked}")
        try:
            build(peer, asked)
        except (OSError, subprocess.CalledProcessError) as error:
            log(f"{peer}: failed, and is left out: {_reason(error)}")
    for peer, where in built().items():
        print(f"{peer}={where}")


def _mark(peer: str) -> str:
    return "\n".join([PEERS[peer], *shared()]) + "\n"


def _run(*command: str) -> str:
    # Nobody is there to be asked for a password.
    quiet = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(command, check=True, capture_output=True, encoding="utf-8", env=quiet)
    return done.stdout


def _reason(error: OSError | subprocess.CalledProcessError) -> str:
    """What git calls fatal, or the last line that pip calls an error."""
    if isinstance(error, OSError):
        return str(error)
    for word in ("fatal", "ERROR", "error"):
        if lines := re.findall(rf"\b{word}: (.+)", error.stderr):
            return str(lines[-1])
    return f"exit status {error.returncode}"


def log(line: str) -> None:
    """Progress, apart from the list on stdout."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

"""An environment for each rival that needs one: ``python -m benchmarks.environments``.

They lie in ``.venv-peers/`` and hold what a rival brings along. Torch, and whatever else suits it,
is that of the interpreter which builds them: installing torch for each would take gigabytes. What
is there already stays. A rival that cannot be installed is named, and the others are built all the
same.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from .machine import ROOT

FOLDER = ROOT / ".venv-peers"
#: No index has BatchAug: the variable may name a folder to take it from instead.
BATCHAUG = "TORCHIO_GPU_BENCH_BATCHAUG"
#: What is installed for each rival; TorchIO 1 comes with this library's extra 'parity'.
RIVALS = {
    "monai": "monai[skimage,pydicom]==1.6.1",  # which some of its transforms need
    "torchio2": "torchio==2.0.0a2",
    "cornucopia": "cornucopia==0.5.1",
    "batchgeneratorsv2": "batchgeneratorsv2==0.3.6",
    "kornia": "kornia==0.9.0",
    "batchaug": "git+https://github.com/halleewong/batchaug",
}


def _shared() -> list[str]:
    """Folders with packages of this interpreter, torch among them."""
    return [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]


def _mark(name: str) -> str:
    """What is written last into an environment: one without it was interrupted."""
    return "\n".join([RIVALS[name], *_shared()]) + "\n"


def built() -> dict[str, str]:
    """Interpreters of the rivals that have an environment."""
    marks = {name: FOLDER / name / "ready" for name in RIVALS}
    whole = [n for n, m in marks.items() if m.exists() and m.read_text("utf-8") == _mark(n)]
    return {name: str(FOLDER / name / "bin" / "python") for name in whole}


def build(name: str, asked: str) -> None:
    """Make an environment, anew if there is a part of it.

    Raises:
        subprocess.CalledProcessError: A step failed; its output says why.
    """
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    _run(sys.executable, "-m", "venv", str(folder))
    python = str(folder / "bin" / "python")
    packages = _run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    # Stands behind what is installed there, which so comes first.
    Path(packages, "shared.pth").write_text("\n".join(_shared()) + "\n", "utf-8")
    pinned = folder / "constraints.txt"
    pinned.write_text(f"torch=={metadata.version('torch')}\n", "utf-8")
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    _run(*pip, "--constraint", str(pinned), asked)
    (folder / "ready").write_text(_mark(name), "utf-8")


def _run(*command: str) -> str:
    # Nobody is there to be asked for a password.
    quiet = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(command, check=True, capture_output=True, encoding="utf-8", env=quiet)
    return done.stdout


def main() -> None:
    """Build what is missing."""
    for name, asked in RIVALS.items():
        asked = (name == "batchaug" and os.environ.get(BATCHAUG)) or asked
        if name not in built():
            print(f"{name}: installing {asked}", flush=True)
            try:
                build(name, asked)
            except (OSError, subprocess.CalledProcessError) as error:
                said = getattr(error, "stderr", "") or str(error)
                print(f"{name}: failed, and is left out: {said.strip()[-300:]}")


if __name__ == "__main__":
    main()

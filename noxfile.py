"""Releases in fresh environments: ``nox``, or ``nox -s installed-3.12`` for one Python.

The sdist is built, and the wheel from it. Both are installed where nothing else is, and a program
of the sdist runs what users run first, also without each package that one can do without.

``nox -s rivals`` makes an environment for each library that the benchmarks compare with.
"""

import shutil
import sys
from importlib import metadata
from pathlib import Path

import nox

sys.path.insert(0, str(Path(__file__).parent))

from benchmarks import environments

ROOT = Path(__file__).parent
#: Packages that are removed in turn.
REMOVED = ("nibabel", "SimpleITK", "triton", "numba")
#: What the sdist must hold besides that program.
PACKAGED = ("README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "kernels", "conftest.py")
PINS = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
TORCH = next(pin for pin in PINS if pin.startswith("torch=="))
nox.options.default_venv_backend = "venv"
nox.options.sessions = ["installed"]


@nox.session(python=["3.10", "3.11", "3.12", "3.13"])
def installed(session: nox.Session) -> None:
    """Run what users run first: of the wheel, of the sdist, and without each package in turn."""
    folder = Path(session.create_tmp()).resolve()
    shutil.rmtree(folder)  # with packages of earlier versions
    folder.mkdir()
    session.install("build")
    session.run("python", "-m", "build", "--outdir", str(folder), silent=True)
    session.run("pip", "uninstall", "--yes", "--quiet", "build", "pyproject_hooks", "packaging")
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    shutil.unpack_archive(sdist, folder)
    source = folder / sdist.name.removesuffix(".tar.gz")
    if missing := [name for name in PACKAGED if not (source / name).exists()]:
        session.error(f"the sdist must hold {', '.join(missing)}")
    session.install(TORCH, f"{wheel}[cpu]", "triton")
    session.chdir(folder)
    check = ("python", "-I", str(source / "tests" / "installed.py"))
    session.run(*check)
    for package in REMOVED:
        session.run("pip", "uninstall", "--yes", "--quiet", package)
        session.run(*check, package)
        session.install(package)
    session.install("--force-reinstall", "--no-deps", str(sdist))
    session.run(*check)


@nox.session(reuse_venv=True)
@nox.parametrize("name", [nox.param(name, id=name) for name in environments.RIVALS])
def rivals(session: nox.Session, name: str) -> None:
    """Install a library beside the packages of this interpreter; what it brings comes first."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = session.run("python", "-c", code, silent=True).strip()
    Path(packages, "shared.pth").write_text(environments.shared() + "\n", "utf-8")
    session.install(f"torch=={metadata.version('torch')}", environments.asked(name))
    environments.mark(name).write_text(environments.facts(name), "utf-8")

"""Where numbers were measured: hardware, versions and commit. No host names, no paths."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from .failure import FailureError

ROOT = Path(__file__).resolve().parent.parent


def threads() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def device(wanted: str) -> str:
    """'cpu' or 'cuda'; for 'auto', the GPU if torch can use one.

    Raises:
        FailureError: A GPU is wanted, and there is none.
    """
    import torch  # tables are made without it

    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise FailureError("there is no GPU that torch can use")
    return wanted if wanted != "auto" else "cuda" if there else "cpu"


def version(package: str) -> str | None:
    """Return the version of a package that is installed; None without it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def describe(device: str = "cpu") -> dict[str, Any]:
    """The machine, for a result.

    Args:
        device: 'cpu' or 'cuda': whether its GPU was used.
    """
    gpu = None
    if device == "cuda":
        import torch

        gpu = torch.cuda.get_device_name()
    ram = None  # Windows does not tell
    if hasattr(os, "sysconf"):
        ram = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)
    return {
        "cpu": _cpu(),
        "cores": threads(),
        "ram_gb": ram,
        "os": _os(),
        "gpu": gpu,
    }


def slug(machine: dict[str, Any]) -> str:
    """The machine in a file's name, from its CPU."""
    model = re.sub(r"\((r|tm)\)|\bcpu\b|\bprocessor\b|@.*", " ", machine["cpu"].lower())
    words = re.findall(r"[a-z0-9.]+", model)
    return "-".join([*words, f"{machine['cores']}-cores"])


def device_slug(machine: dict[str, Any]) -> str:
    """The device in a file's name."""
    return "-".join(re.findall(r"[a-z0-9]+", (machine["gpu"] or "cpu").lower()))


def commit() -> dict[str, Any]:
    """Commit of the code and whether it was changed since; results and pages do not count."""
    head = _git("rev-parse", "--short=10", "HEAD")
    state = _git(
        "status", "--porcelain", "--", ".", ":!benchmarks/results", ":!README.md", ":!docs"
    )
    return {"commit": head, "dirty": None if state is None else bool(state)}


def _git(*arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _cpu() -> str:
    try:
        found = re.search(
            r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8")
        )
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _os() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"

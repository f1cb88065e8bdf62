"""Hardware, versions and commit of measurements. No host names, no paths."""

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
    """Return how many cores this process may use."""
    several = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if several else os.cpu_count() or 1


def device(wanted: str) -> str:
    """Return 'cpu' or 'cuda'; for 'auto', the GPU if torch can use one.

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
    """Return the machine; its GPU where that is the device."""
    gpu, ram, cpu = None, None, platform.processor() or platform.machine()
    if device == "cuda":
        import torch

        gpu = torch.cuda.get_device_name()
    if hasattr(os, "sysconf"):  # Windows does not tell
        ram = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)
    system = f"{platform.system()} {platform.release()}"
    if platform.system() == "Linux":
        facts = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        cpu = re.findall(r"model name\s*:\s*(.+)", facts + f"\nmodel name: {cpu}")[0].strip()
        system = platform.freedesktop_os_release().get("PRETTY_NAME", system)
    return {"cpu": cpu, "cores": threads(), "ram_gb": ram, "os": system, "gpu": gpu}


def slug(machine: dict[str, Any]) -> str:
    """Return machine and device as a part of a file's name."""
    model = re.sub(r"\((r|tm)\)|\bcpu\b|\bprocessor\b|@.*", " ", machine["cpu"].lower())
    words = re.findall(r"[a-z0-9.]+", model)
    device = re.findall(r"[a-z0-9]+", (machine["gpu"] or "cpu").lower())
    return f"{'-'.join([*words, str(machine['cores']), 'cores'])}--{'-'.join(device)}"


def commit() -> dict[str, Any]:
    """Return the commit of the code and whether it was changed since, pages and results left out.

    Both are None where there is no repository.
    """
    git = ["git", "--no-optional-locks", "-C", str(ROOT)]
    left_out = (":!benchmarks/results", ":!README.md", ":!docs")
    head = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], **_QUIET)
    state = subprocess.run([*git, "status", "--porcelain", "--", ".", *left_out], **_QUIET)
    known = head.returncode == 0
    return {
        "commit": head.stdout.strip() if known else None,
        "dirty": bool(state.stdout.strip()) if known else None,
    }


_QUIET: dict[str, Any] = {"capture_output": True, "encoding": "utf-8"}

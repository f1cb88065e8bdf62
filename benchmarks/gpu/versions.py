"""Machine, card, versions and copy bandwidth: ``python -m benchmarks.gpu.versions``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import clock, machine
from ..versus.harness import statistics
from . import parser, stamp, write

#: Bytes that are copied: far more than any cache holds.
_BYTES = 2**30
#: Packages whose version is told, and whether they are there at all.
PACKAGES = ("numpy", "scipy", "SimpleITK", "nibabel", "monai", "batchaug", "pytest-xdist")


def run(device: str, tiny: bool) -> dict[str, Any]:
    """Look at the machine, and time a copy."""
    import torch

    found = stamp("versions", device, tiny)
    found["packages"] = {name: machine.version(name) for name in PACKAGES}
    size = 2**20 if tiny else _BYTES
    x = torch.rand(size // 4, device=device)
    y = torch.empty_like(x)
    if device == "cuda":
        card = torch.cuda.get_device_properties(0)
        found["card"] = {
            "memory_gb": round(card.total_memory / 2**30),
            "multiprocessors": card.multi_processor_count,
            "l2_mb": round(card.L2_cache_size / 2**20),
            "capability": f"{card.major}.{card.minor}",
            "cuda": torch.version.cuda,
        }
        seconds = clock.on_device([lambda: y.copy_(x)], 20).seconds
    else:
        seconds = [clock.end_to_end(lambda: y.copy_(x), False) for _ in range(3)]
    found["copy"] = {"bytes": 2 * size, **statistics(seconds)}
    found["copy"]["tb_per_s"] = round(2 * size / found["copy"]["median_ms"] / 1e9, 3)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print and write the facts."""
    given = parser("versions", __doc__).parse_args(arguments)
    found = run(machine.device(given.device), given.tiny)
    for name in ("machine", "card", "torch", "triton", "packages", "copy"):
        print(f"{name}: {found.get(name)}")
    write(found, given.output)


if __name__ == "__main__":
    main()

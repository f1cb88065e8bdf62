"""The process that runs cases: ``python -m tests.robustness.worker FUZZER SEED``.

Reads numbers of cases from its input, a line each, and answers with a line of JSON each.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import sys
import tempfile
from pathlib import Path

from .pool import MEMORY


def limit_memory() -> None:
    """Limit the address space, on systems that support it, so that large allocations fail."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):  # not Linux
        return
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main(fuzzer: str, seed: int) -> None:
    faulthandler.enable()
    module = importlib.import_module(f"tests.robustness.{fuzzer}")
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print do not disturb the protocol
    with tempfile.TemporaryDirectory() as folder:
        module.prepare(Path(folder))
        limit_memory()
        print("ready", file=output, flush=True)
        for line in sys.stdin:
            try:
                answer = module.run(int(line), seed)
            except Exception as error:
                answer = "bad: fuzzer", f"{type(error).__name__}: {error}"
            print(json.dumps(answer), file=output, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

"""Transform that does to its process what a case says, for tests; and a command that applies it."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time

import torch

import torchio_gpu as tio
from torchio_gpu.cohort.stopping import RunEndedError, stopped_in_order


class Deed(tio.Transform):
    """Transform that does what ``subject["deed"]`` says, which is nothing by default."""

    def apply_transform(self, subject):
        deed, _, value = str(subject.get("deed", "")).partition(" ")
        if deed == "wait":
            time.sleep(float(value))
        elif deed == "compute":  # in steps, as a pipeline of many transforms
            end = time.monotonic() + float(value)
            while time.monotonic() < end:
                torch.ones(1000).sum()
        elif deed == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif deed == "crash":
            ctypes.string_at(0)
        elif deed == "exit":
            sys.exit(0)
        elif deed == "take":
            taken = []
            for _ in range(int(value)):
                taken.append(bytearray(os.urandom(1 << 10) * (100 << 10)))  # 100 MiB that are used
                time.sleep(0.2)
        elif deed == "raise":
            raise ValueError(value)
        return subject


def main() -> None:
    """Preprocess as the arguments say: table, folder, and other arguments as JSON."""
    table, out, others = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    steps = [Deed(), tio.RandomNoise()]
    with stopped_in_order():
        try:
            summary = tio.preprocess(
                tio.Compose(steps), tio.Cohort.from_table(table), out, progress=False, **others
            )
        except RunEndedError as error:
            sys.exit(str(error))
    print(summary)
    sys.exit(1 if summary.failed else 0)


if __name__ == "__main__":
    main()

"""What is measured: batches and the parameters of each operation, the same for all contenders.

Imports nothing heavy: peers read it in interpreters that lack this library's dependencies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Workload:
    """A float32 batch, filled with uniform numbers in [0, 1).

    Args:
        name: Short name, as in tables.
        shape: (B, C, I, J, K).
        repeats: How many calls are timed; fewer for slow contenders.
        host: Time until the call returns, whatever a GPU still has to do: for batches so small
            that only the cost of the call itself matters.
    """

    name: str
    shape: tuple[int, int, int, int, int]
    repeats: int = 15
    host: bool = False

    @property
    def size(self) -> int:
        """Bytes of the batch."""
        size = 4
        for n in self.shape:
            size *= n
        return size

    def __str__(self) -> str:
        batch, channels, *space = self.shape
        cube = f"{space[0]}³" if len(set(space)) == 1 else "x".join(map(str, space))
        return f"{self.name}: {batch}x{channels}x{cube} float32"


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("W0", (8, 1, 8, 8, 8), repeats=300, host=True),
        Workload("CPU", (2, 1, 128, 128, 128)),
        Workload("W1", (8, 1, 128, 128, 128)),
        Workload("W2", (2, 1, 256, 256, 256)),
        Workload("W3", (2, 4, 240, 240, 155)),
    )
}

#: What a run measures when it is not told.
DEFAULT = {"cpu": ("CPU", "W0"), "cuda": ("W1", "W2", "W3", "W0")}
MEMORY = {"cpu": "CPU", "cuda": "W1"}

#: Operations, in the order of the tables. Every one is applied to every sample (p = 1), linearly
#: interpolated, with parameters of its own for each sample.
OPS = ("affine", "elastic", "affine_elastic", "flip", "bias_field", "gamma", "noise", "pipe6")
#: The only one for which the host's time is measured, unless others are asked for.
HOST_OPS = ("pipe6",)

# In the words of TorchIO 1.x: degrees, voxels of 1 mm, half-widths of ranges.
AFFINE: dict[str, Any] = {"scales": 0.1, "degrees": 15, "translation": 5}
ELASTIC: dict[str, Any] = {"num_control_points": 7, "max_displacement": 7.5, "locked_borders": 2}
#: By itself every axis is flipped, so that all calls do the same work.
FLIP: dict[str, Any] = {"axes": (0, 1, 2), "flip_probability": 1.0}
#: In pipe6 each axis is flipped for half of the samples.
RANDOM_FLIP: dict[str, Any] = {"axes": (0, 1, 2), "flip_probability": 0.5}
BIAS_FIELD: dict[str, Any] = {"coefficients": 0.5, "order": 3}
GAMMA: dict[str, Any] = {"log_gamma": (-0.3, 0.3)}
NOISE: dict[str, Any] = {"std": (0, 0.25)}
#: The pipeline: these, one after another.
PIPE6 = ("affine", "elastic", "random_flip", "bias_field", "gamma", "noise")

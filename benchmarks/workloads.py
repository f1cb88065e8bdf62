"""What is measured: batches and the parameters of each operation, the same for all contenders.

Imports nothing heavy: peers read it in interpreters that lack this library's dependencies.
"""

from __future__ import annotations

from collections.abc import Sequence
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
OPS = (
    *("affine", "elastic", "affine_elastic", "flip", "bias_field", "gamma", "noise"),
    *("motion", "ghosting", "spike", "blur", "anisotropy", "swap", "labels_to_image", "pipe6"),
)
#: Those for which the host's time is measured, unless others are asked for. On two cores pipe6 may
#: take this library 1 ms, each of the others 0.5 ms.
HOST_OPS = OPS[OPS.index("motion") :]
#: Those for which peak memory is measured. On the CPU motion may take this library 4 batches, pipe6
#: 6.
MEMORY_OPS = ("motion", "pipe6")

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

MOTION: dict[str, Any] = {"degrees": 10, "translation": 10, "num_transforms": 2}
SPIKE: dict[str, Any] = {"num_spikes": (1, 1), "intensity": (1, 3)}
#: A sample whose three widths are nearly 0 stays as it is and is refused: one in some thousand.
BLUR: dict[str, Any] = {"std": (0, 2)}
ANISOTROPY: dict[str, Any] = {"axes": (0, 1, 2), "downsampling": (1.5, 5)}
#: The only operation that gets something else than the batch: a map of so many labels, uint8.
LABELS = 5
LABELS_TO_IMAGE: dict[str, Any] = {"default_mean": (0.1, 0.9), "default_std": (0.01, 0.1)}
#: Along shorter sides some parameters do not fit.
_SHORT = 32


def ghosting(size: Sequence[int]) -> dict[str, Any]:
    """Parameters for a batch of this size: of 8 planes none is the tenth from the middle."""
    num_ghosts = (2, 4) if min(size) < _SHORT else (4, 10)
    return {"num_ghosts": num_ghosts, "axes": (0, 1, 2), "intensity": (0.5, 1)}


def swap(size: Sequence[int]) -> dict[str, Any]:
    """Parameters for a batch of this size: two patches of 15 voxels need room."""
    return {"patch_size": 2 if min(size) < _SHORT else 15, "num_iterations": 100}

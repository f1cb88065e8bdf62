"""What is measured: batches and the parameters of each operation, the same for all contenders.

Imports nothing heavy: peers read it in interpreters that lack this library's dependencies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

#: Name of the suite among the results, and of this library among the contenders.
SUITE, OURS = "versus", "torchio_gpu"

Shape = tuple[int, ...]
Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Workload:
    """A float32 batch, filled with uniform numbers in [0, 1).

    Args:
        name: Short name, as in tables.
        shape: (B, C, I, J, K).
        repeats: How many calls are timed; fewer for slow contenders.
        host: Time until the call returns, whatever a GPU still has to do: for batches so small
            that only the cost of the call itself matters.
        own: Operations with inputs of their own are measured here: for each device in one place.
        patches: Operations on patches are measured here, and no others.
    """

    name: str
    shape: tuple[int, int, int, int, int]
    repeats: int = 15
    host: bool = False
    own: bool = False
    patches: bool = False

    @property
    def size(self) -> int:
        """Bytes of the batch."""
        size = 4
        for n in self.shape:
            size *= n
        return size

    def takes(self, op: str) -> bool:
        """Whether an operation is measured here."""
        if self.patches or op in PATCH_OPS:
            return self.patches and op in PATCH_OPS
        return self.own or not has_own_input(op)

    def __str__(self) -> str:
        batch, channels, *space = self.shape
        cube = f"{space[0]}³" if len(set(space)) == 1 else "x".join(map(str, space))
        return f"{self.name}: {batch}x{channels}x{cube} float32"


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("W0", (8, 1, 8, 8, 8), repeats=300, host=True),
        Workload("CPU", (2, 1, 128, 128, 128), own=True),
        Workload("W1", (8, 1, 128, 128, 128), own=True),
        Workload("W2", (2, 1, 256, 256, 256)),
        Workload("W3", (2, 4, 240, 240, 155)),
        Workload("P", (1, 2, 256, 256, 256), patches=True),
    )
}

#: What a run measures when it is not told.
DEFAULT = {"cpu": ("CPU", "W0", "P"), "cuda": ("W1", "W2", "W3", "W0", "P")}
#: Where peak memory is measured.
MEMORY = {"cpu": ("CPU", "P"), "cuda": ("W1", "P")}


@dataclass(frozen=True)
class Work:
    """What an operation is given and what it must return.

    Args:
        given: Name of its input: 'batch', 'labels' for a label map made of the batch, (B, 1, I, J,
            K) uint8, 'pair' for both, 'volume' for an image, (1, I, J, K), and its label map, both
            of the first sample, 'patches' for all those of a grid, (N, C, i, j, k), and where they
            lie, (N, 6), or one of :data:`OWN`. See :mod:`benchmarks.versus.inputs`.
        shape: From the shape of the input, the first where there are two, to that of the result.
        dtype: Of the result.
        identity: The result must be the batch again, whatever the input. Where it differs by more
            than rounding, the time counts, but comes with a remark.
        patches: How many patches a call makes: tables say how many that is in a second.
    """

    given: str = "batch"
    shape: Callable[[Shape], Shape] = tuple
    dtype: str = "float32"
    identity: bool = False
    patches: int = 0


#: Inputs that are the same whatever the batch.
OWN = {
    "mask": "a 128³ mask of 50 components",
    "normals": "300³ normal numbers, float32",
    "subject": "an image of 256x256x170 voxels of 0.9x0.9x1.2 mm with its label map",
}
#: Spacing to resample to; that of the batch is 1 mm.
SPACING = 1.5
#: Labels of the map, which holds 0, 1, ...
LABELS = 5
PERCENTILES = (0.5, 99.5)
#: Shape that prep6 comes down to.
PREP6_SHAPE = (160, 192, 160)


def resampled(size: Sequence[int]) -> Shape:
    """Voxels of :data:`SPACING` that fit into a batch of this size; their centre is its centre."""
    return tuple(int(n / SPACING) for n in size)


def crop_or_pad(size: Sequence[int]) -> Shape:
    """Shape for a batch of this size: of 128³ voxels, 96 along I and J, 160 along K."""
    i, j, k = size
    return 3 * i // 4, 3 * j // 4, 5 * k // 4


def patch_and_overlap(size: Sequence[int]) -> tuple[Triple, Triple]:
    """Shape of the patches that a volume of this size is cut into, and how much neighbours share.

    Of 256³ voxels these are 64³ and 16, and there are 125 patches.
    """
    i, j, k = (n // 4 if n > _SHORT else n // 2 for n in size)
    a, b, c = (n // 16 if n > _SHORT else n // 4 for n in size)
    return (i, j, k), (a, b, c)


def training_patch(size: Sequence[int]) -> Triple:
    """Shape of a patch to train with, from a volume of this size: of 256³ voxels, 96³."""
    i, j, k = size
    return 3 * i // 8, 3 * j // 8, 3 * k // 8


def _patches(number: int) -> Work:
    """Some patches of one volume."""
    return Work("volume", lambda shape: (number, 1, *training_patch(shape[1:])), patches=number)


#: Operations, in the order of the tables. Every one is applied to every sample (p = 1), linearly
#: interpolated; random ones have parameters of their own for each sample.
WORK: dict[str, Work] = {
    **dict.fromkeys(("affine", "elastic", "affine_elastic"), Work()),
    "with_labels": Work("pair"),
    "flip": Work(),
    **dict.fromkeys(("bias_field", "gamma", "noise"), Work()),
    **dict.fromkeys(("motion", "ghosting", "spike", "blur", "anisotropy", "swap"), Work()),
    "labels_to_image": Work("labels"),
    "resample": Work(shape=lambda shape: (*shape[:2], *resampled(shape[2:]))),
    "crop_or_pad": Work(shape=lambda shape: (*shape[:2], *crop_or_pad(shape[2:]))),
    **dict.fromkeys(("to_canonical", "z_normalization", "rescale"), Work()),
    "remap_labels": Work("labels", dtype="uint8"),
    "one_hot": Work("labels", lambda shape: (shape[0], LABELS, *shape[2:]), "uint8"),
    "largest_component": Work("mask", dtype="uint8"),
    "percentile": Work("normals", lambda shape: (shape[0], len(PERCENTILES)), "float64"),
    "pipe6": Work(),
    "prep6": Work("subject", lambda shape: (shape[0], *PREP6_SHAPE)),
    "aggregate": Work("patches", identity=True),
    **dict.fromkeys(("infer_hann", "infer_gaussian"), Work(identity=True)),
    "one_patch": _patches(1),
    "four_patches": _patches(4),
}
OPS = tuple(WORK)
#: What needs more words than its name.
MEANING = {"with_labels": "is affine elastic of the batch and its label map, nearest for labels"}
#: Operations on patches, and what they do, for those who read the tables.
PATCH_OPS = {
    "aggregate": "puts 125 patches of 64³ voxels that overlap by 16 together, 4 at a time, with "
    "Hann weights",
    "infer_hann": "cuts such patches out of the batch, gives them to a network that returns them, "
    "and puts them together",
    "infer_gaussian": "does so with Gaussian weights, whose standard deviation is 1/8 of a patch",
    "one_patch": "cuts a random patch of 96³ voxels out of one channel and its label map, both "
    "augmented by pipe6: torchio_gpu computes the patch only, all others the whole volume",
    "four_patches": "does so for four patches of a volume: torchio_gpu augments each in its own "
    "way, all others the volume once",
}


def has_own_input(op: str) -> bool:
    """Whether an operation does not depend on the batch."""
    return op in WORK and WORK[op].given in OWN


#: Those for which the host's time is measured, unless others are asked for. On two cores pipe6 may
#: take this library 1 ms, each of the others 0.5 ms.
HOST_OPS = OPS[OPS.index("motion") :]
#: Those for which peak memory is measured. On the CPU motion may take this library 4 batches, pipe6
#: 6, aggregate 1.2.
MEMORY_OPS = ("motion", "pipe6", "aggregate")
#: Patches that a network is given, or makes, at once.
AT_ONCE = 4

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
LABELS_TO_IMAGE: dict[str, Any] = {"default_mean": (0.1, 0.9), "default_std": (0.01, 0.1)}

RESCALE: dict[str, Any] = {"out_min_max": (0, 1), "percentiles": PERCENTILES}
#: No label stays what it is.
REMAPPING = {label: (label + 1) % LABELS for label in range(LABELS)}
#: Voxel to world of a batch that is to become RAS+: every axis is mirrored.
LPI = ((-1, 0, 0, 0), (0, -1, 0, 0), (0, 0, -1, 0), (0, 0, 0, 1))
#: That of the raw subject that prep6 brings to RAS+, to 1 mm and to :data:`PREP6_SHAPE`, normalizes
#: by the mean and standard deviation of the voxels that have a label, moves and bends.
RAW = ((-0.9, 0, 0, 115), (0, 0.9, 0, -125), (0, 0, 1.2, -95), (0, 0, 0, 1))
#: Along shorter sides some parameters do not fit.
_SHORT = 32


def ghosting(size: Sequence[int]) -> dict[str, Any]:
    """Parameters for a batch of this size: of 8 planes none is the tenth from the middle."""
    num_ghosts = (2, 4) if min(size) < _SHORT else (4, 10)
    return {"num_ghosts": num_ghosts, "axes": (0, 1, 2), "intensity": (0.5, 1)}


def swap(size: Sequence[int]) -> dict[str, Any]:
    """Parameters for a batch of this size: two patches of 15 voxels need room."""
    return {"patch_size": 2 if min(size) < _SHORT else 15, "num_iterations": 100}

"""Batches and parameters of each operation that is timed, the same for all libraries.

Imports nothing heavy: rivals read it in interpreters that lack this library's dependencies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

#: Name of the suite among the results, and of this library among the contenders.
SUITE, OURS = "versus", "torchio_gpu"

Shape = tuple[int, ...]
Triple = tuple[int, int, int]


class Workload(NamedTuple):
    """A float32 batch, filled with uniform numbers in [0, 1).

    Args:
        shape: (B, C, I, J, K).
        takes: Inputs, as :class:`Work` names them, whose operations are timed here.
        repeats: How many calls are timed; fewer for slow contenders.
        host: Time until the call returns, whatever a GPU still has to do: for batches so small
            that only the cost of the call itself matters.
        memory: Whether peak memory is measured.
    """

    shape: tuple[int, int, int, int, int]
    takes: tuple[str, ...]
    repeats: int = 15
    host: bool = False
    memory: bool = False

    def __str__(self) -> str:
        batch, channels, *space = self.shape
        cube = f"{space[0]}³" if len(set(space)) == 1 else "x".join(map(str, space))
        return f"{batch}x{channels}x{cube} float32"


_BATCH = ("batch", "labels", "pair")
_OWN = ("mask", "normals", "subject", "field", "cloud")
_PATCHES = ("patches", "volume", "grid")
WORKLOADS = {
    "W0": Workload((8, 1, 8, 8, 8), _BATCH, repeats=300, host=True),
    "CPU": Workload((2, 1, 128, 128, 128), _BATCH + _OWN, memory=True),
    "W1": Workload((8, 1, 128, 128, 128), _BATCH + _OWN, memory=True),
    "W2": Workload((2, 1, 256, 256, 256), _BATCH),
    "W3": Workload((2, 4, 240, 240, 155), _BATCH),
    "P": Workload((1, 2, 256, 256, 256), _PATCHES, memory=True),
}
#: What a run measures when it is not told.
DEFAULT = {"cpu": ("CPU", "W0", "P"), "cuda": ("W1", "W2", "W3", "W0", "P")}
#: Operations whose peak memory is measured. On the CPU motion may take this library 4 batches,
#: pipe6 2.5, aggregate 1.2.
MEMORY = {"motion", "pipe6", "aggregate"}
#: Patches that a network is given, or makes, at once.
AT_ONCE = 4

#: Spacing to resample to; that of the batch is 1 mm.
SPACING = 1.5
#: Labels of the map, which holds 0, 1, ...
LABELS = 5
PERCENTILES = (0.5, 99.5)
#: Shape that prep6 comes down to, and that of the raw subject.
PREP6_SHAPE, RAW_SHAPE = (160, 192, 160), (256, 256, 170)
#: Along shorter sides some parameters do not fit.
_SHORT = 32


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


class Work(NamedTuple):
    """Input and result of an operation that is timed.

    Args:
        given: Name of its input, see :mod:`benchmarks.inputs`.
        words: What is done, where the name does not say it.
        shape: From the shape of the input, the first where there are two, to that of the result.
        dtype: Of the result; of the first, where there are two.
        patches: How many patches a call makes: tables say how many that is in a second.
    """

    given: str = "batch"
    words: str = ""
    shape: Callable[[Shape], Shape] = tuple
    dtype: str = "float32"
    patches: int = 0


def _cut(number: int, words: str) -> Work:
    """Some patches of one volume."""
    shape = lambda shape: (number, 1, *training_patch(shape[1:]))  # noqa: E731
    return Work("volume", words, shape, patches=number)


#: Operations, in the order of the tables. Every one is applied to every sample (p = 1), linearly
#: interpolated; random ones have parameters of their own for each sample.
WORK: dict[str, Work] = {
    **dict.fromkeys(("affine", "elastic", "affine_elastic"), Work()),
    "with_labels": Work(
        "pair", "affine elastic of the batch and its label map, nearest for labels"
    ),
    **dict.fromkeys(("flip", "bias_field", "gamma", "noise"), Work()),
    **dict.fromkeys(("motion", "ghosting", "spike", "blur", "anisotropy", "swap"), Work()),
    "labels_to_image": Work("labels"),
    "resample": Work(shape=lambda shape: (*shape[:2], *resampled(shape[2:]))),
    "crop_or_pad": Work(shape=lambda shape: (*shape[:2], *crop_or_pad(shape[2:]))),
    **dict.fromkeys(("to_canonical", "z_normalization", "rescale"), Work()),
    "remap_labels": Work("labels", dtype="uint8"),
    "one_hot": Work("labels", "", lambda shape: (shape[0], LABELS, *shape[2:]), "uint8"),
    "largest_component": Work("mask", "of a 128³ mask of 50 components", dtype="uint8"),
    "percentile": Work(
        *("normals", "of 300³ normal numbers, float32"),
        *(lambda shape: (shape[0], len(PERCENTILES)), "float64"),
    ),
    "dense_field": Work("field", "samples 2x1x128³ at places moved by a field of vectors"),
    "points": Work("cloud", "moves 100,000 points with an image of 64³ by an affine map"),
    "pipe6": Work(words="affine, elastic, flip, bias field, gamma and noise, one after another"),
    "prep6": Work(
        "subject",
        "brings an image of 256x256x170 voxels of 0.9x0.9x1.2 mm and its label map to RAS+, 1 mm "
        "and 160x192x160, normalizes it within its labels, moves and bends it",
        lambda shape: (shape[0], *PREP6_SHAPE),
    ),
    "infer_original": Work(
        "subject", "does the first three steps of prep6, and brings the result to the grid it had"
    ),
    "aggregate": Work(
        "patches",
        "puts 125 patches of 64³ voxels that overlap by 16 together, 4 at a time, by Hann weights",
    ),
    "infer_hann": Work(
        "grid",
        "cuts such patches out of the batch, gives them to a network that returns them, and puts "
        "them together",
    ),
    "infer_gaussian": Work(
        "grid", "does so with Gaussian weights, whose standard deviation is 1/8 of a patch"
    ),
    "one_patch": _cut(
        1,
        "cuts a random patch of 96³ voxels out of one channel and its label map, both augmented by "
        "pipe6: torchio_gpu computes the patch only, all others the whole volume",
    ),
    "four_patches": _cut(
        4,
        "does so for four patches of a volume: torchio_gpu augments each in its own way, all "
        "others the volume once",
    ),
}

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
#: Voxel to world of a batch that is to become RAS+: every axis is mirrored; of the raw subject.
LPI = ((-1, 0, 0, 0), (0, -1, 0, 0), (0, 0, -1, 0), (0, 0, 0, 1))
RAW = ((-0.9, 0, 0, 115), (0, 0.9, 0, -125), (0, 0, 1.2, -95), (0, 0, 0, 1))


def ghosting(size: Sequence[int]) -> dict[str, Any]:
    """Parameters for a batch of this size: of 8 planes none is the tenth from the middle."""
    num_ghosts = (2, 4) if min(size) < _SHORT else (4, 10)
    return {"num_ghosts": num_ghosts, "axes": (0, 1, 2), "intensity": (0.5, 1)}


def swap(size: Sequence[int]) -> dict[str, Any]:
    """Parameters for a batch of this size: two patches of 15 voxels need room."""
    return {"patch_size": 2 if min(size) < _SHORT else 15, "num_iterations": 100}

"""BatchAug: MONAI's transforms for batches of volumes on the GPU."""

from __future__ import annotations

from importlib.metadata import version
from math import radians
from typing import Any

import batchaug as b
import torch
from torch import Tensor

from .. import files as f
from .. import space as s
from .. import tensors as t
from .. import voxels as v
from ..answers import Answer, lacks, partly, unchecked, unnamed, yes

NAME, VERSION = "BatchAug", version("batchaug")
DISTRIBUTION, PACKAGE = "batchaug", "batchaug"
if not torch.cuda.is_available():
    b.set_backend("pytorch")  # its Triton kernels need a GPU

NAMES = list(b._TRANSFORM_NAMES)
TURN = b.RandAffine(prob=1, rotate_range=radians(10), translate_range=3)


def transforms() -> str:
    arrays = [name for name in NAMES if f"{name}d" in NAMES]
    return f"{len(arrays)} for tensors, {len(NAMES) - len(arrays)} for dictionaries"


def one(step: Any) -> Any:
    """A transform of batches as a function of (C, I, J, K)."""
    return lambda x: step(x[None])[0]


def batch() -> Answer:
    return t.batch(TURN)


def device() -> Answer:
    bend = b.Rand3DElastic(sigma_range=(2, 3), magnitude_range=(5, 9), prob=1)
    noise = b.RandGaussianNoise(prob=1)
    return t.device(lambda x: noise(bend(TURN(x))), t.noise(2, 1, 16, 16, 16))


def seeds() -> Answer:
    def load(order: Any, size: int) -> dict[int, Tensor]:
        torch.manual_seed(3)
        found: dict[int, Tensor] = {}
        for start in range(0, len(order), size):
            now = order[start : start + size]
            y = TURN(t.noise(1, 1, 8, 8, 8).expand(len(now), -1, -1, -1, -1))
            found.update(zip(now, y, strict=True))
        return found

    return t.seeds(load)


def grad_image() -> Answer:
    contrast = b.RandAdjustContrast(prob=1, gamma=(0.5, 2))
    return t.grad_image(lambda x: contrast(TURN(x)), 1)


def grad_params() -> Answer:
    def call(x: Tensor, degrees: Tensor) -> Tensor:
        angle, params = torch.deg2rad(degrees), TURN.sample_params(1, x.shape, x.device)
        cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros(()), torch.ones(())
        rows = [[one, zero, zero, zero], [zero, cos, -sin, zero], [zero, sin, cos, zero]]
        # of a cube, so that the matrix of voxels is that of its own units
        theta = torch.stack([torch.stack(row) for row in [*rows, [zero, zero, zero, one]]])[None]
        return TURN.apply(x, {**params, "theta": theta})

    answer = t.grad_params(call)
    if answer.outcome != "yes":
        return answer
    return partly("to the matrix in the parameters of `apply`, not to angles")


def compile() -> Answer:
    noise = b.RandGaussianNoise(prob=1)
    return t.compiled(lambda x: noise(TURN(x * 2)) + 1, t.noise(2, 1, 8, 8, 8))


def graphs() -> Answer:
    return unnamed(dir(b), "graph", "captur")


def kernels() -> Answer:
    return unchecked("Triton, for contrast, scaling, bias field, smoothing; its page gives times")


def labels() -> Answer:
    keys = ["image", "mask"]
    step = b.RandAffined(
        keys, prob=1, rotate_range=radians(10), mode={"image": "bilinear", "mask": "nearest"}
    )

    def call(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        moved = step({"image": image[None], "mask": mask[None]})
        return moved["image"][0], moved["mask"][0]

    return s.labels(call)


def spacing() -> Answer:
    return lacks("tensors have no spacing")


def fused() -> Answer:
    move = b.RandAffined(["x"], prob=1, rotate_range=radians(20), padding_mode="zeros")
    flip = b.RandFlipd(["x"], prob=1, spatial_axis=0)
    bend = b.Rand3DElasticd(["x"], sigma_range=(5, 6), magnitude_range=(100, 200), prob=1)

    def lazy(*steps: Any) -> Any:
        together = b.Compose(list(steps), lazy=True)
        return lambda x: together({"x": x[None]})["x"][0]

    return s.fused(lazy(move, move, flip, bend), lazy(move, move))


def replay() -> Answer:
    def call(x: Tensor) -> tuple[Tensor, Tensor]:
        flip, y, again = b.RandAxisFlip(prob=1), x[None], x[None]
        for step in (TURN, flip):
            params = step.sample_params(1, y.shape, y.device)
            y, again = step.apply(y, params), step.apply(again, params)
        return y[0], again[0]

    answer = s.replay(call)
    if answer.outcome != "yes":
        return answer
    return partly("parameters can be drawn apart and applied again; nothing is recorded")


def inverse() -> Answer:
    return unnamed([*dir(b), *dir(b.RandAffine)], "inver")


def points() -> Answer:
    return unnamed(dir(b), "point", "boxes")


def planes() -> Answer:
    return lacks("volumes only")


def dtypes() -> Answer:
    step = b.RandAffine(prob=1, rotate_range=radians(10), mode="nearest")
    return s.dtypes(one(step))


def types() -> Answer:
    step = b.RandAffined(["image"], prob=1, rotate_range=radians(10))
    return f.types({"dict": lambda x: step({"image": x["image"][None]})})


def bias() -> Answer:
    return v.bias(one(b.RandBiasField(prob=1, coeff_range=(0.02, 0.1))))


def motion() -> Answer:
    return unnamed(NAMES, "motion")


def ghosting() -> Answer:
    return unnamed(NAMES, "ghost", "spike")


def gibbs() -> Answer:
    return v.gibbs(one(b.RandGibbsNoise(prob=1, alpha=(0.6, 0.6))))


def anisotropy() -> Answer:
    step = b.RandSimulateLowResolution(prob=1, zoom_range=(0.3, 0.3))
    answer = v.anisotropy(one(step))
    return partly("low resolution along all axes alike") if answer.outcome == "no" else answer


def ct_kernel() -> Answer:
    first = {"sigma1_x": (0.1, 0.1), "sigma1_y": (0.1, 0.1), "sigma1_z": (1e-3, 1e-3)}
    second = {"sigma2_x": (0.6, 0.6), "sigma2_y": (0.6, 0.6), "sigma2_z": (1e-3, 1e-3)}
    sharp = b.RandGaussianSharpen(prob=1, **first, **second, alpha=(2.0, 2.0))
    within, across = (1.0, 1.0), (1e-3, 1e-3)
    soft = b.RandGaussianSmooth(prob=1, sigma_x=within, sigma_y=within, sigma_z=across)
    answer = v.ct_kernel(one(sharp), one(soft))
    return yes("in voxels (`RandGaussianSharpen`)") if answer.outcome == "yes" else answer


def synthesis() -> Answer:
    return unnamed(NAMES, "label", "synth", "mixture")


def dropout() -> Answer:
    return unnamed(NAMES, "dropout", "cutout", "erasing")


def mixing() -> Answer:
    return unnamed(NAMES, "mix")


def samplers() -> Answer:
    return unnamed(NAMES, "crop", "patch")


def networks() -> Answer:
    return unnamed(dir(b), "unet", "loss", "dice")

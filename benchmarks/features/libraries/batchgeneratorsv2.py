"""batchgeneratorsv2: nnU-Net's augmentation, one sample at a time in workers on the CPU."""

from __future__ import annotations

from importlib.metadata import version
from math import radians
from typing import Any

import torch
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.noise.blank_rectangle import BlankRectangleTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.noise.sharpen import SharpeningTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from torch import Tensor

from .. import files as f
from .. import modules as m
from .. import space as s
from .. import tensors as t
from .. import voxels as v
from ..answers import Answer, lacks, no, partly, unnamed

NAME, VERSION = "batchgeneratorsv2", version("batchgeneratorsv2")
DISTRIBUTION, PACKAGE = "batchgeneratorsv2", "batchgeneratorsv2"
NAMES = m.classes("batchgeneratorsv2.transforms", "BasicTransform")


def spatial(size: Any, degrees: float = 10, bend: bool = False, **kwargs: Any) -> SpatialTransform:
    """Rotation, and deformation by about a voxel, about the centre."""
    angle = radians(degrees)
    return SpatialTransform(
        size,
        0,
        False,
        p_elastic_deform=float(bend),
        elastic_deform_scale=(0.2, 0.3),
        elastic_deform_magnitude=(1.0, 2.0),
        p_rotation=1,
        rotation=(-angle, angle),
        **kwargs,
    )


def image(step: Any) -> Any:
    """A transform as a function of an image (C, I, J, K)."""
    return lambda x: step(image=x)["image"]


def transforms() -> str:
    return str(len(NAMES))


def batch() -> Answer:
    try:
        return t.batch(image(spatial((12, 12, 12))))
    except Exception as error:
        return no(f"a batch is refused: {t.reason(error)}")


def device() -> Answer:
    steps = ComposeTransforms([spatial((16,) * 3, bend=True), GaussianNoiseTransform()])
    return t.device(image(steps), t.noise(1, 16, 16, 16))


def seeds() -> Answer:
    import numpy as np

    step = image(spatial((8, 8, 8)))

    def load(order: Any, size: int) -> dict[int, Tensor]:
        np.random.seed(3)
        torch.manual_seed(3)
        return {n: step(t.noise(1, 8, 8, 8)) for n in order}

    return t.seeds(load)


def grad_image() -> Answer:
    gamma = GammaTransform((0.7, 1.5), 0, True, 1, 0)
    both = t.grad_image(image(ComposeTransforms([spatial((10,) * 3), gamma])))
    if both.outcome == "yes":
        return both
    affine = t.grad_image(image(spatial((10,) * 3)))
    return partly("of an affine; gamma works in place") if affine.outcome == "yes" else both


def grad_params() -> Answer:
    def call(x: Tensor, degrees: Tensor) -> Tensor:
        step = spatial((16,) * 3)
        step.rotation = lambda *_, **kwargs: torch.deg2rad(degrees) * (kwargs["dim"] == 0)
        return image(step)(x[0])

    return t.grad_params(call)


def compile() -> Answer:
    steps = image(ComposeTransforms([spatial((8,) * 3), GaussianNoiseTransform()]))
    return t.compiled(lambda x: steps(x * 2) + 1, t.noise(1, 8, 8, 8))


def kernels() -> Answer:
    return lacks("torch's own kernels, on the CPU")


def labels() -> Answer:
    def call(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        moved = spatial((32,) * 3, 40, mode_seg="nearest")(image=x, segmentation=mask)
        return moved["image"], moved["segmentation"]

    return s.labels(call)


def spacing() -> Answer:
    return lacks("tensors have no spacing")


def fused() -> Answer:
    both = spatial((32,) * 3, degrees=20, bend=True)
    one = spatial((32,) * 3, degrees=20)
    steps = [ComposeTransforms([one, both]), ComposeTransforms([one, one]), both]
    return s.fused(*map(image, steps))


def replay() -> Answer:
    def call(x: Tensor) -> tuple[Tensor, Tensor]:
        step = spatial(x.shape[1:])
        params = step.get_parameters(image=x)
        first, again = (step.apply({"image": x}, **params)["image"] for _ in range(2))
        return first, again

    answer = s.replay(call)
    if answer.outcome != "yes":
        return answer
    return partly("parameters can be drawn apart and applied again; nothing is recorded")


def inverse() -> Answer:
    return unnamed([*NAMES, *dir(SpatialTransform)], "inverse", "undo")


def points() -> Answer:
    def call(x: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
        moved = spatial(x.shape[1:])(image=x, keypoints=point[None])
        return moved["image"], moved["keypoints"]

    try:
        return s.points(call)
    except NotImplementedError:
        return no("there is a place for them, which raises NotImplementedError")


def planes() -> Answer:
    return s.planes(image(spatial((24, 24), 30)))


def dtypes() -> Answer:
    step = spatial((12,) * 3, mode_seg="nearest")
    return s.dtypes(lambda x: step(image=x.float(), segmentation=x)["segmentation"])


def types() -> Answer:
    return f.types({"dict": lambda x: spatial((9, 8, 7))(**x)})


def bias() -> Answer:
    return partly("a brightness gradient, added: `BrightnessGradientAdditiveTransform`", "names")


def motion() -> Answer:
    return unnamed(NAMES, "motion")


def ghosting() -> Answer:
    return unnamed(NAMES, "ghost", "spike")


def gibbs() -> Answer:
    return unnamed(NAMES, "gibbs")


def anisotropy() -> Answer:
    step = SimulateLowResolutionTransform((0.3, 0.3), True, False, (1, 2))
    return v.anisotropy(image(step))


def ct_kernel() -> Answer:
    sharp = image(SharpeningTransform((0.2, 0.2)))
    soft = image(GaussianBlurTransform((1.0, 1.0)))
    return v.ct_kernel(sharp, soft)


def synthesis() -> Answer:
    return unnamed(NAMES, "synth", "labelsto", "mixture")


def dropout() -> Answer:
    return v.dropout(image(BlankRectangleTransform(6, 0, 2)))


def mixing() -> Answer:
    return unnamed(NAMES, "mix")


def component() -> Answer:
    return no("components are removed at random only", "names")


def samplers() -> Answer:
    crop = SpatialTransform((v.SIDE,) * 3, 3, True)
    return v.samplers({"uniform": image(crop)})


def blending() -> Answer:
    return unnamed(NAMES, "sliding", "aggregat")


def windows() -> Answer:
    step = spatial((t.PATCH,) * 3, bend=True)
    return t.windows(lambda: t.noise(1, *(t.VOLUME,) * 3), image(step))


def networks() -> Answer:
    return unnamed(NAMES, "unet", "loss")

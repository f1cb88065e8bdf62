"""kornia: batches on any device; most of it for 2D images, some for volumes (B, C, D, H, W)."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import kornia
import kornia.augmentation as k
import torch
from torch import Tensor

from .. import files as f
from .. import space as s
from .. import tensors as t
from .. import voxels as v
from ..answers import Answer, lacks, no, partly, unnamed, yes

NAME, VERSION = "kornia", version("kornia")
DISTRIBUTION, PACKAGE = "kornia", "kornia"

TURN = k.RandomAffine3D(degrees=10.0, translate=(0.1, 0.1, 0.1), p=1)


def transforms() -> str:
    names = [n for n in dir(k) if n.startswith("Random") and isinstance(getattr(k, n), type)]
    volumes = [n for n in names if n.endswith("3D")]
    return f"{len(volumes)} for volumes, {len(names) - len(volumes)} for 2D images"


def one(step: Any) -> Any:
    """A transform of batches as a function of (C, I, J, K)."""
    return lambda x: step(x[None])[0]


def batch() -> Answer:
    return t.batch(TURN)


def device() -> Answer:
    steps = k.AugmentationSequential(TURN, k.RandomEqualize3D(p=1), data_keys=["input"])
    answer = t.device(steps, t.noise(2, 1, 16, 16, 16))
    note = "affine and equalisation: it has neither elastic deformations nor noise of volumes"
    return yes(note) if answer.outcome == "yes" else answer


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
    answer = t.grad_image(TURN, 1)
    return yes("of an affine; contrast is for 2D images") if answer.outcome == "yes" else answer


def grad_params() -> Answer:
    def call(x: Tensor, degrees: Tensor) -> Tensor:
        angles = torch.stack([torch.zeros(()), torch.zeros(()), degrees])[None]
        return kornia.geometry.transform.rotate3d(x, *angles[:, :, None].unbind(1))

    def sampled(x: Tensor, degrees: Tensor) -> Tensor:
        end = torch.stack([degrees, degrees])
        still = torch.zeros(2)
        return k.RandomRotation3D(torch.stack([still, still, end]), p=1.0)(x)

    function, transform = t.grad_params(call), t.grad_params(sampled)
    if transform.outcome == "yes":
        return yes()
    return partly("of the function `rotate3d`") if function.outcome == "yes" else function


def compile() -> Answer:
    return t.compiled(lambda x: TURN(x * 2) + 1, t.noise(2, 1, 8, 8, 8))


def graphs() -> Answer:
    return unnamed(dir(k), "graph", "captur")


def kernels() -> Answer:
    return lacks("torch's own kernels")


def labels() -> Answer:
    nearest = k.RandomAffine3D(10.0, translate=(0.1, 0.1, 0.1), resample="NEAREST", p=1)

    def call(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        y = TURN(image[None])
        return y[0], nearest(mask[None].float(), params=TURN._params)[0]

    answer = s.labels(call)
    if answer.outcome != "yes":
        return answer
    try:
        steps = k.AugmentationSequential(TURN, data_keys=["input", "mask"])
        steps(t.noise(1, 1, 8, 8, 8), torch.ones(1, 1, 8, 8, 8))
    except NotImplementedError:
        return partly("by a second transform and the parameters of the first; pipelines refuse")
    return answer


def spacing() -> Answer:
    return lacks("tensors have no spacing")


def fused() -> Answer:
    turn = k.RandomAffine3D(20.0, p=1)
    steps = k.AugmentationSequential(turn, turn, data_keys=["input"])
    return s.fused(None, one(steps))


def replay() -> Answer:
    steps = k.AugmentationSequential(TURN, k.RandomHorizontalFlip3D(), data_keys=["input"])

    def call(x: Tensor) -> tuple[Tensor, Tensor]:
        y = steps(x[None])[0]
        return y, steps(x[None], params=steps._params)[0]

    return s.replay(call)


def inverse() -> Answer:
    steps = k.AugmentationSequential(TURN, k.RandomHorizontalFlip3D(p=1), data_keys=["input"])

    def call(x: Tensor) -> tuple[Tensor, Tensor]:
        y = steps(x[None])
        return y[0], steps.inverse(y)[0]

    try:
        return s.inverse(call)
    except (NotImplementedError, RuntimeError, ValueError, AttributeError) as error:
        return no(f"of volumes: {t.reason(error)}")


def points() -> Answer:
    steps = k.AugmentationSequential(TURN, data_keys=["input", "keypoints"])

    def call(x: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
        # x, y, z are along K, J, I
        y, moved = steps(x[None], point.flip(0)[None, None])
        return y[0], moved[0, 0].flip(0)

    try:
        return s.points(call)
    except Exception as error:
        return partly(f"of 2D images; of volumes: {t.reason(error)}")


def planes() -> Answer:
    turn = k.RandomRotation((30.0, 30.0), p=1)
    return s.planes(one(turn))


def dtypes() -> Answer:
    turn = k.RandomAffine3D(10.0, resample="NEAREST", p=1)
    return s.dtypes(one(turn))


def types() -> Answer:
    steps = k.AugmentationSequential(TURN, data_keys=None)
    return f.types({"dict": lambda x: steps({"image": x["image"][None]})})


def bias() -> Answer:
    return unnamed(dir(k), "bias")


def motion() -> Answer:
    return no("`RandomMotionBlur3D` blurs along a line; no motion within k-space", "names")


def ghosting() -> Answer:
    return unnamed(dir(k), "ghost", "spike")


def gibbs() -> Answer:
    return unnamed(dir(k), "gibbs")


def anisotropy() -> Answer:
    return unnamed(dir(k), "lowres", "anisotrop")


def ct_kernel() -> Answer:
    def planes(step: Any) -> Any:
        return lambda x: step(x.movedim(3, 0)).movedim(0, 3)

    sharp = k.RandomSharpness((3.0, 3.0), p=1)
    soft = k.RandomGaussianBlur((5, 5), (1.0, 1.0), p=1)
    answer = v.ct_kernel(planes(sharp), planes(soft))
    return yes("of planes as 2D images of 0 to 1") if answer.outcome == "yes" else answer


def synthesis() -> Answer:
    return unnamed(dir(k), "label", "synth")


def dropout() -> Answer:
    return partly("2D images: `RandomErasing`, not tried", "documentation")


def mixing() -> Answer:
    step = k.RandomTransplantation3D(p=1)
    x = torch.stack([torch.zeros(1, 8, 8, 8), torch.ones(1, 8, 8, 8)])
    mask = torch.zeros(2, 8, 8, 8)
    mask[:, 2:6, 2:6, 2:6] = 1
    y, _ = step(x.clone(), mask)
    mixed = y.flatten(1).mean(1)
    if not ((mixed > 0) & (mixed < 1)).any():
        return no("samples are not mixed")
    return yes("`RandomTransplantation3D`, by masks; MixUp and CutMix for 2D images")


def samplers() -> Answer:
    crop = one(k.RandomCrop3D((v.SIDE,) * 3))
    return v.samplers({"uniform": crop})


def blending() -> Answer:
    return unnamed(dir(k), "sliding", "aggregat")


def windows() -> Answer:
    steps = k.AugmentationSequential(TURN, k.CenterCrop3D(t.PATCH), data_keys=["input"])
    return t.windows(lambda: t.noise(1, 1, *(t.VOLUME,) * 3), steps)


def networks() -> Answer:
    logits = t.noise(1, 2, 8, 8).requires_grad_()
    kornia.losses.DiceLoss()(logits, torch.ones(1, 8, 8, dtype=torch.long)).backward()
    return partly("2D: a Dice loss; networks for matching, detection and edges")


def models() -> Answer:
    assert kornia.models
    return yes("for 2D images; nothing was fetched", "names")

"""cornucopia: MRI and synthesis of images from labels, on tensors (C, I, J, K) of any device."""

from __future__ import annotations

import random
from importlib.metadata import version
from typing import Any

import cornucopia as c
import numpy as np
import torch
from torch import Tensor

from .. import files as f
from .. import space as s
from .. import tensors as t
from .. import voxels as v
from ..answers import Answer, lacks, no, partly, unnamed, yes

NAME, VERSION = "cornucopia", version("cornucopia")
DISTRIBUTION, PACKAGE = "cornucopia", "cornucopia"

MOTION: dict[str, Any] = {"rotations": 10, "translations": 0.1, "shears": 0, "zooms": 0}
TURN = c.RandomAffineTransform(**MOTION, bound="zeros")


def transforms() -> str:
    bases = {"Transform", "FinalTransform", "NonFinalTransform", "RandomizedTransform"}
    names = {n for n in dir(c) if n.endswith("Transform") and isinstance(getattr(c, n), type)}
    steps = {n for n in names - bases if not n.endswith("FinalTransform")}
    return str(len(steps))


def batch() -> Answer:
    answer = t.batch(c.ctx.batch(TURN))
    return yes("by a loop over samples: `ctx.batch`") if answer.outcome == "yes" else answer


def device() -> Answer:
    steps = TURN + c.RandomElasticTransform() + c.GaussianNoiseTransform()
    return t.device(steps, t.noise(1, 16, 16, 16))


def seeds() -> Answer:
    def load(order: Any, size: int) -> dict[int, Tensor]:
        torch.manual_seed(3)
        np.random.seed(3)
        random.seed(3)
        return {n: TURN(t.noise(1, 8, 8, 8)) for n in order}

    return t.seeds(load)


def grad_image() -> Answer:
    return t.grad_image(TURN + c.RandomGammaTransform())


def grad_params() -> Answer:
    def call(x: Tensor, degrees: Tensor) -> Tensor:
        zero = torch.zeros(())
        return c.AffineTransform(rotations=torch.stack([degrees, zero, zero]))(x[0])

    return t.grad_params(call)


def compile() -> Answer:
    steps = TURN + c.GaussianNoiseTransform()
    return t.compiled(lambda x: steps(x * 2) + 1, t.noise(1, 8, 8, 8))


def graphs() -> Answer:
    return unnamed(dir(c), "graph", "captur")


def kernels() -> Answer:
    return lacks("torch's own kernels")


def labels() -> Answer:
    step = c.RandomAffineTransform(**MOTION, bound="zeros", nearest_if_label=True)
    return s.labels(lambda x, mask: tuple(step(x, mask.long())))


def spacing() -> Answer:
    return lacks("tensors have no spacing")


def fused() -> Answer:
    move = c.RandomAffineTransform(**{**MOTION, "rotations": 20}, bound="zeros")
    bend = c.RandomElasticTransform(dmax=0.05)
    pair = c.RandomAffineElasticTransform(dmax=0.05, **{**MOTION, "rotations": 20})
    return s.fused(move + move + c.FlipTransform() + bend, move + move, pair)


def replay() -> Answer:
    def call(x: Tensor) -> tuple[Tensor, Tensor]:
        fixed = (TURN + c.RandomFlipTransform()).make_final(x)
        return fixed(x), fixed(x)

    answer = s.replay(call)
    if answer.outcome != "yes":
        return answer
    return partly("parameters can be drawn first and applied again; images keep no record")


def inverse() -> Answer:
    def call(*steps: Any) -> Any:
        def undone(x: Tensor) -> tuple[Tensor, Tensor]:
            fixed = c.SequentialTransform(list(steps)).make_final(x)
            y = fixed(x)
            return y, fixed.make_inverse()(y)

        return undone

    turned, back = call(TURN)(t.noise(1, 8, 8, 8))
    if torch.equal(turned, back):
        return no("there is `make_inverse`, but that of an affine leaves images as they are")
    return s.inverse(call(TURN, c.FlipTransform()))


def points() -> Answer:
    return unnamed(dir(c), "point", "boxes")


def planes() -> Answer:
    return s.planes(c.AffineTransform(rotations=30, bound="zeros"))


def dtypes() -> Answer:
    step = c.RandomAffineTransform(**MOTION, nearest_if_label=True)
    return s.dtypes(step)


def types() -> Answer:
    return f.types({"dict": TURN})


def files() -> Answer:
    def read(path: Any) -> tuple[Any, Any]:
        return c.LoadTransform(ndim=3)(str(path)), f.SPACING  # voxels are all that it returns

    answer = f.files(read, dicom=False)
    if answer.outcome == "no":
        return answer
    assert not [ext for ext in _extensions() if "dcm" in ext]
    return partly("NIfTI, without its place in space")


def _extensions() -> list[str]:
    from cornucopia.utils import io

    return [ext for name in dir(io) for ext in getattr(getattr(io, name), "EXT", [])]


def bias() -> Answer:
    return v.bias(c.MulFieldTransform(shape=5, vmin=0.7, vmax=1.4))


def motion() -> Answer:
    return v.motion(c.IntraScanMotionTransform(shots=4))


def ghosting() -> Answer:
    return unnamed(dir(c), "ghost", "spike")


def gibbs() -> Answer:
    return unnamed(dir(c), "gibbs")


def coils() -> Answer:
    return v.coils(c.ChiNoiseTransform(sigma=0.5, nb_channels=8))


def b0() -> Answer:
    try:
        return v.b0(c.B0DistortionTransform(dmax=0.1, bound="zeros"))
    except RuntimeError as error:  # of every volume, whatever the arguments
        return no(f"`B0DistortionTransform` raises: {str(error).partition(',')[0]}")


def slices() -> Answer:
    return v.slices(c.RandomSlicewiseAffineTransform(bound="zeros"))


def morphology() -> Answer:
    return v.morphology(c.DilateLabelTransform(radius=2), c.ErodeLabelTransform(radius=2))


def ct_window() -> Answer:
    clip, scale = c.ClipTransform(0, 80), c.MulValueTransform(1 / 80)
    return v.ct_window(lambda x: scale(clip(x)))


def anisotropy() -> Answer:
    return v.anisotropy(c.LowResSliceTransform(3))


def synthesis() -> Answer:
    step = c.RandomGaussianMixtureTransform(fwhm=c.random.Fixed(0))
    return v.synthesis(lambda x: step(x.long()))


def dropout() -> Answer:
    return unnamed(dir(c), "dropout", "cutout", "erasing", "rectangle")


def mixing() -> Answer:
    return unnamed(dir(c), "mixup", "cutmix")


def regrid() -> Answer:
    widths = np.array([2.0, 3, 4])  # mm, along the axes of the world
    with f.folder() as where:
        path = where / "image.nii"
        place = v.RAW[:3, :3] @ [8, 13, 6] + v.RAW[:3, 3]
        f.write_nifti(path, s.blob(v.RAW, (18, 24, 12), place, widths)[0].numpy(), v.RAW)
        # as float32: it cannot reslice the float64 that it reads otherwise
        y = c.LoadTransform(ndim=3, dtype=torch.float32, to_ras=1.0)(str(path))
    # at 1 mm and along the axes, which are told apart by their widths
    places, voxels = s.world(np.eye(4), y.shape[1:]), y[0].double().numpy()[..., None]
    away = places - s.centroid(y, np.eye(4))
    found = np.sqrt((voxels * away**2).sum((0, 1, 2)) / voxels.sum())
    if np.abs(found - widths).max() > 0.3:
        return no(f"a blob of {widths} mm becomes one of {np.round(found, 1)}")
    return partly("while a file is read as float32; the place in space is lost")


def component() -> Answer:
    return unnamed(dir(c), "component", "largest")


def samplers() -> Answer:
    return v.samplers({"uniform": c.RandomPatchTransform(v.SIDE)})


def blending() -> Answer:
    return partly("`patch_apply` keeps the middle of each patch: no weights", "documentation")


def windows() -> Answer:
    def make() -> Tensor:
        return t.noise(1, *(t.VOLUME,) * 3)

    return t.windows(make, c.RandomAffineElasticTransform(**MOTION, dmax=0.05, patch=t.PATCH))


def networks() -> Answer:
    return unnamed(dir(c), "unet", "loss", "dice")

"""cornucopia, one sample at a time. Its bias field is a spline through random control points.

Its motion has a pose for the central lines too, and a magnitude image. Its percentiles are those of
the voxels that are not 0, and its window lies a voxel off the centre.
"""

from __future__ import annotations

from math import exp, log, sqrt
from pathlib import Path
from typing import Any

import cornucopia as cc
import torch
from torch import Tensor

from .. import workloads as w
from ..checks.data import SIDE, SPACING
from ..checks.tensors import PATCH
from . import NO_SPACING, by_size, per_sample, seeded, version

NAME, DISTRIBUTION, VERSION = "cornucopia", "cornucopia", version("cornucopia")
NAMES = dir(cc)
_BASES = {"Transform", "FinalTransform", "NonFinalTransform", "RandomizedTransform"}
TRANSFORMS = sorted(
    {n for n in NAMES if n.endswith("Transform") and not n.endswith("FinalTransform")} - _BASES
)

MOTION: dict[str, Any] = {
    "translations": w.AFFINE["translation"],
    "rotations": w.AFFINE["degrees"],
    "zooms": w.AFFINE["scales"],
    "shears": 0,
}
# A plain number of control points would be the largest of a random one.
BEND: dict[str, Any] = {
    "dmax": w.ELASTIC["max_displacement"],
    "shape": cc.random.Fixed(w.ELASTIC["num_control_points"]),
}
SAMPLING: dict[str, Any] = {"unit": "vox", "bound": "zeros"}
#: Full width at half maximum of a Gaussian whose standard deviation is 1.
WIDTH = sqrt(8 * log(2))
LOW, HIGH = (exp(sign * w.BIAS_FIELD["coefficients"]) for sign in (-1, 1))
STEPS: dict[str, Any] = {
    "affine": cc.RandomAffineTransform(**MOTION, **SAMPLING),
    "elastic": cc.RandomElasticTransform(**BEND, **SAMPLING),
    "random_flip": cc.RandomFlipTransform(),
    "bias_field": cc.MulFieldTransform(shape=5, vmin=LOW, vmax=HIGH),
    "gamma": cc.RandomGammaTransform(tuple(exp(end) for end in w.GAMMA["log_gamma"])),
    "noise": cc.RandomGaussianNoiseTransform(w.NOISE["std"][1]),
}
STEPS["pipe6"] = cc.SequentialTransform([STEPS[name] for name in w.PIPE6])
PAIR = cc.RandomAffineElasticTransform(**BEND, **MOTION, **SAMPLING, nearest_if_label=True)
SMALL: dict[str, Any] = {"rotations": 10, "translations": 0.1, "shears": 0, "zooms": 0}
MOVES = {**SMALL, "rotations": 20}
TURN = cc.RandomAffineTransform(**SMALL, bound="zeros")
MOVE = cc.RandomAffineTransform(**MOVES, bound="zeros")


def with_labels(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    moved = [PAIR(image, label.long()) for image, label in zip(x, labels, strict=True)]
    images, maps = map(torch.stack, zip(*moved, strict=True))
    return images, maps


def grad_params(x: Tensor, degrees: Tensor) -> Tensor:
    zero = torch.zeros(())
    return cc.AffineTransform(rotations=torch.stack([degrees, zero, zero]))(x[0])


def undone(x: Tensor) -> tuple[Tensor, Tensor]:
    fixed = cc.SequentialTransform([TURN, cc.FlipTransform()]).make_final(x)
    y = fixed(x)
    return y, fixed.make_inverse()(y)


def read(path: Path) -> tuple[Any, Any]:
    if path.is_dir():
        raise ValueError("files of one volume only")
    return cc.LoadTransform(ndim=3)(str(path)), SPACING  # voxels are all that it returns


WINDOW = cc.RandomAffineElasticTransform(**SMALL, dmax=0.05, patch=PATCH)
OPS: dict[str, Any] = {
    **{name: per_sample(step) for name, step in STEPS.items()},
    "affine_elastic": per_sample(cc.RandomAffineElasticTransform(**BEND, **MOTION, **SAMPLING)),
    "with_labels": with_labels,
    "flip": per_sample(cc.FlipTransform()),
    "blur": per_sample(
        cc.RandomSmoothTransform(cc.random.Uniform(*([WIDTH * end] * 3 for end in w.BLUR["std"])))
    ),
    # Slices without thickness, since those of the others are not means either.
    "anisotropy": per_sample(
        cc.RandomLowResSliceTransform(w.ANISOTROPY["downsampling"], thickness=cc.random.Fixed(0))
    ),
    "labels_to_image": per_sample(
        cc.RandomGaussianMixtureTransform(
            w.LABELS_TO_IMAGE["default_mean"],
            w.LABELS_TO_IMAGE["default_std"],
            fwhm=cc.random.Fixed(0),
        )
    ),
    "crop_or_pad": by_size(lambda size: per_sample(cc.PatchTransform(w.crop_or_pad(size)))),
    "z_normalization": per_sample(cc.ZTransform()),
    "rescale": per_sample(
        cc.QuantileTransform(
            *(q / 100 for q in w.PERCENTILES), *w.RESCALE["out_min_max"], clip=True, max_samples=0
        )
    ),
    # The labels given become 1, 2, ..., all others 0.
    "remap_labels": per_sample(
        cc.RelabelTransform(sorted(w.REMAPPING, key=w.REMAPPING.__getitem__)[1:])
    ),
    "one_hot": per_sample(cc.OneHotTransform(dtype=torch.uint8)),
    "batch": cc.ctx.batch(TURN),
    "device": per_sample(TURN + cc.RandomElasticTransform() + cc.GaussianNoiseTransform()),
    "seeds": seeded(per_sample(TURN)),
    "grad_image": per_sample(TURN + cc.RandomGammaTransform()),
    "grad_params": grad_params,
    "compile": per_sample(TURN + cc.GaussianNoiseTransform()),
    "fused": {
        "all": per_sample(MOVE + MOVE + cc.FlipTransform() + cc.RandomElasticTransform(dmax=0.05)),
        "affines composed": per_sample(MOVE + MOVE),
        "an affine with an elastic step in one class": per_sample(
            cc.RandomAffineElasticTransform(dmax=0.05, **MOVES)
        ),
    },
    "inverse": {"affines": undone},
    "planes": cc.AffineTransform(rotations=30, bound="zeros"),
    "dtypes": cc.RandomAffineTransform(**SMALL, nearest_if_label=True),
    "types": {"dict": TURN},
    "files": read,
    "coils": per_sample(cc.ChiNoiseTransform(sigma=0.5, nb_channels=8)),
    "slices": per_sample(cc.RandomSlicewiseAffineTransform(bound="zeros")),
    "morphology": {
        "grown": per_sample(cc.DilateLabelTransform(radius=2)),
        "shrunk": per_sample(cc.ErodeLabelTransform(radius=2)),
    },
    "ct_window": per_sample(lambda x: cc.MulValueTransform(1 / 80)(cc.ClipTransform(0, 80)(x))),
    "samplers": {"uniform": cc.RandomPatchTransform(SIDE)},
    "windows": {"elastic_ones": lambda x: lambda: WINDOW(x)},
}
NOTES = {
    "batch": "by a loop over samples: `ctx.batch`",
    "kernels": "- torch's own kernels",
    "motion": "~ of cubes only; a pose for the central lines too, and a magnitude image",
    **NO_SPACING,
    "replay": "~ parameters can be drawn first and applied again; images keep no record",
    "files": "without the place in space",
    "regrid": "~ while a file is read as float32; the place in space is lost",
    "b0": "- `B0DistortionTransform` raises on every volume",
    "infer_hann": "~ `patch_apply` keeps the middle of each patch: no weights",
}

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
from torch.nn.functional import pad

from .. import workloads as w
from ..checks.data import SIDE, SPACING
from ..checks.tensors import PATCH
from . import NO_SPACING, by_size, of_samples, per_sample, seeded, version

NAME, DISTRIBUTION, VERSION = "cornucopia", "cornucopia", version("cornucopia")
NAMES = dir(cc)
_BASES = {"Transform", "FinalTransform", "NonFinalTransform", "RandomizedTransform"}
TRANSFORMS = sorted(
    {n for n in NAMES if n.endswith("Transform") and not n.endswith("FinalTransform")} - _BASES
)

SAMPLING: dict[str, Any] = {"unit": "vox", "bound": "zeros"}
MOTION: dict[str, Any] = {
    "translations": w.AFFINE["translation"],
    "rotations": w.AFFINE["degrees"],
    "zooms": w.AFFINE["scales"],
    "shears": 0,
    **SAMPLING,
}
FIXED = cc.random.Fixed  # a plain number would be the largest of a random one
CONTROL = FIXED(w.ELASTIC["num_control_points"])
BEND: dict[str, Any] = {"dmax": w.ELASTIC["max_displacement"], "shape": CONTROL, **SAMPLING}
#: Full width at half maximum of a Gaussian whose standard deviation is 1.
WIDTH = sqrt(8 * log(2))
WIDTHS = cc.random.Uniform(*([WIDTH * end] * 3 for end in w.BLUR["std"]))
LOW, HIGH = (exp(sign * w.BIAS_FIELD["coefficients"]) for sign in (-1, 1))
STEPS: dict[str, Any] = {
    "affine": cc.RandomAffineTransform(**MOTION),
    "elastic": cc.RandomElasticTransform(**BEND),
    "random_flip": cc.RandomFlipTransform(),
    "bias_field": cc.MulFieldTransform(shape=5, vmin=LOW, vmax=HIGH),
    "gamma": cc.RandomGammaTransform(tuple(exp(end) for end in w.GAMMA["log_gamma"])),
    "noise": cc.RandomGaussianNoiseTransform(w.NOISE["std"][1]),
}
STEPS["pipe6"] = cc.SequentialTransform([STEPS[name] for name in w.PIPE6])
SMALL: dict[str, Any] = {"rotations": 10, "translations": 0.1, "shears": 0, "zooms": 0}
LARGER = {**SMALL, "rotations": 20}
TURN = cc.RandomAffineTransform(**SMALL, bound="zeros")
MOVE = cc.RandomAffineTransform(**LARGER, bound="zeros")
FLIP = cc.FlipTransform()
PAIR = cc.RandomAffineElasticTransform(**BEND | MOTION, nearest_if_label=True)
WINDOW = cc.RandomAffineElasticTransform(**SMALL, dmax=0.05, patch=PATCH)


def undone(x: Tensor) -> tuple[Tensor, Tensor]:
    fixed = cc.SequentialTransform([TURN, FLIP]).make_final(x)
    y = fixed(x)
    return y, fixed.make_inverse()(y)


def read(path: Path) -> tuple[Any, Any]:
    if path.is_dir():
        raise ValueError("files of one volume only")
    return cc.LoadTransform(ndim=3)(str(path)), SPACING  # voxels are all that it returns


OPS: dict[str, Any] = {
    **of_samples(
        {
            **STEPS,
            "affine_elastic": cc.RandomAffineElasticTransform(**BEND | MOTION),
            "flip": FLIP,
            "blur": cc.RandomSmoothTransform(WIDTHS),
            # Slices without thickness, since those of the others are not means either.
            "anisotropy": cc.RandomLowResSliceTransform(
                w.ANISOTROPY["downsampling"], thickness=FIXED(0)
            ),
            "labels_to_image": cc.RandomGaussianMixtureTransform(
                *w.LABELS_TO_IMAGE.values(), fwhm=FIXED(0)
            ),
            "z_normalization": cc.ZTransform(),
            "rescale": cc.QuantileTransform(
                *(q / 100 for q in w.PERCENTILES), *w.RESCALE["out_min_max"], True, max_samples=0
            ),
            # The labels given become 1, 2, ..., all others 0.
            "remap_labels": cc.RelabelTransform(sorted(w.REMAPPING, key=w.REMAPPING.get)[1:]),
            "one_hot": cc.OneHotTransform(dtype=torch.uint8),
            "device": TURN + cc.RandomElasticTransform() + cc.GaussianNoiseTransform(),
            "grad_image": TURN + cc.RandomGammaTransform(),
            "compile": TURN + cc.GaussianNoiseTransform(),
            "fused": {
                "all": MOVE + MOVE + FLIP + cc.RandomElasticTransform(dmax=0.05),
                "affines composed": MOVE + MOVE,
                "an affine with an elastic step in one class": cc.RandomAffineElasticTransform(
                    dmax=0.05, **LARGER
                ),
            },
            "coils": cc.ChiNoiseTransform(sigma=0.5, nb_channels=8),
            "slices": cc.RandomSlicewiseAffineTransform(bound="zeros"),
            "morphology": {
                "grown": cc.DilateLabelTransform(radius=2),
                "shrunk": cc.ErodeLabelTransform(radius=2),
            },
            "ct_window": cc.ClipTransform(0, 80) + cc.MulValueTransform(1 / 80),
        }
    ),
    "with_labels": per_sample(lambda x, labels: tuple(PAIR(x, labels.long()))),
    "crop_or_pad": by_size(lambda size: per_sample(cc.PatchTransform(w.crop_or_pad(size)))),
    "batch": cc.ctx.batch(TURN),
    "seeds": seeded(per_sample(TURN)),
    "grad_params": lambda x, angle: cc.AffineTransform(rotations=pad(angle[None], (0, 2)))(x[0]),
    "inverse": {"affines": undone},
    "planes": cc.AffineTransform(rotations=30, bound="zeros"),
    "dtypes": cc.RandomAffineTransform(**SMALL, nearest_if_label=True),
    "types": {"dict": TURN},
    "files": read,
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

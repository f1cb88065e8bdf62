"""MONAI's array transforms, one sample at a time.

Its elastic deformation is white noise smoothed by a Gaussian; one as smooth as the spline of the
others would take a wider, slower Gaussian. Its bias field is a Legendre polynomial. Its spike
replaces the magnitude of a point in k-space, by the exponential of a given number, and keeps the
phase; the others add to what there is, relative to the largest magnitude.

Its Spacing rounds the number of voxels up or down: what it is made of does the same here on the
grid of the others. It normalizes by no mask but that of the numbers other than 0; of the raw
subject these are the voxels with a label, and the others stay 0. Its largest component needs
scikit-image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from math import exp, log, prod, radians
from typing import Any

import monai
import torch
from monai import transforms as m
from monai.inferers import sliding_window_inference
from monai.utils import optional_import
from torch import Tensor

from .. import workloads as w
from . import Op, by_size, per_sample

NAME, VERSION = "MONAI", monai.__version__
# Plain tensors in and out: quicker than tensors with metadata.
monai.data.set_track_meta(False)

MOTION: dict[str, Any] = {
    "rotate_range": [radians(w.AFFINE["degrees"])] * 3,
    "translate_range": [w.AFFINE["translation"]] * 3,
    "scale_range": [w.AFFINE["scales"]] * 3,
}
# Displacements have the standard deviation of the spline's, which ends at the borders: 0.94 voxels.
BEND: dict[str, Any] = {"sigma_range": (5, 8), "magnitude_range": (130, 230)}
SAMPLING: dict[str, Any] = {"mode": "bilinear", "padding_mode": "zeros"}
WIDTHS = ("sigma_x", "sigma_y", "sigma_z")
COEFFICIENT = w.BIAS_FIELD["coefficients"]
FLIPS = [m.RandFlip(w.RANDOM_FLIP["flip_probability"], axis) for axis in w.RANDOM_FLIP["axes"]]

STEPS: dict[str, Any] = {
    "affine": m.RandAffine(1, **MOTION, **SAMPLING),
    "elastic": m.Rand3DElastic(**BEND, prob=1, **SAMPLING),
    "affine_elastic": m.Rand3DElastic(**BEND, prob=1, **MOTION, **SAMPLING),
    "flip": m.RandFlip(w.FLIP["flip_probability"], w.FLIP["axes"]),
    "random_flip": m.Compose(FLIPS),
    "bias_field": m.RandBiasField(w.BIAS_FIELD["order"], (-COEFFICIENT, COEFFICIENT), prob=1),
    "gamma": m.RandAdjustContrast(1, [exp(end) for end in w.GAMMA["log_gamma"]]),
    "noise": m.RandGaussianNoise(1, std=w.NOISE["std"][1], sample_std=True),
    "blur": m.RandGaussianSmooth(**dict.fromkeys(WIDTHS, w.BLUR["std"]), prob=1),
    "z_normalization": m.NormalizeIntensity(),
    "rescale": m.ScaleIntensityRangePercentiles(*w.PERCENTILES, *w.RESCALE["out_min_max"], True),
    "remap_labels": m.MapLabelValue([*w.REMAPPING], [*w.REMAPPING.values()], torch.uint8),
    "one_hot": m.AsDiscrete(to_onehot=w.LABELS, dtype=torch.uint8),
}
if optional_import("skimage")[1]:
    largest = m.KeepLargestConnectedComponent(is_onehot=False, connectivity=1)
    STEPS["largest_component"] = m.Compose([torch.clone, largest])  # which changes its input
STEPS["pipe6"] = m.Compose([STEPS[name] for name in w.PIPE6])


def spike(size: Sequence[int]) -> Op:
    """Spikes as bright as those of the others. Left to itself, MONAI looks for a range first."""
    largest = prod(size) / 2  # magnitude in k-space, of numbers whose mean is 1/2
    ends = [log(end * largest) for end in w.SPIKE["intensity"]]
    return per_sample(m.RandKSpaceSpikeNoise(1, ends, channel_wise=False))


def resample(size: Sequence[int]) -> Op:
    """To another spacing about the same centre."""
    after = w.resampled(size)
    affine = torch.eye(4) * torch.tensor([*[w.SPACING] * 3, 1])
    affine[:3, 3] = (torch.tensor(size) - 1 - w.SPACING * (torch.tensor(after) - 1)) / 2
    step = m.SpatialResample(padding_mode="border", dtype=torch.float32)
    return per_sample(lambda x: step(x, dst_affine=affine, spatial_size=after))


CANONICAL = m.Orientation("RAS")
LPI, RAW = torch.tensor(w.LPI), torch.tensor(w.RAW)
BOTH = ("image", "label")
NEAREST = ("bilinear", "nearest")
PREP6 = [
    m.Orientationd(BOTH, "RAS"),
    m.Spacingd(BOTH, (1, 1, 1), mode=NEAREST, dtype=torch.float32),
    m.ResizeWithPadOrCropd(BOTH, w.PREP6_SHAPE),
    m.NormalizeIntensityd("image", nonzero=True),
    m.RandAffined(BOTH, prob=1, **MOTION, mode=NEAREST, padding_mode="zeros"),
    m.Rand3DElasticd(BOTH, **BEND, prob=1, mode=NEAREST, padding_mode="zeros"),
]


def to_canonical(x: Tensor) -> Tensor:
    """The voxels of a sample whose axes are all mirrored."""
    result: Tensor = CANONICAL(monai.data.MetaTensor(x, affine=LPI))
    return result


@contextmanager
def metadata() -> Iterator[None]:
    """Tensors keep their affines, without which some steps know nothing of the world."""
    monai.data.set_track_meta(True)
    try:
        yield
    finally:
        monai.data.set_track_meta(False)


def prep6(steps: m.Compose) -> Op:
    """The image of a raw subject, prepared and augmented."""

    def op(image: Tensor, labels: Tensor) -> Tensor:
        with metadata():
            raw = {"image": image, "label": labels}
            raw = {name: monai.data.MetaTensor(x, affine=RAW) for name, x in raw.items()}
            result: Tensor = steps(raw)["image"].as_tensor()
        return result

    return op


def infer_gaussian(x: Tensor) -> Tensor:
    """Dense inference with a network that returns what it is given."""
    size, overlap = w.patch_and_overlap(x.shape[2:])
    result: Tensor = sliding_window_inference(
        x,
        size,
        w.AT_ONCE,
        lambda patches: patches,
        overlap=[o / p for o, p in zip(overlap, size, strict=True)],
        mode="gaussian",
        sigma_scale=0.125,
    )
    return result


VOLUMES: dict[str, Any] = {
    "affine": m.RandAffined(BOTH, prob=1, **MOTION, mode=NEAREST, padding_mode="zeros"),
    "elastic": m.Rand3DElasticd(BOTH, **BEND, prob=1, mode=NEAREST, padding_mode="zeros"),
    "random_flip": m.Compose(
        [m.RandFlipd(BOTH, w.RANDOM_FLIP["flip_probability"], n) for n in w.RANDOM_FLIP["axes"]]
    ),
    **{name: m.Lambdad("image", STEPS[name]) for name in ("bias_field", "gamma", "noise")},
}


PAIR = m.Rand3DElasticd(BOTH, **BEND, prob=1, **MOTION, mode=NEAREST, padding_mode="zeros")


def with_labels(x: Tensor, labels: Tensor) -> Tensor:
    """The images of a batch that move with their label maps."""
    pairs = zip(x, labels, strict=True)
    return torch.stack([PAIR({"image": image, "label": label})["image"] for image, label in pairs])


def from_volume(number: int) -> Op:
    """Patches of one volume, augmented once."""

    @cache
    def steps(size: w.Triple) -> Any:
        crop = m.RandSpatialCropSamplesd(BOTH, size, number, random_size=False)
        return m.Compose([*(VOLUMES[name] for name in w.PIPE6), crop])

    def op(image: Tensor, labels: Tensor) -> Tensor:
        patches = steps(w.training_patch(image.shape[1:]))({"image": image, "label": labels})
        return torch.stack([patch["image"] for patch in patches])

    return op


OPS: dict[str, Op] = {
    **{name: per_sample(step) for name, step in STEPS.items()},
    "with_labels": with_labels,
    "spike": by_size(spike),
    "resample": by_size(resample),
    "crop_or_pad": by_size(lambda size: per_sample(m.ResizeWithPadOrCrop(w.crop_or_pad(size)))),
    "to_canonical": per_sample(to_canonical),
    "prep6": prep6(m.Compose(PREP6)),
    "infer_gaussian": infer_gaussian,
    "one_patch": from_volume(1),
    "four_patches": from_volume(4),
}

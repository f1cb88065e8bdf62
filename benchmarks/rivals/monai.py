"""MONAI's array transforms, one sample at a time.

Its elastic deformation is white noise smoothed by a Gaussian; one as smooth as the spline of the
others would take a wider, slower Gaussian. Its bias field is a Legendre polynomial. Its spike
replaces the magnitude of a point in k-space, by the exponential of a given number, and keeps the
phase; the others add to what there is. Its Spacing rounds the number of voxels up or down: what it
is made of does the same here on the grid of the others. It normalizes by no mask but that of the
numbers other than 0: of the raw subject, the voxels with a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from math import exp, log, prod, radians
from typing import Any

import monai
import numpy as np
import torch
from monai import data as d
from monai import transforms as m
from monai.inferers import sliding_window_inference
from monai.networks.blocks import Warp
from torch import Tensor

from .. import workloads as w
from ..checks.data import SIDE
from ..checks.tensors import PATCH
from . import Op, by_size, classes, noise, of_samples, per_sample

NAME, DISTRIBUTION, VERSION = "MONAI", "monai", monai.__version__
NAMES = dir(m)
TRANSFORMS = classes(vars(m), m.Transform, m.MapTransform, m.RandomizableTransform)
# Plain tensors in and out: quicker than tensors with metadata.
d.set_track_meta(False)

ALWAYS: dict[str, Any] = {"prob": 1, "padding_mode": "zeros"}
MOTION: dict[str, Any] = {
    "rotate_range": [radians(w.AFFINE["degrees"])] * 3,
    "translate_range": [w.AFFINE["translation"]] * 3,
    "scale_range": [w.AFFINE["scales"]] * 3,
    **ALWAYS,
}
# Displacements have the standard deviation of the spline's, which ends at the borders: 0.94 voxels.
BEND: dict[str, Any] = {"sigma_range": (5, 8), "magnitude_range": (130, 230), **ALWAYS}
BOTH, MODES = ("image", "label"), ("bilinear", "nearest")
COEFFICIENT, CHANCE = w.BIAS_FIELD["coefficients"], w.RANDOM_FLIP["flip_probability"]

STEPS: dict[str, Any] = {
    "affine": m.RandAffine(**MOTION),
    "elastic": m.Rand3DElastic(**BEND),
    "random_flip": m.Compose([m.RandFlip(CHANCE, axis) for axis in w.RANDOM_FLIP["axes"]]),
    "bias_field": m.RandBiasField(w.BIAS_FIELD["order"], (-COEFFICIENT, COEFFICIENT), prob=1),
    "gamma": m.RandAdjustContrast(1, [exp(end) for end in w.GAMMA["log_gamma"]]),
    "noise": m.RandGaussianNoise(1, std=w.NOISE["std"][1], sample_std=True),
}
STEPS["pipe6"] = m.Compose([STEPS[name] for name in w.PIPE6])
#: The same on dictionaries of an image and its labels.
VOLUMES: dict[str, Any] = {
    "affine": m.RandAffined(BOTH, **MOTION, mode=MODES),
    "elastic": m.Rand3DElasticd(BOTH, **BEND, mode=MODES),
    "random_flip": m.Compose([m.RandFlipd(BOTH, CHANCE, axis) for axis in w.RANDOM_FLIP["axes"]]),
    **{name: m.Lambdad("image", STEPS[name]) for name in ("bias_field", "gamma", "noise")},
}
GRID = [
    m.Orientationd(BOTH, "RAS"),
    m.Spacingd(BOTH, (1, 1, 1), mode=MODES, dtype=torch.float32),
    m.ResizeWithPadOrCropd(BOTH, w.PREP6_SHAPE),
]
NORMAL = m.NormalizeIntensityd("image", nonzero=True)
PREP6 = [*GRID, NORMAL, VOLUMES["affine"], VOLUMES["elastic"]]

SMALL: dict[str, Any] = {"rotate_range": [radians(10)] * 3, "translate_range": [3] * 3, **ALWAYS}
LARGER: dict[str, Any] = {"rotate_range": [radians(20)] * 3, **ALWAYS}
SOFT: dict[str, Any] = {"sigma_range": (5, 6), "magnitude_range": (100, 200), **ALWAYS}
PAIR = m.Rand3DElasticd(BOTH, **BEND | MOTION, mode=MODES)
TURN, MOVE, ELASTIC = m.RandAffine(**SMALL), m.RandAffine(**LARGER), m.Rand3DElastic(**SOFT)


def plain(y: Any) -> Any:
    if isinstance(y, tuple):
        return tuple(map(plain, y))
    return y.as_tensor() if isinstance(y, d.MetaTensor) else y


def tracked(op: Op) -> Op:
    """With affines, without which some steps know nothing of the world; results have none."""

    def call(*given: Any) -> Any:
        d.set_track_meta(True)
        try:
            return plain(op(*given))
        finally:
            d.set_track_meta(False)

    return call


def meta(x: Tensor, affine: Any = None) -> d.MetaTensor:
    return d.MetaTensor(x, affine=None if affine is None else torch.as_tensor(affine))


def raw(image: Tensor, labels: Tensor) -> dict[str, Any]:
    return {"image": meta(image, w.RAW), "label": meta(labels, w.RAW)}


def compose(steps: list[Any], lazy: bool) -> m.Compose:
    """Steps on dictionaries of an image and its labels.

    How to interpolate is taken from the first of those that wait: after a change of orientation,
    which does not say, labels would be interpolated linearly. So it is said once more for all.
    """
    overrides = {"label": {"mode": "nearest"}} if lazy else None
    return m.Compose(m.Compose(steps).flatten().transforms, lazy=lazy, overrides=overrides)


def lazily(*steps: Any) -> Op:
    """Operation on a sample, with lazy resampling: steps wait, and those in a row become one."""
    pipeline = m.Compose(m.Compose(steps).flatten().transforms, lazy=True)
    return tracked(lambda x: pipeline(meta(x)))


def world(step: Any) -> Op:
    """Operation on an image and its affine."""

    def op(x: Tensor, affine: np.ndarray) -> tuple[Tensor, Any]:
        y = step(meta(x, affine))
        return y, y.affine

    return tracked(op)


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


def prep6(lazy: bool = False) -> Op:
    """The image of a raw subject, prepared and augmented."""
    steps = compose(PREP6, lazy)
    return tracked(lambda *given: steps(raw(*given))["image"])


def infer_gaussian(x: Tensor) -> Tensor:
    size, overlap = w.patch_and_overlap(x.shape[2:])
    shares = [o / p for o, p in zip(overlap, size, strict=True)]
    infer = partial(sliding_window_inference, mode="gaussian", sigma_scale=0.125, overlap=shares)
    return infer(x, size, w.AT_ONCE, lambda patches: patches)


def from_volume(number: int, lazy: bool = False) -> Op:
    """Patches of one volume, augmented once."""

    @cache
    def steps(size: w.Triple) -> m.Compose:
        crop = m.RandSpatialCropSamplesd(BOTH, size, number, random_size=False)
        return compose([*VOLUMES.values(), crop], lazy)

    def op(image: Tensor, labels: Tensor) -> Tensor:
        # only tensors with metadata can wait
        image, labels = (meta(image), meta(labels)) if lazy else (image, labels)
        patches = steps(w.training_patch(image.shape[1:]))({"image": image, "label": labels})
        return torch.stack([patch["image"] for patch in patches])

    return tracked(op) if lazy else op


def load(order: Any, size: int) -> dict[int, Tensor]:
    steps = m.Compose([m.RandAffined("image", **SMALL)])
    dataset = d.Dataset([{"image": noise(1, 8, 8, 8), "n": n} for n in range(4)], steps)
    monai.utils.set_determinism(3)
    steps.set_random_state(3)
    found = {}
    for batch in d.DataLoader(dataset, batch_size=size, sampler=list(order)):
        found.update(zip(batch["n"].tolist(), batch["image"], strict=True))
    return found


@tracked
def spacing(one: Tensor, a: np.ndarray, two: Tensor, b: np.ndarray) -> tuple[Tensor, ...]:
    step = m.RandAffined(BOTH, **ALWAYS, rotate_range=[radians(40)] * 3)
    return tuple(step({"image": meta(one, a), "label": meta(two, b)}).values())


@tracked
def undone(x: Tensor) -> tuple[Tensor, Tensor]:
    steps = m.Compose([TURN, m.Flip(0)])
    y = steps(meta(x))
    return y, steps.inverse(y)


@tracked
def points(x: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    y = TURN(meta(x))
    # world to voxels of the moved image, whose affine says where its voxels came from
    return y, m.ApplyTransformToPoints(affine=y.affine, invert_affine=True)(places[None])[0]


@tracked
def read(path: Any) -> tuple[Any, Any]:
    x = m.LoadImage()(path)
    return x, x.pixdim


def queue(voxels: list[Tensor]) -> Any:
    crop = m.RandSpatialCropSamples((4, 4, 4), 4, random_size=False)
    patches = d.PatchDataset(voxels, crop, samples_per_image=4)
    return d.DataLoader(d.ShuffleBuffer(patches, buffer_size=12), batch_size=1)


SIDES = (SIDE,) * 3
REGRID, CUT = m.Compose(GRID), m.CenterSpatialCrop(PATCH)
LABELLED = m.RandCropByLabelClasses(SIDES, ratios=[0, 1], num_classes=2)
LARGEST = m.KeepLargestConnectedComponent(is_onehot=False, connectivity=1)
OPS: dict[str, Any] = {
    **of_samples(
        {
            **STEPS,
            "affine_elastic": m.Rand3DElastic(**BEND | MOTION),
            "flip": m.RandFlip(w.FLIP["flip_probability"], w.FLIP["axes"]),
            "blur": m.RandGaussianSmooth(*[w.BLUR["std"]] * 3, prob=1),
            "to_canonical": lambda x: m.Orientation("RAS")(meta(x, w.LPI)),
            "z_normalization": m.NormalizeIntensity(),
            "rescale": m.ScaleIntensityRangePercentiles(
                *w.PERCENTILES, *w.RESCALE["out_min_max"], clip=True
            ),
            "remap_labels": m.MapLabelValue(*zip(*w.REMAPPING.items(), strict=True), torch.uint8),
            "one_hot": m.AsDiscrete(to_onehot=w.LABELS, dtype=torch.uint8),
            "largest_component": m.Compose([torch.clone, LARGEST]),  # changes its input
            "device": m.Compose([TURN, ELASTIC, m.RandGaussianNoise(1)]),
            "grad_image": m.Compose([TURN, m.RandAdjustContrast(1)]),
            "compile": m.Compose([TURN, m.RandGaussianNoise(1)]),
            "fused": {
                "all": lazily(MOVE, MOVE, m.Flip(0), ELASTIC),
                "affines composed": lazily(MOVE, MOVE),
                "an affine with an elastic step in one class": m.Rand3DElastic(**SOFT | LARGER),
            },
            "gibbs": m.GibbsNoise(0.6),
            "anisotropy": m.RandSimulateLowResolution(1, zoom_range=(0.3, 0.3)),
            "dropout": m.RandCoarseDropout(holes=2, spatial_size=6, fill_value=0, prob=1),
            "curves": m.RandHistogramShift(prob=1),
            "ct_window": m.ScaleIntensityRange(0, 80, 0, 1, clip=True),
            "ct_kernel": {
                "sharp": m.GaussianSharpen((0.1, 0.1, 1e-3), (0.6, 0.6, 1e-3), alpha=2.0),
                "soft": m.GaussianSmooth((1.0, 1.0, 1e-3)),
            },
        }
    ),
    "with_labels": per_sample(lambda x, y: tuple(PAIR({"image": x, "label": y}).values())),
    "spike": by_size(spike),
    "resample": by_size(resample),
    "crop_or_pad": by_size(lambda size: per_sample(m.ResizeWithPadOrCrop(w.crop_or_pad(size)))),
    "dense_field": Warp("bilinear", "zeros"),
    "prep6": prep6(),
    "infer_original": tracked(lambda *given: REGRID.inverse(REGRID(raw(*given)))["image"]),
    "infer_gaussian": infer_gaussian,
    "one_patch": from_volume(1),
    "four_patches": from_volume(4),
    "batch": TURN,
    "seeds": load,
    "grad_params": lambda x, angle: m.Affine([0, 0, torch.deg2rad(angle)], image_only=True)(x[0]),
    "spacing": spacing,
    "millimetres": world(m.Affine([radians(45), 0, 0], padding_mode="zeros", image_only=True)),
    "regrid": world(m.Compose([m.Orientation("RAS"), m.Spacing((1, 1, 1))])),
    "inverse": {"affines": undone},
    "points": points,
    "planes": m.Affine(radians(30), padding_mode="zeros", image_only=True),
    "dtypes": m.RandAffine(**SMALL, mode="nearest"),
    "types": {"numpy": TURN, "dict": m.RandAffined("image", **SMALL)},
    "files": read,
    "cache": lambda prepare: d.CacheDataset([1], m.Compose([m.Lambda(prepare)]), progress=False),
    "mixing": lambda x: m.MixUp(batch_size=2)(x),
    "morphology": {
        "grown": lambda x: m.dilate(x.float(), 5),
        "shrunk": lambda x: m.erode(x.float(), 5),
    },
    "samplers": {
        "uniform": m.RandSpatialCrop(SIDES, random_size=False),
        "weighted": lambda x: m.RandWeightedCrop(SIDES)(x, weight_map=x)[0],
        "label": lambda x: LABELLED(x, label=x)[0],
    },
    "queue": queue,
    "windows": {
        "affines": lambda x: partial(lazily(TURN, CUT), x),
        "elastic_ones": lambda x: partial(lazily(TURN, ELASTIC, CUT), x),
    },
    "networks": lambda: (
        monai.networks.nets.UNet(3, 1, 2, (4, 8), (2,)),
        monai.losses.DiceLoss(softmax=True, to_onehot_y=True),
    ),
    "models": lambda: monai.bundle.download,
}
#: Affine maps, flips, crops and changes of orientation or spacing wait; elastic deformation and
#: what changes intensities do not: there are no fewer interpolations here, only fewer copies.
LAZY: dict[str, Op] = {
    "pipe6": per_sample(lazily(STEPS["pipe6"])),
    "prep6": prep6(lazy=True),
    "one_patch": from_volume(1, lazy=True),
    "four_patches": from_volume(4, lazy=True),
}
NOTES = {
    "kernels": "? optional C++ and CUDA extensions (resampling, filters), built from source",
    "anatomy": "- axes of Flip are those of the array",
    "replay": "~ recorded, and replayed by setting the seed again, not from the record",
    "inverse": "not elastic deformations",
    "points": "by the affine of the image: not through elastic ones",
    "cache": "in memory; also on disk (`PersistentDataset`)",
    "aggregate": "- within its sliding windows only",
    "infer_hann": "- constant or Gaussian weights",
    "labels_to_ultrasound": "- a map of confidence of an image, none of labels",
    "morphology": "of one label, by a box (`dilate`, `erode`)",
    "landmarks": "- histograms are equalised or shifted, not matched to landmarks",
    "ct_kernel": "in voxels (`GaussianSharpen`)",
    "queue": "`PatchDataset` in a `ShuffleBuffer`",
    "models": "bundles of the model zoo; nothing was fetched",
}

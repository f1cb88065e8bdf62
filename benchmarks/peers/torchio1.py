"""TorchIO 1: one sample at a time, on the CPU, in part through SimpleITK."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
import torchio as tio
from torch import Tensor

from .. import workloads as w
from . import Op, by_size, per_sample

NAME, VERSION = "TorchIO", version("torchio")
if not VERSION.startswith("1."):
    raise ImportError(f"TorchIO 1 is asked for, {VERSION} is installed")

STEPS = {
    "affine": tio.RandomAffine(**w.AFFINE),
    "elastic": tio.RandomElasticDeformation(**w.ELASTIC),
    "affine_elastic": tio.RandomAffineElasticDeformation(
        affine_kwargs=w.AFFINE, elastic_kwargs=w.ELASTIC
    ),
    "flip": tio.RandomFlip(**w.FLIP),
    "random_flip": tio.RandomFlip(**w.RANDOM_FLIP),
    "bias_field": tio.RandomBiasField(**w.BIAS_FIELD),
    "gamma": tio.RandomGamma(**w.GAMMA),
    "noise": tio.RandomNoise(**w.NOISE),
    "motion": tio.RandomMotion(**w.MOTION),
    "spike": tio.RandomSpike(**w.SPIKE),
    "blur": tio.RandomBlur(**w.BLUR),
    "anisotropy": tio.RandomAnisotropy(**w.ANISOTROPY),
    "resample": tio.Resample(w.SPACING),
    "z_normalization": tio.ZNormalization(),
    "rescale": tio.RescaleIntensity(**w.RESCALE),
}
STEPS["pipe6"] = tio.Compose([STEPS[name] for name in w.PIPE6])
LABELS_TO_IMAGE = tio.RandomLabelsToImage(**w.LABELS_TO_IMAGE)


def labels_to_image(labels: Tensor) -> Tensor:
    """The image that is made of a label map."""
    subject = tio.Subject(seg=tio.LabelMap(tensor=labels))
    result: Tensor = LABELS_TO_IMAGE(subject).image_from_labels.data
    return result


def of_labels(transform: Any) -> Op:
    """From label maps to others."""
    return per_sample(lambda labels: transform(tio.LabelMap(tensor=labels)).data)


CANONICAL = tio.ToCanonical()
LPI, RAW = np.array(w.LPI, float), np.array(w.RAW, float)
PREP6 = tio.Compose(
    [
        CANONICAL,
        tio.Resample(1),
        tio.CropOrPad(w.PREP6_SHAPE),
        tio.ZNormalization(masking_method="label"),
        STEPS["affine"],
        STEPS["elastic"],
    ]
)


def to_canonical(x: Tensor) -> Tensor:
    """The voxels of a sample whose axes are all mirrored."""
    result: Tensor = CANONICAL(tio.ScalarImage(tensor=x, affine=LPI)).data
    return result


def prep6(image: Tensor, labels: Tensor) -> Tensor:
    """The image of a raw subject, prepared and augmented."""
    raw = tio.Subject(
        image=tio.ScalarImage(tensor=image, affine=RAW),
        label=tio.LabelMap(tensor=labels, affine=RAW),
    )
    result: Tensor = PREP6(raw).image.data
    return result


OPS: dict[str, Op] = {
    **{name: per_sample(step) for name, step in STEPS.items()},
    "ghosting": by_size(lambda size: per_sample(tio.RandomGhosting(**w.ghosting(size)))),
    "swap": by_size(lambda size: per_sample(tio.RandomSwap(**w.swap(size)))),
    "labels_to_image": per_sample(labels_to_image),
    "crop_or_pad": by_size(lambda size: per_sample(tio.CropOrPad(w.crop_or_pad(size)))),
    "to_canonical": per_sample(to_canonical),
    "remap_labels": of_labels(tio.RemapLabels(w.REMAPPING)),
    "one_hot": of_labels(tio.OneHot(w.LABELS)),
    "largest_component": of_labels(tio.KeepLargestComponent()),
    "prep6": prep6,
}

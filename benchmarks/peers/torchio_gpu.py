"""This library, measured as any other."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

import torchio_gpu as tio

from .. import workloads as w
from . import Op, by_size

NAME, VERSION = "torchio_gpu", tio.__version__

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
LABELS_TO_IMAGE = tio.RandomLabelsToImage(**w.LABELS_TO_IMAGE)


def labels_to_image(labels: Tensor) -> Tensor:
    """The image that is made of a batch of label maps."""
    batch = tio.SubjectsBatch({"seg": tio.ImagesBatch(labels, kind=tio.LABEL)})
    result: Tensor = LABELS_TO_IMAGE(batch).image_from_labels.data
    return result


def of_labels(transform: Any) -> Op:
    """From a batch of label maps to another."""

    def op(labels: Tensor) -> Tensor:
        result: Tensor = transform(tio.ImagesBatch(labels, kind=tio.LABEL)).data
        return result

    return op


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
    """The voxels of a batch whose axes are all mirrored."""
    result: Tensor = CANONICAL(tio.ImagesBatch(x, LPI[None].repeat(len(x), 0))).data
    return result


def prep6(image: Tensor, labels: Tensor) -> Tensor:
    """The image of a raw subject, prepared and augmented."""
    raw = {"image": tio.ScalarImage(image, affine=RAW), "label": tio.LabelMap(labels, affine=RAW)}
    result: Tensor = PREP6(tio.Subject(raw)).image.data
    return result


OPS: dict[str, Op] = {
    **STEPS,
    "ghosting": by_size(lambda size: tio.RandomGhosting(**w.ghosting(size))),
    "swap": by_size(lambda size: tio.RandomSwap(**w.swap(size))),
    "labels_to_image": labels_to_image,
    "crop_or_pad": by_size(lambda size: tio.CropOrPad(w.crop_or_pad(size))),
    "to_canonical": to_canonical,
    "remap_labels": of_labels(tio.RemapLabels(w.REMAPPING)),
    "one_hot": of_labels(tio.OneHot(w.LABELS)),
    "largest_component": of_labels(tio.KeepLargestComponent()),
    "percentile": lambda x: tio.functional.percentile(x, w.PERCENTILES),
    "prep6": prep6,
    "pipe6": tio.Compose([STEPS[name] for name in w.PIPE6]),
}

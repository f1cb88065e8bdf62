"""This library, measured as any other."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

import torchio_gpu as tio

from .. import workloads as w
from . import Op, by_size, four_by_four

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


def with_labels(x: Tensor, labels: Tensor) -> Tensor:
    """The image of a batch that moves with its label map."""
    images = {"image": tio.ImagesBatch(x), "label": tio.ImagesBatch(labels, kind=tio.LABEL)}
    result: Tensor = STEPS["affine_elastic"](tio.SubjectsBatch(images)).image.data
    return result


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


def aggregate(patches: Tensor, locations: Tensor) -> Tensor:
    """The batch that patches were cut out of."""
    aggregator = tio.PatchAggregator(locations[:, 3:].amax(0).tolist(), overlap_mode="hann")
    for batch, where in four_by_four(patches, locations):
        aggregator.add_batch(batch, where)
    return aggregator.get_output()[None]


def infer(overlap_mode: str) -> Op:
    """Dense inference with a network that returns what it is given."""

    def op(x: Tensor) -> Tensor:
        size, overlap = w.patch_and_overlap(x.shape[2:])
        result: Tensor = tio.predict_by_patches(
            lambda patches: patches,
            x[0],
            size,
            overlap,
            overlap_mode=overlap_mode,
            batch_size=w.AT_ONCE,
        )
        return result[None]

    return op


PIPE6 = tio.Compose([STEPS[name] for name in w.PIPE6])


def volume(image: Tensor, labels: Tensor) -> tio.Subject:
    """What patches to train with are cut out of."""
    return tio.Subject(image=tio.ScalarImage(image), label=tio.LabelMap(labels))


def from_queue(number: int) -> Op:
    """An epoch of the one volume that a queue has, which stays on the device."""

    @lru_cache(maxsize=1)
    def queue(image: Tensor, labels: Tensor) -> tio.DeviceQueue:
        sampler = tio.UniformSampler(w.training_patch(image.shape[1:]))
        return tio.DeviceQueue(
            [volume(image, labels)],
            sampler,
            PIPE6,
            patches_per_volume=number,
            device=image.device,
        )

    return lambda *images: torch.cat([batch.image.data for batch in queue(*images)])


OPS: dict[str, Op] = {
    **STEPS,
    "with_labels": with_labels,
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
    "pipe6": PIPE6,
    "aggregate": aggregate,
    "infer_hann": infer("hann"),
    "infer_gaussian": infer("gaussian"),
    "one_patch": from_queue(1),
    "four_patches": from_queue(4),
}

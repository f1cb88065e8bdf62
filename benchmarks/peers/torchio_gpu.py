"""This library, measured as any other."""

from __future__ import annotations

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
}
LABELS_TO_IMAGE = tio.RandomLabelsToImage(**w.LABELS_TO_IMAGE)


def labels_to_image(labels: Tensor) -> Tensor:
    """The image that is made of a batch of label maps."""
    batch = tio.SubjectsBatch({"seg": tio.ImagesBatch(labels, kind=tio.LABEL)})
    result: Tensor = LABELS_TO_IMAGE(batch).image_from_labels.data
    return result


OPS: dict[str, Op] = {
    **STEPS,
    "ghosting": by_size(lambda size: tio.RandomGhosting(**w.ghosting(size))),
    "swap": by_size(lambda size: tio.RandomSwap(**w.swap(size))),
    "labels_to_image": labels_to_image,
    "pipe6": tio.Compose([STEPS[name] for name in w.PIPE6]),
}

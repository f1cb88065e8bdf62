"""TorchIO 1: one sample at a time, on the CPU, in part through SimpleITK."""

from __future__ import annotations

from importlib.metadata import version

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
}
STEPS["pipe6"] = tio.Compose([STEPS[name] for name in w.PIPE6])
LABELS_TO_IMAGE = tio.RandomLabelsToImage(**w.LABELS_TO_IMAGE)


def labels_to_image(labels: Tensor) -> Tensor:
    """The image that is made of a label map."""
    subject = tio.Subject(seg=tio.LabelMap(tensor=labels))
    result: Tensor = LABELS_TO_IMAGE(subject).image_from_labels.data
    return result


OPS: dict[str, Op] = {
    **{name: per_sample(step) for name, step in STEPS.items()},
    "ghosting": by_size(lambda size: per_sample(tio.RandomGhosting(**w.ghosting(size)))),
    "swap": by_size(lambda size: per_sample(tio.RandomSwap(**w.swap(size)))),
    "labels_to_image": per_sample(labels_to_image),
}

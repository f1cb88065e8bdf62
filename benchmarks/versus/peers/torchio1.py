"""TorchIO 1: one sample at a time, on the CPU, in part through SimpleITK."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
import torchio as tio
from torch import Tensor

from .. import workloads as w
from . import Op, by_size, four_by_four, per_sample

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


def with_labels(x: Tensor, labels: Tensor) -> Tensor:
    """The images of a batch that move with their label maps."""
    pairs = (
        tio.Subject(image=tio.ScalarImage(tensor=image), label=tio.LabelMap(tensor=label))
        for image, label in zip(x.cpu(), labels.cpu(), strict=True)
    )
    moved = [STEPS["affine_elastic"](pair).image.data for pair in pairs]
    return torch.stack(moved).to(x.device)


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


@cache
def grid(size: w.Triple) -> tio.GridSampler:
    """The sampler that an aggregator wants, of a volume of this size."""
    subject = tio.Subject(image=tio.ScalarImage(tensor=torch.zeros(1, 1, 1, 1).expand(1, *size)))
    return tio.GridSampler(subject, *w.patch_and_overlap(size))


def aggregate(patches: Tensor, locations: Tensor) -> Tensor:
    """The batch that patches were cut out of."""
    i, j, k = locations[:, 3:].amax(0).tolist()
    aggregator = tio.GridAggregator(grid((i, j, k)), overlap_mode="hann")
    for batch, where in four_by_four(patches, locations):
        aggregator.add_batch(batch, where)
    return aggregator.get_output_tensor()[None].to(patches.device)


def infer_hann(x: Tensor) -> Tensor:
    """Dense inference with a network that returns what it is given."""
    subject = tio.Subject(image=tio.ScalarImage(tensor=x[0].cpu()))
    sampler = tio.GridSampler(subject, *w.patch_and_overlap(x.shape[2:]))
    aggregator = tio.GridAggregator(sampler, overlap_mode="hann")
    for batch in tio.SubjectsLoader(sampler, batch_size=w.AT_ONCE):
        aggregator.add_batch(batch["image"][tio.DATA].to(x.device), batch[tio.LOCATION])
    return aggregator.get_output_tensor()[None].to(x.device)


def from_volume(number: int) -> Op:
    """Patches of one volume, augmented once."""

    def op(image: Tensor, labels: Tensor) -> Tensor:
        volume = tio.Subject(
            image=tio.ScalarImage(tensor=image.cpu()), label=tio.LabelMap(tensor=labels.cpu())
        )
        sampler = tio.UniformSampler(w.training_patch(image.shape[1:]))
        patches = sampler(STEPS["pipe6"](volume), number)
        return torch.stack([patch.image.data for patch in patches]).to(image.device)

    return op


OPS: dict[str, Op] = {
    **{name: per_sample(step) for name, step in STEPS.items()},
    "with_labels": with_labels,
    "ghosting": by_size(lambda size: per_sample(tio.RandomGhosting(**w.ghosting(size)))),
    "swap": by_size(lambda size: per_sample(tio.RandomSwap(**w.swap(size)))),
    "labels_to_image": per_sample(labels_to_image),
    "crop_or_pad": by_size(lambda size: per_sample(tio.CropOrPad(w.crop_or_pad(size)))),
    "to_canonical": per_sample(to_canonical),
    "remap_labels": of_labels(tio.RemapLabels(w.REMAPPING)),
    "one_hot": of_labels(tio.OneHot(w.LABELS)),
    "largest_component": of_labels(tio.KeepLargestComponent()),
    "prep6": prep6,
    "aggregate": aggregate,
    "infer_hann": infer_hann,
    "one_patch": from_volume(1),
    "four_patches": from_volume(4),
}

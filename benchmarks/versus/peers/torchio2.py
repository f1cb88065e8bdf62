"""TorchIO 2: whole batches, parameters of their own for each sample.

Its bias field is another one: normal numbers on a coarse grid, upsampled linearly. Its defaults
leave an image as it is, and a single number is a constant: parameters are given as ranges. It
normalizes a batch by the numbers of its first sample: here samples go through it one by one, as
with the others. Its one-hot maps are left out: float32, so four times the memory. Its aggregator
does not divide by a sum of weights below 1, which Hann weights of this grid are everywhere.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
import torch
import torchio as tio
from torch import Tensor

from .. import workloads as w
from . import Op, by_size, four_by_four, per_sample

NAME, VERSION = "TorchIO", version("torchio")
if not VERSION.startswith("2."):
    raise ImportError(f"TorchIO 2 is asked for, {VERSION} is installed")


def around(centre: float, half: float) -> tuple[float, float]:
    """A range, of half-width `half`."""
    return centre - half, centre + half


AFFINE = {
    "scales": around(1, w.AFFINE["scales"]),
    "degrees": around(0, w.AFFINE["degrees"]),
    "translation": around(0, w.AFFINE["translation"]),
}
MOTION = {
    "degrees": around(0, w.MOTION["degrees"]),
    "translation": around(0, w.MOTION["translation"]),
    "num_transforms": w.MOTION["num_transforms"],
}
STEPS = {
    "affine": tio.Affine(**AFFINE),
    "elastic": tio.ElasticDeformation(**w.ELASTIC),
    "affine_elastic": tio.Spatial(**AFFINE, **w.ELASTIC),
    "flip": tio.Flip(**w.FLIP),
    "random_flip": tio.Flip(**w.RANDOM_FLIP),
    "bias_field": tio.BiasField(std=w.BIAS_FIELD["coefficients"]),
    "gamma": tio.Gamma(**w.GAMMA),
    "noise": tio.Noise(**w.NOISE),
    "motion": tio.Motion(**MOTION),
    "spike": tio.Spike(**w.SPIKE),
    "blur": tio.Blur(**w.BLUR),
    "anisotropy": tio.Anisotropy(**w.ANISOTROPY),
    "resample": tio.Resample(w.SPACING),
}
STEPS["pipe6"] = tio.Compose([STEPS[name] for name in w.PIPE6])
LOW, HIGH = w.PERCENTILES
RESCALE = tio.Normalize(out_min=0, out_max=1, percentile_low=LOW, percentile_high=HIGH)
LABELS_TO_IMAGE = tio.LabelsToImage(**w.LABELS_TO_IMAGE)


def batched(transform: Any, affine: Any = None) -> Op:
    """Through the library's own batch."""
    matrix = None if affine is None else np.array(affine, float)

    def op(x: Tensor) -> Tensor:
        batch = tio.ImagesBatch(x, [tio.AffineMatrix(matrix) for _ in x])
        result: Tensor = transform(batch).data
        return result

    return op


def labels_to_image(labels: Tensor) -> Tensor:
    """The image that is made of a batch of label maps."""
    affines = [tio.AffineMatrix() for _ in labels]
    maps = tio.ImagesBatch(labels, affines, image_class=tio.LabelMap)
    result: Tensor = LABELS_TO_IMAGE(tio.SubjectsBatch({"seg": maps})).image_from_labels.data
    return result


def with_labels(x: Tensor, labels: Tensor) -> Tensor:
    """The images of a batch that move with their label maps."""
    images = tio.ImagesBatch(x, [tio.AffineMatrix() for _ in x])
    maps = tio.ImagesBatch(labels, [tio.AffineMatrix() for _ in x], image_class=tio.LabelMap)
    batch = tio.SubjectsBatch({"image": images, "label": maps})
    result: Tensor = STEPS["affine_elastic"](batch).image.data
    return result


def of_labels(transform: Any) -> Op:
    """From a batch of label maps to another."""

    def op(labels: Tensor) -> Tensor:
        affines = [tio.AffineMatrix() for _ in labels]
        maps = tio.ImagesBatch(labels, affines, image_class=tio.LabelMap)
        result: Tensor = transform(tio.SubjectsBatch({"seg": maps})).seg.data
        return result

    return op


RAW = np.array(w.RAW, float)
PREP6 = tio.Compose(
    [
        tio.Reorient(),
        tio.Resample(1),
        tio.CropOrPad(w.PREP6_SHAPE),
        tio.Standardize(masking_method="label"),
        STEPS["affine"],
        STEPS["elastic"],
    ]
)


def prep6(image: Tensor, labels: Tensor) -> Tensor:
    """The image of a raw subject, prepared and augmented."""
    raw = tio.Subject(
        image=tio.ScalarImage(image, affine=RAW), label=tio.LabelMap(labels, affine=RAW)
    )
    result: Tensor = PREP6(raw).image.data
    return result


def location(first_and_last: list[int]) -> tio.PatchLocation:
    """Where a patch lies, of its first voxel and the one after its last."""
    a, b, c, d, e, f = first_and_last
    return tio.PatchLocation((a, b, c), (d - a, e - b, f - c))


def aggregate(patches: Tensor, locations: Tensor) -> Tensor:
    """The batch that patches were cut out of."""
    aggregator = tio.PatchAggregator(tuple(locations[:, 3:].amax(0).tolist()), "hann")
    for batch, where in four_by_four(patches, locations):
        aggregator.add_batch(batch, [location(each) for each in where.tolist()])
    return aggregator.get_output()[None].to(patches.device)


def infer_hann(x: Tensor) -> Tensor:
    """Dense inference with a network that returns what it is given."""
    subject = tio.Subject(image=tio.ScalarImage(x[0].cpu()))
    sampler = tio.GridSampler(subject, *w.patch_and_overlap(x.shape[2:]))
    aggregator = tio.PatchAggregator(subject.spatial_shape, "hann")
    for batch in tio.SubjectsLoader(sampler, batch_size=w.AT_ONCE):
        aggregator.add_batch(batch.image.data.to(x.device), batch.metadata["patch_location"])
    return aggregator.get_output()[None].to(x.device)


def from_volume(number: int) -> Op:
    """Patches of one volume, augmented once."""

    def op(image: Tensor, labels: Tensor) -> Tensor:
        volume = tio.Subject(image=tio.ScalarImage(image), label=tio.LabelMap(labels))
        sampler = tio.UniformSampler(volume, w.training_patch(image.shape[1:]))
        patches = sampler(STEPS["pipe6"](volume), number)
        return torch.stack([patch.image.data for patch in patches])

    return op


OPS: dict[str, Op] = {
    **{name: batched(step) for name, step in STEPS.items()},
    "with_labels": with_labels,
    "ghosting": by_size(lambda size: batched(tio.Ghosting(**w.ghosting(size)))),
    "swap": by_size(lambda size: batched(tio.Swap(**w.swap(size)))),
    "labels_to_image": labels_to_image,
    "crop_or_pad": by_size(lambda size: batched(tio.CropOrPad(w.crop_or_pad(size)))),
    "to_canonical": batched(tio.Reorient(), w.LPI),
    "z_normalization": per_sample(tio.Standardize()),
    "rescale": per_sample(RESCALE),
    "remap_labels": of_labels(tio.RemapLabels(w.REMAPPING)),
    "largest_component": of_labels(tio.KeepLargestComponent(fully_connected=False)),
    "prep6": prep6,
    "aggregate": aggregate,
    "infer_hann": infer_hann,
    "one_patch": from_volume(1),
    "four_patches": from_volume(4),
}

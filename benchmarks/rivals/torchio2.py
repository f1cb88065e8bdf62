"""TorchIO 2: whole batches, parameters of their own for each sample.

Its bias field is another one: normal numbers on a coarse grid, upsampled linearly. Its defaults
leave an image as it is, and a single number is a constant: parameters are given as ranges. It
normalizes a batch by the numbers of its first sample: here samples go through it one by one. Its
one-hot maps are left out: float32, so four times the memory. Its aggregator does not divide by a
sum of weights below 1, which Hann weights of this grid are everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torchio as tio
from torch import Tensor
from torchio.transforms.intensity.histogram_standardization import compute_histogram_landmarks

from .. import workloads as w
from ..checks.data import SIDE
from ..checks.tensors import PATCH, VOLUME
from . import Op, by_size, classes, noise, per_sample, some_at_once, version
from .family import Family

NAME, DISTRIBUTION, VERSION = "TorchIO", "torchio", version("torchio", "2.")
NAMES = [*tio.__all__]
TRANSFORMS = classes(vars(tio), tio.Transform, tio.SpatialTransform, tio.IntensityTransform)


FAMILY = Family(
    tio,
    lambda x, affine: tio.ScalarImage(x, affine=affine),
    lambda x, affine: tio.LabelMap(x, affine=affine),
)


def around(centre: float, half: float) -> tuple[float, float]:
    """A range, of half-width `half`."""
    return float(centre - half), float(centre + half)


AFFINE = {
    "scales": around(1, w.AFFINE["scales"]),
    "degrees": around(0, w.AFFINE["degrees"]),
    "translation": around(0, w.AFFINE["translation"]),
}
STEPS: dict[str, Any] = {
    "affine": tio.Affine(**AFFINE),
    "elastic": tio.ElasticDeformation(**w.ELASTIC),
    "affine_elastic": tio.Spatial(**AFFINE, **w.ELASTIC),
    "random_flip": tio.Flip(**w.RANDOM_FLIP),
    "bias_field": tio.BiasField(std=w.BIAS_FIELD["coefficients"]),
    "gamma": tio.Gamma(**w.GAMMA),
    "noise": tio.Noise(**w.NOISE),
}
STEPS["pipe6"] = tio.Compose([STEPS[name] for name in w.PIPE6])
MOTION = {
    "degrees": around(0, w.MOTION["degrees"]),
    "translation": around(0, w.MOTION["translation"]),
    "num_transforms": w.MOTION["num_transforms"],
}
TURN = tio.Affine(degrees=(-10.0, 10.0), translation=(-3.0, 3.0), default_pad_value=0)
MOVE = tio.Affine(degrees=(-20.0, 20.0), translation=(-3.0, 3.0))
BEND = tio.ElasticDeformation(max_displacement=2)
GRID = [tio.Reorient(), tio.Resample(1), tio.CropOrPad(w.PREP6_SHAPE)]
NORMAL = tio.Standardize(masking_method="label")
LOW, HIGH = w.PERCENTILES
RESCALE = tio.Normalize(out_min=0, out_max=1, percentile_low=LOW, percentile_high=HIGH)


def images(x: Tensor, affine: Any = None, **kwargs: Any) -> tio.ImagesBatch:
    """The library's own batch."""
    return tio.ImagesBatch(x, [tio.AffineMatrix(affine) for _ in x], **kwargs)


def batched(step: Any, affine: Any = None) -> Op:
    """Of a batch."""
    matrix = None if affine is None else np.array(affine, float)
    return lambda x: step(images(x, matrix)).data


def pair(step: Any) -> Op:
    """Of a batch of images and their label maps."""

    def op(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        maps = images(labels, image_class=tio.LabelMap)
        moved = step(tio.SubjectsBatch({"image": images(x), "label": maps}))
        return moved.image.data, moved.label.data

    return op


def of_labels(step: Any, made: str = "seg") -> Op:
    """Of a batch of label maps."""

    def op(labels: Tensor) -> Tensor:
        maps = images(labels, image_class=tio.LabelMap)
        return getattr(step(tio.SubjectsBatch({"seg": maps})), made).data

    return op


def replay(x: Tensor) -> tuple[Tensor, Tensor]:
    given = tio.Subject(image=tio.ScalarImage(x))
    moved = tio.Compose([TURN, tio.Flip(flip_probability=0.5)])(given)
    again = tio.SubjectsBatch.from_subjects([given])
    for record in moved.applied_transforms:
        again = getattr(tio, record.name)().apply_transform(again, record.params)
    return moved.image.data, again.image.data[0]


def points(x: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    moved = TURN(tio.Subject(image=tio.ScalarImage(x), cloud=tio.Points(places)))
    return moved.image.data, moved.points["cloud"].data


def load(order: Any, size: int) -> dict[int, Tensor]:
    subjects = FAMILY.subjects([noise(1, 8, 8, 8)] * 4)
    torch.manual_seed(3)
    found = {}
    for batch in tio.SubjectsLoader(subjects, batch_size=size, sampler=list(order)):
        found.update(zip(batch.metadata["n"], TURN(batch).image.data, strict=True))
    return found


def without_copies(x: Tensor) -> Tensor:
    turn = tio.Affine(degrees=(-10.0, 10.0), copy=False)
    gamma = tio.Gamma(log_gamma=(-0.3, 0.3), copy=False)
    return batched(tio.Compose([turn, gamma], copy=False))(x)


def location(first_and_last: list[int]) -> tio.PatchLocation:
    """Where a patch lies, of its first voxel and the one after its last."""
    a, b, c, d, e, f = first_and_last
    return tio.PatchLocation((a, b, c), (d - a, e - b, f - c))


def aggregate(patches: Tensor, locations: Tensor) -> Tensor:
    aggregator = tio.PatchAggregator(tuple(locations[:, 3:].amax(0).tolist()), "hann")
    for batch, where in some_at_once(patches, locations):
        aggregator.add_batch(batch, [location(each) for each in where.tolist()])
    return aggregator.get_output()[None].to(patches.device)


def infer_hann(x: Tensor) -> Tensor:
    volume = tio.Subject(image=tio.ScalarImage(x[0].cpu()))
    sampler = tio.GridSampler(volume, *w.patch_and_overlap(x.shape[2:]))
    aggregator = tio.PatchAggregator(volume.spatial_shape, "hann")
    for batch in tio.SubjectsLoader(sampler, batch_size=w.AT_ONCE):
        aggregator.add_batch(batch.image.data.to(x.device), batch.metadata["patch_location"])
    return aggregator.get_output()[None].to(x.device)


def from_volume(number: int) -> Op:
    """Patches of one volume, augmented once."""

    def op(image: Tensor, labels: Tensor) -> Tensor:
        volume = FAMILY.subject(image, labels)
        sampler = tio.UniformSampler(volume, w.training_patch(image.shape[1:]))
        patches = sampler(STEPS["pipe6"](volume), number)
        return torch.stack([patch.image.data for patch in patches])

    return op


def sampled(kind: Any, *where: Any) -> Op:
    def op(x: Tensor) -> Tensor:
        given = tio.Subject(map=tio.ScalarImage(x), seg=tio.LabelMap(x.byte()))
        return next(iter(kind(given, SIDE, *where)(given, 1))).map.data

    return op


def queue(voxels: list[Tensor]) -> Any:
    subjects = FAMILY.subjects(voxels)
    sampler = tio.UniformSampler(subjects[0], 4)
    patches = tio.Queue(subjects, sampler, max_length=12, patches_per_volume=4)
    return (patch.image.data for patch in patches)


def landmarks(xs: list[Tensor]) -> list[Tensor]:
    subjects = FAMILY.subjects(xs)
    step = tio.HistogramStandardization(compute_histogram_landmarks([s.image for s in subjects]))
    return [step(each).image.data for each in subjects]


BOTH = tio.Spatial(degrees=(-20.0, 20.0), translation=(-3.0, 3.0), max_displacement=2)
WINDOW = tio.Normalize(out_min=0.0, out_max=1.0, in_min=0.0, in_max=80.0)
WINDOWED = tio.Compose([TURN, BEND, tio.Crop(cropping=(VOLUME - PATCH) // 2)])
OPS: dict[str, Any] = {
    **{name: batched(step) for name, step in STEPS.items()},
    "flip": batched(tio.Flip(**w.FLIP)),
    "motion": batched(tio.Motion(**MOTION)),
    "spike": batched(tio.Spike(**w.SPIKE)),
    "blur": batched(tio.Blur(**w.BLUR)),
    "anisotropy": batched(tio.Anisotropy(**w.ANISOTROPY)),
    "ghosting": by_size(lambda size: batched(tio.Ghosting(**w.ghosting(size)))),
    "swap": by_size(lambda size: batched(tio.Swap(**w.swap(size)))),
    "with_labels": pair(STEPS["affine_elastic"]),
    "labels_to_image": of_labels(tio.LabelsToImage(**w.LABELS_TO_IMAGE), "image_from_labels"),
    "resample": batched(tio.Resample(w.SPACING)),
    "crop_or_pad": by_size(lambda size: batched(tio.CropOrPad(w.crop_or_pad(size)))),
    "to_canonical": batched(tio.Reorient(), w.LPI),
    "z_normalization": per_sample(tio.Standardize()),
    "rescale": per_sample(RESCALE),
    "remap_labels": of_labels(tio.RemapLabels(w.REMAPPING)),
    "largest_component": of_labels(tio.KeepLargestComponent(fully_connected=False)),
    "prep6": FAMILY.raw(tio.Compose([*GRID, NORMAL, STEPS["affine"], STEPS["elastic"]])),
    "infer_original": FAMILY.original(tio.Compose(GRID)),
    "aggregate": aggregate,
    "infer_hann": infer_hann,
    "one_patch": from_volume(1),
    "four_patches": from_volume(4),
    "batch": batched(TURN),
    "device": batched(tio.Compose([TURN, BEND, tio.Noise()])),
    "seeds": load,
    "grad_image": without_copies,
    "grad_params": lambda x, degrees: batched(tio.Affine(degrees=(0.0, 0.0, degrees)))(x),
    "compile": tio.Compose([TURN, tio.Noise()]),
    "spacing": FAMILY.spacing(tio.Affine(degrees=(-40.0, 40.0), default_pad_value=0)),
    "millimetres": FAMILY.world(tio.Affine(degrees=(45.0, 0.0, 0.0), default_pad_value=0)),
    "anatomy": FAMILY.world(tio.Flip(axes=("LR",))),
    "regrid": FAMILY.world(tio.Compose(GRID[:2])),
    "fused": {
        "all": batched(tio.Compose([MOVE, MOVE, tio.Flip(), BEND])),
        "affines composed": batched(tio.Compose([MOVE, MOVE])),
        "an affine with an elastic step in one class": batched(BOTH),
    },
    "replay": replay,
    "inverse": {
        "affines": FAMILY.undone(TURN, tio.Flip()),
        "elastic_ones": FAMILY.undone(TURN, tio.Flip(), tio.ElasticDeformation(max_displacement=1)),
    },
    "points": points,
    "planes": lambda x: tio.Affine(degrees=(0.0, 0.0, 30.0))(x[..., None])[..., 0],
    "dtypes": lambda x: TURN(tio.LabelMap(x)).data,
    "types": dict.fromkeys(("numpy", "SimpleITK", "NiBabel", "dict"), TURN),
    "files": FAMILY.read,
    "ct_window": batched(WINDOW),
    "landmarks": landmarks,
    "samplers": {
        "uniform": sampled(tio.UniformSampler),
        "weighted": sampled(tio.WeightedSampler, "map"),
        "label": sampled(tio.LabelSampler, "seg", {0: 0, 1: 1}),
    },
    "queue": queue,
    "windows": {"elastic_ones": lambda x: lambda: WINDOWED(x)},
}
NOTES = {
    "kernels": "- torch's own kernels",
    "one_hot": "~ float32, four times the memory",
    "grad_image": "with `copy=False` only",
    "replay": "record by record",
    "infer_gaussian": "- Hann weights only",
}

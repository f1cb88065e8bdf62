"""TorchIO 1: one sample at a time, on the CPU, in part through SimpleITK."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchio as tio
from torch import Tensor

from .. import workloads as w
from ..checks.data import SIDE
from ..checks.tensors import PATCH, VOLUME
from . import Op, by_size, classes, noise, per_sample, some_at_once, version
from .family import Family

NAME, DISTRIBUTION, VERSION = "TorchIO", "torchio", version("torchio", "1.")
NAMES = [*dir(tio), *dir(tio.SubjectsDataset)]
_BASES = [
    getattr(tio.transforms, name, None) or getattr(tio, name, None)
    for name in ("SpatialTransform", "IntensityTransform", "LabelTransform", "FourierTransform")
]
TRANSFORMS = classes(vars(tio), tio.Transform, *filter(None, _BASES))

FAMILY = Family(
    tio,
    lambda x, affine: tio.ScalarImage(tensor=x.cpu(), affine=affine),
    lambda x, affine: tio.LabelMap(tensor=x.cpu(), affine=affine),
)
STEPS: dict[str, Any] = {
    "affine": tio.RandomAffine(**w.AFFINE),
    "elastic": tio.RandomElasticDeformation(**w.ELASTIC),
    "affine_elastic": tio.RandomAffineElasticDeformation(
        affine_kwargs=w.AFFINE, elastic_kwargs=w.ELASTIC
    ),
    "random_flip": tio.RandomFlip(**w.RANDOM_FLIP),
    "bias_field": tio.RandomBiasField(**w.BIAS_FIELD),
    "gamma": tio.RandomGamma(**w.GAMMA),
    "noise": tio.RandomNoise(**w.NOISE),
}
STEPS["pipe6"] = tio.Compose([STEPS[name] for name in w.PIPE6])
TURN = tio.RandomAffine(scales=0, degrees=10, translation=3)
MOVE = tio.RandomAffine(scales=0, degrees=20, translation=3)
BEND = tio.RandomElasticDeformation(max_displacement=2)
FLIP = tio.RandomFlip(flip_probability=1)
LPI = np.array(w.LPI, float)
GRID = [tio.ToCanonical(), tio.Resample(1), tio.CropOrPad(w.PREP6_SHAPE)]
NORMAL = tio.ZNormalization(masking_method="label")


def turn(degrees: Any, **kwargs: Any) -> tio.Affine:
    """A rotation by given angles."""
    return tio.Affine(scales=1, degrees=degrees, translation=0, **kwargs)


def pair(step: Any) -> Op:
    """Of a batch of images and their label maps."""

    def op(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        moved = [step(FAMILY.subject(*each)) for each in zip(x, labels, strict=True)]
        images, maps = (torch.stack([each[k].data for each in moved]) for k in ("image", "label"))
        return images.to(x.device), maps.to(x.device)

    return op


def of_labels(step: Any) -> Op:
    """Of a batch of label maps."""
    return per_sample(lambda labels: step(tio.LabelMap(tensor=labels)).data)


def created(step: Any) -> Op:
    """The image that is made of a batch of label maps."""

    def one(labels: Tensor) -> Tensor:
        return step(tio.Subject(seg=tio.LabelMap(tensor=labels))).image_from_labels.data

    return per_sample(one)


def load(order: Any, size: int) -> dict[int, Tensor]:
    torch.manual_seed(3)
    subjects = FAMILY.subjects([noise(1, 8, 8, 8)] * 4)
    dataset = tio.SubjectsDataset(subjects, transform=TURN)
    found = {}
    for batch in tio.SubjectsLoader(dataset, batch_size=size, sampler=list(order)):
        found.update(zip(batch["n"].tolist(), batch["image"][tio.DATA], strict=True))
    return found


@cache
def grid(size: w.Triple) -> tio.GridSampler:
    """The sampler that an aggregator wants, of a volume of this size."""
    volume = tio.ScalarImage(tensor=torch.zeros(1, 1, 1, 1).expand(1, *size))
    return tio.GridSampler(tio.Subject(image=volume), *w.patch_and_overlap(size))


def aggregate(patches: Tensor, locations: Tensor) -> Tensor:
    i, j, k = locations[:, 3:].amax(0).tolist()
    aggregator = tio.GridAggregator(grid((i, j, k)), overlap_mode="hann")
    for batch, where in some_at_once(patches, locations):
        aggregator.add_batch(batch, where)
    return aggregator.get_output_tensor()[None].to(patches.device)


def infer_hann(x: Tensor) -> Tensor:
    volume = tio.Subject(image=tio.ScalarImage(tensor=x[0].cpu()))
    sampler = tio.GridSampler(volume, *w.patch_and_overlap(x.shape[2:]))
    aggregator = tio.GridAggregator(sampler, overlap_mode="hann")
    for batch in tio.SubjectsLoader(sampler, batch_size=w.AT_ONCE):
        aggregator.add_batch(batch["image"][tio.DATA].to(x.device), batch[tio.LOCATION])
    return aggregator.get_output_tensor()[None].to(x.device)


def from_volume(number: int) -> Op:
    """Patches of one volume, augmented once."""

    def op(image: Tensor, labels: Tensor) -> Tensor:
        sampler = tio.UniformSampler(w.training_patch(image.shape[1:]))
        patches = sampler(STEPS["pipe6"](FAMILY.subject(image, labels)), number)
        return torch.stack([patch.image.data for patch in patches]).to(image.device)

    return op


def sampled(sampler: Any) -> Op:
    def op(x: Tensor) -> Tensor:
        images = {"map": tio.ScalarImage(tensor=x), "seg": tio.LabelMap(tensor=x.byte())}
        return next(sampler(tio.Subject(images))).map.data

    return op


def queue(voxels: list[Tensor]) -> Any:
    dataset = tio.SubjectsDataset(FAMILY.subjects(voxels))
    patches = tio.Queue(dataset, 12, 4, tio.UniformSampler(4))
    return (batch["image"][tio.DATA] for batch in tio.SubjectsLoader(patches, batch_size=1))


def landmarks(xs: list[Tensor]) -> list[Tensor]:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{number}.nii") for number in range(len(xs))]
        for x, path in zip(xs, paths, strict=True):
            tio.ScalarImage(tensor=x).save(path)
        learnt = tio.HistogramStandardization.train(paths)
    step = tio.HistogramStandardization({"image": learnt})
    return [step(tio.Subject(image=tio.ScalarImage(tensor=x))).image.data for x in xs]


BOTH = tio.RandomAffineElasticDeformation(
    affine_kwargs={"scales": 0, "degrees": 20}, elastic_kwargs={"max_displacement": 2}
)
WINDOW = tio.Compose([tio.Clamp(0, 80), tio.RescaleIntensity((0, 1), in_min_max=(0, 80))])
WINDOWED = tio.Compose([TURN, BEND, tio.Crop((VOLUME - PATCH) // 2)])
OPS: dict[str, Any] = {
    **{name: per_sample(step) for name, step in STEPS.items()},
    "flip": per_sample(tio.RandomFlip(**w.FLIP)),
    "motion": per_sample(tio.RandomMotion(**w.MOTION)),
    "spike": per_sample(tio.RandomSpike(**w.SPIKE)),
    "blur": per_sample(tio.RandomBlur(**w.BLUR)),
    "anisotropy": per_sample(tio.RandomAnisotropy(**w.ANISOTROPY)),
    "ghosting": by_size(lambda size: per_sample(tio.RandomGhosting(**w.ghosting(size)))),
    "swap": by_size(lambda size: per_sample(tio.RandomSwap(**w.swap(size)))),
    "with_labels": pair(STEPS["affine_elastic"]),
    "labels_to_image": created(tio.RandomLabelsToImage(**w.LABELS_TO_IMAGE)),
    "resample": per_sample(tio.Resample(w.SPACING)),
    "crop_or_pad": by_size(lambda size: per_sample(tio.CropOrPad(w.crop_or_pad(size)))),
    "to_canonical": per_sample(lambda x: GRID[0](tio.ScalarImage(tensor=x, affine=LPI)).data),
    "z_normalization": per_sample(tio.ZNormalization()),
    "rescale": per_sample(tio.RescaleIntensity(**w.RESCALE)),
    "remap_labels": of_labels(tio.RemapLabels(w.REMAPPING)),
    "one_hot": of_labels(tio.OneHot(w.LABELS)),
    "largest_component": of_labels(tio.KeepLargestComponent()),
    "prep6": FAMILY.raw(tio.Compose([*GRID, NORMAL, STEPS["affine"], STEPS["elastic"]])),
    "infer_original": FAMILY.original(tio.Compose(GRID)),
    "aggregate": aggregate,
    "infer_hann": infer_hann,
    "one_patch": from_volume(1),
    "four_patches": from_volume(4),
    "batch": TURN,
    "device": per_sample(tio.Compose([TURN, BEND, tio.RandomNoise()])),
    "seeds": load,
    "grad_image": per_sample(tio.Compose([TURN, tio.RandomGamma()])),
    "grad_params": lambda x, degrees: turn((0, 0, degrees))(x[0])[None],
    "compile": per_sample(tio.Compose([TURN, tio.RandomNoise()])),
    "spacing": FAMILY.spacing(tio.RandomAffine(scales=0, degrees=40)),
    "millimetres": FAMILY.world(turn((45, 0, 0), default_pad_value=0)),
    "anatomy": FAMILY.world(tio.Flip(axes=("LR",))),
    "regrid": FAMILY.world(tio.Compose(GRID[:2])),
    "fused": {
        "all": per_sample(tio.Compose([MOVE, MOVE, FLIP, BEND])),
        "affines composed": per_sample(tio.Compose([MOVE, MOVE])),
        "an affine with an elastic step in one class": per_sample(BOTH),
    },
    "replay": FAMILY.replayed(TURN, tio.RandomFlip()),
    "inverse": {
        "affines": FAMILY.undone(TURN, FLIP),
        "elastic_ones": FAMILY.undone(TURN, FLIP, tio.RandomElasticDeformation(max_displacement=1)),
    },
    "planes": lambda x: turn((0, 0, 30))(x[..., None])[..., 0],
    "dtypes": lambda x: TURN(tio.LabelMap(tensor=x)).data,
    "types": {
        **dict.fromkeys(("numpy", "SimpleITK", "NiBabel"), TURN),
        "dict": tio.RandomAffine(include=["image"]),
    },
    "files": FAMILY.read,
    "ct_window": per_sample(WINDOW),
    "landmarks": landmarks,
    "samplers": {
        "uniform": sampled(tio.UniformSampler(SIDE)),
        "weighted": sampled(tio.WeightedSampler(SIDE, "map")),
        "label": sampled(tio.LabelSampler(SIDE, "seg", label_probabilities={0: 0, 1: 1})),
    },
    "queue": queue,
    "windows": {"elastic_ones": lambda x: lambda: WINDOWED(x)},
}
NOTES = {"kernels": "- its transforms run on the CPU", "infer_gaussian": "- Hann weights only"}

"""This library, asked and timed as any other."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

import torchio_gpu as tio
from torchio_gpu import functional as F

from .. import workloads as w
from ..checks.data import SIDE
from ..checks.tensors import PATCH
from . import Op, by_size, classes, noise, some_at_once
from .family import RAW, Family

NAME, DISTRIBUTION, VERSION = "torchio_gpu", "torchio-gpu", tio.__version__
NAMES = [name for name in dir(tio) if not name.startswith("_")]
TRANSFORMS = classes(vars(tio), tio.Transform)

FAMILY = Family(
    tio,
    lambda x, affine: tio.ScalarImage(x, affine=affine),
    lambda x, affine: tio.LabelMap(x, affine=affine),
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
PIPE6 = STEPS["pipe6"] = tio.Compose([STEPS[name] for name in w.PIPE6])
TURN = tio.RandomAffine(scales=0, degrees=10, translation=3)
MOVE = tio.RandomAffine(scales=0, degrees=20, translation=3)
BEND = tio.RandomElasticDeformation(max_displacement=2)
FLIP = tio.RandomFlip(flip_probability=1)


def turn(degrees: Any, **kwargs: Any) -> tio.Affine:
    """A rotation by given angles about the axes of the world."""
    return tio.Affine(scales=1, degrees=degrees, translation=0, **kwargs)


def labelled(x: Tensor, labels: Tensor) -> tio.SubjectsBatch:
    """A batch of images with label maps."""
    return tio.SubjectsBatch(
        {"image": tio.ImagesBatch(x), "label": tio.ImagesBatch(labels, kind=tio.LABEL)}
    )


def pair(step: Any) -> Op:
    """Of a batch of images and their label maps."""

    def op(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        moved = step(labelled(x, labels))
        return moved.image.data, moved.label.data

    return op


def of_labels(step: Any) -> Op:
    """Of a batch of label maps."""
    return lambda labels: step(tio.ImagesBatch(labels, kind=tio.LABEL)).data


def created(step: Any) -> Op:
    """The image that is made of a batch of label maps."""

    def op(labels: Tensor) -> Tensor:
        batch = tio.SubjectsBatch({"seg": tio.ImagesBatch(labels, kind=tio.LABEL)})
        return step(batch).image_from_labels.data

    return op


def points(x: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    cloud = tio.Points(places, axes="IJK", affine=np.eye(4))
    moved = TURN(tio.Subject(image=tio.ScalarImage(x), cloud=cloud))
    return moved.image.data, moved.cloud.data


def load(order: Any, size: int) -> dict[int, Tensor]:
    dataset = tio.SubjectsDataset(FAMILY.subjects([noise(1, 8, 8, 8)] * 4))
    loader = tio.SubjectsLoader(dataset, batch_size=size, sampler=list(order), seed=3)
    found = [each for batch in loader for each in TURN(batch).unbatch()]
    return {each["n"]: each.image.data for each in found}


def grad_params(x: Tensor, degrees: Tensor) -> Tensor:
    zero = torch.zeros(())
    return turn(torch.stack([zero, zero, degrees])[None])(x)


def on_reference(x: Tensor) -> Tensor:
    with tio.backend("reference"):
        return TURN(x)


def cached(prepare: Any) -> Any:
    subjects = [tio.Subject(image=tio.ScalarImage(noise(1, 4, 4, 4)))]

    class Counted(tio.ZNormalization):
        def voxels(self, *args: Any) -> Tensor:
            return prepare(super().voxels(*args))

    return tio.CachedDataset(tio.SubjectsDataset(subjects, transform=Counted()))


LPI = np.array(w.LPI, float)
GRID = [tio.ToCanonical(), tio.Resample(1), tio.CropOrPad(w.PREP6_SHAPE)]
NORMAL = tio.ZNormalization(masking_method="label")


def infer_original(image: Tensor, labels: Tensor) -> Tensor:
    raw = FAMILY.subject(image, labels, RAW)
    found = tio.predict(lambda x: x, raw, tio.Compose(GRID), image="image")
    return found.data


def aggregate(patches: Tensor, locations: Tensor) -> Tensor:
    aggregator = tio.PatchAggregator(locations[:, 3:].amax(0).tolist(), overlap_mode="hann")
    for batch, where in some_at_once(patches, locations):
        aggregator.add_batch(batch, where)
    return aggregator.get_output()[None]


def infer(overlap_mode: str) -> Op:
    """Dense inference with a network that returns what it is given."""

    def op(x: Tensor) -> Tensor:
        size, overlap = w.patch_and_overlap(x.shape[2:])
        more = {"overlap_mode": overlap_mode, "batch_size": w.AT_ONCE}
        return tio.predict_by_patches(lambda patches: patches, x[0], size, overlap, **more)[None]

    return op


def from_queue(number: int) -> Op:
    """An epoch of the one volume that a queue has, which stays on the device."""

    @lru_cache(maxsize=1)
    def queue(image: Tensor, labels: Tensor) -> tio.DeviceQueue:
        sampler = tio.UniformSampler(w.training_patch(image.shape[1:]))
        volumes, more = [FAMILY.subject(image, labels)], {"patches_per_volume": number}
        return tio.DeviceQueue(volumes, sampler, PIPE6, device=image.device, **more)

    return lambda *images: torch.cat([batch.image.data for batch in queue(*images)])


def windows(x: Tensor) -> Op:
    steps = tio.Compose([tio.RandomAffine(), BEND])
    volumes, sampler = [tio.Subject(image=tio.ScalarImage(x))], tio.UniformSampler(PATCH)
    patches = iter(tio.DeviceQueue(volumes, sampler, steps, patches_per_volume=2))
    next(patches)  # the volume is there from now on
    return lambda: next(patches).image.data


def sampled(sampler: Any) -> Op:
    return lambda x: (
        sampler(tio.Subject(map=tio.ScalarImage(x), seg=tio.LabelMap(x.byte()))).map.data
    )


def queue(voxels: list[Tensor]) -> Any:
    how = {"patch_sampler": tio.UniformSampler(4), "max_length": 12, "patches_per_volume": 4}
    return (patch.image.data for patch in tio.Queue(FAMILY.subjects(voxels), **how))


def landmarks(xs: list[Tensor]) -> list[Tensor]:
    images = [tio.ScalarImage(x) for x in xs]
    learnt = tio.HistogramStandardization.train(images, progress=False)
    step = tio.HistogramStandardization({"image": learnt})
    return [step(tio.Subject(image=image)).image.data for image in images]


PROBE = tio.BeamGeometry("phased", angle=80, depth=60)
SHADOW: dict[str, Any] = {"length": 0, "edge": 0}
OPS: dict[str, Any] = {
    **STEPS,
    "flip": tio.RandomFlip(**w.FLIP),
    "motion": tio.RandomMotion(**w.MOTION),
    "spike": tio.RandomSpike(**w.SPIKE),
    "blur": tio.RandomBlur(**w.BLUR),
    "anisotropy": tio.RandomAnisotropy(**w.ANISOTROPY),
    "ghosting": by_size(lambda size: tio.RandomGhosting(**w.ghosting(size))),
    "swap": by_size(lambda size: tio.RandomSwap(**w.swap(size))),
    "with_labels": pair(STEPS["affine_elastic"]),
    "labels_to_image": created(tio.RandomLabelsToImage(**w.LABELS_TO_IMAGE)),
    "resample": tio.Resample(w.SPACING),
    "crop_or_pad": by_size(lambda size: tio.CropOrPad(w.crop_or_pad(size))),
    "to_canonical": lambda x: GRID[0](tio.ImagesBatch(x, LPI[None].repeat(len(x), 0))).data,
    "z_normalization": tio.ZNormalization(),
    "rescale": tio.RescaleIntensity(**w.RESCALE),
    "remap_labels": of_labels(tio.RemapLabels(w.REMAPPING)),
    "one_hot": of_labels(tio.OneHot(w.LABELS)),
    "largest_component": of_labels(tio.KeepLargestComponent()),
    "percentile": lambda x: F.percentile(x, w.PERCENTILES),
    "dense_field": F.displacement_warp,
    "prep6": FAMILY.raw(tio.Compose([*GRID, NORMAL, STEPS["affine"], STEPS["elastic"]])),
    "infer_original": infer_original,
    "aggregate": aggregate,
    "infer_hann": infer("hann"),
    "infer_gaussian": infer("gaussian"),
    "one_patch": from_queue(1),
    "four_patches": from_queue(4),
    "batch": TURN,
    "device": tio.Compose([tio.RandomAffine(), BEND, tio.RandomNoise()]),
    "seeds": load,
    "grad_image": tio.Compose([tio.RandomAffine(), tio.RandomGamma()]),
    "grad_params": grad_params,
    "compile": tio.Compose([tio.RandomAffine(), tio.RandomNoise()]),
    "graphs": lambda: tio.Captured(TURN),
    "kernels": {"triton": TURN, "reference": on_reference},
    "spacing": FAMILY.spacing(tio.RandomAffine(scales=0, degrees=40)),
    "millimetres": FAMILY.world(turn((45, 0, 0), default_pad_value=0)),
    "anatomy": FAMILY.world(tio.Flip(axes=("LR",))),
    "regrid": FAMILY.world(tio.Compose(GRID[:2])),
    "fused": {"all": tio.Compose([MOVE, MOVE, FLIP, BEND])},
    "replay": FAMILY.replayed(TURN, tio.RandomFlip()),
    "inverse": {
        "affines": FAMILY.undone(TURN, FLIP),
        "elastic_ones": FAMILY.undone(TURN, FLIP, tio.RandomElasticDeformation(max_displacement=1)),
    },
    "points": points,
    "planes": lambda x: turn((0, 0, 30))(x[..., None])[..., 0],
    "dtypes": lambda x: TURN(tio.LabelMap(x)).data,
    "types": dict.fromkeys(("numpy", "SimpleITK", "NiBabel", "dict"), tio.RandomAffine()),
    "files": FAMILY.read,
    "cache": cached,
    "gibbs": tio.Gibbs(cutoff=0.6, axis=0),
    "wrap": tio.Wrap(2, 1),
    "partial_fourier": tio.PartialFourier(0.6, 1),
    "fat": lambda x, fat: pair(tio.ChemicalShift(4, 0, fat="label"))(x, fat)[0],
    "zipper": tio.Zipper(0.3, 0.4, 0, 1, 0),
    "coils": tio.RandomCoilNoise(std=(0.5, 0.5), num_coils=8),
    "low_field": tio.LowField(0.3, from_field=3, snr=100),
    "b0": tio.RandomB0Distortion(max_displacement=(3, 4), smoothness=8),
    "slices": tio.RandomSliceMotion(share=(0.5, 0.5), gain=(1, 1), axes=(0, 1, 2)),
    "dropout": tio.RandomCutout(size=(4, 8)),
    "mixing": tio.MixUp(),
    "curves": tio.RandomHistogramShift(),
    "ct_window": tio.Window("brain"),
    "low_dose": tio.LowDose(0.2, photons=1e5),
    "streaks": tio.Streaks(photons=900),
    "beam_hardening": tio.BeamHardening(),
    "ct_metal": lambda x, rods: pair(tio.Metal("label", axis=2))(x, rods)[0],
    "ct_rings": tio.Rings(0.01, axis=2),
    "ct_sparse": tio.SparseView(20, axis=2),
    "ct_limited": tio.LimitedAngle(90, -45, axis=2),
    "ct_kernel": {"sharp": tio.ReconstructionKernel(3), "soft": tio.ReconstructionKernel(0.3)},
    "ct_thickness": tio.SliceThickness(3),
    "beam_attenuation": tio.RandomAttenuation(PROBE, attenuation=(2, 2)),
    "acoustic_shadow": tio.RandomAcousticShadow(
        PROBE, (20, 20), (0.5, 0.5), (0.2, 0.2), (20, 20), **SHADOW
    ),
    "reverberation": tio.RandomReverberation(
        tio.BeamGeometry("linear", center=(0, 0.5)), (0.5, 0.5), (10, 10), 2
    ),
    "speckle": tio.RandomSpeckle(PROBE, strength=(1, 1), axial=1, lateral=1),
    "haze": tio.RandomHaze(PROBE, texture=(0, 0)),
    "labels_to_ultrasound": created(
        tio.LabelsToUltrasound("linear", {1: 0.2}, attenuation=3, image_key="image_from_labels")
    ),
    "landmarks": landmarks,
    "morphology": {
        "grown": of_labels(tio.DilateLabels(2)),
        "shrunk": of_labels(tio.ErodeLabels(2)),
    },
    "samplers": {
        "uniform": sampled(tio.UniformSampler(SIDE)),
        "weighted": sampled(tio.WeightedSampler(SIDE, "map")),
        "label": sampled(tio.LabelSampler(SIDE, "seg", label_probabilities={1: 1})),
    },
    "queue": queue,
    "windows": {"elastic_ones": windows},
}
NOTES = {
    "compile": "a pipeline is one opaque node of the graph",
    "cache": "in memory; also in a folder",
    "fused": "but not an elastic deformation with a rotation after it",
    "ct_window": "by name; also at random",
}
if not torch.cuda.is_available():
    NOTES |= {"graphs": "? `Captured`; no GPU here"}
    NOTES |= {"kernels": "? Triton, forward and backward; no GPU here"}
    del OPS["graphs"], OPS["kernels"]

"""This library, asked and timed as any other."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

import torchio_gpu as tio
from torchio_gpu import functional as F

from .. import workloads as w
from ..checks.tensors import PATCH
from . import Op, classes, noise
from .family import LABELS, RAW, Family

NAME, DISTRIBUTION, VERSION = "torchio_gpu", "torchio-gpu", tio.__version__
NAMES = [name for name in dir(tio) if not name.startswith("_")]
TRANSFORMS = classes(vars(tio), tio.Transform)
BOTH = ("image", "label")


class Ours(Family):
    """Predictions come back to the grid of the image; a queue on the device makes patches."""

    def batch(self, x: Tensor, affine: Any = None, name: str = "image") -> Any:
        """Every image has the same affine."""
        affines = None if affine is None else affine[None].repeat(len(x), 0)
        return tio.ImagesBatch(x, affines, tio.LABEL if name in LABELS else tio.INTENSITY)

    def original(self, image: Tensor, label: Tensor) -> Tensor:
        """Prediction on the grid of the raw subject."""
        raw = self.subject(RAW, image=image, label=label)
        return tio.predict(lambda x: x, raw, tio.Compose(self.grid), image="image").data

    def from_volume(self, number: int) -> Op:
        """An epoch of the one volume that a queue has, which stays on the device."""

        @lru_cache(maxsize=1)
        def queue(image: Tensor, label: Tensor) -> tio.DeviceQueue:
            sampler = tio.UniformSampler(w.training_patch(image.shape[1:]))
            volumes, more = [self.subject(image=image, label=label)], {"patches_per_volume": number}
            return tio.DeviceQueue(volumes, sampler, PIPE6, device=image.device, **more)

        return lambda *images: torch.cat([batch.image.data for batch in queue(*images)])

    def window(self, x: Tensor) -> Op:
        """Patches of a queue on the device."""
        how = {"patch_sampler": tio.UniformSampler(PATCH), "patches_per_volume": 2}
        steps, volumes = tio.Compose([TURN, self.bend]), [self.subject(image=x)]
        patches = iter(tio.DeviceQueue(volumes, transform=steps, **how))
        next(patches)  # the volume is there from now on
        return lambda: next(patches).image.data


FAMILY = Ours(tio)
STEPS, TURN, aggregate = FAMILY.steps, FAMILY.turn, FAMILY.aggregate
PIPE6 = STEPS["pipe6"]


def on_reference(x: Tensor) -> Tensor:
    with tio.backend("reference"):
        return TURN(x)


def cached(prepare: Any) -> Any:
    class Counted(tio.ZNormalization):
        def voxels(self, *args: Any) -> Tensor:
            return prepare(super().voxels(*args))

    subjects = FAMILY.subjects([noise(1, 4, 4, 4)])
    return tio.CachedDataset(tio.SubjectsDataset(subjects, transform=Counted()))


def infer(overlap_mode: str, x: Tensor) -> Tensor:
    """Dense inference with a network that returns what it is given."""
    size, overlap = w.patch_and_overlap(x.shape[2:])
    more = {"overlap_mode": overlap_mode, "batch_size": w.AT_ONCE}
    return tio.predict_by_patches(lambda patches: patches, x[0], size, overlap, **more)[None]


PROBE = tio.BeamGeometry("phased", angle=80, depth=60)
ULTRASOUND = tio.LabelsToUltrasound("linear", {1: 0.2}, attenuation=3, image_key="made")
SHADOW: dict[str, Any] = {"length": 0, "edge": 0}
OPS: dict[str, Any] = {
    **FAMILY.ops(),
    "rescale": tio.RescaleIntensity(**w.RESCALE),
    "one_hot": FAMILY.of(tio.OneHot(w.LABELS), "seg"),
    "percentile": lambda x: F.percentile(x, w.PERCENTILES),
    "dense_field": F.displacement_warp,
    "infer_hann": partial(infer, "hann"),
    "infer_gaussian": partial(infer, "gaussian"),
    "grad_params": lambda x, angle: FAMILY.rotation(pad(angle[None, None], (2, 0)))(x),
    "seeds": partial(FAMILY.load, seed=3),
    "points": FAMILY.points,
    "cache": cached,
    "gibbs": tio.Gibbs(cutoff=0.6, axis=0),
    "wrap": tio.Wrap(2, 1),
    "partial_fourier": tio.PartialFourier(0.6, 1),
    "fat": FAMILY.of(tio.ChemicalShift(4, 0, fat="label"), *BOTH, made=("image",)),
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
    "ct_metal": FAMILY.of(tio.Metal("label", axis=2), *BOTH, made=("image",)),
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
    "labels_to_ultrasound": FAMILY.of(ULTRASOUND, "seg", made=("made",)),
    "landmarks": partial(
        FAMILY.landmarks,
        lambda images: {"image": tio.HistogramStandardization.train(images, progress=False)},
    ),
    "morphology": {
        "grown": FAMILY.of(tio.DilateLabels(2), "seg"),
        "shrunk": FAMILY.of(tio.ErodeLabels(2), "seg"),
    },
}
NOTES = {
    "compile": "a pipeline is one opaque node of the graph",
    "cache": "in memory; also in a folder",
    "fused": "but not an elastic deformation with a rotation after it",
    "ct_window": "by name; also at random",
}
if torch.cuda.is_available():
    OPS |= {"graphs": lambda: tio.Captured(TURN)}
    OPS |= {"kernels": {"triton": TURN, "reference": on_reference}}
else:
    NOTES |= {"graphs": "? `Captured`; no GPU here"}
    NOTES |= {"kernels": "? Triton, forward and backward; no GPU here"}

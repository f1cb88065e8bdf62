"""TorchIO 1: one sample at a time, on the CPU, in part through SimpleITK."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import torchio as tio
from torch import Tensor

from .. import workloads as w
from . import Op, classes, noise, per_sample, version
from .family import LABELS, Family

NAME, DISTRIBUTION, VERSION = "TorchIO", "torchio", version("torchio", "1.")
NAMES = [*dir(tio), *dir(tio.SubjectsDataset)]
_BASES = (tio.SpatialTransform, tio.IntensityTransform, tio.LabelTransform, tio.FourierTransform)
TRANSFORMS = classes(vars(tio), tio.Transform, *_BASES)


class TorchIO1(Family):
    """Loops over samples, which go to the CPU; batches of its loader are dictionaries."""

    together, finish = "Subject", "get_output_tensor"

    def image(self, x: Tensor, affine: Any = None, name: str = "image") -> Any:
        """An image or label map on the CPU."""
        kind = tio.LabelMap if name in LABELS else tio.ScalarImage
        return kind(tensor=x.cpu(), affine=affine)

    batch, run = image, staticmethod(per_sample)

    def of(self, step: Any, *given: str, **more: Any) -> Op:
        """Operation on batches of images with these names."""
        return per_sample(super().of(step, *given, **more))

    def patches(self, kind: str, subject: Any, number: int, *args: Any) -> Iterable[Any]:
        """Random patches of a subject."""
        return getattr(tio, f"{kind}Sampler")(*args)(subject, number)

    def queue(self, voxels: list[Tensor]) -> Any:
        """Patches of several subjects."""
        dataset = tio.SubjectsDataset(self.subjects(voxels))
        patches = tio.Queue(dataset, 12, 4, tio.UniformSampler(4))
        return (batch["image"][tio.DATA] for batch in tio.SubjectsLoader(patches, batch_size=1))

    def load(self, order: Any, size: int, **more: Any) -> dict[int, Tensor]:
        """Samples by number, from a loader in this order."""
        torch.manual_seed(3)
        subjects = self.subjects([noise(1, 8, 8, 8)] * 4)
        dataset = tio.SubjectsDataset(subjects, transform=self.turn)
        found = {}
        for batch in tio.SubjectsLoader(dataset, batch_size=size, sampler=list(order)):
            found.update(zip(batch["n"].tolist(), batch["image"][tio.DATA], strict=True))
        return found

    def piece(self, batch: Any) -> tuple[Tensor, Any]:
        """Patches that a loader of a grid gives, and where they lie."""
        return batch["image"][tio.DATA], batch[tio.LOCATION]

    def aggregator(self, size: w.Triple) -> tio.GridAggregator:
        """Return an aggregator for a volume of this size, with Hann weights."""
        return tio.GridAggregator(grid(size), overlap_mode="hann")


@cache
def grid(size: w.Triple) -> tio.GridSampler:
    """The sampler that an aggregator wants, of a volume of this size."""
    volume = tio.ScalarImage(tensor=torch.zeros(1, 1, 1, 1).expand(1, *size))
    return tio.GridSampler(tio.Subject(image=volume), *w.patch_and_overlap(size))


def learn(images: list[tio.ScalarImage]) -> dict[str, Any]:
    """Landmarks, which are learnt from files."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{number}.nii") for number in range(len(images))]
        for image, path in zip(images, paths, strict=True):
            image.save(path)
        return {"image": tio.HistogramStandardization.train(paths)}


FAMILY = TorchIO1(tio)
STEPS, TURN = FAMILY.steps, FAMILY.turn
WINDOW = tio.Compose([tio.Clamp(0, 80), tio.RescaleIntensity((0, 1), in_min_max=(0, 80))])
OPS: dict[str, Any] = {
    **FAMILY.ops(),
    "rescale": per_sample(tio.RescaleIntensity(**w.RESCALE)),
    "one_hot": FAMILY.of(tio.OneHot(w.LABELS), "seg"),
    "grad_params": lambda x, degrees: FAMILY.rotation((0, 0, degrees))(x[0])[None],
    "types": {
        **dict.fromkeys(("numpy", "SimpleITK", "NiBabel"), TURN),
        "dict": tio.RandomAffine(include=["image"]),
    },
    "ct_window": per_sample(WINDOW),
    "landmarks": partial(FAMILY.landmarks, learn),
}
NOTES = {"kernels": "- its transforms run on the CPU", "infer_gaussian": "- Hann weights only"}

"""TorchIO 2: whole batches, parameters of their own for each sample.

Its bias field is another one: normal numbers on a coarse grid, upsampled linearly. It normalizes a
batch by the numbers of its first sample: here samples go through it one by one. Its one-hot maps
are left out: float32, so four times the memory. Its aggregator does not divide by a sum of weights
below 1, which Hann weights of this grid are everywhere.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import torchio as tio
from torch import Tensor
from torchio.transforms.intensity.histogram_standardization import compute_histogram_landmarks

from .. import workloads as w
from . import Op, classes, per_sample, version
from .family import LABELS, Family

NAME, DISTRIBUTION, VERSION = "TorchIO", "torchio", version("torchio", "2.")
NAMES = [*tio.__all__]
TRANSFORMS = classes(vars(tio), tio.Transform, tio.SpatialTransform, tio.IntensityTransform)


#: Its transforms by their names in TorchIO 1.
WORDS = {
    **vars(tio),
    **{f"Random{name}": found for name, found in vars(tio).items()},
    "RandomBiasField": lambda coefficients, order: tio.BiasField(std=coefficients),
    "RandomAffineElasticDeformation": lambda affine_kwargs, elastic_kwargs: tio.Spatial(
        **affine_kwargs, **elastic_kwargs
    ),
    "ToCanonical": tio.Reorient,
    "KeepLargestComponent": partial(tio.KeepLargestComponent, fully_connected=False),
}


class TorchIO2(Family):
    """Batches are those of the library; histories are applied record by record."""

    def batch(self, x: Tensor, affine: Any = None, name: str = "image") -> Any:
        """Every image has the same affine."""
        kind = tio.LabelMap if name in LABELS else tio.ScalarImage
        return tio.ImagesBatch(x, [tio.AffineMatrix(affine) for _ in x], image_class=kind)

    def run(self, step: Any) -> Op:
        """Operation on a batch of images."""
        return lambda x: step(self.batch(x)).data

    def replayed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """An image that is moved, and moved again."""
        given = self.subject(image=x)
        moved = tio.Compose([TURN, tio.Flip(flip_probability=0.5)])(given)
        again = tio.SubjectsBatch.from_subjects([given])
        for record in moved.applied_transforms:
            again = getattr(tio, record.name)().apply_transform(again, record.params)
        return moved.image.data, again.image.data[0]

    def place(self, corners: Tensor) -> list[tio.PatchLocation]:
        """Return places of patches, of their first voxels and the ones after their last."""
        return [
            tio.PatchLocation((a, b, c), (d - a, e - b, f - c))
            for a, b, c, d, e, f in corners.tolist()
        ]


FAMILY = TorchIO2(SimpleNamespace(**WORDS))
STEPS, TURN = FAMILY.steps, FAMILY.turn
RESCALE = dict(zip(("percentile_low", "percentile_high"), w.PERCENTILES, strict=True))


def without_copies(x: Tensor) -> Tensor:
    turn = tio.Affine(degrees=(-10.0, 10.0), copy=False)
    gamma = tio.Gamma(log_gamma=(-0.3, 0.3), copy=False)
    return FAMILY.run(tio.Compose([turn, gamma], copy=False))(x)


OPS: dict[str, Any] = {
    **FAMILY.ops(),
    "z_normalization": per_sample(tio.Standardize()),
    "rescale": per_sample(tio.Normalize(out_min=0, out_max=1, **RESCALE)),
    "batch": FAMILY.run(TURN),
    "grad_image": without_copies,
    "grad_params": lambda x, degrees: FAMILY.run(tio.Affine(degrees=(0.0, 0.0, degrees)))(x),
    "ct_window": FAMILY.run(tio.Normalize(out_min=0.0, out_max=1.0, in_min=0.0, in_max=80.0)),
    "landmarks": partial(FAMILY.landmarks, compute_histogram_landmarks),
}
NOTES = {
    "kernels": "- torch's own kernels",
    "one_hot": "~ float32, four times the memory",
    "grad_image": "with `copy=False` only",
    "replay": "record by record",
    "infer_gaussian": "- Hann weights only",
    "points": "- a transform drops those of a subject",
}

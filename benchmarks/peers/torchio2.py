"""TorchIO 2: whole batches, parameters of their own for each sample.

Its bias field is another one: normal numbers on a coarse grid, upsampled linearly. Its defaults
leave an image as it is, and a single number is a constant: parameters are given as ranges.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import torchio as tio
from torch import Tensor

from .. import workloads as w
from . import Op, by_size

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
}
STEPS["pipe6"] = tio.Compose([STEPS[name] for name in w.PIPE6])
LABELS_TO_IMAGE = tio.LabelsToImage(**w.LABELS_TO_IMAGE)


def batched(transform: Any) -> Op:
    """Through the library's own batch."""

    def op(x: Tensor) -> Tensor:
        batch = tio.ImagesBatch(x, [tio.AffineMatrix() for _ in x])
        result: Tensor = transform(batch).data
        return result

    return op


def labels_to_image(labels: Tensor) -> Tensor:
    """The image that is made of a batch of label maps."""
    affines = [tio.AffineMatrix() for _ in labels]
    maps = tio.ImagesBatch(labels, affines, image_class=tio.LabelMap)
    result: Tensor = LABELS_TO_IMAGE(tio.SubjectsBatch({"seg": maps})).image_from_labels.data
    return result


OPS: dict[str, Op] = {
    **{name: batched(step) for name, step in STEPS.items()},
    "ghosting": by_size(lambda size: batched(tio.Ghosting(**w.ghosting(size)))),
    "swap": by_size(lambda size: batched(tio.Swap(**w.swap(size)))),
    "labels_to_image": labels_to_image,
}

"""TorchIO 2: whole batches, parameters of their own for each sample.

Its bias field is another one: normal numbers on a coarse grid, upsampled linearly.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import torchio as tio
from torch import Tensor

from .. import workloads as w
from . import Op

NAME, VERSION = "TorchIO", version("torchio")
if not VERSION.startswith("2."):
    raise ImportError(f"TorchIO 2 is asked for, {VERSION} is installed")


def around(centre: float, half: float) -> tuple[float, float]:
    """A range; a single number would be a constant here."""
    return centre - half, centre + half


AFFINE = {
    "scales": around(1, w.AFFINE["scales"]),
    "degrees": around(0, w.AFFINE["degrees"]),
    "translation": around(0, w.AFFINE["translation"]),
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
}
STEPS["pipe6"] = tio.Compose([STEPS[name] for name in w.PIPE6])


def batched(transform: Any) -> Op:
    """Through the library's own batch."""

    def op(x: Tensor) -> Tensor:
        batch = tio.ImagesBatch(x, [tio.AffineMatrix() for _ in x])
        result: Tensor = transform(batch).data
        return result

    return op


OPS: dict[str, Op] = {name: batched(step) for name, step in STEPS.items()}

"""Calls whose kernels are compiled: each shows one form in which kernels are launched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import torchio_gpu as tio
from torchio_gpu import functional as F
from torchio_gpu.data.known_fills import KnownFills
from torchio_gpu.functional import operations as p
from torchio_gpu.functional.fields_of_view import FieldOfView
from torchio_gpu.functional.warping import warp_volume

from ..rivals.torchio_gpu import PIPE6

_RANDOM = np.random.default_rng(0)


class Case(NamedTuple):
    """A call."""

    call: Callable[[Tensor], Any]  # returns volumes whose copy is its bound, if not the image
    budget: float | None = None  # copies that launches may take together; of a backward, forwards
    batch: str | tuple[int, ...] = "W1"  # workload of the image, or its shape
    dtype: torch.dtype = torch.float32


def affine_and_elastic(x: Tensor, bent: bool = True) -> dict[str, Any]:
    """Return an affine map of each sample, and 7³ control points."""
    matrix = np.eye(4)[None].repeat(len(x), 0)
    matrix[:, :3] += _RANDOM.uniform(-0.1, 0.1, (len(x), 3, 4))
    points = _RANDOM.uniform(-5, 5, (len(x), 3, 7, 7, 7))
    return {"matrix": matrix, "control_points": points} if bent else {"matrix": matrix}


def bias(x: Tensor) -> p.BiasField:
    return p.BiasField(_RANDOM.uniform(-0.5, 0.5, (len(x), 20)), 3)


def gamma(x: Tensor) -> p.Gamma:
    return p.Gamma(_RANDOM.uniform(-0.3, 0.3, len(x)))


def noise(x: Tensor, rician: bool = False) -> p.Noise:
    sigma, seeds = _RANDOM.uniform(0, 0.25, len(x)), np.arange(len(x))
    return p.Noise(np.zeros(len(x)), sigma, seeds, rician)


def rician(x: Tensor) -> p.Noise:
    return noise(x, rician=True)


def _pointwise(x: Tensor) -> Tensor:
    return F.pointwise(x, [bias(x), gamma(x), noise(x)])


def _pointwise_back(x: Tensor, parameters: bool = False) -> None:
    field, wanted = bias(x), [x.requires_grad_()]
    if parameters:
        wanted.append(torch.from_numpy(field.coefficients).requires_grad_())
        field = p.BiasField(wanted[1], 3)
    y = F.pointwise(x, [field, gamma(x), noise(x)])
    torch.autograd.grad(y, wanted, torch.empty_like(y))


def _warp(x: Tensor, bent: bool = True, **options: Any) -> None:
    warp_volume(x, **affine_and_elastic(x, bent), **options)


def _warp_fields(x: Tensor) -> None:
    high = np.array(x.shape[2:])[None].repeat(len(x), 0) - 0.5
    low = np.full_like(high, -0.5)
    _warp(x, fields=[FieldOfView(low, high, 0.0), FieldOfView(low + 8, high - 8, 1.0)])


def _warp_back(x: Tensor, voxels: bool = True, points: bool = True, exact: bool = False) -> None:
    where = affine_and_elastic(x)
    if points:  # on the device, as in a training loop
        where = {name: torch.from_numpy(a).requires_grad_() for name, a in where.items()}
    y = F.warp(x.requires_grad_(voxels), **where)
    torch.use_deterministic_algorithms(exact)
    try:
        wanted = [x] * voxels + [*where.values()] * points
        torch.autograd.grad(y, wanted, torch.empty_like(y))
    finally:
        torch.use_deterministic_algorithms(False)


def _labels(x: Tensor) -> Tensor:
    return x.new_empty((len(x), 1, *x.shape[2:]), dtype=torch.uint8)


def _warp_pair(x: Tensor) -> Sequence[Tensor]:
    return F.warp_pair(x, _labels(x), **affine_and_elastic(x))


def _pipe6(x: Tensor, known: bool = False) -> Sequence[Tensor]:
    labels = _labels(x)
    images = {"image": tio.ImagesBatch(x), "label": tio.ImagesBatch(labels, kind=tio.LABEL)}
    if known:  # as of a batch of a loader, which has computed them
        images["image"]._fills = KnownFills(x, torch.zeros(x.shape[:2]))
    torch.manual_seed(0)
    PIPE6(tio.SubjectsBatch(images))
    return x, labels


def _cut(x: Tensor) -> Tensor:
    return F.extract_patches(x, _RANDOM.integers(0, 128, (8, 3)), (96,) * 3, sample=[0, 1] * 4)


def _add_up(x: Tensor) -> None:
    first = torch.cartesian_prod(*[torch.arange(0, 193, 48)] * 3)
    F.aggregate_patches(x, first, (256, 256, 256), mode="hann")


#: Shapes whose sides are no multiples of 16, which makes other forms of kernels.
_ODD, _ODD_4 = (8, 1, 127, 131, 155), (8, 4, 127, 131, 155)
_WIDE, _LAST = (2, 16, 64, 64, 64), {"memory_format": torch.channels_last_3d}
_UINT8, _HALF = torch.uint8, torch.float16
_TIMES, _AXES = np.array([0.3, 0.7]), [0, 1, 2, 0, 1, 2, 0, 1]

#: By name, in the order of the table.
CASES = {
    "warp, affine": Case(lambda x: _warp(x, bent=False)),
    "warp, affine and elastic": Case(_warp),
    "warp, float16": Case(_warp, dtype=_HALF),
    "warp, with fields of view": Case(_warp_fields),
    "warp, 4 channels": Case(_warp, batch="W3"),
    "warp of labels": Case(lambda x: _warp(x, mode="nearest"), dtype=_UINT8),
    "warp of int64 labels": Case(lambda x: _warp(x, mode="nearest"), dtype=torch.int64),
    "warp of labels, the most common": Case(lambda x: _warp(x, mode="label"), dtype=_UINT8),
    "warp, with its label map": Case(_warp_pair, 1.7),
    "pipe6, with its label map": Case(_pipe6, 2.3),
    "pipe6, with its label map, minima known": Case(lambda x: _pipe6(x, known=True), 2.3),
    "pipe6, 4 channels": Case(_pipe6, 2.3, "W3"),
    "bias, gamma, noise": Case(_pointwise, 1.05),
    "bias": Case(lambda x: F.pointwise(x, [bias(x)])),
    "gamma": Case(lambda x: F.pointwise(x, [gamma(x)])),
    "noise": Case(lambda x: F.pointwise(x, [noise(x)])),
    "clamp": Case(lambda x: F.pointwise(x, [p.Clamp(*np.ones((2, len(x))))])),
    "linear": Case(lambda x: F.pointwise(x, [p.Linear(*np.ones((3, len(x))))])),
    "Rician noise": Case(lambda x: F.pointwise(x, [rician(x)])),
    "bias, gamma, noise, float16": Case(_pointwise, dtype=_HALF),
    "bias, gamma, noise, backward": Case(_pointwise_back),
    "the same, to parameters too": Case(lambda x: _pointwise_back(x, parameters=True)),
    "warp, backward to voxels": Case(lambda x: _warp_back(x, points=False), 3),
    "warp, backward to parameters": Case(lambda x: _warp_back(x, voxels=False), 3),
    "warp, backward to both": Case(_warp_back, 3),
    "the same, deterministic": Case(lambda x: _warp_back(x, exact=True), 3),
    "lines of k-space": Case(lambda x: F.ghosting(x, 4, 0.5)),
    "motion, an axis for each sample": Case(lambda x: F.motion(x, 5, 2, _TIMES, _AXES, fill=0.0)),
    "blur": Case(lambda x: F.blur(x, 1.0)),
    "landmarks": Case(lambda x: F.match_landmarks(x, np.arange(13.0))),
    "patches cut out": Case(_cut, batch="W2"),
    "patches added up, Hann": Case(_add_up, 2, (125, 2, 64, 64, 64)),
    # forms of kernels that other shapes and strides lead to, which need not be quick
    "warp, odd shape": Case(_warp, batch=_ODD),
    "warp, odd shape, with fields of view": Case(_warp_fields, batch=_ODD),
    "warp, odd shape, 4 channels": Case(lambda x: _warp(x[:, :1].expand_as(x)), batch=_ODD_4),
    "blur, odd shape": Case(lambda x: F.blur(x, 1.0), batch=_ODD),
    "warp, channels last": Case(lambda x: _warp(torch.empty_like(x, **_LAST)), batch=_WIDE),
    "pipe6, odd shape": Case(_pipe6, batch=_ODD),
    "bias, gamma, noise, odd shape": Case(_pointwise, batch=_ODD),
    "warp, odd shape, backward to both": Case(_warp_back, 3, _ODD),
}

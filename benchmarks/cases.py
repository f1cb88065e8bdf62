"""Calls whose kernels are compiled: each shows one form in which kernels are launched."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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

from .inputs import labels_of
from .rivals.torchio_gpu import PIPE6

#: Makes a call of a batch, and the volumes whose copy is its bound.
Make = Callable[[Tensor], tuple[Any, ...]]

_RANDOM = np.random.default_rng(0)


class Case(NamedTuple):
    """A call."""

    make: Make
    budget: float | None = None  # copies that launches may take together; of a backward, forwards
    batch: str | tuple[int, ...] = "W1"  # workload of the image, or its shape
    dtype: torch.dtype = torch.float32


def on(call: Callable[..., Any], *given: Any, **options: Any) -> Make:
    """Return what makes a call on the image, with arguments."""
    return lambda x: (partial(call, x, *given, **options), x)


def affine_and_elastic(x: Tensor, bent: bool = True) -> dict[str, Any]:
    """Return an affine map of each sample, and 7³ control points."""
    matrix = np.eye(4)[None].repeat(len(x), 0)
    matrix[:, :3] += _RANDOM.uniform(-0.1, 0.1, (len(x), 3, 4))
    points = _RANDOM.uniform(-5, 5, (len(x), 3, 7, 7, 7))
    return {"matrix": matrix, "control_points": points} if bent else {"matrix": matrix}


def warp(bent: bool = True, **options: Any) -> Make:
    return lambda x: (partial(warp_volume, x, **affine_and_elastic(x, bent), **options), x)


def warp_in_fields(x: Tensor) -> tuple[Any, ...]:
    high = np.array(x.shape[2:])[None].repeat(len(x), 0) - 0.5
    low = np.full_like(high, -0.5)
    return warp(fields=[FieldOfView(low, high, 0.0), FieldOfView(low + 8, high - 8, 1.0)])(x)


def warp_pair(x: Tensor) -> tuple[Any, ...]:
    labels = labels_of(x)
    return partial(F.warp_pair, x, labels, **affine_and_elastic(x)), x, labels


def warp_back(voxels: bool = True, points: bool = True, exact: bool = False) -> Make:
    def make(x: Tensor) -> tuple[Any, ...]:
        given: dict[str, Any] = {"x": x.detach().requires_grad_(voxels), **affine_and_elastic(x)}
        for name in ("matrix", "control_points") if points else ():  # on the device, as in training
            given[name] = torch.from_numpy(given[name]).to(x.device).requires_grad_()
        wanted = [t for t in given.values() if isinstance(t, Tensor) and t.requires_grad]
        grad = torch.ones_like(x)

        def call() -> None:
            torch.use_deterministic_algorithms(exact)
            try:
                torch.autograd.grad(F.warp(**given), wanted, grad)
            finally:
                torch.use_deterministic_algorithms(False)

        return call, x

    return make


OPERATIONS: dict[str, Callable[[Tensor], Any]] = {
    "bias": lambda x: p.BiasField(_RANDOM.uniform(-0.5, 0.5, (len(x), 20)), 3),
    "gamma": lambda x: p.Gamma(_RANDOM.uniform(-0.3, 0.3, len(x))),
    "noise": lambda x: p.Noise(*_noise(x)),
    "clamp": lambda x: p.Clamp(*np.ones((2, len(x)))),
    "linear": lambda x: p.Linear(*np.ones((3, len(x)))),
    "Rician noise": lambda x: p.Noise(*_noise(x), rician=True),
}


def _noise(x: Tensor) -> tuple[Any, ...]:
    return np.zeros(len(x)), _RANDOM.uniform(0, 0.25, len(x)), np.arange(len(x))


def pointwise(*names: str) -> Make:
    return lambda x: (partial(F.pointwise, x, [OPERATIONS[name](x) for name in names]), x)


def pointwise_back(x: Tensor, parameters: bool = False) -> None:
    field, *others = (OPERATIONS[name](x) for name in THREE)
    wanted = [x.requires_grad_()]
    if parameters:
        wanted.append(torch.from_numpy(field.coefficients).requires_grad_())
        field = p.BiasField(wanted[1], 3)
    y = F.pointwise(x, [field, *others])
    torch.autograd.grad(y, wanted, torch.empty_like(y))


def pipe6(x: Tensor, known: bool = False, captured: bool = False) -> tuple[Any, ...]:
    labels = labels_of(x)
    images = {"image": tio.ImagesBatch(x), "label": tio.ImagesBatch(labels, kind=tio.LABEL)}
    if known:  # as of a batch of a loader, which has computed them
        images["image"]._fills = KnownFills(x, torch.zeros(x.shape[:2]))
    batch = tio.SubjectsBatch(images)
    augment = tio.Captured(PIPE6, batch) if captured and x.is_cuda else PIPE6
    torch.manual_seed(0)
    return partial(augment, batch), x, labels


def _cut(x: Tensor) -> tuple[Any, ...]:
    call = on(F.extract_patches, _RANDOM.integers(0, 128, (8, 3)), (96,) * 3, sample=[0, 1] * 4)
    return call(x)[0], x.new_empty(8, 1, 96, 96, 96)


THREE = ("bias", "gamma", "noise")
#: Shapes whose sides are no multiples of 16, which makes other forms of kernels.
_ODD, _ODD_4, _WIDE = (8, 1, 127, 131, 155), (8, 4, 127, 131, 155), (2, 16, 64, 64, 64)
_UINT8, _HALF, _LAST = torch.uint8, torch.float16, torch.channels_last_3d
_MOTION = (5, 2, np.array([0.3, 0.7]), [0, 1, 2, 0, 1, 2, 0, 1])
_GRID = (torch.cartesian_prod(*[torch.arange(0, 193, 48)] * 3), (256, 256, 256))
_PATCHES = (125, 2, 64, 64, 64)

#: By name, in the order of the table.
CASES = {
    "warp, affine": Case(warp(bent=False)),
    "warp, affine and elastic": Case(warp()),
    "warp, float16": Case(warp(), dtype=_HALF),
    "warp, with fields of view": Case(warp_in_fields),
    "warp, 4 channels": Case(warp(), batch="W3"),
    "warp of labels": Case(warp(mode="nearest"), dtype=_UINT8),
    "warp of int64 labels": Case(warp(mode="nearest"), dtype=torch.int64),
    "warp of labels, the most common": Case(warp(mode="label"), dtype=_UINT8),
    "warp, with its label map": Case(warp_pair, 1.7),
    "pipe6, with its label map": Case(pipe6, 2.3),
    "pipe6, with its label map, minima known": Case(partial(pipe6, known=True), 2.3),
    "pipe6, 4 channels": Case(pipe6, 2.3, "W3"),
    "bias, gamma, noise": Case(pointwise(*THREE), 1.05),
    **{name: Case(pointwise(name)) for name in OPERATIONS},
    "bias, gamma, noise, float16": Case(pointwise(*THREE), dtype=_HALF),
    "bias, gamma, noise, backward": Case(on(pointwise_back)),
    "the same, to parameters too": Case(on(pointwise_back, parameters=True)),
    "warp, backward to voxels": Case(warp_back(points=False), 3),
    "warp, backward to parameters": Case(warp_back(voxels=False), 3),
    "warp, backward to both": Case(warp_back(), 3),
    "the same, deterministic": Case(warp_back(exact=True), 3),
    "lines of k-space": Case(on(F.ghosting, 4, 0.5)),
    "motion, an axis for each sample": Case(on(F.motion, *_MOTION, fill=0.0)),
    "blur": Case(on(F.blur, 1.0)),
    "landmarks": Case(on(F.match_landmarks, np.arange(13.0))),
    "patches cut out": Case(_cut, batch="W2"),
    "patches added up, Hann": Case(on(F.aggregate_patches, *_GRID, mode="hann"), 2, _PATCHES),
    # forms of kernels that other shapes and strides lead to, which need not be quick
    "warp, odd shape": Case(warp(), batch=_ODD),
    "warp, odd shape, with fields of view": Case(warp_in_fields, batch=_ODD),
    "warp, odd shape, 4 channels": Case(lambda x: warp()(x[:, :1].expand_as(x)), batch=_ODD_4),
    "blur, odd shape": Case(on(F.blur, 1.0), batch=_ODD),
    "warp, channels last": Case(lambda x: warp()(x.contiguous(memory_format=_LAST)), batch=_WIDE),
    "pipe6, odd shape": Case(pipe6, batch=_ODD),
    "bias, gamma, noise, odd shape": Case(pointwise(*THREE), batch=_ODD),
    "warp, odd shape, backward to both": Case(warp_back(), 3, _ODD),
}

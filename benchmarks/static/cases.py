"""Calls whose kernels are compiled and looked at: each shows one form in which they are launched.

Tensors are as large as in the workloads, but none of their voxels is read or written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import torchio_gpu as tio
from torchio_gpu import functional as F
from torchio_gpu.data.known_fills import KnownFills
from torchio_gpu.functional import operations as p
from torchio_gpu.functional.fields_of_view import FieldOfView
from torchio_gpu.functional.warping import warp_volume

from ..versus import workloads as w
from ..versus.peers.torchio_gpu import PIPE6

_RANDOM = np.random.default_rng(0)


@dataclass(frozen=True)
class Case:
    """A call.

    Args:
        run: Makes it; returns the volumes whose copy is the floor.
        budget: Copies that its launches together may take; of a backward, forwards.
        backward: Whether the gradient counts, and the forward is what it is compared with.
        workload: What it is called with.
    """

    run: Callable[[], Sequence[Tensor]]
    budget: float | None = None
    backward: bool = False
    workload: str = "W1"


def _image(workload: str = "W1", dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(w.WORKLOADS[workload].shape, dtype=dtype)


def _labels(workload: str = "W1", dtype: torch.dtype = torch.uint8) -> Tensor:
    batch, _, *size = w.WORKLOADS[workload].shape
    return torch.empty((batch, 1, *size), dtype=dtype)


def affine_and_elastic(x: Tensor, bent: bool = True) -> dict[str, Any]:
    """An affine map of each sample, and 7³ control points."""
    matrix = np.eye(4)[None].repeat(len(x), 0)
    matrix[:, :3] += _RANDOM.uniform(-0.1, 0.1, (len(x), 3, 4))
    points = _RANDOM.uniform(-5, 5, (len(x), 3, 7, 7, 7))
    return {"matrix": matrix, "control_points": points} if bent else {"matrix": matrix}


def _fields(x: Tensor) -> list[FieldOfView]:
    size = np.array(x.shape[2:])[None].repeat(len(x), 0)
    low, high = np.zeros_like(size) - 0.5, size - 0.5
    return [FieldOfView(low, high, 0.0), FieldOfView(low + 8, high - 8, 1.0)]


def bias(x: Tensor) -> p.BiasField:
    return p.BiasField(_RANDOM.uniform(-0.5, 0.5, (len(x), 20)), 3)


def gamma(x: Tensor) -> p.Gamma:
    return p.Gamma(_RANDOM.uniform(-0.3, 0.3, len(x)))


def clamp(x: Tensor) -> p.Clamp:
    return p.Clamp(np.zeros(len(x)), np.ones(len(x)))


def linear(x: Tensor) -> p.Linear:
    return p.Linear(np.full(len(x), 1.5), np.zeros(len(x)), np.ones(len(x)))


def noise(x: Tensor, rician: bool = False) -> p.Noise:
    seeds = np.arange(len(x))
    return p.Noise(np.zeros(len(x)), _RANDOM.uniform(0, 0.25, len(x)), seeds, rician)


def rician(x: Tensor) -> p.Noise:
    return noise(x, rician=True)


def _warped(
    x: Callable[[], Tensor], bent: bool = True, fields: bool = False, **options: Any
) -> Case:
    def run() -> Sequence[Tensor]:
        given = x()
        warp_volume(
            given,
            **affine_and_elastic(given, bent),
            fields=_fields(given) if fields else (),
            **options,
        )
        return [given]

    return Case(run)


def _together() -> Sequence[Tensor]:
    x, labels = _image(), _labels()
    where = affine_and_elastic(x)
    F.warp_pair(x, labels, **where)
    return x, labels


#: No side is a multiple of 16, which makes other forms of kernels.
_ODD = (8, 1, 127, 131, 155)


def _pipe6(workload: str | None, known: bool = False) -> Sequence[Tensor]:
    x, labels = (
        (_image(workload), _labels(workload))
        if workload
        else (torch.empty(_ODD), torch.empty(_ODD, dtype=torch.uint8))
    )
    torch.manual_seed(0)
    images = {"image": tio.ImagesBatch(x), "label": tio.ImagesBatch(labels, kind=tio.LABEL)}
    if known:  # as of a batch of a loader, which has computed them
        images["image"]._fills = KnownFills(x, torch.zeros(x.shape[:2]))
    PIPE6(tio.SubjectsBatch(images))
    return x, labels


def _pointwise(
    *operations: Callable[[Tensor], Any], dtype: torch.dtype = torch.float32, **options: Any
) -> Case:
    def run() -> Sequence[Tensor]:
        x = _image(dtype=dtype)
        F.pointwise(x, [operation(x) for operation in operations])
        return [x]

    return Case(run, **options)


def _pointwise_back(parameters: bool) -> Sequence[Tensor]:
    x = _image().requires_grad_()
    field, contrast, added = bias(x), gamma(x), noise(x)
    wanted = [x]
    if parameters:
        coefficients = torch.from_numpy(field.coefficients).requires_grad_()
        field = p.BiasField(coefficients, 3)
        wanted.append(coefficients)
    y = F.pointwise(x, [field, contrast, added])
    torch.autograd.grad(y, wanted, torch.empty_like(y))
    return [x]


def _pointwise_on(x: Tensor) -> Sequence[Tensor]:
    F.pointwise(x, [bias(x), gamma(x), noise(x)])
    return [x]


def _warp_back(
    voxels: bool, points: bool, exact: bool = False, x: Tensor | None = None
) -> Sequence[Tensor]:
    x = (_image() if x is None else x).requires_grad_(voxels)
    where = {name: torch.from_numpy(array) for name, array in affine_and_elastic(x).items()}
    for tensor in where.values():
        tensor.requires_grad_(points)
    # on the device in a training loop, as these are; host arrays otherwise
    given = where if points else {name: tensor.numpy() for name, tensor in where.items()}
    y = F.warp(x, **given)
    wanted = [t for t in (x, *where.values()) if t.requires_grad]
    torch.use_deterministic_algorithms(exact)
    try:
        torch.autograd.grad(y, wanted, torch.empty_like(y))
    finally:
        torch.use_deterministic_algorithms(False)
    return [x]


def _cut() -> Sequence[Tensor]:
    x = _image("W2")
    first = _RANDOM.integers(0, 128, (8, 3))
    return [F.extract_patches(x, first, (96, 96, 96), sample=[0, 1] * 4)]


def _added() -> Sequence[Tensor]:
    x = _image("P")
    size, overlap = w.patch_and_overlap(x.shape[2:])
    along = [
        [*range(0, n - s, s - o), n - s] for n, s, o in zip(x.shape[2:], size, overlap, strict=True)
    ]
    first = np.stack(np.meshgrid(*along, indexing="ij"), -1).reshape(-1, 3)
    patches = torch.empty((len(first), x.shape[1], *size))
    F.aggregate_patches(patches, first, tuple(x.shape[2:]), mode="hann")
    return [patches]


def _called(call: Callable[[Tensor], Tensor], x: Callable[[], Tensor] = _image) -> Case:
    def run() -> Sequence[Tensor]:
        given = x()
        call(given)
        return [given]

    return Case(run)


def _moved(x: Tensor) -> Tensor:
    axes = [n % 3 for n in range(len(x))]
    return F.motion(x, 5, 2, np.array([0.3, 0.7]), axes, fill=0.0)


#: By name, in the order of the table.
CASES: dict[str, Case] = {
    "warp, affine": _warped(_image, bent=False),
    "warp, affine and elastic": _warped(_image),
    "warp, float16": _warped(lambda: _image(dtype=torch.float16)),
    "warp, with fields of view": _warped(_image, fields=True),
    "warp, 4 channels": _warped(lambda: _image("W3")),
    "warp of labels": _warped(_labels, mode="nearest"),
    "warp of int64 labels": _warped(lambda: _labels(dtype=torch.int64), mode="nearest"),
    "warp of labels, the most common": _warped(_labels, mode="label"),
    "warp, with its label map": Case(_together, budget=1.7),
    "pipe6, with its label map": Case(lambda: _pipe6("W1"), budget=2.3),
    "pipe6, with its label map, minima known": Case(lambda: _pipe6("W1", known=True), budget=2.3),
    "pipe6, 4 channels": Case(lambda: _pipe6("W3"), budget=2.3, workload="W3"),
    "bias, gamma, noise": _pointwise(bias, gamma, noise, budget=1.05),
    "bias": _pointwise(bias),
    "gamma": _pointwise(gamma),
    "noise": _pointwise(noise),
    "clamp": _pointwise(clamp),
    "linear": _pointwise(linear),
    "Rician noise": _pointwise(rician),
    "bias, gamma, noise, float16": _pointwise(bias, gamma, noise, dtype=torch.float16),
    "bias, gamma, noise, backward": Case(lambda: _pointwise_back(False), backward=True),
    "the same, to parameters too": Case(lambda: _pointwise_back(True), backward=True),
    "warp, backward to voxels": Case(lambda: _warp_back(True, False), 3, True),
    "warp, backward to parameters": Case(lambda: _warp_back(False, True), 3, True),
    "warp, backward to both": Case(lambda: _warp_back(True, True), 3, True),
    "the same, deterministic": Case(lambda: _warp_back(True, True, exact=True), 3, True),
    "lines of k-space": _called(lambda x: F.ghosting(x, 4, 0.5)),
    "motion, an axis for each sample": _called(_moved),
    "blur": _called(lambda x: F.blur(x, 1.0)),
    "landmarks": _called(lambda x: F.match_landmarks(x, np.arange(13.0))),
    "patches cut out": Case(_cut, workload="W2"),
    "patches added up, Hann": Case(_added, budget=2, workload="P"),
}
#: Forms of kernels that other shapes and strides lead to; they need not be quick.
CASES |= {
    "warp, odd shape": _warped(lambda: torch.empty(_ODD)),
    "warp, odd shape, with fields of view": _warped(lambda: torch.empty(_ODD), fields=True),
    "warp, odd shape, 4 channels": _warped(lambda: torch.empty(_ODD).expand(-1, 4, -1, -1, -1)),
    "blur, odd shape": _called(lambda x: F.blur(x, 1.0), lambda: torch.empty(_ODD)),
    "warp, channels last": _warped(
        lambda: torch.empty((2, 16, 64, 64, 64), memory_format=torch.channels_last_3d)
    ),
    "pipe6, odd shape": Case(lambda: _pipe6(None)),
    "bias, gamma, noise, odd shape": Case(lambda: _pointwise_on(torch.empty(_ODD))),
    "warp, odd shape, backward to both": Case(
        lambda: _warp_back(True, True, x=torch.empty(_ODD)), 3, True
    ),
}
CASES["warp, 4 channels"] = Case(CASES["warp, 4 channels"].run, workload="W3")

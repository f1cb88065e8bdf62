"""Facts about a transform, found by running it: what its card in the gallery says."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from functools import partial
from typing import get_type_hints

import torch
from torch import Tensor

import torchio_gpu as tio
from torchio_gpu.arrays import Array

#: Voxels of the volume to try: room for what is shown of a head.
SHAPE = 52, 56, 54


@dataclass(frozen=True)
class Facts:
    """Facts about a transform.

    Args:
        invertible: True if what it did can be undone.
        image_gradient: True if a gradient reaches the voxels of the image; None if it returns no
            image with fractions, such as a transform of label maps.
        parameter_gradients: Names of the parameters that a gradient reaches.
        changes: Kinds of images that it changes: 'intensity', 'label'.
        passes: Passes over the voxels that it shares, as a sentence.
    """

    invertible: bool
    image_gradient: bool | None
    parameter_gradients: tuple[str, ...]
    changes: tuple[str, ...]
    passes: str


def facts_of(transform: tio.Transform) -> Facts:
    """Return the facts about a transform with the arguments that it has.

    >>> facts_of(tio.RandomGamma()).parameter_gradients
    ('log_gamma',)
    """
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # warning of folding, on small volumes
        torch.manual_seed(0)
        return Facts(
            transform.is_invertible(),
            _image_gradient(transform),
            _parameter_gradients(transform),
            _changes(transform),
            passes_of(transform),
        )


def passes_of(transform: tio.Transform) -> str:
    """Return the passes that a transform shares with neighbours, by their plan.

    >>> passes_of(tio.RandomFlip()), passes_of(tio.RandomGamma())
    ('one sampling, with spatial neighbours', 'one pass, with pointwise neighbours')
    >>> passes_of(tio.RandomPartialFourier())
    'one pass, with neighbours that change lines of k-space before it'
    >>> passes_of(tio.RandomSpike())
    'a pass of its own'
    """
    for neighbour, shared in (
        (tio.RandomAffine(), "one sampling, with spatial neighbours"),
        (tio.RandomGamma(), "one pass, with pointwise neighbours"),
        (tio.RandomGibbs(), "one pass, with neighbours that change lines of k-space"),
    ):
        before, after = _share(neighbour, transform), _share(transform, neighbour)
        if before or after:
            return shared if before and after else f"{shared} {'before' if before else 'after'} it"
    if _share(tio.Resample(1), transform, tio.RandomAffine()):
        return "one sampling, between a change of the grid and a motion"
    return "a pass of its own"


def _share(*transforms: tio.Transform) -> bool:
    """Return True if transforms share one pass over the voxels."""
    return len(tio.Compose(transforms).plan().stages) == 1


def _sample() -> dict[str, tio.ImagesBatch]:
    """Return a small image with two label maps, of two samples."""
    labels = torch.randint(3, (2, 1, *SHAPE), dtype=torch.uint8)
    voxels = torch.rand(2, 1, *SHAPE)
    maps = {"seg": labels, "metal": (labels == 2).byte()}
    return {"t1": tio.ImagesBatch(voxels)} | {
        name: tio.ImagesBatch(each, kind=tio.LABEL) for name, each in maps.items()
    }


def _image_gradient(transform: tio.Transform) -> bool | None:
    images = _sample()
    images["t1"].data.requires_grad_()
    loss = _loss(transform(tio.SubjectsBatch(images)), images)
    return None if loss is None else _arrives(loss, images["t1"].data)


def _parameter_gradients(transform: tio.Transform) -> tuple[str, ...]:
    batch = tio.SubjectsBatch(_sample())
    params = transform.sample_params(batch)
    leaves: dict[str, Tensor] = {}

    def set_leaf(wanted: str, name: str, value: Array) -> Array:
        if name != wanted or not torch.as_tensor(value).is_floating_point():
            return value
        leaves[name] = torch.tensor(value, dtype=torch.float32, requires_grad=True)
        return leaves[name]

    found = []
    for name in _names_of_tensors(type(params)):
        with_leaf = params.change(partial(set_leaf, name))
        try:
            loss = _loss(transform.apply_params(batch, with_leaf), {})
        except ValueError:  # refused, as by a parameter that decides the shape of a grid
            continue
        if name in leaves and loss is not None and _arrives(loss, leaves[name]):
            found.append(name)
    return tuple(found)


def _names_of_tensors(params: type) -> Iterator[str]:
    """Return the names of the parameters that may be tensors: their annotation says so."""
    for name, annotated in get_type_hints(params).items():
        if annotated == Array:
            yield name
        elif inspect.isclass(annotated) and is_dataclass(annotated):
            yield from _names_of_tensors(annotated)


def _loss(out: tio.SubjectsBatch, before: Mapping[str, tio.ImagesBatch]) -> Tensor | None:
    """Return a weighted sum of the images that are not those of before; None without any."""
    images = [each.data for name, each in out.images.items() if _is_new(each, before.get(name))]
    terms = [(x * torch.rand_like(x)).sum() for x in images if x.is_floating_point()]
    return sum(terms, torch.zeros(())) if terms else None


def _arrives(loss: Tensor, leaf: Tensor) -> bool:
    """Return True if a finite gradient of a loss, not all zeros, reaches a leaf."""
    if not loss.requires_grad:
        return False
    (grad,) = torch.autograd.grad(loss, leaf, allow_unused=True)
    return grad is not None and bool(grad.isfinite().all()) and bool((grad != 0).any())


def _is_new(after: tio.ImagesBatch, before: tio.ImagesBatch | None) -> bool:
    if before is None or after.data.shape != before.data.shape:
        return True
    return not torch.equal(after.data, before.data)


def _changes(transform: tio.Transform) -> tuple[str, ...]:
    """Return the kinds of images that differ after a transform."""
    images: Mapping[str, tio.ImagesBatch] = _sample()
    out = transform(tio.SubjectsBatch(dict(images)))
    found = {each.kind for name, each in out.images.items() if _is_new(each, images.get(name))}
    return tuple(sorted(found))

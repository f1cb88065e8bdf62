"""Patches at random locations, weighted by a map or by labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data import LABEL, Subject
from ...shapes import TripleLike
from ...signature import is_number
from .samplers import Finder, RandomSampler, sorted_out
from .weights import WeightFunction, Weights, draw


class WeightedSampler(RandomSampler):
    """Sampler of patches whose centre voxel is drawn with probabilities from a map.

    The centre of n voxels is number n // 2. Only voxels around which a patch fits are drawn, unless
    there is padding; a voxel with weight 0 is never drawn.

    Args:
        subject, patch_size, num_patches, padding_mode, fill: As for :class:`UniformSampler`.
        probability_map: Name of the image, of one channel, that holds the weights; they need not
            sum to 1.

    As in TorchIO 1.x, ``WeightedSampler(64, "weights")`` gives the patch size and the map.

    Raises:
        ValueError: An argument is not as above; or, when a patch is cut, a weight is negative or
            not finite, or all of them are 0.
        KeyError: The subject has no such image.

    With a map on a GPU, drawing waits for it, once for a batch: locations of patches are known on
    the host. A :class:`DeviceQueue` draws from a map on the host.

    >>> weights = torch.zeros(1, 12, 12, 12)
    >>> weights[0, 5, 6, 7] = 1
    >>> subject = Subject(t1=ScalarImage(torch.rand(1, 12, 12, 12)), w=ScalarImage(weights))
    >>> WeightedSampler(patch_size=4, probability_map="w")(subject).patch_location.index
    (3, 4, 5)
    """

    def __init__(
        self,
        subject: Subject | TripleLike | None = None,
        patch_size: TripleLike | str | None = None,
        probability_map: str | None = None,
        num_patches: int | None = None,
        padding_mode: str | float | None = None,
        fill: float = 0,
    ) -> None:
        subject, patch_size, probability_map = sorted_out(
            subject, patch_size, probability_map, "probability_map"
        )
        super().__init__(subject, patch_size, num_patches, padding_mode, fill)
        if not isinstance(probability_map, str):
            raise TypeError(f"probability_map must name an image, got {probability_map!r}")
        self.probability_map = probability_map

    def map_name(self, images: Mapping[str, Any]) -> str:
        """Return the name of the image of weights or labels, among those of a subject or batch."""
        return _named(images, self.probability_map, "probability_map")

    def weight_function(self, candidates: Tensor) -> WeightFunction:
        """Return the function from voxels to weights, given all that may be drawn."""
        return Tensor.double

    def get_probability_map(self, subject: Subject) -> Tensor:
        data: Tensor = subject[self.map_name(subject.get_images_dict(intensity_only=False))].data
        return self.weight_function(data)(data)

    def weights(self, voxels: Tensor, box: np.ndarray | None = None) -> Weights:
        """Return the weights of the voxels of a map (1, I, J, K).

        Args:
            voxels: The map.
            box: First and last voxel that may be drawn, [2, 3]; by default those around which a
                patch fits.
        """
        if voxels.shape[0] != 1:
            raise ValueError(
                f"{self._map_description()} must have one channel, got {voxels.shape[0]}"
            )
        if box is None:
            i, j, k = voxels.shape[1:]
            box = np.stack(self.room((i, j, k))) + np.array(self.patch_size) // 2
        first, last = box
        return Weights.of(voxels[0], first, last, self.weight_function, self._map_description())

    def _map_description(self) -> str:
        return f"the probability map {self.probability_map!r}"

    def finder(self, x: Any) -> Finder:
        half = np.array(self.patch_size) // 2
        images: Mapping[str, Any] = x.get_images_dict(intensity_only=False)
        data = images[self.map_name(images)].data
        if isinstance(x, Subject):
            weights = self.weights(data)
            return lambda seeds: draw([weights] * len(seeds), [data[0]] * len(seeds), seeds) - half
        each, volumes = [self.weights(voxels) for voxels in data], list(data[:, 0])
        return lambda seeds: draw(each, volumes, seeds) - half


class LabelSampler(WeightedSampler):
    """Sampler of patches whose centre voxel has a random label, with given probabilities.

    Args:
        subject, patch_size, num_patches, padding_mode, fill: As for :class:`UniformSampler`.
        label_name: Name of the label map; by default the first one.
        label_probabilities: Probabilities of the labels; they need not sum to 1, and a label that
            is not listed is never at the centre. Each is divided among all voxels of the label
            around which a patch fits; labels without such voxels are ignored. By default, all
            voxels with a label > 0 are equally likely.

    Raises:
        ValueError: An argument is not as above; or, when a patch is cut, no voxel has one of the
            labels.
        KeyError: The subject has no such image.

    >>> labels = torch.zeros(1, 12, 12, 12, dtype=torch.uint8)
    >>> labels[0, 5, 6, 7] = 3
    >>> subject = Subject(seg=LabelMap(labels))
    >>> sampler = LabelSampler(subject, 4, "seg", {0: 0.5, 3: 0.5}, num_patches=20)
    >>> sum(patch.seg.data[0, 2, 2, 2].item() == 3 for patch in sampler) > 0
    True
    """

    def __init__(
        self,
        subject: Subject | TripleLike | None = None,
        patch_size: TripleLike | str | None = None,
        label_name: str | Mapping[int, float] | None = None,
        label_probabilities: Mapping[int, float] | None = None,
        num_patches: int | None = None,
        padding_mode: str | float | None = None,
        fill: float = 0,
    ) -> None:
        if not (subject is None or isinstance(subject, Subject)):
            if isinstance(label_name, Mapping):
                if label_probabilities is not None:
                    raise ValueError("label_probabilities must be given once, got it twice")
                label_name, label_probabilities = None, label_name
            subject, patch_size, label_name = sorted_out(
                subject, patch_size, label_name, "label_name"
            )
        if label_name is not None and not isinstance(label_name, str):
            raise TypeError(f"label_name must name an image, got {label_name!r}")
        super().__init__(subject, patch_size, label_name or "", num_patches, padding_mode, fill)
        self.label_name = label_name
        self.label_probabilities = _check_probabilities(label_probabilities)

    def map_name(self, images: Mapping[str, Any]) -> str:
        if self.label_name is not None:
            return _named(images, self.label_name, "label_name")
        for name, image in images.items():
            if image.kind == LABEL:
                return name
        raise ValueError(f"subject must have a label map, got images {list(images)}")

    def weight_function(self, candidates: Tensor) -> WeightFunction:
        if self.label_probabilities is None:
            return lambda voxels: (voxels > 0).double()
        found = [(candidates == label).sum() for label in self.label_probabilities]
        pairs = zip(self.label_probabilities.items(), torch.stack(found).tolist(), strict=True)
        shares = {label: probability / max(count, 1) for (label, probability), count in pairs}

        def weights_of(voxels: Tensor) -> Tensor:
            weights = torch.zeros(voxels.shape, dtype=torch.float64, device=voxels.device)
            for label, share in shares.items():
                weights += (voxels == label).double() * share
            return weights

        return weights_of

    def _map_description(self) -> str:
        labels = list(self.label_probabilities) if self.label_probabilities else "above 0"
        name = "" if self.label_name is None else f" {self.label_name!r}"
        return f"the label map{name}, for the labels {labels},"


def _named(images: Mapping[str, Any], name: str, argument: str) -> str:
    if name not in images:
        raise KeyError(
            f"{argument} must name an image of the subject, {name!r} is none of {list(images)}"
        )
    return name


def _check_probabilities(given: Mapping[int, float] | None) -> dict[int, float] | None:
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise TypeError(f"label_probabilities must be a dict, got {given!r}")
    numbers = all(is_number(n) for pair in given.items() for n in pair)
    if not given or not numbers or not all(0 <= p < math.inf for p in given.values()):
        raise ValueError(f"label_probabilities must be numbers >= 0 by label, got {given!r}")
    known = {label: float(p) for label, p in given.items()}
    if not sum(known.values()) > 0:
        raise ValueError(f"label_probabilities must sum to more than 0, got {given!r}")
    return known


__all__ = ["LabelSampler", "WeightedSampler"]

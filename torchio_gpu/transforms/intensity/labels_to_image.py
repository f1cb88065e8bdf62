"""Synthesis of images from label maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ... import functional as F
from ... import random
from ...arrays import Array, as_array, per_sample
from ...data import ImagesBatch
from ...data.keys import LABEL
from ...functional.dispatch.arguments import at_least
from ...functional.samples import Samples, samples_at
from ...shapes import Volume
from ...signature import is_number
from ..base import Context
from ..kinds import RandomTransform, VolumeTransform
from ..parameters.label_maps import Kinds, check_used_labels, name_of_map, present_labels
from ..parameters.params import Params
from ..parameters.ranges import Range
from ..parameters.seeds import check_seeds
from ..parameters.types import PerSample, RangeLike, WholePerSample
from ..pipeline.protocol import CreatedImage

#: Tolerance of shares outside [0, 1]: a cubic spline overshoots by less.
_OVERSHOOT = 0.25


@dataclass(frozen=True)
class LabelsToImageParams(Params):
    """Components of the mixture, for each sample; M = 1, since one image is created."""

    neutral: ClassVar[dict[str, float]] = {"made": False}
    labels: Annotated[np.ndarray, "B M L", int]  # the same for all samples
    mean: Annotated[Array, "B M L"]
    std: Annotated[Array, "B M L"]
    seed: Annotated[np.ndarray, "B M", int]
    made: Annotated[np.ndarray, "B M", bool]  # False for samples that are left as they are


class _LabelsToImage(VolumeTransform):
    """Base of transforms that create an image from a label map."""

    @property
    def shares(self) -> bool:
        return True

    def _set_images(
        self,
        label_key: str | None,
        image_key: str,
        used_labels: Sequence[int] | None,
        ignore_background: bool,
        discretize: bool,
    ) -> None:
        self.label_key, self.image_key = label_key, image_key
        self.ignore_background, self.discretize = ignore_background, discretize
        self.used_labels = check_used_labels(used_labels)

    def _source(self, kinds: Kinds) -> str:
        """Return the name of the label map."""
        return name_of_map(kinds, self.label_key, self.name)

    def creates(self, kinds: Kinds) -> CreatedImage:
        if dict(kinds).get(self.image_key) == LABEL:
            raise ValueError(f"image_key must not name a label map, {self.image_key!r} is one")
        return CreatedImage(self.image_key, self._source(kinds))

    def select(self, kinds: Kinds, others: Sequence[str] | None = None) -> tuple[str, ...]:
        return tuple(name for name in super().select(kinds, others) if name == self.image_key)

    def _labels(self, images: Mapping[str, ImagesBatch]) -> np.ndarray:
        """Return the labels to use, [L]; reads the voxels unless they are given."""
        if self.used_labels is not None:
            labels = np.array(self.used_labels, dtype=np.int64)
        else:
            present = [
                np.arange(maps.shape[1]) if _are_shares(maps) else present_labels(maps)
                for _, maps in self._maps(images)
            ]
            labels = np.unique(np.concatenate(present))
        return labels[labels != 0] if self.ignore_background else labels

    def _maps(self, images: Mapping[str, ImagesBatch]) -> list[tuple[Samples, Volume]]:
        """Return parts of the label maps, each with its samples.

        A part is (B, 1, I, J, K) of integers or (B, L, I, J, K) of shares. A map of one channel of
        floats may hold shares of one label in some samples and labels in others, so each sample is
        classified by itself, whatever else is in the batch.
        """
        kinds = tuple((name, each.kind) for name, each in images.items())
        maps = images[self._source(kinds)].data
        everything = slice(None)
        if maps.shape[1] > 1 and self.discretize:
            share, label = maps.max(1, keepdim=True)
            return [(everything, torch.where(share > 0, label, -1))]
        if maps.shape[1] > 1 or not maps.is_floating_point():
            return [(everything, maps)]
        shares = _hold_shares(maps)
        parts: list[tuple[Samples, Volume]] = []
        if shares.any():
            samples = samples_at(shares.nonzero()[0].tolist(), maps.device)
            part = maps[samples]
            parts.append((samples, torch.where(part > 0, 0, -1) if self.discretize else part))
        if not shares.all():
            samples = samples_at((~shares).nonzero()[0].tolist(), maps.device)
            # labels stored as floats; other values count as no label
            whole = maps[samples].round()
            parts.append((samples, torch.where(whole == maps[samples], whole, -1).long()))
        return parts

    def voxels(
        self, images: Mapping[str, ImagesBatch], name: str, params: LabelsToImageParams
    ) -> Volume:
        labels: list[int] = params.labels[0].tolist()
        existing = images[name]
        if not labels or not params.made.all():
            return existing.data
        kinds = tuple((each, images[each].kind) for each in images)
        source = self._source(kinds)
        apart = existing.space.distance_mm(images[source].space)
        if not existing.space.is_same(images[source].space) or existing.data.shape[1] != 1:
            raise ValueError(
                f"{self.name} needs {name!r} to be an image of one channel in the space of "
                f"{source!r}: it has {existing.data.shape[1]}, and their corners are {apart:.3g} "
                "mm apart"
            )
        background = None if existing.placeholder else existing.data
        out = None
        for samples, maps in self._maps(images):
            columns = list(range(len(labels)))
            if self.used_labels is None and _are_shares(
                maps
            ):  # the rest are labels of other samples
                columns = [n for n in columns if labels[n] < maps.shape[1]]
            mean, std = (
                _for_samples(samples, values)[:, columns] for values in (params.mean, params.std)
            )
            behind = None if background is None else background[samples]
            used = [labels[n] for n in columns]
            part = existing.data[samples]
            if columns:
                seeds = _for_samples(samples, params.seed)
                part = F.labels_to_image(maps, mean, std, seeds, used, behind).to(part.dtype)
            if len(part) == len(existing):
                return part
            out = torch.empty_like(existing.data) if out is None else out
            out[samples] = part
        assert out is not None
        return out


def _for_samples(samples: Samples, values: Array) -> Array:
    """Return the parameters of some samples; a single entry is for all samples."""
    if len(values) == 1 or isinstance(samples, slice):
        return values if len(values) == 1 else values[samples]
    return values[samples] if isinstance(values, Tensor) else values[samples.cpu().numpy()]


def _are_shares(maps: Volume) -> bool:
    return maps.shape[1] > 1 or maps.is_floating_point()


def _hold_shares(maps: Volume) -> np.ndarray:
    """Return True for samples of float maps that hold shares of one label, rather than labels, [B].

    Shares are from 0 to 1, and not all whole. NaN is ignored, and a spline may overshoot the ends.
    """
    flat = maps.detach().flatten(1)
    finite = flat.isfinite()
    inside = ((flat >= -_OVERSHOOT) & (flat <= 1 + _OVERSHOOT)) | ~finite
    between = (flat != flat.round()) & finite
    return (inside.all(1) & between.any(1)).cpu().numpy()  # type: ignore[no-any-return]


class LabelsToImage(_LabelsToImage):
    """Make an image of a label map: each label a Gaussian of given mean and spread (SynthSeg).

    See Billot et al. 2020, http://proceedings.mlr.press/v121/billot20a.html, and 2020,
    doi:10.1007/978-3-030-59728-3_18, for shares of labels.

    Args:
        label_key: Name of the label map: one channel of labels; several that hold the share of
            each label; or one of the shares of a single label, numbers from 0 to 1 that are not
            all whole (a sample of 0 and 1 alone counts as labels). None for the first there is.
        mean, std: Mean and spread of each label: entry n is for label n; or, if there are as many
            as ``used_labels``, for the n-th of these. (L,), or (B, L) for one set per sample.
            Tensors may require a gradient.
        image_key: Name of the image to make. Where there is one of this name, of one channel and
            in the space of the label map, it shows through where no label is used, or shares sum
            to less than a half; otherwise shares that are missing count as 0, and samples left out
            are 0.
        used_labels: Labels to use. By default all there are, for which the voxels are looked at:
            that waits for a GPU.
        ignore_background: Do not use label 0.
        discretize: Take the label with the largest share as the voxel's label.
        seed: Integer that decides the noise, or one per sample (B,).
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: ``mean`` and ``std`` differ in length or do not fit ``used_labels``, ``std`` is
            negative, or, when called, a label has no mean.
        KeyError: When called, the subject does not have the label map.

    >>> s = Subject(seg=LabelMap(torch.tensor([0, 1, 1, 2]).view(1, 1, 1, 4)))
    >>> LabelsToImage("seg", mean=[0, 5, 7], std=[0, 0, 0])(s).image_from_labels.data.flatten()
    tensor([0., 5., 5., 7.])
    """

    def __init__(
        self,
        label_key: str | None = None,
        mean: PerSample = (),
        std: PerSample = (),
        image_key: str = "image_from_labels",
        used_labels: Sequence[int] | None = None,
        ignore_background: bool = False,
        discretize: bool = False,
        seed: WholePerSample = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_images(label_key, image_key, used_labels, ignore_background, discretize)
        self.mean, self.std, self.seed = mean, std, seed
        shape = tuple(as_array(mean, "mean").shape)[-1:]
        if not shape or shape == (0,):
            raise ValueError(f"mean must have one entry per label, got {mean!r}")
        _check_length(shape[0], self.used_labels, "mean")
        if tuple(as_array(std, "std").shape)[-1:] not in ((), shape):
            raise ValueError(
                f"mean and std must have one entry per label, got {mean!r} and {std!r}"
            )
        self._mean = per_sample(mean, shape, "mean")
        self._std = at_least(per_sample(std, shape, "std"), 0, "std")

    def draw(self, context: Context, u: np.ndarray) -> LabelsToImageParams:
        labels = self._labels(context.images)
        columns = _entries(labels, self._mean.shape[1], self.used_labels, "mean or std")
        return LabelsToImageParams(
            labels[None, None],
            self._mean[:, None, columns],
            self._std[:, None, columns],
            check_seeds(self.seed, context.batch)[:, None],
            np.ones((1, 1), dtype=bool),
        ).expand(context.batch)


class RandomLabelsToImage(RandomTransform, _LabelsToImage):
    """Make an image of random contrast of a label map: SynthSeg; see :class:`LabelsToImage`.

    Args:
        label_key, image_key, used_labels, ignore_background, discretize: See
            :class:`LabelsToImage`.
        mean, std: Ranges for each label: entry n, a number or a pair, is for label n; or, if there
            are as many as ``used_labels``, for the n-th of these. None for the defaults.
        default_mean, default_std: Range for every label; a number is that number.
        kwargs: See :class:`Transform`.

    What a label gets depends on the sample's seed and the label, not on which others there are.
    Blur the image, or use :class:`RandomAnisotropy`, for partial volumes at the borders.

    Raises:
        ValueError: A range is empty, ``std`` negative, their lengths do not fit, or, when called,
            a label has no mean.
        KeyError: When called, the subject does not have the label map.

    >>> s = Subject(seg=LabelMap(torch.randint(0, 4, (1, 8, 8, 8))))
    >>> RandomLabelsToImage(label_key="seg", image_key="t1")(s).t1.shape
    (1, 8, 8, 8)
    """

    def __init__(
        self,
        label_key: str | None = None,
        used_labels: Sequence[int] | None = None,
        image_key: str = "image_from_labels",
        mean: Sequence[RangeLike] | None = None,
        std: Sequence[RangeLike] | None = None,
        default_mean: RangeLike = (0.1, 0.9),
        default_std: RangeLike = (0.01, 0.1),
        discretize: bool = False,
        ignore_background: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_images(label_key, image_key, used_labels, ignore_background, discretize)
        self.mean, self.std = mean, std
        self.default_mean, self.default_std = default_mean, default_std
        self._ranges = (
            _LabelRanges(mean, default_mean, "mean", self.used_labels, None),
            _LabelRanges(std, default_std, "std", self.used_labels, 0),
        )

    @property
    def draws(self) -> int:
        return 4

    def draw(self, context: Context, u: np.ndarray) -> LabelsToImageParams:
        labels = self._labels(context.images)
        # two numbers for each label, whose stream is the label
        layout = random.Layout(tuple((0, label, 2) for label in labels.tolist()))
        drawn = random.uniforms(random.to_seeds(u[:, :2]), layout)[:, : 4 * len(labels)]
        pair = drawn.reshape(len(u), -1, 4)[..., :2]  # [B, L, 2]; Philox makes four at a time
        mean, std = (ranges(labels, pair[..., n]) for n, ranges in enumerate(self._ranges))
        seeds = random.to_seeds(u[:, 2:])
        return LabelsToImageParams(
            labels[None, None].repeat(len(u), 0), mean[:, None], std[:, None], seeds[:, None],
            np.ones((len(u), 1), dtype=bool),
        )  # fmt: skip


class _LabelRanges:
    """Ranges of a parameter: one for each label, or one for all.

    Args:
        given: Range for each label, or None.
        default: Range for all labels.
        name: Name of the parameter.
        used: Labels that the ranges are for; 0, 1, ... if None.
        minimum: Least value allowed.
    """

    def __init__(
        self,
        given: Sequence[RangeLike] | None,
        default: RangeLike,
        name: str,
        used: tuple[int, ...] | None,
        minimum: float | None,
    ) -> None:
        self.name, self.used = name, used
        if given is not None:
            _check_length(len(given), used, name)
        values = [default] if given is None else list(given)
        title = f"default_{name}" if given is None else name
        pairs = [(v, v) if is_number(v) else v for v in values]
        self.ranges = [Range(v, title, minimum=minimum) for v in pairs]
        self.shared = given is None

    def __call__(self, labels: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Return values [B, L] for labels [L], from uniform numbers [B, L]."""
        if self.shared:
            return self.ranges[0](u[..., None])[..., 0]
        columns = _entries(labels, len(self.ranges), self.used, self.name)
        values = [self.ranges[c](u[:, n, None]) for n, c in enumerate(columns)]
        return np.concatenate(values, 1) if values else u


def _check_length(count: int, used: tuple[int, ...] | None, name: str) -> None:
    if used and count != len(used) and count <= max(used):
        raise ValueError(
            f"{name} must have {len(used)} entries, for used_labels, or > {max(used)}, got {count}"
        )


def _entries(labels: np.ndarray, count: int, used: tuple[int, ...] | None, name: str) -> list[int]:
    """Return the number of the entry, of ``count``, for each label."""
    if used is not None and count == len(used):
        return [used.index(label) for label in labels.tolist()]
    missing = labels[labels >= count].tolist()
    if missing:
        raise ValueError(
            f"labels {missing} have no {name}, which has entries for labels 0 to {count - 1}; "
            "give more, or say with used_labels which labels the entries are for"
        )
    return labels.tolist()  # type: ignore[no-any-return]


__all__ = ["LabelsToImage", "RandomLabelsToImage"]

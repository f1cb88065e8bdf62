"""Synthesis of B-mode images of ultrasound from label maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import numpy as np
import torch

from ... import functional as F
from ... import random
from ...arrays import Array, as_array, per_sample
from ...data.keys import LABEL
from ...functional.dispatch.arguments import at_least, positive, within
from ...functional.ultrasound.compression import NEPERS
from ...functional.ultrasound.geometry import GeometryLike
from ...functional.ultrasound.labels import check_values
from ...shapes import Volume
from ..base import Context
from ..kinds import Images, RandomTransform
from ..parameters.label_maps import Kinds, by_label, check_used_labels, name_of_map, present_labels
from ..parameters.params import Params, stack_images
from ..parameters.ranges import Range, fixed_or_range
from ..parameters.seeds import check_seeds
from ..parameters.types import PerSample, RangeLike, WholePerSample
from ..pipeline.protocol import CreatedImage
from .base import Ultrasound, label_map

#: Value of each label: one for all, one per label in order, or a dict.
ByLabel: TypeAlias = PerSample | Mapping[int, PerSample]
#: Range of the level of a label that is drawn by default, in dB.
_LEVELS = (-40, -10)
#: Properties of labels.
_TISSUE = ("mean", "std", "density", "attenuation", "impedance")
#: Those of the pulse, and the gain.
_PULSE = ("axial", "lateral", "gain_per_cm")


@dataclass(frozen=True)
class LabelsToUltrasoundParams(Params):
    """Properties of labels, pulse, gain, seed and geometry; M = 1, since one image is created."""

    labels: Annotated[np.ndarray, "B M L", int]  # the same for all samples
    mean: Annotated[Array, "B M L"]
    std: Annotated[Array, "B M L"]
    density: Annotated[Array, "B M L"]
    attenuation: Annotated[Array, "B M L"]
    impedance: Annotated[Array, "B M L"]
    axial: Annotated[Array, "B M"]
    lateral: Annotated[Array, "B M"]
    gain_per_cm: Annotated[Array, "B M"]
    seed: Annotated[np.ndarray, "B M", int]
    geometry: Annotated[np.ndarray, "B M 7"]


class _LabelsToUltrasound(Ultrasound):
    """Image that scatterers and boundaries of labels make."""

    label_key: str | None
    image_key: str

    @property
    def shares(self) -> bool:
        return True

    def creates(self, kinds: Kinds) -> CreatedImage:
        if dict(kinds).get(self.image_key) == LABEL:
            raise ValueError(f"image_key must not name a label map, {self.image_key!r} is one")
        return CreatedImage(self.image_key, name_of_map(kinds, self.label_key, self.name))

    def select(self, kinds: Kinds, others: Sequence[str] | None = None) -> tuple[str, ...]:
        return tuple(name for name in super().select(kinds, others) if name == self.image_key)

    def _source(self, context: Context) -> str:
        kinds = tuple((name, context.images.kind(name)) for name in context.images)
        return name_of_map(kinds, self.label_key, self.name)

    @staticmethod
    def _params(
        labels: np.ndarray, values: Sequence[Array], seed: np.ndarray, geometry: np.ndarray
    ) -> LabelsToUltrasoundParams:
        """Return parameters of the one image that is created.

        Args:
            labels: [1 or B, L].
            values: Properties of labels and of the pulse, in order, [1 or B, L] and [1 or B].
            seed: [B].
            geometry: [B, 1, 7].
        """
        named: dict[str, Any] = {
            name: value[:, None] for name, value in zip((*_TISSUE, *_PULSE), values, strict=True)
        }
        return LabelsToUltrasoundParams(
            labels=labels[:, None], seed=seed[:, None], geometry=geometry, **named
        )

    def voxels(self, images: Images, name: str, params: LabelsToUltrasoundParams) -> Volume:
        maps = label_map(images, self.label_key, name, self.name)
        labels: list[int] = params.labels[0].tolist()
        if not labels:  # nothing scatters
            return torch.zeros_like(images[name].data)
        made = F.labels_to_ultrasound(
            maps,
            **{each: getattr(params, each) for each in (*_TISSUE, *_PULSE)},
            seeds=params.seed,
            values=labels,
            **self._beams(images[name], params.geometry),
        )
        return made.to(images[name].data.dtype)


class LabelsToUltrasound(_LabelsToUltrasound):
    """Make a B-mode image of ultrasound of a label map, of given properties of the labels.

    See :func:`torchio_gpu.functional.labels_to_ultrasound`.

    Args:
        geometry: See :class:`Attenuation`; metadata are those of the label map.
        mean: Mean amplitude of the scatterers of each label, where white is 1: a dict by label;
            or (L,) for labels 0, 1, ..., or (B, L). Entries of a dict are a number, or (B,) for
            one per sample. Other labels are as water. Tensors may require a gradient.
        std: Standard deviation of the amplitudes, >= 0: one number for all labels, or as ``mean``.
        density: Chance of a point of a beam to have a scatterer, from 0 to 1; as ``std``. Points
            lie a voxel apart, so that smaller voxels have more scatterers in a mm^2.
        attenuation: Attenuation in dB per cm of depth, there and back, twice the coefficient of
            the tissue; as ``std``.
        impedance: Acoustic impedance in MRayl, > 0; as ``std``.
        label_key: Name of the label map, of one channel; None for the first there is.
        image_key: Name of the image to make, which is replaced where it exists.
        axial: Full width at half maximum of the pulse along the beams in mm, >= 0; or (B,).
        lateral: The same across the beams, halfway along them, >= 0; or (B,).
        gain_per_cm: Gain in dB per cm of depth, or (B,).
        axes, dynamic_range, white: See :class:`Attenuation`.
        seed: Integer that decides the scatterers, or one per sample (B,).
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A value is not as above, or entries of labels are missing.
        KeyError: When called, the subject does not have the label map, or a sample the metadata.

    >>> s = Subject(seg=LabelMap(torch.randint(0, 3, (1, 40, 50, 1))))
    >>> LabelsToUltrasound("convex", {1: 0.1, 2: 0.5}, impedance={1: 1.6, 2: 5})(s).us.shape
    (1, 40, 50, 1)
    """

    def __init__(
        self,
        geometry: GeometryLike | str,
        mean: ByLabel,
        std: ByLabel = 0.0,
        density: ByLabel = 1.0,
        attenuation: ByLabel = 0.5,
        impedance: ByLabel = 1.6,
        label_key: str | None = None,
        image_key: str = "us",
        axial: PerSample = 0.8,
        lateral: PerSample = 2.0,
        gain_per_cm: PerSample = 0.0,
        axes: Sequence[int] = (0, 1),
        dynamic_range: float = 60.0,
        white: float = 255.0,
        seed: WholePerSample = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_beams(geometry, axes, dynamic_range, white)
        self.label_key, self.image_key = label_key, image_key
        self.mean, self.std, self.density = mean, std, density
        self.attenuation, self.impedance = attenuation, impedance
        self.axial, self.lateral = axial, lateral
        self.gain_per_cm, self.seed = gain_per_cm, seed
        if isinstance(mean, Mapping):
            labels: Sequence[int] = list(by_label(mean, "mean"))
        else:
            shape = as_array(mean, "mean").shape
            labels = range(shape[-1] if shape else 0)
            if not labels:
                raise ValueError(f"mean must have an entry for at least one label, got {mean!r}")
        self._labels = check_values(labels)
        self._tissue = [_columns(getattr(self, name), labels, name) for name in _TISSUE]
        at_least(self._tissue[1], 0, "std")
        within(self._tissue[2], 0, 1, "density")
        positive(self._tissue[4], "impedance")
        self._pulse = [
            at_least(per_sample(axial, (), "axial"), 0, "axial"),
            at_least(per_sample(lateral, (), "lateral"), 0, "lateral"),
            per_sample(gain_per_cm, (), "gain_per_cm"),
        ]

    def draw(self, context: Context, u: np.ndarray) -> LabelsToUltrasoundParams:
        return self._params(
            self._labels[None],
            [*self._tissue, *self._pulse],
            check_seeds(self.seed, context.batch),
            self._geometries(context, [self._source(context)]),
        ).expand(context.batch)


class RandomLabelsToUltrasound(RandomTransform, _LabelsToUltrasound):
    """Make a B-mode image of ultrasound of a label map, of random properties of the labels.

    See :class:`LabelsToUltrasound`. What a label gets depends on the sample's seed and the label,
    not on which others there are.

    Args:
        geometry, label_key, image_key, axes, dynamic_range, white: See
            :class:`LabelsToUltrasound`.
        mean: Range of the mean amplitude of the scatterers, where white is 1: of all labels, or a
            dict by label, which has all used labels; a number is that number, here and below. By
            default the level is drawn, uniformly between -40 and -10 dB.
        std: Range of the standard deviation of the amplitudes, >= 0: of all labels, or a dict.
        density: Range of the chance of a point of a beam to have a scatterer, from 0 to 1, which
            depends on the size of voxels as above; as ``std``.
        attenuation: Range of the attenuation in dB per cm of depth, there and back; as ``std``.
        impedance: Range of the acoustic impedance in MRayl, > 0; as ``std``.
        used_labels: Labels to use. By default all there are, for which the voxels are looked at:
            that waits for a GPU. Other labels are as water.
        axial: Range of the full width at half maximum of the pulse along the beams in mm, >= 0.
        lateral: Range of the same across the beams, halfway along them, >= 0.
        gain_per_cm: Range of the gain in dB per cm of depth.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is not as above, or, when called, a label has none.
        KeyError: When called, the subject does not have the label map, or a sample the metadata.

    >>> s = Subject(seg=LabelMap(torch.randint(0, 3, (1, 40, 50, 1))))
    >>> RandomLabelsToUltrasound("convex", image_key="frame")(s).frame.shape
    (1, 40, 50, 1)
    """

    def __init__(
        self,
        geometry: GeometryLike | str,
        mean: RangeLike | Mapping[int, RangeLike] | None = None,
        std: RangeLike | Mapping[int, RangeLike] = (0, 0.05),
        density: RangeLike | Mapping[int, RangeLike] = (0.2, 1),
        attenuation: RangeLike | Mapping[int, RangeLike] = (0.2, 1.5),
        impedance: RangeLike | Mapping[int, RangeLike] = (1.4, 1.8),
        label_key: str | None = None,
        image_key: str = "us",
        used_labels: Sequence[int] | None = None,
        axial: RangeLike = (0.5, 1.5),
        lateral: RangeLike = (1.5, 4),
        gain_per_cm: RangeLike = (0, 1),
        axes: Sequence[int] = (0, 1),
        dynamic_range: float = 60.0,
        white: float = 255.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_beams(geometry, axes, dynamic_range, white)
        self.label_key, self.image_key = label_key, image_key
        self.used_labels = check_used_labels(used_labels)
        self._used = None if self.used_labels is None else np.sort(self.used_labels)
        self.mean, self.std, self.density = mean, std, density
        self.attenuation, self.impedance = attenuation, impedance
        self.axial, self.lateral, self.gain_per_cm = axial, lateral, gain_per_cm
        limits: list[dict[str, Any]] = [
            {"minimum": None}, {}, {"maximum": 1}, {"minimum": None}, {"exclusive": True},
        ]  # fmt: skip
        given = [_LEVELS if mean is None else mean, std, density, attenuation, impedance]
        self._tissue = [
            _ranges(value, name, **limit)
            for value, name, limit in zip(given, _TISSUE, limits, strict=True)
        ]
        self._pulse = Range.side_by_side(
            fixed_or_range(axial, "axial"),
            fixed_or_range(lateral, "lateral"),
            fixed_or_range(gain_per_cm, "gain_per_cm", minimum=None),
        )

    @property
    def draws(self) -> int:
        return 7

    def draw(self, context: Context, u: np.ndarray) -> LabelsToUltrasoundParams:
        source = self._source(context)
        labels = present_labels(context.images[source].data) if self._used is None else self._used
        # five numbers for each label, whose stream is the label; Philox makes four at a time
        layout = random.Layout(tuple((0, label, len(_TISSUE)) for label in labels.tolist()))
        drawn = random.uniforms(random.to_seeds(u[:, :2]), layout).reshape(len(u), len(labels), 8)
        tissue = [
            _drawn(ranges, labels, drawn[..., n], name)
            for n, (name, ranges) in enumerate(zip(_TISSUE, self._tissue, strict=True))
        ]
        if self.mean is None:
            tissue[0] = np.exp(NEPERS * tissue[0])
        pulse = np.moveaxis(self._pulse(u[:, 2:5]), -1, 0)  # [3, B]
        return self._params(
            labels[None].repeat(len(u), 0),
            [*tissue, *pulse],
            random.to_seeds(u[:, 5:]),
            self._geometries(context, [source]),
        )


def _columns(value: Any, labels: Sequence[int], name: str) -> Array:
    """Return the value of each label, [1 or B, L]."""
    if not isinstance(value, Mapping):
        return per_sample(value, (len(labels),), name)
    given = by_label(value, name)
    if set(given) != set(labels):
        raise ValueError(
            f"{name} must have an entry for each label of mean, {sorted(labels)}, "
            f"got {sorted(given)}"
        )
    columns = [per_sample(given[label], (), f"{name} of label {label}") for label in labels]
    return stack_images(columns)  # type: ignore[no-any-return]


def _ranges(value: Any, name: str, **limits: Any) -> Range | dict[int, Range]:
    """Return the range for all labels, or that of each."""
    if not isinstance(value, Mapping):
        return fixed_or_range(value, name, **limits)
    given = by_label(value, name)
    return {n: fixed_or_range(each, f"{name} of label {n}", **limits) for n, each in given.items()}


def _drawn(
    ranges: Range | dict[int, Range], labels: np.ndarray, u: np.ndarray, name: str
) -> np.ndarray:
    """Return values [B, L] for labels [L], from uniform numbers [B, L]."""
    if isinstance(ranges, Range):
        return ranges(u[..., None])[..., 0]
    missing = [label for label in labels.tolist() if label not in ranges]
    if missing:
        raise ValueError(f"{name} must have a range for each used label, none for {missing}")
    values = [ranges[label](u[:, n, None]) for n, label in enumerate(labels.tolist())]
    return np.concatenate(values, 1) if values else u


__all__ = ["LabelsToUltrasound", "RandomLabelsToUltrasound"]

"""Attenuation of ultrasound by the labels that beams come through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ... import functional as F
from ...arrays import Array, per_sample
from ...functional.ultrasound.geometry import GeometryLike
from ...shapes import Volume
from ..base import Context
from ..kinds import Images, RandomTransform
from ..parameters.label_maps import by_label
from ..parameters.params import Params, stack_images
from ..parameters.ranges import Range
from ..parameters.types import PerSample, RangeLike
from .base import Ultrasound, label_map


@dataclass(frozen=True)
class LabelAttenuationParams(Params):
    """Attenuation of each label in dB per cm, and geometry of the beams."""

    neutral: ClassVar[dict[str, float]] = {"attenuation": 0.0}
    attenuation: Annotated[Array, "B M L"]
    geometry: Annotated[np.ndarray, "B M 7"]


class _LabelAttenuation(Ultrasound):
    """Attenuation by the path through labels."""

    label_key: str | None

    def _set_labels(self, attenuation: Mapping[int, Any], label_key: str | None) -> None:
        if not isinstance(attenuation, Mapping):
            raise TypeError(f"attenuation must be a dict by label, got {attenuation!r}")
        self.attenuation, self.label_key = attenuation, label_key
        self._values = by_label(attenuation, "attenuation")

    def voxels(self, images: Images, name: str, params: LabelAttenuationParams) -> Volume:
        image = images[name]
        return F.label_attenuation(
            image.data,
            label_map(images, self.label_key, name, self.name),
            params.attenuation,
            list(self._values),
            **self._beams(image, params.geometry),
        )


class LabelAttenuation(_LabelAttenuation):
    """Let the level of B-mode images fall by the tissue that beams come through.

    Labels of a label map of the subject attenuate: see
    :func:`torchio_gpu.functional.label_attenuation`.

    Args:
        geometry: See :class:`Attenuation`.
        attenuation: Dict of the attenuation of labels in dB per cm of depth, there and back, twice
            the coefficient of the tissue: a number, or (B,) for one per sample; other labels do
            not attenuate. Tensors may require a gradient.
        label_key: Name of the label map, in the space of the images; None for the first there is.
        axes, dynamic_range, white, kwargs: See :class:`Attenuation`.

    Raises:
        ValueError: A value is not as above, or, when called, the label map has another grid.
        KeyError: When called, the subject lacks the label map, or a sample the metadata.

    >>> seg = LabelMap(torch.ones(1, 1, 20, 1))
    >>> s = Subject(us=ScalarImage(torch.full((1, 1, 20, 1), 90.)), seg=seg)
    >>> LabelAttenuation("linear", {1: 2})(s).us.data.flatten()[[0, -1]]
    tensor([89.5750, 73.4250])
    """

    def __init__(
        self,
        geometry: GeometryLike | str,
        attenuation: Mapping[int, PerSample],
        label_key: str | None = None,
        axes: Sequence[int] = (0, 1),
        dynamic_range: float = 60.0,
        white: float = 255.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_beams(geometry, axes, dynamic_range, white)
        self._set_labels(attenuation, label_key)
        self._rates = stack_images(
            [per_sample(v, (), f"attenuation of label {n}") for n, v in self._values.items()]
        )  # [1 or B, L]

    def draw(self, context: Context, u: np.ndarray) -> LabelAttenuationParams:
        rates = stack_images([self._rates] * len(context.names))
        return LabelAttenuationParams(rates, self._geometries(context)).expand(context.batch)


class RandomLabelAttenuation(RandomTransform, _LabelAttenuation):
    """Let the level of B-mode images fall by random attenuation of the tissue on the way.

    Strong labels cast shadows: see :class:`LabelAttenuation`.

    Args:
        geometry, axes, dynamic_range, white: See :class:`Attenuation`.
        attenuation: Dict of the range of the attenuation of labels in dB per cm of depth, there and
            back; d means (0, d). Other labels do not attenuate.
        label_key: See :class:`LabelAttenuation`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A value is not as above, or, when called, the label map has another grid.
        KeyError: When called, the subject lacks the label map, or a sample the metadata.

    >>> seg = LabelMap(torch.ones(1, 40, 40, 1))
    >>> s = Subject(us=ScalarImage(255 * torch.rand(1, 40, 40, 1)), seg=seg)
    >>> RandomLabelAttenuation("phased", {1: (0.5, 2)})(s).us.shape
    (1, 40, 40, 1)
    """

    def __init__(
        self,
        geometry: GeometryLike | str,
        attenuation: Mapping[int, RangeLike],
        label_key: str | None = None,
        axes: Sequence[int] = (0, 1),
        dynamic_range: float = 60.0,
        white: float = 255.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_beams(geometry, axes, dynamic_range, white)
        self._set_labels(attenuation, label_key)
        self._ranges = Range.side_by_side(
            *(
                Range(value, f"attenuation of label {label}", around=None)
                for label, value in self._values.items()
            )
        )

    @property
    def draws(self) -> int:
        return len(self._values)

    def draw(self, context: Context, u: np.ndarray) -> LabelAttenuationParams:
        return LabelAttenuationParams(self._ranges(u), self._geometries(context))


__all__ = ["LabelAttenuation", "RandomLabelAttenuation"]

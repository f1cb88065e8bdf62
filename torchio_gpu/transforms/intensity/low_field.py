"""Low field: images of a weaker magnet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from ... import functional as F
from ... import random
from ...arrays import Array, as_array
from ...functional.dispatch.arguments import at_least
from ...functional.low_field import check_fields, check_snr
from ...geometry import spacing
from ...shapes import Volume
from ...signature import is_number
from ..base import Context
from ..kinds import Images, RandomTransform, VolumeTransform
from ..parameters.params import Params, per_image, values_of
from ..parameters.ranges import Range, fixed_or_range
from ..parameters.seeds import seeds_per_image
from ..parameters.types import ByImage, PerSample, RangeLike, RangesLike, WholePerSample


@dataclass(frozen=True)
class LowFieldParams(Params):
    """Field strength in tesla, signal-to-noise ratio, blur in mm and seed of the noise."""

    field_strength: Annotated[Array, "B M"]
    snr: Annotated[Array, "B M"]
    blur: Annotated[Array, "B M 3"]
    seed: Annotated[np.ndarray, "B M", int]


class _LowField(VolumeTransform):
    """Acquisition by a weaker magnet."""

    def _set_model(self, from_field: float, exponent: float, contrast_exponent: float) -> None:
        for value, name in (
            (from_field, "from_field"),
            (exponent, "exponent"),
            (contrast_exponent, "contrast_exponent"),
        ):
            if not is_number(value) or not 0 <= value < float("inf"):
                raise ValueError(f"{name} must be a number >= 0, got {value!r}")
        self.from_field, self.exponent = from_field, exponent
        self.contrast_exponent = contrast_exponent

    def voxels(self, images: Images, name: str, params: LowFieldParams) -> Volume:
        return F.low_field(
            images[name].data,
            params.field_strength,
            self.from_field,
            exponent=self.exponent,
            snr=params.snr,
            blur=params.blur,
            contrast_exponent=self.contrast_exponent,
            spacing=spacing(images[name].affine),
            seeds=params.seed,
        )


class LowField(_LowField):
    """Simulate a weaker magnet of a given field strength.

    Less signal to noise, less resolution and less contrast of tissues: Marques et al. 2019,
    Low-field MRI: an MR physics perspective, doi:10.1002/jmri.26637. See
    :func:`torchio_gpu.functional.low_field` for the model.

    Args:
        field_strength: Field strength in tesla, > 0 and at most ``from_field``. Where it is
            ``from_field``, only the blur is left.
        from_field: Field strength at which the image was acquired, in tesla.
        exponent: Power of the field strength with which the signal-to-noise ratio grows, >= 0.
        snr: Signal-to-noise ratio of the image, > 0: the mean of voxels above half of the mean of
            the channel, over the standard deviation of the noise. More than it has, for a scan of
            the weaker magnet that takes longer.
        blur: Standard deviation of a Gaussian along I, J, K in mm: a number or (3,).
        contrast_exponent: Power of the field strength with which contrast grows, >= 0; 0 for none.
        seed: Integer that decides the noise.
        kwargs: See :class:`Transform`.

    ``field_strength``, ``snr``, ``blur`` and ``seed`` may also be given for every sample, with a
    leading B, or as a dict with one entry per image name. Tensors may require a gradient.

    Raises:
        ValueError: A value is not as above; or, when called, the image is complex.

    >>> LowField(0.3, blur=0.5)(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        field_strength: ByImage[PerSample],
        from_field: float = 3.0,
        exponent: float = 1.0,
        snr: ByImage[PerSample] = 200.0,
        blur: ByImage[PerSample] = 0.0,
        contrast_exponent: float = 0.1,
        seed: ByImage[WholePerSample] = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_model(from_field, exponent, contrast_exponent)
        self.field_strength, self.snr = field_strength, snr
        self.blur, self.seed = blur, seed
        for value in values_of(field_strength):
            check_fields(as_array(value, "field_strength"), np.array(float(from_field)))
        for value in values_of(snr):
            check_snr(as_array(value, "snr"))
        for value in values_of(blur):
            at_least(as_array(value, "blur"), 0, "blur")

    def draw(self, context: Context, u: np.ndarray) -> LowFieldParams:
        names, batch = context.names, context.batch
        return LowFieldParams(
            per_image(self.field_strength, (), "field_strength", names),
            per_image(self.snr, (), "snr", names),
            per_image(self.blur, (3,), "blur", names),
            seeds_per_image(self.seed, names, batch),
        ).expand(batch)


class RandomLowField(RandomTransform, _LowField):
    """Simulate a weaker magnet, of random field strength: see :class:`LowField`.

    Args:
        field_strength: Range of the field strength in tesla, > 0 and at most ``from_field``; a
            number is that field strength.
        from_field, exponent, contrast_exponent: See :class:`LowField`.
        snr: Range of the signal-to-noise ratio of the images, > 0; a number is that ratio. The
            default is more than they have, as scans of weak magnets take longer.
        blur: Range of the standard deviation of a Gaussian along each axis in mm; d means (0, d).
            Three values are one for each axis, six are three pairs.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is empty or leaves its bounds.

    >>> RandomLowField(field_strength=(0.1, 0.5))(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        field_strength: RangeLike = (0.05, 0.5),
        from_field: float = 3.0,
        exponent: float = 1.0,
        snr: RangeLike = (200, 400),
        blur: RangesLike = (0, 1),
        contrast_exponent: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_model(from_field, exponent, contrast_exponent)
        self.field_strength, self.snr, self.blur = field_strength, snr, blur
        self._field_strength = fixed_or_range(
            field_strength, "field_strength", exclusive=True, maximum=from_field
        )
        self._snr = fixed_or_range(snr, "snr", exclusive=True)
        self._blur = Range(blur, "blur", axes=3, around=None, minimum=0)

    @property
    def draws(self) -> int:
        return 7

    def draw(self, context: Context, u: np.ndarray) -> LowFieldParams:
        return LowFieldParams(
            self._field_strength(u[..., :1])[..., 0],
            self._snr(u[..., 1:2])[..., 0],
            self._blur(u[..., 2:5]),
            random.to_seeds(u[..., 5:]),
        )

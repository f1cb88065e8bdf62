"""Chemical shift: fat that the readout places beside its voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from torch import Tensor

from ... import functional as F
from ...arrays import Array, per_sample
from ...functional.chemical_shift import FAT_WATER_PPM, PROTON_MHZ_PER_TESLA
from ...shapes import Volume, with_voxel_axes
from ...signature import is_number
from ..base import Context
from ..kinds import Images, RandomTransform, VolumeTransform
from ..parameters.axes import check_axes
from ..parameters.masks import Masking, check_labels, check_masking, mask_of
from ..parameters.params import Params, per_image, values_of
from ..parameters.ranges import fixed_or_range
from ..parameters.types import AxesLike, AxisLike, ByImage, PerSample, RangeLike
from .phase_encoding import axes_of, check_phase_encoding, draw_axes


@dataclass(frozen=True)
class ChemicalShiftParams(Params):
    """Shift of fat in voxels along the readout axis, for each sample and image."""

    neutral: ClassVar[dict[str, float]] = {"shift": 0.0}

    shift: Annotated[Array, "B M"]
    axis: Annotated[np.ndarray, "B M", int]


class _ChemicalShift(VolumeTransform):
    """Shift of fat along the readout axis."""

    fat: Masking
    labels: tuple[int, ...] | None
    brightest: float

    def _set_fat(self, fat: Masking, labels: Sequence[int] | None, brightest: float) -> None:
        self.fat = check_masking(fat, "fat")
        self.labels = check_labels(labels)
        if labels is not None and not isinstance(fat, str):
            raise ValueError(f"labels must be None where fat is no label map, got {labels!r}")
        if not is_number(brightest) or not 0 <= brightest <= 1:
            raise ValueError(f"brightest must be between 0 and 1, got {brightest!r}")
        self.brightest = brightest

    def voxels(self, images: Images, name: str, params: ChemicalShiftParams) -> Volume:
        x = images[name].data
        fat = mask_of(self.fat, images, name, self.labels, "fat")
        fat = self._brightest(x) if fat is None else fat
        return F.chemical_shift(x, fat, params.shift, params.axis)

    def _brightest(self, x: Volume) -> Tensor:
        """Return the mask of the brightest voxels of each sample."""
        size = x.detach().abs() if x.is_complex() else x.detach()
        size = size if size.is_floating_point() else size.float()
        least = F.percentile(size, 100 * (1 - self.brightest))
        return size > with_voxel_axes(least.to(size.dtype))


class ChemicalShift(_ChemicalShift):
    """Move the signal of fat along the readout axis by a given number of voxels.

    Fat resonates at a lower frequency than water, so that the readout places it elsewhere: a dark
    rim on one side, a bright one on the other (Babcock et al. 1985, Edge artifacts in MR images:
    chemical shift effect, J Comput Assist Tomogr 9:252). What moves beyond an end of the axis
    comes back at the other.

    Args:
        shift: Voxels, towards larger indices if positive; a fraction of a voxel is interpolated by
            the waves of k-space.
        axis: The readout axis: 0, 1, 2 or an anatomical name.
        fat: Voxels that are fat: the name of a label map, a function or another masking method as
            in :class:`RescaleIntensity`; None for the brightest voxels of each sample.
        labels: Labels of the label map that are fat; None for all but 0.
        brightest: Share of the voxels that are fat where ``fat`` is None, from 0 to 1.
        kwargs: See :class:`Transform`.

    ``shift`` and ``axis`` may also be given for every sample, (B,), or as a dict with one entry per
    image name. A ``shift`` that is a tensor may require a gradient.

    Raises:
        KeyError: When called, ``fat`` is a name that stands for nothing.
        ValueError: A value is not as above.

    >>> ChemicalShift(shift=2.5, axis="AP")(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        shift: ByImage[PerSample],
        axis: ByImage[AxisLike],
        fat: Masking = None,
        labels: Sequence[int] | None = None,
        brightest: float = 0.05,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.shift = shift
        self.axis = check_phase_encoding(axis)
        for value in values_of(shift):
            per_sample(value, (), "shift")
        self._set_fat(fat, labels, brightest)

    def draw(self, context: Context, u: np.ndarray) -> ChemicalShiftParams:
        return ChemicalShiftParams(
            per_image(self.shift, (), "shift", context.names), axes_of(self.axis, context)
        ).expand(context.batch)


class RandomChemicalShift(RandomTransform, _ChemicalShift):
    """Move the signal of fat along the readout axis, as the bandwidth of a scan at random does.

    By ``3.4 ppm x 42.577 MHz/T x field strength / bandwidth`` voxels, to either side alike, as the
    polarity of the readout has it. See :class:`ChemicalShift`.

    Args:
        bandwidth: Range of the bandwidth in Hz per voxel, > 0; a number is that bandwidth.
        field_strength: Range of the field strength in tesla, >= 0; a number is that field strength.
        axes: Readout axes to choose from: voxel axes or anatomical names.
        fat, labels, brightest: See :class:`ChemicalShift`.
        kwargs: See :class:`Transform`.

    Raises:
        KeyError: When called, ``fat`` is a name that stands for nothing.
        ValueError: A range is empty or leaves its bounds, or an axis is unknown.

    >>> RandomChemicalShift(bandwidth=(50, 100), axes=("AP",))(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        bandwidth: RangeLike = (80, 300),
        field_strength: RangeLike = 3.0,
        axes: AxesLike = (0, 1, 2),
        fat: Masking = None,
        labels: Sequence[int] | None = None,
        brightest: float = 0.05,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bandwidth, self.field_strength = bandwidth, field_strength
        self.axes = check_axes(axes)
        self._bandwidth = fixed_or_range(bandwidth, "bandwidth", exclusive=True)
        self._field_strength = fixed_or_range(field_strength, "field_strength")
        self._set_fat(fat, labels, brightest)

    @property
    def draws(self) -> int:
        return 4

    def draw(self, context: Context, u: np.ndarray) -> ChemicalShiftParams:
        hertz = FAT_WATER_PPM * PROTON_MHZ_PER_TESLA * self._field_strength(u[..., :1])[..., 0]
        side = np.where(u[..., 1] < 0.5, -1.0, 1.0)
        voxels = side * hertz / self._bandwidth(u[..., 2:3])[..., 0]
        return ChemicalShiftParams(voxels, draw_axes(self.axes, u[..., 3], context))

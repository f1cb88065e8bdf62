"""Zipper: radio-frequency interference at one frequency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ... import functional as F
from ... import random
from ...arrays import Array, as_array
from ...functional.dispatch.arguments import at_least, within
from ...functional.kspace import check_output
from ...shapes import Volume
from ..base import Context
from ..kinds import Images, RandomTransform, VolumeTransform
from ..parameters.axes import check_axes, draw_axis
from ..parameters.params import Params, per_image, values_of
from ..parameters.ranges import Range
from ..parameters.seeds import seeds_per_image
from ..parameters.types import AxesLike, AxisLike, ByImage, PerSample, RangeLike, WholePerSample
from .phase_encoding import axes_of, check_phase_encoding, draw_axes


@dataclass(frozen=True)
class ZipperParams(Params):
    """Noise in a plane across the readout axis, for each sample and image."""

    neutral: ClassVar[dict[str, float]] = {"intensity": 0.0}

    intensity: Annotated[Array, "B M"]
    position: Annotated[Array, "B M"]
    axis: Annotated[np.ndarray, "B M", int]
    phase_axis: Annotated[np.ndarray, "B M", int]
    seed: Annotated[np.ndarray, "B M", int]


class _Zipper(VolumeTransform):
    """Interference at one frequency."""

    output: str

    def voxels(self, images: Images, name: str, params: ZipperParams) -> Volume:
        return F.zipper(
            images[name].data,
            params.intensity,
            params.position,
            params.axis,
            params.phase_axis,
            params.seed,
            self.output,
        )


class Zipper(_Zipper):
    """Add radio-frequency interference at a given frequency: noise in a plane of voxels.

    A transmitter beside the scanner adds a tone to what is received, which the readout places in
    one plane across its axis; the phase of the tone at each line is random. See
    :func:`torchio_gpu.functional.zipper`.

    Args:
        intensity: Root mean square of the complex noise, relative to the largest magnitude of the
            channel, >= 0.
        position: Place of the plane along the readout axis, from 0 to 1.
        axis: The readout axis: 0, 1, 2 or an anatomical name.
        phase_axis: The phase-encode axis, another one.
        seed: Integer that decides the noise.
        output: 'magnitude' of the plane, or 'real' for its real part; of real voxels only.
        kwargs: See :class:`Transform`.

    All but ``output`` may also be given for every sample, (B,), or as a dict with one entry per
    image name. An ``intensity`` that is a tensor may require a gradient.

    Raises:
        ValueError: A value is not as above.

    >>> Zipper(0.3, position=0.4, axis="AP", phase_axis="LR")(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        intensity: ByImage[PerSample],
        position: ByImage[PerSample],
        axis: ByImage[AxisLike],
        phase_axis: ByImage[AxisLike],
        seed: ByImage[WholePerSample] = 0,
        output: str = "magnitude",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.intensity, self.position, self.seed = intensity, position, seed
        self.axis = check_phase_encoding(axis)
        self.phase_axis = check_phase_encoding(phase_axis, "phase_axis")
        self.output = check_output(output)
        for value in values_of(intensity):
            at_least(as_array(value, "intensity"), 0, "intensity")
        for value in values_of(position):
            within(as_array(value, "position"), 0, 1, "position")

    def draw(self, context: Context, u: np.ndarray) -> ZipperParams:
        names, batch = context.names, context.batch
        seeds = seeds_per_image(self.seed, names, batch)
        return ZipperParams(
            per_image(self.intensity, (), "intensity", names),
            per_image(self.position, (), "position", names),
            axes_of(self.axis, context),
            axes_of(self.phase_axis, context, "phase_axis"),
            seeds,
        ).expand(batch)


class RandomZipper(RandomTransform, _Zipper):
    """Add radio-frequency interference at a random frequency: see :class:`Zipper`.

    The phase-encode axis is one of the two others, whichever it is.

    Args:
        intensity: Range of the root mean square of the noise, relative to the largest magnitude of
            the channel, >= 0; d means (0, d).
        position: Range of the place of the plane along the readout axis, from 0 to 1; d means
            (0, d).
        axes: Readout axes to choose from: voxel axes or anatomical names.
        output: See :class:`Zipper`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is empty or leaves its bounds, or an axis or name is unknown.

    >>> RandomZipper(intensity=(0.2, 0.4), axes=("AP",))(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        intensity: RangeLike = (0.2, 0.6),
        position: RangeLike = (0, 1),
        axes: AxesLike = (0, 1, 2),
        output: str = "magnitude",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.intensity, self.position = intensity, position
        self.axes = check_axes(axes)
        self.output = check_output(output)
        self._intensity = Range(intensity, "intensity", around=None, minimum=0)
        self._position = Range(position, "position", around=None, minimum=0, maximum=1)

    @property
    def draws(self) -> int:
        return 6

    def draw(self, context: Context, u: np.ndarray) -> ZipperParams:
        axis = draw_axes(self.axes, u[..., 2], context)
        phase = np.empty_like(axis)
        for image, space in enumerate(context.spaces):
            for first in (0, 1, 2):  # the readout axis
                others = tuple(each for each in (0, 1, 2) if each != first)
                here = axis[:, image] == first
                phase[here, image] = draw_axis(others, u[:, image, 3], space)[here]
        return ZipperParams(
            self._intensity(u[..., :1])[..., 0],
            self._position(u[..., 1:2])[..., 0],
            axis,
            phase,
            random.to_seeds(u[..., 4:]),
        )

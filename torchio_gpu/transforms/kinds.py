"""Kinds of transforms: base classes for transforms of the user, and the hooks of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data import ImagesBatch, SpatialMap
from ..data.keys import INTENSITY, LABEL
from ..functional.line_operations import LineOperation
from ..functional.lines import change_lines
from ..functional.operations import Operation
from ..shapes import Volume
from .base import Context, Transform
from .pipeline.maps import Interpolation, SpatialTraits
from .pipeline.protocol import CreatedImage
from .pipeline.steps import BATCH

Images = Mapping[str, ImagesBatch]


class RandomTransform(Transform):
    """Transform that draws its parameters: define :attr:`draws` and :meth:`draw`.

    Combined with a kind: ``class RandomShift(RandomTransform, SpatialTransform)``.
    """

    deterministic = False

    @staticmethod
    def sample_uniform(a: float, b: float) -> float:
        """Draw a number from U(a, b) by torch's generator, for :meth:`apply_transform`."""
        return torch.empty(()).uniform_(a, b).item()


class FourierTransform:
    """Fourier transforms for classes that combine it with a kind, as in TorchIO 1."""

    @staticmethod
    def fourier_transform(tensor: Tensor) -> Tensor:
        """Return the discrete Fourier transform of all axes, the zero frequency in the centre."""
        return torch.fft.fftshift(torch.fft.fftn(tensor))

    @staticmethod
    def inv_fourier_transform(tensor: Tensor) -> Tensor:
        """Return the volume of a spectrum of :meth:`fourier_transform`; complex."""
        return torch.fft.ifftn(torch.fft.ifftshift(tensor))


class SpatialTransform(Transform):
    """Transform that moves content or changes the grid of voxels, of images and label maps alike.

    Neighbours are composed into one map, in the world, and each image is sampled once.

    >>> class Shift(SpatialTransform):
    ...     def draw(self, context, u):
    ...         return Params()
    ...     def maps(self, params, context):
    ...         matrix = np.eye(4)
    ...         matrix[0, 3] = 1  # mm along x: an output point shows what lies 1 mm to its right
    ...         return (SpatialMap(matrix[None].repeat(context.batch, 0)),)
    >>> Shift()(torch.arange(3.).view(1, 3, 1, 1)).flatten()
    tensor([1., 2., 0.])
    """

    role = "spatial"
    traits = SpatialTraits()

    @property
    def shares(self) -> bool:
        return True

    def maps(self, params: Any, context: Context) -> tuple[SpatialMap, ...]:
        """Return the maps from output to input, in the world, in the order of the steps.

        Args:
            params: Parameters as drawn.
            context: Images of the samples.
        """
        raise NotImplementedError

    def interpolation(self) -> Interpolation | None:
        """Return interpolation and fill; None if the transform only moves whole voxels."""
        return Interpolation()

    def _engine_structure(self) -> tuple[Any, ...]:
        return self.role, self.traits, self.interpolation()


class IntensityTransform(Transform):
    """Transform that changes the intensities of scalar images and leaves label maps alone."""

    traits: SpatialTraits | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        return (INTENSITY,)


class PointwiseTransform(IntensityTransform):
    """Transform that changes each voxel by itself, so that neighbours share a pass.

    >>> from torchio_gpu.functional.operations import Gamma
    >>> class Square(PointwiseTransform):
    ...     def draw(self, context, u):
    ...         return Params()
    ...     def operation(self, params, active):
    ...         return Gamma(np.full(1, np.log(2.0)))
    >>> Square()(torch.full((1, 1, 1, 1), 3.)).item()
    9.0
    """

    role = "pointwise"

    def operation(
        self, params: Any, active: np.ndarray | None
    ) -> Operation | tuple[Operation, ...]:
        """Return the operation on the voxels of one image, or several in their order.

        Args:
            params: Its parameters; [B] or [B, ...] each, neutral for samples left out.
            active: Samples to transform, [B]; None for all.
        """
        raise NotImplementedError


class WholeVolume(Transform):
    """Hooks of transforms that need whole volumes. Not for use by itself."""

    role = "volume"
    traits: SpatialTraits | None = None
    #: True if the transform is an increasing linear map of the intensities of each sample: it then
    #: commutes with interpolation.
    commutes: bool = False
    #: True if the transform changes lines of k-space by :meth:`LineTransform.lines`.
    changes_lines: bool = False
    #: True if lines cannot be changed further in the same pass.
    ends_lines: bool = False

    def voxels(self, images: Images, name: str, params: Any) -> Volume:
        """Return the new voxels of one image.

        Args:
            images: All images of the samples to transform.
            name: The image.
            params: Its parameters; [B] or [B, ...] each.
        """
        raise NotImplementedError

    def affine_of(self, images: Images, name: str, params: Any) -> np.ndarray:
        """Return the affine of the new voxels of one image, [B, 4, 4]."""
        return images[name].affine

    @property
    def computes(self) -> bool:
        """True if the transform computes with voxels, so that integers become float32."""
        return True

    def creates(self, kinds: tuple[tuple[str, str], ...]) -> CreatedImage | None:
        """Return the image that the transform adds to images of some names and kinds, or None."""
        return None

    def _engine_structure(self) -> tuple[Any, ...]:
        return self.role, self.traits, self.commutes, self.changes_lines, self.ends_lines


class VolumeTransform(WholeVolume, IntensityTransform):
    """Transform of intensities that needs the whole volume: k-space, filters, statistics.

    >>> class Centre(VolumeTransform):
    ...     def draw(self, context, u):
    ...         return Params()
    ...     def voxels(self, images, name, params):
    ...         x = images[name].data
    ...         return x - x.mean((1, 2, 3, 4), keepdim=True)
    >>> Centre()(torch.tensor([1., 3.]).view(1, 2, 1, 1)).flatten()
    tensor([-1.,  1.])
    """


class LineTransform(VolumeTransform):
    """Transform that weighs each line of k-space along one axis by its frequency.

    Neighbours along one axis share a Fourier transform and its inverse.

    >>> from torchio_gpu.functional.line_operations import Truncation
    >>> class CentralLine(LineTransform):
    ...     def draw(self, context, u):
    ...         return Params()
    ...     def lines(self, params):
    ...         return LineOperation(Truncation(np.zeros(1), np.zeros(1)), axis=0)
    >>> CentralLine()(torch.tensor([1., 3.]).view(1, 2, 1, 1)).flatten()
    tensor([2., 2.])
    """

    changes_lines = True  # and ``ends_lines``, where the weights are one-sided

    def lines(self, params: Any) -> LineOperation:
        """Return the change of lines of one image.

        Args:
            params: Its parameters; [B] or [B, ...] each.
        """
        raise NotImplementedError

    def voxels(self, images: Images, name: str, params: Any) -> Volume:
        return change_lines(images[name].data, [self.lines(params)])


class BatchTransform(RandomTransform):
    """Transform that mixes each sample of a batch with another one, its partner.

    It takes batches alone, is the last step of a pipeline, and cannot be undone. Parameters come
    from the sample's seed and its place in the batch; the result depends on the whole batch.
    The metadata of the result have ``mix_partner``, the number of each sample's partner, and
    ``mix_weight``, the share of the sample's own content, for the loss.

    >>> from torchio_gpu.transforms.pipeline.mixing import MixParams, draw_partners
    >>> class Mean(BatchTransform):
    ...     draws = 1
    ...     def draw(self, context, u):
    ...         partner = draw_partners(u[:, 0])
    ...         return MixParams(partner, np.full(len(u), 0.5), partner)
    ...     def mix(self, images, partners, name, params):
    ...         return (images[name].data + partners[name].data) / 2
    >>> Mean()(torch.tensor([1., 3.]).view(2, 1, 1, 1, 1)).flatten()
    tensor([2., 2.])
    """

    role = BATCH
    traits: SpatialTraits | None = None
    #: True if the transform computes with voxels, so that integers become float32.
    computes: bool = True

    @property
    def shares(self) -> bool:
        return True

    def mix(self, images: Images, partners: Images, name: str, params: Any) -> Volume:
        """Return the new voxels of one image, of the samples that are mixed.

        Args:
            images: All images of these samples.
            partners: Those of their partners.
            name: The image.
            params: The parameters of these samples.
        """
        raise NotImplementedError


class LabelTransform(WholeVolume):
    """Transform of label maps, which keeps their type and leaves scalar images alone.

    >>> class Binary(LabelTransform):
    ...     def draw(self, context, u):
    ...         return Params()
    ...     def new_labels(self, images, name, params):
    ...         return (images[name].data > 0).to(images[name].dtype)
    >>> Binary()(LabelMap(torch.tensor([0, 3]).view(1, 2, 1, 1))).data.flatten()
    tensor([0, 1])
    """

    @property
    def shares(self) -> bool:
        return True

    @property
    def computes(self) -> bool:
        return False

    @property
    def kinds(self) -> tuple[str, ...]:
        return (LABEL,)

    def voxels(self, images: Images, name: str, params: Any) -> Volume:
        try:
            return self.new_labels(images, name, params)
        except ValueError as error:  # names the argument, but not the image
            raise ValueError(f"{self.name} of {name!r}: {error}") from error

    def new_labels(self, images: Images, name: str, params: Any) -> Volume:
        """Return the new labels of one image; arguments are those of :meth:`voxels`."""
        raise NotImplementedError


__all__ = [
    "BatchTransform",
    "FourierTransform",
    "Images",
    "IntensityTransform",
    "LabelTransform",
    "LineTransform",
    "PointwiseTransform",
    "RandomTransform",
    "SpatialTransform",
    "VolumeTransform",
    "WholeVolume",
]

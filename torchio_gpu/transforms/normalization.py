"""Intensity preprocessing of scalar images: to a range, to a mean, to a mask, to components."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array
from ..data import ImagesBatch
from ..functional import normalization as F
from ..functional import program
from ..functional.arguments import as_given
from ..functional.intensity import check_bounds, clamp
from ..functional.statistics import moments
from ..shapes import Volume
from .base import Scene, Transform
from .masks import HALVES, Masking, check_labels, check_masking, mask_of
from .params import Params, per_image

Images = Mapping[str, ImagesBatch]


@dataclass(frozen=True)
class NormalizationParams(Params):
    """Nothing: what is done follows from the voxels."""


@dataclass(frozen=True)
class ClampParams(Params):
    """Ends of the range for each sample and image, infinite for none."""

    neutral: ClassVar[dict[str, float]] = {"low": -np.inf, "high": np.inf}
    low: Array  # [B, M]
    high: Array  # [B, M]


class Normalization(Transform):
    """What transforms share whose parameters are the voxels themselves."""

    role = "volume"

    def draw(self, scene: Scene, u: np.ndarray) -> NormalizationParams:
        return NormalizationParams()


def which(images: Images, name: str, wrong: Tensor) -> str:
    """Some samples of an image in words, with their files."""
    numbers: Sequence[int] = getattr(images, "rows", range(len(wrong)))  # in the whole batch
    files: Sequence[Any] = images[name]._images or [None] * len(wrong)
    found = []
    for row in wrong.nonzero()[:, 0].tolist():
        path = getattr(files[row], "path", None)
        found.append(f"sample {numbers[row]}" + (f" ({path})" if path else ""))
    return f"image {name!r} of {', '.join(found)}"


class RescaleIntensity(Normalization):
    """Map intensities to a range, after clamping them to two percentiles.

    Args:
        out_min_max: The range; d means (-d, d).
        percentiles: What is mapped to its ends, from 0 to 100; d means (0, d). Isensee et al.
            2018, https://arxiv.org/abs/1809.10486, take (0.5, 99.5).
        masking_method: Of which voxels percentiles are taken: None for all; the name of a label
            map; 'Left', 'Right', 'Posterior', 'Anterior', 'Inferior' or 'Superior' for a half; or
            a function from voxels (C, I, J, K) to a mask.
        in_min_max: Intensities that are mapped to the ends of the range, in place of those of the
            percentiles; d means (-d, d).
        kwargs: See :class:`Transform`.

    Between spatial steps of a pipeline, one of which interpolates afterwards, it may be carried out
    on the voxels before they are sampled, whose extremes interpolation does not reach.

    A sample whose percentiles are equal, as those of a constant image, is left as it is, as is one
    with an empty mask, or whose range is not finite; a RuntimeWarning says so, save on a GPU, where
    asking would make the host wait.

    Raises:
        ValueError: A range is empty, or percentiles are not between 0 and 100.
        KeyError: ``masking_method`` is a name that stands for nothing.

    >>> RescaleIntensity((-1, 1))(torch.tensor([2., 3, 4]).view(1, 1, 1, 3)).flatten()
    tensor([-1.,  0.,  1.])
    """

    def __init__(
        self,
        out_min_max: Any = (0, 1),
        percentiles: Any = (0, 100),
        masking_method: Masking = None,
        in_min_max: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.out_min_max = F.check_range(out_min_max, "out_min_max", proper=False)
        self.percentiles = F.check_range(percentiles, "percentiles", None, 0, 100)
        self.masking_method = check_masking(masking_method)
        self.in_min_max = None if in_min_max is None else F.check_range(in_min_max, "in_min_max")

    @property
    def commutes(self) -> bool:  # type: ignore[override]
        """Whether nothing is clamped: what lies outside a mask may be."""
        return self.percentiles == (0, 100) and self.masking_method is None

    def voxels(self, images: Images, name: str, params: NormalizationParams) -> Volume:
        x = images[name].data
        out, percentiles, in_min_max = self.out_min_max, self.percentiles, self.in_min_max
        if self.commutes and in_min_max is not None:
            return F.rescale(x, out, in_min_max=in_min_max)
        mask = mask_of(self.masking_method, images, name)
        low, high = F.cutoffs(x, percentiles, mask)
        if x.device.type == "cpu":
            self._report(images, name, low, high)
        return F.rescale(x, out, percentiles, mask, in_min_max, known=(low, high))

    def _report(self, images: Images, name: str, low: Tensor, high: Tensor) -> None:
        equal = low == high if self.in_min_max is None else torch.zeros_like(low, dtype=torch.bool)
        for wrong, fact in (
            (equal, "the intensities to map are all the same"),
            (low.isnan(), "its mask is empty, or its range not finite"),
        ):
            if wrong.any():
                warnings.warn(
                    f"RescaleIntensity leaves {which(images, name, wrong)} as it is: {fact}",
                    RuntimeWarning,
                    stacklevel=2,
                )


class ZNormalization(Normalization):
    """Subtract the mean and divide by the standard deviation (with n - 1).

    Args:
        masking_method: Of which voxels both are taken; see :class:`RescaleIntensity`.
        kwargs: See :class:`Transform`.

    A standard deviation of 0 counts as 1: a constant sample becomes 0. One with an empty mask is
    left as it is. TorchIO raises for both, which would make a GPU's host wait.

    Between spatial steps of a pipeline, one of which interpolates afterwards, it is carried out
    on the voxels before they are sampled: mean and standard deviation are those of what is in view
    there, noise that interpolation smooths away included.

    Raises:
        KeyError: ``masking_method`` is a name that stands for nothing.

    Warns:
        RuntimeWarning: A sample has a standard deviation of 0, or an empty mask. On the CPU only:
            on a GPU the host would wait for the statistics.

    >>> ZNormalization()(torch.tensor([2., 3, 4]).view(1, 1, 1, 3)).flatten()
    tensor([-1.,  0.,  1.])
    """

    def __init__(self, masking_method: Masking = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.masking_method = check_masking(masking_method)

    @property
    def commutes(self) -> bool:  # type: ignore[override]
        """Whether the mask, if any, goes with the content: a half or a function may not."""
        name = self.masking_method
        return name is None or (isinstance(name, str) and name.capitalize() not in HALVES)

    def voxels(self, images: Images, name: str, params: NormalizationParams) -> Volume:
        x = images[name].data
        known = moments(x, mask_of(self.masking_method, images, name))
        if x.device.type == "cpu":
            for wrong, fact in (
                (known.std == 0, "becomes 0: all of its voxels are the same"),
                (known.mean.isnan(), "stays as it is: its mask is empty, or has NaN in it"),
            ):
                if wrong.any():
                    warnings.warn(
                        f"ZNormalization: {which(images, name, wrong)} {fact}",
                        RuntimeWarning,
                        stacklevel=2,
                    )
        return F.standardize(x, known=known)


class Clamp(Transform):
    """Keep intensities within a range: those outside become its nearer end.

    Args:
        out_min, out_max: Ends of the range, in the image's own units: a number, or one per sample
            (B,); or a dict with one entry per image name; None for no end. Tensors may require a
            gradient.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: ``out_min`` is above ``out_max``.

    >>> Clamp(out_min=-1000, out_max=1000)(torch.tensor([-3e3, 7, 3e3]).view(1, 1, 1, 3)).flatten()
    tensor([-1000.,     7.,  1000.])
    """

    role = "pointwise"

    def __init__(self, out_min: Any = None, out_max: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.out_min, self.out_max = out_min, out_max
        names = {name for end in (out_min, out_max) if isinstance(end, Mapping) for name in end}
        self._ends(tuple(names) or ("image",))

    def _ends(self, names: tuple[str, ...]) -> tuple[Array, Array]:
        low, high = (
            np.full((1, len(names)), none) if end is None else per_image(end, (), name, names)
            for end, name, none in (
                (self.out_min, "out_min", -np.inf),
                (self.out_max, "out_max", np.inf),
            )
        )
        check_bounds(low, high, "out_min", "out_max")
        return low, high

    def draw(self, scene: Scene, u: np.ndarray) -> ClampParams:
        return ClampParams(*self._ends(scene.names)).expand(scene.batch)

    def operation(self, params: ClampParams, active: np.ndarray | None) -> program.Operation:
        return program.Clamp(params.low, params.high)


class Mask(Normalization):
    """Set voxels outside a mask to a value. The dtype is kept.

    Args:
        masking_method: The mask: see :class:`RescaleIntensity`.
        outside_value: The value, in the image's own units.
        labels: Of a label map, the values that are inside; None for all but 0.
        kwargs: See :class:`Transform`.

    Raises:
        KeyError: ``masking_method`` is a name that stands for nothing.
        ValueError: ``labels`` are given without a label map, or integer voxels cannot hold the
            value.

    >>> Mask(lambda x: x > 2, outside_value=-1)(torch.arange(5).view(1, 1, 1, 5)).flatten()
    tensor([-1, -1, -1,  3,  4])
    """

    computes = False

    def __init__(
        self,
        masking_method: Masking,
        outside_value: float = 0,
        labels: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.masking_method = check_masking(masking_method)
        self.outside_value = outside_value
        self.labels = check_labels(labels)
        if labels is not None and not isinstance(masking_method, str):
            raise ValueError(
                f"labels must be None where masking_method is no label map, got {labels!r}"
            )

    def voxels(self, images: Images, name: str, params: NormalizationParams) -> Volume:
        method = self.masking_method
        mask = mask_of(method, images, name, self.labels)
        if self.labels is not None and str(method).capitalize() in HALVES and method not in images:
            raise ValueError(f"labels must be None where masking_method is a half, {method!r}")
        x = images[name].data
        return x if mask is None else F.mask_voxels(x, mask, self.outside_value)


class PCA(Normalization):
    """Principal components of the channels of each image, such as the features of a network.

    Args:
        num_components: How many components; they become the channels.
        whiten: Divide each by its standard deviation.
        normalize: Divide all by the standard deviation of the first.
        make_skewness_positive: Turn each component whose skewness is negative. Otherwise the
            channel of which it has most has a positive share.
        values_range: Values that are mapped to 0 and 1; None for the least and greatest of each
            sample. The default is what Darcet et al. 2025, https://arxiv.org/abs/2502.08769, show.
        clip: Clamp the result to [0, 1].
        pca_kwargs: Must be empty: TorchIO 1.x hands them to scikit-learn, which is not used here.
        kwargs: See :class:`Transform`.

    On a GPU, torch's eigensolver makes the host wait.

    Raises:
        ValueError: There are fewer channels than components, or an argument is not as above.

    >>> PCA(num_components=2)(torch.rand(5, 4, 4, 4)).shape
    torch.Size([2, 4, 4, 4])
    """

    def __init__(
        self,
        num_components: int = 3,
        *,
        whiten: bool = True,
        normalize: bool = True,
        make_skewness_positive: bool = True,
        values_range: Sequence[float] | None = (-2.3, 2.3),
        clip: bool = True,
        pca_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_components = F.check_components(num_components)
        self.whiten, self.normalize, self.clip = whiten, normalize, clip
        self.make_skewness_positive = make_skewness_positive
        self.values_range = None
        if values_range is not None:
            self.values_range = F.check_range(values_range, "values_range")
        if pca_kwargs:
            raise ValueError(
                f"pca_kwargs must be empty, as scikit-learn is not used, got {dict(pca_kwargs)}"
            )
        self.pca_kwargs = pca_kwargs

    def voxels(self, images: Images, name: str, params: NormalizationParams) -> Volume:
        x = images[name].data
        y = F.principal_components(
            x if x.dtype == torch.float64 else x.float(),
            self.num_components,
            whiten=self.whiten,
            normalize=self.normalize,
            make_skewness_positive=self.make_skewness_positive,
        )
        y = F.rescale(y, in_min_max=self.values_range)
        return as_given(clamp(y, 0, 1) if self.clip else y, x)


class To(Normalization):
    """Convert the voxels of scalar images to another dtype, or bring them to another device.

    Args:
        target: First argument of :meth:`torch.Tensor.to`: a dtype, or a device or its name. A
            dtype's name, such as 'torch.float16', stands for it.
        to_kwargs: The others.
        kwargs: See :class:`Transform`.

    Raises:
        TypeError: ``target`` is none of these.
        ValueError: ``target`` names no device or dtype, or ``p`` is not 1.

    >>> To(torch.uint8)(torch.tensor([1.2, 3]).view(1, 1, 1, 2)).flatten()
    tensor([1, 3], dtype=torch.uint8)
    """

    computes = False

    def __init__(
        self,
        target: str | torch.dtype | torch.device,
        to_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(target, (str, torch.dtype, torch.device)):
            raise TypeError(f"target must be a dtype, a device or its name, got {target!r}")
        if self.p != 1:
            raise ValueError(f"p must be 1: a type must not depend on a coin, got {self.p}")
        self.target, self.to_kwargs = target, to_kwargs
        self._target = _device_or_dtype(target)

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments; what was not given as a name by its name, as JSON can hold it."""
        return {**super().arguments(), "target": str(self.target)}

    def voxels(self, images: Images, name: str, params: NormalizationParams) -> Volume:
        return images[name].data.to(self._target, **(self.to_kwargs or {}))


def _device_or_dtype(target: str | torch.dtype | torch.device) -> torch.dtype | torch.device:
    if not isinstance(target, str):
        return target
    found = getattr(torch, target.removeprefix("torch."), None)
    if target.startswith("torch.") and isinstance(found, torch.dtype):
        return found
    try:
        return torch.device(target)
    except RuntimeError as error:
        raise ValueError(f"target must name a device or a dtype, got {target!r}") from error


__all__ = [
    "PCA",
    "Clamp",
    "Mask",
    "Normalization",
    "NormalizationParams",
    "RescaleIntensity",
    "To",
    "ZNormalization",
    "which",
]

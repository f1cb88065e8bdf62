"""Intensity augmentation: bias field, noise, contrast. Label maps are left alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from .. import rng
from ..arrays import Array, as_array, common, host, on_host, per_sample
from ..functional import program
from ..functional.reference.intensity import monomials
from ..shapes import check_count, rectangular
from .base import Scene, Transform
from .params import Params, by_name, per_image, side_by_side, values_of
from .ranges import Range


@dataclass(frozen=True)
class BiasFieldParams(Params):
    """Coefficients of the monomials, for each sample and image."""

    neutral: ClassVar[dict[str, float]] = {"coefficients": 0.0}
    coefficients: Array  # [B, M, N]


@dataclass(frozen=True)
class GammaParams(Params):
    """Logarithm of the exponent, for each sample, image and channel (or all channels)."""

    neutral: ClassVar[dict[str, float]] = {"log_gamma": 0.0}
    log_gamma: Array  # [B, M, 1 or C]


@dataclass(frozen=True)
class NoiseParams(Params):
    """Distribution and seed of the noise, for each sample and image."""

    neutral: ClassVar[dict[str, float]] = {"mean": 0.0, "std": 0.0}
    mean: Array  # [B, M]
    std: Array  # [B, M]
    seed: np.ndarray  # [B, M] int64


def given_seeds(seed: Any, batch: int) -> np.ndarray:
    """Seeds [B] int64 from one for all samples or one for each."""
    seeds = host(seed) if isinstance(seed, Tensor) else rectangular(seed, "seed")
    if not np.issubdtype(seeds.dtype, np.integer) or seeds.shape not in ((), (1,), (batch,)):
        raise ValueError(f"seed must be an integer, or one per sample ({batch}), got {seed!r}")
    return np.array(np.broadcast_to(seeds.astype(np.int64), (batch,)))


def _check_order(order: int) -> int:
    return check_count(order, "order", 0, 30)


class BiasField(Transform):
    """Multiply by a given smooth field, as an MRI coil does.

    ``x exp(sum c_ijk X^i Y^j Z^k)`` over i + j + k <= order, with X, Y, Z running from -1 to 1
    between the outermost voxel centres (Van Leemput et al. 1999, doi:10.1109/42.811268).

    Args:
        coefficients: One per monomial, k fastest, (M,), or (B, M) for one set per sample; or a
            dict with one entry per image name. Tensors may require a gradient.
        order: Largest total exponent; order 3 has 20 coefficients.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: The number of coefficients does not fit the order.

    >>> BiasField(coefficients=torch.zeros(20))(torch.ones(1, 4, 4, 4)).unique()
    tensor([1.])
    """

    role = "pointwise"

    def __init__(self, coefficients: Any, order: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.coefficients, self.order = coefficients, _check_order(order)
        shape = (len(monomials(order)[0]),)
        for value in values_of(coefficients):
            _check_count(value, shape[0], order)

    def draw(self, scene: Scene, u: np.ndarray) -> BiasFieldParams:
        shape = (len(monomials(self.order)[0]),)
        values = per_image(self.coefficients, shape, "coefficients", scene.names)
        return BiasFieldParams(values).expand(scene.batch)

    def operation(self, params: BiasFieldParams, active: np.ndarray | None) -> program.Operation:
        return program.BiasField(params.coefficients, self.order)

    def invert(self, params: BiasFieldParams) -> BiasFieldParams:
        return BiasFieldParams(-params.coefficients)


def _check_count(coefficients: Any, count: int, order: int) -> None:
    shape = tuple(as_array(coefficients, "coefficients").shape)
    if not shape or shape[-1] != count:
        raise ValueError(
            f"coefficients must hold {count} numbers for order {order}, got shape {shape}"
        )


class RandomBiasField(Transform):
    """Multiply by a smooth random field, as an MRI coil does.

    Args:
        coefficients: Range of the polynomial's coefficients; d means (-d, d).
        order: Order of the polynomial; see :class:`BiasField`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: The range is empty or the order negative.

    >>> RandomBiasField(coefficients=0.5)(torch.ones(1, 4, 4, 4)).shape
    torch.Size([1, 4, 4, 4])
    """

    role = "pointwise"

    def __init__(self, coefficients: Any = 0.5, order: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.coefficients, self.order = coefficients, _check_order(order)
        self._coefficients = Range(coefficients, "coefficients")

    @property
    def draws(self) -> int:
        return len(monomials(self.order)[0])

    def draw(self, scene: Scene, u: np.ndarray) -> BiasFieldParams:
        return BiasFieldParams(self._coefficients(u[..., None])[..., 0])

    operation = BiasField.operation
    invert = BiasField.invert


class Gamma(Transform):
    """Change the contrast by a given exponent: ``sign(x) |x| ** gamma``.

    Args:
        gamma: The exponent: a number for all, (B, 1) for one per sample, (C,) or (B, C) for one
            per channel; or a dict with one entry per image name. Tensors may require a gradient.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: An exponent is not positive.

    >>> Gamma(2)(torch.full((1, 1, 1, 1), -3.)).item()
    -9.0
    """

    role = "pointwise"

    def __init__(self, gamma: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gamma = gamma
        for value in values_of(gamma):
            array = as_array(value, "gamma")
            if array.ndim > 2:
                raise ValueError(f"gamma must be a number, (C,) or (B, C), got {array.shape}")
            if on_host(array) and not (host(array) > 0).all():
                raise ValueError(f"gamma must be > 0, got {value!r}")

    def draw(self, scene: Scene, u: np.ndarray) -> GammaParams:
        def log(value: Any) -> Any:
            array = as_array(value, "gamma")
            channels = array.shape[-1] if array.ndim else 1
            xp, gamma = common(per_sample(array, (channels,), "gamma"))
            return xp.log(gamma)

        values = [log(value) for value in by_name(self.gamma, "gamma", scene.names)]
        return GammaParams(side_by_side(values)).expand(scene.batch)

    def operation(self, params: GammaParams, active: np.ndarray | None) -> program.Operation:
        return program.Gamma(params.log_gamma)

    def invert(self, params: GammaParams) -> GammaParams:
        return GammaParams(-params.log_gamma)


class RandomGamma(Transform):
    """Change the contrast at random: ``sign(x) |x| ** exp(log_gamma)``.

    Args:
        log_gamma: Range of the exponent's logarithm; d means (-d, d). Negative values brighten,
            positive ones darken an image scaled to [0, 1].
        kwargs: See :class:`Transform`.

    All channels of an image share the exponent.

    Raises:
        ValueError: The range is empty.

    >>> RandomGamma(log_gamma=(-0.3, 0.3))(torch.rand(1, 4, 4, 4)).shape
    torch.Size([1, 4, 4, 4])
    """

    role = "pointwise"

    def __init__(self, log_gamma: Any = (-0.3, 0.3), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.log_gamma = log_gamma
        self._log_gamma = Range(log_gamma, "log_gamma")

    @property
    def draws(self) -> int:
        return 1

    def draw(self, scene: Scene, u: np.ndarray) -> GammaParams:
        return GammaParams(self._log_gamma(u))

    operation = Gamma.operation
    invert = Gamma.invert


class Noise(Transform):
    """Add noise of a given distribution and seed.

    Args:
        mean, std: In the image's own units: a number, or one per sample (B,); or a dict with one
            entry per image name. Tensors may require a gradient.
        seed: Integer that decides the noise, or one per sample (B,), or a dict.
        rician: Noise of a magnitude image, ``sqrt((x + n1)^2 + n2^2)`` (Gudbjartsson & Patz 1995,
            doi:10.1002/mrm.1910340618), instead of Gaussian noise ``x + n``.
        kwargs: See :class:`Transform`.

    Gaussian noise can be undone, Rician noise cannot.

    Raises:
        ValueError: ``std`` is negative.

    >>> Noise(mean=0, std=1, seed=42)(torch.zeros(1, 4, 4, 4)).shape
    torch.Size([1, 4, 4, 4])
    """

    role = "pointwise"

    def __init__(
        self, mean: Any = 0.0, std: Any = 1.0, seed: Any = 0, rician: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.mean, self.std, self.seed, self.rician = mean, std, seed, rician
        for value in values_of(std):
            array = as_array(value, "std")
            if on_host(array) and not (host(array) >= 0).all():
                raise ValueError(f"std must be >= 0, got {value!r}")

    def draw(self, scene: Scene, u: np.ndarray) -> NoiseParams:
        names, batch = scene.names, scene.batch
        mean = per_image(self.mean, (), "mean", names)
        std = per_image(self.std, (), "std", names)
        seeds = [given_seeds(value, batch) for value in by_name(self.seed, "seed", names)]
        return NoiseParams(mean, std, np.stack(seeds, 1)).expand(batch)

    def operation(self, params: NoiseParams, active: np.ndarray | None) -> program.Operation:
        return program.Noise(params.mean, params.std, params.seed, self.rician, active)

    @property
    def is_invertible(self) -> bool:
        return not self.rician

    def invert(self, params: NoiseParams) -> NoiseParams:
        if self.rician:
            raise NotImplementedError("Rician noise cannot be undone")
        return NoiseParams(-params.mean, -params.std, params.seed)


class RandomNoise(Transform):
    """Add noise whose mean and standard deviation are random.

    Args:
        mean: Range of the mean, in the image's own units; d means (-d, d).
        std: Range of the standard deviation; d means (0, d).
        rician: See :class:`Noise`.
        kwargs: See :class:`Transform`.

    Raises:
        ValueError: A range is empty, or a standard deviation negative.

    >>> RandomNoise(std=(0, 0.1))(torch.zeros(1, 4, 4, 4)).shape
    torch.Size([1, 4, 4, 4])
    """

    role = "pointwise"

    def __init__(
        self, mean: Any = 0.0, std: Any = (0, 0.25), rician: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.mean, self.std, self.rician = mean, std, rician
        self._mean = Range(mean, "mean")
        self._std = Range(std, "std", around=None, minimum=0)

    @property
    def draws(self) -> int:
        return 4

    def draw(self, scene: Scene, u: np.ndarray) -> NoiseParams:
        mean, std = self._mean(u[..., :1]), self._std(u[..., 1:2])
        return NoiseParams(mean[..., 0], std[..., 0], rng.to_seeds(u[..., 2:]))

    operation = Noise.operation
    is_invertible = Noise.is_invertible
    invert = Noise.invert

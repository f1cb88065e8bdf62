"""Bias field: smooth multiplicative field of an MRI coil."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from ...arrays import Array, as_array
from ...functional import operations
from ...functional.operations import monomials
from ...shapes import check_count
from ..base import Context
from ..kinds import PointwiseTransform, RandomTransform
from ..parameters.params import Params, per_image, values_of
from ..parameters.ranges import Range
from ..parameters.types import ByImage, PerSample, RangeLike


@dataclass(frozen=True)
class BiasFieldParams(Params):
    """Coefficients of the monomials, for each sample and image."""

    neutral: ClassVar[dict[str, float]] = {"coefficients": 0.0}
    coefficients: Annotated[Array, "B M N"]


def _check_order(order: int) -> int:
    return check_count(order, "order", 0, 30)


class _BiasField(PointwiseTransform):
    """Smooth multiplicative field."""

    order: int

    def operation(self, params: BiasFieldParams, active: np.ndarray | None) -> operations.Operation:
        return operations.BiasField(params.coefficients, self.order)

    def invert(self, params: BiasFieldParams) -> BiasFieldParams:
        return BiasFieldParams(-params.coefficients)


class BiasField(_BiasField):
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

    def __init__(self, coefficients: ByImage[PerSample], order: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.coefficients, self.order = coefficients, _check_order(order)
        shape = (len(monomials(order)[0]),)
        for value in values_of(coefficients):
            _check_count(value, shape[0], order)

    def draw(self, context: Context, u: np.ndarray) -> BiasFieldParams:
        shape = (len(monomials(self.order)[0]),)
        values = per_image(self.coefficients, shape, "coefficients", context.names)
        return BiasFieldParams(values).expand(context.batch)


def _check_count(coefficients: Any, count: int, order: int) -> None:
    shape = tuple(as_array(coefficients, "coefficients").shape)
    if not shape or shape[-1] != count:
        raise ValueError(
            f"coefficients must hold {count} numbers for order {order}, got shape {shape}"
        )


class RandomBiasField(RandomTransform, _BiasField):
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

    def __init__(self, coefficients: RangeLike = 0.5, order: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.coefficients, self.order = coefficients, _check_order(order)
        self._coefficients = Range(coefficients, "coefficients")

    @property
    def draws(self) -> int:
        return len(monomials(self.order)[0])

    def draw(self, context: Context, u: np.ndarray) -> BiasFieldParams:
        return BiasFieldParams(self._coefficients(u[..., None])[..., 0])

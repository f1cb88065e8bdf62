"""Combined affine and elastic motion, in one sampling."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...data import SpatialMap
from ..base import Context, Transform
from ..kinds import RandomTransform
from ..parameters.params import Params
from ..pipeline.maps import Interpolation, SpatialTraits
from .affine import Affine, AffineParams, RandomAffine, Resampling
from .elastic import ElasticDeformation, ElasticParams, RandomElasticDeformation


@dataclass(frozen=True)
class AffineElasticParams(Params):
    """Parameters of the affine and of the elastic motion."""

    affine: AffineParams
    bend: ElasticParams

    def change(self, function: Any) -> AffineElasticParams:
        return AffineElasticParams(self.affine.change(function), self.bend.change(function))

    def gate(self, active: np.ndarray) -> AffineElasticParams:
        return AffineElasticParams(self.affine.gate(active), self.bend.gate(active))

    def to_dict(self) -> dict[str, Any]:
        return {"affine": self.affine.to_dict(), "bend": self.bend.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> AffineElasticParams:
        return cls(
            AffineParams.from_dict(values["affine"]), ElasticParams.from_dict(values["bend"])
        )


def _check_arguments(argument: str, values: Mapping[str, object] | None) -> dict[str, Any]:
    """Return a copy of the arguments of one motion; raise a ValueError for those of both."""
    own: dict[str, Any] = dict(values or {})
    common = inspect.signature(Transform.__init__).parameters
    wrong = [name for name in own if name in common]
    if wrong:
        raise ValueError(f"{argument} must not hold {wrong}: give them to the transform itself")
    return own


class _AffineElastic(Resampling):
    """Base of combined affine and elastic motions."""

    traits = SpatialTraits(bends=True)
    affine: Affine | RandomAffine
    elastic: ElasticDeformation | RandomElasticDeformation
    affine_first: bool

    def interpolation(self) -> Interpolation:
        return self.affine.interpolation()

    def with_interpolation(self, mode: str) -> Any:
        new = Resampling.with_interpolation(self, mode)
        new._modules = {**self._modules, "affine": self.affine.with_interpolation(mode)}
        return new

    @property
    def check_shape(self) -> bool:
        """True if images that share an affine but not a shape raise an error."""
        return self.affine.check_shape

    def maps(self, params: AffineElasticParams, context: Context) -> tuple[SpatialMap, ...]:
        matrix, elastic = params.affine.pull_back(context.space), params.bend.elastic()
        # The inverse applies the two motions in the opposite order.
        if self.affine_first != params.affine.inverse:
            return (SpatialMap(matrix, elastic),)
        return SpatialMap(elastic=elastic), SpatialMap(matrix)

    def invert(self, params: AffineElasticParams) -> AffineElasticParams:
        return AffineElasticParams(
            self.affine.invert(params.affine), self.elastic.invert(params.bend)
        )


class AffineElasticDeformation(_AffineElastic):
    """An affine and an elastic motion by given amounts, in one sampling.

    Args:
        affine_first: Apply the affine motion to the content first. This is also the faster order:
            the elastic map is then evaluated axis by axis.
        affine_params: Arguments of :class:`Affine`.
        elastic_params: Arguments of :class:`ElasticDeformation`. Interpolation and padding are
            those of ``affine_params``.
        kwargs: See :class:`Transform`.

    >>> transform = AffineElasticDeformation(
    ...     affine_params={"degrees": (0, 0, 10)},
    ...     elastic_params={"control_points": torch.zeros(5, 5, 5, 3)},
    ... )
    >>> transform(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        affine_first: bool = True,
        affine_params: Mapping[str, object] | None = None,
        elastic_params: Mapping[str, object] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.affine_first = affine_first
        self.affine_params, self.elastic_params = affine_params, elastic_params
        self.affine = Affine(**_check_arguments("affine_params", affine_params))
        elastic = _check_arguments("elastic_params", elastic_params)
        if "control_points" not in elastic:
            raise ValueError(f"elastic_params must hold control_points, got {elastic_params!r}")
        self.elastic = ElasticDeformation(**elastic)

    def draw(self, context: Context, u: np.ndarray) -> AffineElasticParams:
        return AffineElasticParams(self.affine.draw(context, u), self.elastic.draw(context, u))


class RandomAffineElasticDeformation(RandomTransform, _AffineElastic):
    """A random affine and a random elastic motion in one sampling.

    Args:
        affine_first: See :class:`AffineElasticDeformation`.
        affine_kwargs: Arguments of :class:`RandomAffine`.
        elastic_kwargs: Arguments of :class:`RandomElasticDeformation`. Interpolation and padding
            are those of ``affine_kwargs``.
        kwargs: See :class:`Transform`.

    >>> transform = RandomAffineElasticDeformation(elastic_kwargs={"max_displacement": 0.5})
    >>> transform(torch.rand(1, 16, 16, 16)).shape
    torch.Size([1, 16, 16, 16])
    """

    def __init__(
        self,
        affine_first: bool = True,
        affine_kwargs: Mapping[str, object] | None = None,
        elastic_kwargs: Mapping[str, object] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.affine_first = affine_first
        self.affine_kwargs, self.elastic_kwargs = affine_kwargs, elastic_kwargs
        self.affine = RandomAffine(**_check_arguments("affine_kwargs", affine_kwargs))
        self.elastic = RandomElasticDeformation(
            **_check_arguments("elastic_kwargs", elastic_kwargs)
        )

    @property
    def draws(self) -> int:
        return self.affine.draws + self.elastic.draws

    def draw(self, context: Context, u: np.ndarray) -> AffineElasticParams:
        affine, bend = u[:, : self.affine.draws], u[:, self.affine.draws :]
        return AffineElasticParams(
            self.affine.draw(context, affine), self.elastic.draw(context, bend)
        )

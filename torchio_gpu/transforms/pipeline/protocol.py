"""Protocols of the transforms that the engine executes; the classes are in higher layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...data import ImagesBatch, SpatialMap, Subject
from ...functional.line_operations import LineOperation
from ...functional.operations import Operation
from ...geometry import Space
from ...shapes import Volume
from ..parameters.params import Params
from .context import Context
from .maps import Interpolation, SpatialTraits

Kinds = tuple[tuple[str, str], ...]
Images = Mapping[str, ImagesBatch]


class CreatedImage(NamedTuple):
    """Name of a scalar image that a transform creates, and of the image whose space it takes."""

    name: str
    like: str


class Operator(Protocol):
    """Transform as the engine sees it.

    Members of the protocol of a role are used only on transforms of that :attr:`role`.
    """

    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def traits(self) -> SpatialTraits | None: ...
    @property
    def draws(self) -> int: ...
    @property
    def shares(self) -> bool: ...
    def is_invertible(self) -> bool: ...
    def draw(self, context: Context, u: np.ndarray) -> Params: ...
    def invert(self, params: Any) -> Params: ...
    def select(self, kinds: Kinds, others: Sequence[str] | None = None) -> tuple[str, ...]: ...


class SubjectOperator(Operator, Protocol):
    """Transform of the role 'subject'."""

    deterministic: bool
    hides_images: bool

    def apply_transform(self, subject: Subject) -> Subject: ...


class BatchOperator(Operator, Protocol):
    """Transform of the role 'batch'."""

    @property
    def computes(self) -> bool: ...
    def mix(self, images: Images, partners: Images, name: str, params: Any) -> Volume: ...


class SpatialOperator(Operator, Protocol):
    """Transform of the role 'spatial'."""

    def maps(self, params: Any, context: Context) -> tuple[SpatialMap, ...]: ...
    def interpolation(self) -> Interpolation | None: ...


class GridOperator(SpatialOperator, Protocol):
    """Transform of the role 'spatial' that gives each image a grid of its own."""

    def column(
        self, params: Any, recorded: Sequence[str], name: str, space: Space
    ) -> int | None: ...
    def regrid(self, params: Any, column: int | None, space: Space) -> SpatialMap: ...


class PointwiseOperator(Operator, Protocol):
    """Transform of the role 'pointwise'."""

    def operation(
        self, params: Any, active: np.ndarray | None
    ) -> Operation | tuple[Operation, ...]: ...


class VolumeOperator(Operator, Protocol):
    """Transform of the role 'volume'."""

    @property
    def commutes(self) -> bool: ...
    @property
    def computes(self) -> bool: ...
    @property
    def changes_lines(self) -> bool: ...
    @property
    def ends_lines(self) -> bool: ...
    def voxels(self, images: Images, name: str, params: Any) -> Volume: ...
    def affine_of(self, images: Images, name: str, params: Any) -> np.ndarray: ...
    def creates(self, kinds: Kinds) -> CreatedImage | None: ...


class LineOperator(VolumeOperator, Protocol):
    """Transform of the role 'volume' that changes lines of k-space."""

    def lines(self, params: Any) -> LineOperation: ...

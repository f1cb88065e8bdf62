"""What the libraries that share TorchIO's data model have in common."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor

from .. import workloads as w
from . import Op

RAW = np.array(w.RAW, float)


class Family:
    """Operations on images, subjects and files.

    Args:
        tio: The library.
        scalar: From voxels (1, I, J, K) and an affine to an image.
        labels: The same for a label map.
    """

    def __init__(
        self, tio: ModuleType, scalar: Callable[..., Any], labels: Callable[..., Any]
    ) -> None:
        self.tio, self.scalar, self.labels = tio, scalar, labels

    def subject(self, image: Tensor, labels: Tensor, affine: Any = None) -> Any:
        """An image and a label map."""
        images = {"image": self.scalar(image, affine), "label": self.labels(labels, affine)}
        return self.tio.Subject(**images)

    def raw(self, steps: Any) -> Op:
        """Of the raw subject: the image that steps make of it."""
        return lambda image, labels: steps(self.subject(image, labels, RAW)).image.data

    def original(self, steps: Any) -> Op:
        """The same, resampled to the image that it was; resampling has no inverse."""

        def op(image: Tensor, labels: Tensor) -> Tensor:
            given = self.subject(image, labels, RAW)
            return self.tio.Resample(given.image)(steps(given).image).data

        return op

    def world(self, step: Any) -> Op:
        """Of an image and its affine."""

        def op(x: Tensor, affine: np.ndarray) -> tuple[Tensor, Any]:
            image = step(self.scalar(x, affine))
            found = image.affine
            return image.data, found if isinstance(found, np.ndarray) else found.data

        return op

    def spacing(self, step: Any) -> Op:
        """Of two images, each with its affine."""

        def op(one: Tensor, a: np.ndarray, two: Tensor, b: np.ndarray) -> tuple[Tensor, Tensor]:
            moved = step(self.tio.Subject(one=self.scalar(one, a), two=self.scalar(two, b)))
            return moved.one.data, moved.two.data

        return op

    def undone(self, *steps: Any) -> Op:
        """Of an image: moved, and moved back."""

        def op(x: Tensor) -> tuple[Tensor, Tensor]:
            moved = self.tio.Compose(steps)(self.tio.Subject(image=self.scalar(x, None)))
            return moved.image.data, moved.apply_inverse_transform().image.data

        return op

    def replayed(self, *steps: Any) -> Op:
        """Of an image: moved, and moved again by the history of it."""

        def op(x: Tensor) -> tuple[Tensor, Tensor]:
            given = self.tio.Subject(image=self.scalar(x, None))
            moved = self.tio.Compose(steps)(given)
            return moved.image.data, moved.get_composed_history()(given).image.data

        return op

    def read(self, path: Any) -> tuple[Any, Any]:
        """Of a file: voxels and spacing."""
        image = self.tio.ScalarImage(path)
        return image.data, image.spacing

    def subjects(self, voxels: list[Tensor]) -> list[Any]:
        """Of images."""
        return [self.tio.Subject(image=self.scalar(x, None), n=n) for n, x in enumerate(voxels)]

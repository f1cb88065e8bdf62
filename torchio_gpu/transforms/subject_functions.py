"""Functions of a subject, and transforms of MONAI, as transforms."""

from __future__ import annotations

import copy
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data import Image, ScalarImage, Subject, meta_tensor
from ..random import streams_for
from .base import Context, Transform
from .parameters.params import Params
from .pipeline.steps import SUBJECT


class _OfSubject(Transform):
    """Base of transforms that call what was made elsewhere."""

    role = SUBJECT
    hides_images = True

    def draw(self, context: Context, u: np.ndarray) -> Params:
        return Params()


class SubjectFunction(_OfSubject):
    """Apply a function of a subject: how a composition holds a plain callable.

    Args:
        function: From a :class:`Subject` to one. It gets a copy of each sample, with voxels on
            their device, and may write to it.
        kwargs: See :class:`Transform`. Images that ``include`` and ``exclude`` leave out are not in
            the subject that the function gets.

    The transforms that the function applies are recorded in place of itself, if there are any.

    Raises:
        TypeError: ``function`` cannot be called, or, when called, does not return a Subject.

    >>> def halve(subject):
    ...     subject.t1.set_data(subject.t1.data / 2)
    ...     return subject
    >>> augment = Compose([RandomFlip(), halve, RandomNoise()])
    >>> print(augment.explain())
    spatial: RandomFlip  (ends: halve takes one subject at a time)
    subject: halve  (ends: RandomNoise is pointwise)
    pointwise: RandomNoise  (ends: end of the pipeline)
    """

    deterministic = False

    def __init__(self, function: Callable[[Subject], Subject], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.function = function

    @property
    def name(self) -> str:
        """Name of the function."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    def apply_transform(self, subject: Subject) -> Subject:
        return self.function(subject)

    def __repr__(self) -> str:
        return f"SubjectFunction({self.function!r})"


class MonaiAdapter(_OfSubject):
    """Apply a transform of MONAI to a subject; a composition wraps such a transform by itself.

    A dictionary transform gets a dict of all values of the subject, images as MetaTensors with
    their affine. Any other one is called for each selected image, label maps included. Voxels stay
    on their device. What MONAI returns for a new key becomes a scalar image if it has four
    dimensions. A list of samples must hold one: ``num_samples=1``.

    A random one gets its random state from the seed of each sample, and is not undone.

    Args:
        monai_transform: A transform of MONAI, or a function of a MetaTensor.
        kwargs: See :class:`Transform`.

    Raises:
        TypeError: ``monai_transform`` cannot be called; or, when called, returns no tensor, or no
            dict.
        ImportError: MONAI is not installed.

    >>> from monai.transforms import Flipd
    >>> subject = Subject(t1=ScalarImage(torch.arange(3.).view(1, 3, 1, 1)))
    >>> MonaiAdapter(Flipd("t1", spatial_axis=0))(subject).t1.data.flatten()
    tensor([2., 1., 0.])
    """

    def __init__(self, monai_transform: Callable[..., object], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.monai_transform = monai_transform

    @property
    def deterministic(self) -> bool:  # type: ignore[override]
        """False for a transform that draws numbers."""
        return not _is_monai(self.monai_transform, "Randomizable")

    def apply_transform(self, subject: Subject) -> Subject:
        if _takes_dict(self.monai_transform):
            return self._of_dict(subject)
        images = self.get_images_dict(subject)
        if len(images) > 1 and not self.deterministic:
            warnings.warn(
                f"{type(self.monai_transform).__name__} draws other numbers for each of "
                f"{list(images)}: use its dictionary form to move them together",
                RuntimeWarning,
                stacklevel=2,
            )
        call = self._seeded(subject)
        for name, image in images.items():
            self._update(image, self._one(call(_as_meta_tensor(image))), name)
        return subject

    def _seeded(self, subject: Subject) -> Callable[..., object]:
        """Return the transform of MONAI, whose random state follows from the seed of a sample."""
        if self.deterministic:
            return self.monai_transform
        transform: Any = self.monai_transform
        if threading.current_thread() is not threading.main_thread():
            transform = copy.deepcopy(transform)  # it keeps what it draws
        streams = subject.streams or streams_for(1)
        transform.set_random_state(seed=int(streams.offspring(1)[0, 0]) % 2**32)
        return transform  # type: ignore[no-any-return]

    def _one(self, result: Any) -> Any:
        """Return a sample, which some transforms return in a list of as many as they cut out."""
        if not isinstance(result, (list, tuple)):
            return result
        if len(result) != 1:
            raise TypeError(
                f"{type(self.monai_transform).__name__} must return one sample, got "
                f"{len(result)}: take num_samples=1, and a sampler or Queue for several patches"
            )
        return result[0]

    def _of_dict(self, subject: Subject) -> Subject:
        given = {
            name: _as_meta_tensor(value) if isinstance(value, Image) else value
            for name, value in subject.items()
        }
        result = self._one(self._seeded(subject)(given))
        if not isinstance(result, Mapping):
            raise TypeError(
                f"{type(self.monai_transform).__name__} must return a dict for a subject, got "
                f"{type(result).__name__}"
            )
        for name in set(given) - set(result):
            del subject[name]
        for name, value in result.items():
            if isinstance(subject.get(name), Image):
                self._update(subject[name], value, name)
            elif isinstance(value, Tensor) and value.ndim == 4:
                subject[name] = ScalarImage(value)
            else:
                subject[name] = value
        return subject

    def _update(self, image: Image, value: object, name: str) -> None:
        """Replace the voxels of an image, and its affine, by those of a tensor of MONAI."""
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{type(self.monai_transform).__name__} must return a tensor for {name!r}, got "
                f"{type(value).__name__}"
            )
        if meta_tensor.is_meta_tensor(value):
            value, affine = meta_tensor.split(value)
            image.set_data(value)
            image.affine = affine
        else:
            image.set_data(value)


def as_transform(value: Any) -> Transform:
    """Return a transform, or any other callable as one; a transform of MONAI by its adapter.

    Raises:
        TypeError: It cannot be called.
    """
    if isinstance(value, Transform):
        return value
    if _is_monai(value, "Transform"):
        return MonaiAdapter(value)
    if not callable(value) or isinstance(value, type):
        raise TypeError(
            f"transforms must be transforms, or other callables that take a subject, got {value!r}"
        )
    return SubjectFunction(value)


def _is_monai(value: object, name: str) -> bool:
    """Return True if a value is an instance of a class of MONAI, which is not imported for it."""
    module: Any = sys.modules.get("monai.transforms")
    return module is not None and isinstance(value, getattr(module, name))


def _takes_dict(transform: Any) -> bool:
    """Return True for a dictionary transform, or a composition that begins with one."""
    if _is_monai(transform, "Compose") and len(transform.transforms):
        return _takes_dict(transform.transforms[0])
    return _is_monai(transform, "MapTransform")


def _as_meta_tensor(image: Image) -> Tensor:
    try:
        from monai.data import MetaTensor
    except ImportError as error:
        raise ImportError("MonaiAdapter needs MONAI: pip install monai") from error
    return MetaTensor(image.data, affine=torch.tensor(image.affine))


__all__ = ["MonaiAdapter", "SubjectFunction", "as_transform"]

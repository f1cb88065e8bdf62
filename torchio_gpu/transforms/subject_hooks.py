"""Hooks of transforms that take one subject at a time, as in TorchIO 1, and of inverses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, ClassVar

from ..data import Image, Subject
from .parameters.params import Params
from .pipeline.steps import SUBJECT


class SubjectHooks:
    """Base of transforms: members for a class with :meth:`apply_transform`, and for inverses."""

    #: False if :meth:`apply_transform` may draw numbers of its own, so that repeating it may give
    #: another result. The transforms that it applies are then recorded in place of itself.
    deterministic: ClassVar[bool] = True
    #: True if :meth:`apply_transform` does not get the images that the transform does not select.
    hides_images: ClassVar[bool] = False
    #: Function from a transform to its inverse; set by ``history``, a layer above this one.
    _inverse: Callable[..., Any]
    role: ClassVar[str]
    select: Callable[..., Sequence[str]]

    def apply_transform(self, subject: Subject) -> Subject:
        """Transform one subject: the hook of a class in the style of TorchIO 1.

        It is called for each sample that is transformed, on its device, and may change the subject
        given: its voxels are copies. ``p`` and ``keep`` are applied around it; ``include`` and
        ``exclude`` select the images of :meth:`get_images`.

        A history holds the transform itself, and repeats it by calling this hook again. Of a random
        transform, which draws from torch's generator, a history holds the transforms that the hook
        applied, such as an :class:`Affine` with the parameters that it drew.

        >>> class Double(Transform):
        ...     def apply_transform(self, subject):
        ...         for image in self.get_images(subject):
        ...             image.set_data(2 * image.data)
        ...         return subject
        >>> Double()(torch.ones(1, 2, 2, 2)).unique()
        tensor([2.])
        """
        raise NotImplementedError(f"{type(self).__name__} must define apply_transform")

    def get_images_dict(self, subject: Subject) -> dict[str, Image]:
        """Return the images of a subject that the transform selects, by name."""
        images = subject.get_images_dict(intensity_only=False)
        kinds = tuple((name, image.kind) for name, image in images.items())
        return {name: images[name] for name in self.select(kinds, tuple(subject.metadata))}

    def get_images(self, subject: Subject) -> list[Image]:
        """Return the images of a subject that the transform selects."""
        return list(self.get_images_dict(subject).values())

    def is_invertible(self) -> bool:
        """Return True if the transform can be undone.

        A class with :meth:`apply_transform` can be if it defines :meth:`inverse`, or sets an
        attribute ``invert_transform``, which says in which direction it works.
        """
        if self.role != SUBJECT:
            return type(self).invert is not SubjectHooks.invert
        own = type(self).inverse is not SubjectHooks.inverse
        return own or hasattr(self, "invert_transform")

    def invert(self, params: Any) -> Params:
        """Return parameters with which the transform undoes what it did with ``params``."""
        raise NotImplementedError(f"{type(self).__name__} cannot be undone")

    def inverse(self) -> Any:
        """Return the transform that undoes this one, if that follows from its arguments alone.

        Otherwise, take the inverse from the history of what was transformed; see
        :meth:`.Subject.get_inverse_transform`.

        Raises:
            RuntimeError: It does not follow from them: the transform draws its parameters, or needs
                to know the image from before.
        """
        if self.role != SUBJECT or not self.is_invertible():
            return self._inverse(self)
        new: Any = deepcopy(self)
        new.invert_transform = not new.invert_transform
        return new


__all__ = ["SubjectHooks"]

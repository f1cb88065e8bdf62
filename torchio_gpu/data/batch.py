"""Batches of subjects, on which transforms compute."""

from __future__ import annotations

import copy
from collections.abc import (
    Callable,
    ItemsView,
    Iterator,
    KeysView,
    Mapping,
    Sequence,
    ValuesView,
)
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from ..random import Streams, fresh_seeds
from .facts import table_of_values
from .history import check_moves
from .images_batch import ImagesBatch
from .keys import HISTORY, INTENSITY, LOCATION
from .pickling import Transferable
from .point_set import PointSet
from .spatial_map import SpatialMap
from .subject import Subject, check_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Samples that are drawn in a plot, at most.
_SHOWN = 4
#: Attributes of a SubjectsBatch instance; all others are values of the samples.
_OWN = frozenset(("images", "metadata", "streams", "histories", "records", "_class"))


class SubjectsBatch(Transferable):
    """Batch of B subjects: batches of images by name, and a list for each other value.

    ``batch[name]`` of numbers, or of tensors of one shape, is a tensor [B, ...], as torch collates
    them, on the device of the images; ``batch.metadata[name]`` is the list.

    Args:
        images: Batches of images, all of B samples.
        metadata: For each name, one value per sample.
        streams: Seeds of the samples, if a loader has assigned them.
        histories: Records of the transforms that were applied to each sample before it was batched.

    >>> batch = SubjectsBatch({"t1": ImagesBatch(torch.zeros(2, 1, 4, 4, 4))}, {"age": [45, 54]})
    >>> batch.t1.data.shape, batch["t1"]["data"] is batch.t1.data
    (torch.Size([2, 1, 4, 4, 4]), True)
    >>> batch["age"], batch.metadata["age"]
    (tensor([45, 54]), [45, 54])
    """

    def __init__(
        self,
        images: dict[str, ImagesBatch],
        metadata: Mapping[str, Sequence[object] | Tensor] | None = None,
        streams: Streams | None = None,
        histories: Sequence[Sequence[object]] | None = None,
    ) -> None:
        if len({len(batch) for batch in images.values()}) != 1:
            sizes = {name: len(batch) for name, batch in images.items()}
            raise ValueError(f"images of a batch must have one batch size, got {sizes or 'none'}")
        self.images = images
        self.metadata: dict[str, Any] = metadata or {}  # type: ignore[assignment]
        check_names(self.metadata)
        self.streams = streams
        self.histories: Sequence[Sequence[Any]] | None = histories
        #: Records of the transforms that were applied to the batch, after ``histories``.
        self.records: list[Any] = []
        self._class: type[Subject] = Subject

    @classmethod
    def from_subjects(cls, subjects: Sequence[Subject], view: bool = False) -> SubjectsBatch:
        """Batch subjects that have the same images, of the same shapes.

        Args:
            subjects: The subjects.
            view: Share voxels and points of a single subject with the batch, rather than copy them.
        """
        if not subjects:
            raise ValueError("a batch needs at least one subject, got none")
        first = subjects[0]
        names = first.get_images_names()
        for n, subject in enumerate(subjects):
            if set(subject.get_images_names()) != set(names):
                raise ValueError(
                    f"subjects of a batch must have the same images: sample 0 has {names}, "
                    f"sample {n} has {subject.get_images_names()}"
                )
        images = {
            name: ImagesBatch.from_images([subject[name] for subject in subjects], name, view)
            for name in names
        }
        return cls._around(images, subjects, view)

    @classmethod
    def _around(
        cls, images: dict[str, ImagesBatch], subjects: Sequence[Subject], view: bool
    ) -> SubjectsBatch:
        """Return a batch of given images, with all other values of subjects."""
        keys = dict.fromkeys(name for subject in subjects for name in subject.metadata)
        metadata = {name: _column(name, [s.get(name) for s in subjects]) for name in keys}
        if not view:
            metadata = {name: _changed(column, _copied) for name, column in metadata.items()}
        histories = [list(subject.history) for subject in subjects]
        batch = cls(
            images,
            metadata,
            _join([subject.streams for subject in subjects]),
            histories if any(histories) else None,
        )
        batch._class = type(subjects[0])
        return batch

    def unbatch(self) -> list[Subject]:
        """Return the subjects, each with its images, values and history."""
        columns = {name: batch.unbatch() for name, batch in self.images.items()}
        subjects = []
        for n in range(self.batch_size):
            subject = self._class.__new__(self._class)
            items: dict[str, Any] = {name: images[n] for name, images in columns.items()}
            items.update({name: values[n] for name, values in self.metadata.items()})
            subject.__dict__.update(_items=items, history=self._history(n), streams=None)
            if self.streams is not None:
                one = slice(n, n + 1)
                subject.streams = Streams(self.streams.seeds[one], self.streams.used[one])
            subjects.append(subject)
        return subjects

    @property
    def history(self) -> list[list[Any]]:
        """Records of the transforms that were applied to each sample, oldest first."""
        return [self._history(sample) for sample in range(self.batch_size)]

    def _history(self, sample: int) -> list[Any]:
        before = self.histories[sample] if self.histories else []
        own = (record.of_sample(sample) for record in self.records)
        return [*before, *(record for record in own if record is not None)]

    def applied_map(self, name: str) -> list[SpatialMap]:
        """Return the map that was applied to each sample; see :meth:`Subject.applied_map`."""
        if name not in self:
            raise KeyError(f"batch has no {name!r}; it has {list(self)}")
        if name in self.metadata:
            check_moves(name, self.metadata[name])
        return [Subject._map_of(history, name) for history in self.history]

    def replace(self, images: dict[str, ImagesBatch]) -> SubjectsBatch:
        """Return a batch with other images; everything else is shared."""
        new = SubjectsBatch(images, self.metadata, self.streams, self.histories)
        new.records = list(self.records)
        new._class = self._class
        return new

    def apply_inverse_transform(self, **kwargs: Any) -> SubjectsBatch:
        """Return this batch with the history of each sample undone, and empty histories.

        Arguments as for :meth:`Subject.get_inverse_transform`.
        """
        subjects = [s.apply_inverse_transform(**kwargs) for s in self.unbatch()]
        return SubjectsBatch.from_subjects(subjects)

    @property
    def kinds(self) -> tuple[tuple[str, str], ...]:
        """Names of the images, each with its kind: 'intensity' or 'label'."""
        return tuple((name, images.kind) for name, images in self.images.items())

    @property
    def batch_size(self) -> int:
        """Number of samples B."""
        return len(next(iter(self.images.values())))

    @property
    def device(self) -> torch.device:
        """Device of the voxels of the first image."""
        return next(iter(self.images.values())).device

    def to(self, *args: Any, **kwargs: Any) -> SubjectsBatch:
        """Return a batch with voxels on another device or of another dtype, as ``Tensor.to``.

        Points and boxes go along; see :meth:`Points.to` for their dtype. So do tensors of all
        samples, in their own dtype; locations of patches stay on the host, which needs them.
        """
        new = self._each(lambda value: value.to(*args, **kwargs))
        for name, values in new.metadata.items():
            if isinstance(values, Tensor) and name != LOCATION:
                new.metadata[name] = values.to(new.device)
        return new

    def pin_memory(self) -> SubjectsBatch:
        """Return a batch with voxels, points and boxes in page-locked memory."""
        return self._each(lambda value: value.pin_memory())

    def _each(self, change: Callable[[Any], Any]) -> SubjectsBatch:
        """Return a batch whose images, points and boxes were changed by a function."""
        new = self.replace({name: change(images) for name, images in self.images.items()})
        new.metadata = {name: _changed(values, change) for name, values in self.metadata.items()}
        return new

    def get_images_dict(self, intensity_only: bool = True) -> dict[str, ImagesBatch]:
        """Return batches of images by name, by default without label maps."""
        return {n: i for n, i in self.images.items() if not intensity_only or i.kind == INTENSITY}

    # Values by name

    def keys(self) -> KeysView[str]:
        """Return the names of all values."""
        return {**self.images, **self.metadata}.keys()

    def values(self) -> ValuesView[Any]:
        """Return all values, as ``batch[name]`` does."""
        return {name: self[name] for name in self}.values()

    def items(self) -> ItemsView[str, Any]:
        """Return all names with their values."""
        return {name: self[name] for name in self}.items()

    def copy(self) -> SubjectsBatch:
        """Return a copy, as :func:`copy.copy` does."""
        return copy.copy(self)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a name, or the default."""
        try:
            return self[name]
        except KeyError:
            return default

    def update(self, values: Mapping[str, Any]) -> None:
        """Set several values by name."""
        for name, value in values.items():
            self[name] = value

    def pop(self, name: str, *default: Any) -> Any:
        """Remove the value of a name and return it, or the default."""
        if default and name not in self:
            return default[0]
        value = self[name]
        del self[name]
        return value

    def __getitem__(self, name: str) -> Any:
        if name in self.images:
            return self.images[name]
        if name in self.metadata:
            return _collated(self.metadata[name], self.device)
        if name == HISTORY:
            return self.history
        raise KeyError(f"batch has no {name!r}; it has {list(self)}")

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(f"batch has no {name!r}; it has {list(self)}")
        if list(self.images) == [name]:
            raise ValueError(f"a batch must have an image, {name!r} is its last one")
        self.images = {n: images for n, images in self.images.items() if n != name}
        self.metadata = {n: values for n, values in self.metadata.items() if n != name}

    def __contains__(self, name: object) -> bool:
        return name in self.images or name in self.metadata

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return self.batch_size

    def __getattr__(self, name: str) -> Any:
        # only called for names that are no attribute of the class or the instance
        if any(name in self.__dict__.get(values, {}) for values in ("images", "metadata")):
            return self[name]
        raise AttributeError(f"batch has no attribute or value {name!r}")

    def __setitem__(self, name: str, value: Any) -> None:
        """Set an image of all samples, or one value for each."""
        check_names((name,))
        if isinstance(value, ImagesBatch) or name in self.images:
            if not isinstance(value, ImagesBatch):
                raise TypeError(f"{name!r} must be an ImagesBatch, got {type(value).__name__}")
            if len(value) != self.batch_size:
                raise ValueError(
                    f"{name!r} must have the {self.batch_size} samples of the batch, "
                    f"got {len(value)}"
                )
            self.metadata = {n: v for n, v in self.metadata.items() if n != name}
            self.images = {**self.images, name: value}
        else:
            array = isinstance(value, (Tensor, np.ndarray)) and value.ndim > 0
            listed = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
            if not (array or listed) or len(value) != self.batch_size:
                raise ValueError(
                    f"{name!r} must hold one value for each of {self.batch_size} samples, "
                    f"got {value!r}"
                )
            self.metadata = {**self.metadata, name: value}  # type: ignore[dict-item]

    def __delattr__(self, name: str) -> None:
        if name in self:
            del self[name]
        else:
            object.__delattr__(self, name)

    def __copy__(self) -> SubjectsBatch:
        """Copy the batch and its batches of images; voxels and values are shared."""
        new = self.replace({name: copy.copy(images) for name, images in self.images.items()})
        new.metadata = dict(self.metadata)
        return new

    def __setattr__(self, name: str, value: Any) -> None:
        # items are accessible as attributes too, so attributes that are set become items
        if name in _OWN or hasattr(type(self), name):
            object.__setattr__(self, name, value)
        else:
            self[name] = value

    def plot(self, **kwargs: Any) -> Figure:
        """Draw the first samples, four at most; see :func:`torchio_gpu.plot.plot_gallery`."""
        from ..plot import plot_gallery

        rows = {f"sample {n}": subject for n, subject in enumerate(self.unbatch()[:_SHOWN])}
        return plot_gallery(rows, **kwargs)

    def _repr_html_(self) -> str:
        """Return HTML with the first samples and a table of all values, for notebooks."""
        from ..plot import html_of

        caption, values = f"batch of {self.batch_size}", self.images | dict(self.metadata)
        return html_of(self, self.plot, lambda: table_of_values(values, caption))

    def __repr__(self) -> str:
        values = [f"{name}={value!r}" for name, value in self.images.items()]
        values += [f"{name}={value!r}" for name, value in self.metadata.items()]
        return f"SubjectsBatch({', '.join(values)})"


# Subjects refuse names that would be attributes of a batch, before they are batched.
Subject._reserved |= frozenset(dir(SubjectsBatch)) | _OWN


def _changed(values: Any, change: Callable[[Any], Any]) -> Any:
    """Return the values of a name, one per sample, with points and boxes changed by a function."""
    if not isinstance(values, (list, tuple)) or not any(isinstance(v, PointSet) for v in values):
        return values
    return [change(v) if isinstance(v, PointSet) else v for v in values]


def _copied(points: PointSet) -> PointSet:
    """Return points or boxes that share no memory with those given."""
    return points._with(points.data.clone())


def _collated(values: Any, device: torch.device) -> Any:
    """Return values as torch collates numbers, and tensors of one shape; other values as is.

    Args:
        values: The value of each sample.
        device: Device of the result.
    """
    if not isinstance(values, (list, tuple)) or not values:
        return values
    numbers = all(isinstance(value, (int, float, np.number)) for value in values)
    tensors = all(isinstance(value, (Tensor, np.ndarray)) for value in values)
    if not numbers and not (tensors and len({np.shape(value) for value in values}) == 1):
        return values
    try:
        collated: Tensor = default_collate(list(values))
    except (TypeError, RuntimeError):  # strings in arrays, or devices that differ
        return values
    return collated.to(device, non_blocking=collated.device.type == "cpu")


def _column(name: str, values: list[Any]) -> Any:
    """Return the values of a name, one per sample; locations of patches as one tensor (B, 6)."""
    places = [value for value in values if isinstance(value, torch.Tensor)]
    if name != LOCATION or len(places) < len(values) or len({v.shape for v in places}) > 1:
        return values
    return torch.stack(places)


def _join(streams: Sequence[Streams | None]) -> Streams | None:
    """Return the streams of a batch: the seed of each sample and its positions that are used."""
    if len(streams) == 1 or all(stream is None for stream in streams):
        return streams[0]  # shared with the only sample, so that used positions stay used
    each = [Streams(fresh_seeds(1)) if stream is None else stream for stream in streams]
    seeds = np.concatenate([stream.seeds for stream in each])
    return Streams(seeds, np.concatenate([stream.used for stream in each]))

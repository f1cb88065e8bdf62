"""Several samples at once: the form in which everything is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Any

import numpy as np
import torch

from ..arrays import as_array, host
from ..functional.patches import extract_patches
from ..functional.rows import rows_at
from ..functional.statistics import fill_value
from ..geometry import Space
from ..random import Streams, fresh_seeds
from ..shapes import Triple, Volume, check_volume, converted
from .given import usable
from .image import AFFINE, DATA, INTENSITY, LABEL, LOCATION, TYPE, Image, image_class
from .meta_tensor import is_meta_tensor, split
from .subject import Subject

_IDENTITY = np.eye(4)[None]
#: Attributes of a SubjectsBatch itself; all others are values of the samples.
_OWN = frozenset(("images", "metadata", "streams", "histories", "records", "_class"))


class ImagesBatch:
    """One image of each of B samples.

    Args:
        data: Voxels, (B, C, I, J, K), on any device.
        affine: Voxel to world of each sample, (B, 4, 4) float64 on the host; identity by default.
        kind: 'intensity' or 'label'.
        images: The images the voxels came from, for their paths and metadata.

    >>> images = ImagesBatch(torch.zeros(2, 1, 4, 4, 4))
    >>> images[DATA] is images.data, images.affine.shape
    (True, (2, 4, 4))
    """

    #: Whether it is only there for a transform to fill in, and holds nothing yet.
    placeholder: bool = False

    def __init__(
        self,
        data: Volume,
        affine: np.ndarray | None = None,
        kind: str = INTENSITY,
        images: Sequence[Image] | None = None,
    ) -> None:
        if is_meta_tensor(data):
            data, own = split(data)
            affine = np.broadcast_to(own, (len(data), 4, 4)).copy() if affine is None else affine
        self.data = usable(check_volume(data, "data"))
        batch = data.shape[0]
        affine = _IDENTITY.repeat(batch, 0) if affine is None else host(as_array(affine, "affine"))
        affine = affine.astype(np.float64, copy=False)
        if np.shape(affine) != (batch, 4, 4):
            raise ValueError(f"affine must have shape ({batch}, 4, 4), got {np.shape(affine)}")
        if not np.isfinite(affine).all():
            raise ValueError(f"affine must be finite, got {affine}")
        if kind not in (INTENSITY, LABEL):
            raise ValueError(f"kind must be {INTENSITY!r} or {LABEL!r}, got {kind!r}")
        self.affine = affine
        self.kind = kind
        self._images = images  # as templates: without their voxels

    @classmethod
    def from_images(
        cls, images: Sequence[Image], name: str = "image", view: bool = False
    ) -> ImagesBatch:
        """Stack the voxels of images, one per sample, that share shape and type.

        Voxels that have to be read for it are not kept in the images.

        Args:
            images: The images.
            name: Their name, for errors.
            view: Let the voxels of a single image be those of the batch, rather than a copy.
        """
        images = [image._in_memory() for image in images]
        first = images[0]
        for n, image in enumerate(images):
            if image.shape != first.shape:
                raise ValueError(
                    f"images {name!r} of a batch must share a shape: sample 0 has {first.shape}, "
                    f"sample {n} has {image.shape}; bring them to one shape first, for example "
                    "with CropOrPad or by sampling patches"
                )
            if image.kind != first.kind:
                raise ValueError(
                    f"images {name!r} of a batch must be of one type: sample 0 is {first.kind}, "
                    f"sample {n} is {image.kind}"
                )
        view = view and len(images) == 1
        data = first.data[None] if view else torch.stack([i.data for i in images])
        affine = np.stack([image.affine for image in images])
        return cls(data, affine, first.kind, [image._with(None) for image in images])

    def unbatch(self) -> list[Image]:
        """One image per sample."""
        if self._images is None:
            cls = image_class(self.kind)
            return [cls(tensor=d, affine=a) for d, a in zip(self.data, self.affine, strict=True)]
        rows = zip(self._images, self.data, self.affine, strict=True)
        return [image._with(data, affine) for image, data, affine in rows]

    def with_data(self, data: Volume, affine: np.ndarray | None = None) -> ImagesBatch:
        """These images with other voxels and, if given, other affines."""
        return ImagesBatch(data, self.affine if affine is None else affine, self.kind, self._images)

    def rows(self, samples: Sequence[int]) -> ImagesBatch:
        """The images of some samples."""
        images = None if self._images is None else [self._images[n] for n in samples]
        data = self.data[rows_at(samples, self.device)]
        some = ImagesBatch(data, self.affine[list(samples)], self.kind, images)
        some.placeholder = self.placeholder
        return some

    def metadata(self, key: str) -> list[Any]:
        """A value of the metadata of the images that were batched; None where one has none."""
        if self._images is None:
            return [None] * len(self)
        return [image.metadata.get(key) for image in self._images]

    def floating(self) -> ImagesBatch:
        """These images with voxels to compute with: integers as float32."""
        floats = self.dtype.is_floating_point or self.dtype.is_complex
        return self if floats else self.with_data(self.data.float())

    def part(self, first: np.ndarray, size: Triple) -> Volume:
        """Some of the voxels of each sample.

        Args:
            first: Their first voxels, [B, 3].
            size: How many along I, J, K.
        """
        return extract_patches(self.data, first, size)

    def fill_value(self, rule: str | float) -> Any:
        """A number for what is outside, or one for each sample and channel, [B, C].

        Args:
            rule: See :func:`torchio_gpu.functional.fill_value`.
        """
        return fill_value(self.data, rule)

    def known(self, keys: Sequence[bytes], compute: Callable[[], Any]) -> Any:
        """A value for each sample and channel, [B, C], that may be known already.

        Args:
            keys: What the value of each sample is known by.
            compute: Computes them.
        """
        return compute()

    @property
    def tensor(self) -> Volume:
        """:attr:`data` by another name."""
        return self.data

    @property
    def type(self) -> str:
        """'intensity' or 'label'."""
        return self.kind

    @property
    def space(self) -> Space:
        """Where the voxels lie."""
        return Space(self.spatial_shape, self.affine)

    @property
    def shape(self) -> torch.Size:
        """(B, C, I, J, K)."""
        return self.data.shape

    @property
    def spatial_shape(self) -> Triple:
        """(I, J, K)."""
        _, _, i, j, k = self.shape
        return i, j, k

    @property
    def dtype(self) -> torch.dtype:
        """dtype of the voxels."""
        return self.data.dtype

    @property
    def device(self) -> torch.device:
        """Where the voxels are."""
        return self.data.device

    def to(self, *args: Any, **kwargs: Any) -> ImagesBatch:
        """These images on another device or of another dtype, as ``Tensor.to``."""
        return self.with_data(converted(self.data, *args, **kwargs))

    def pin_memory(self) -> ImagesBatch:
        """These images in page-locked memory, from which a copy to a GPU need not be waited for."""
        return self.with_data(self.data.pin_memory())

    def __getitem__(self, name: str) -> Any:
        if name not in (DATA, AFFINE, TYPE):
            raise KeyError(f"ImagesBatch has {DATA!r}, {AFFINE!r} and {TYPE!r}, got {name!r}")
        return getattr(self, name)

    def __len__(self) -> int:
        return len(self.affine)

    def __repr__(self) -> str:
        return (
            f"ImagesBatch(shape={tuple(self.shape)}, dtype={self.dtype}, "
            f"device={self.device}, type={self.kind!r})"
        )


class SubjectsBatch:
    """B subjects: named batches of images, and lists of everything else.

    Args:
        images: Batches of images, all of B samples.
        metadata: For each name, one value per sample.
        streams: Seeds of the samples, when a loader has decided them.
        histories: What was applied to each sample before it was batched.

    >>> batch = SubjectsBatch({"t1": ImagesBatch(torch.zeros(2, 1, 4, 4, 4))}, {"age": [45, 54]})
    >>> batch.t1.data.shape, batch["t1"]["data"] is batch.t1.data, batch.metadata["age"][1]
    (torch.Size([2, 1, 4, 4, 4]), True, 54)
    """

    def __init__(
        self,
        images: dict[str, ImagesBatch],
        metadata: dict[str, list[Any]] | None = None,
        streams: Streams | None = None,
        histories: list[list[Any]] | None = None,
    ) -> None:
        if len({len(batch) for batch in images.values()}) != 1:
            sizes = {name: len(batch) for name, batch in images.items()}
            raise ValueError(f"images of a batch must have one batch size, got {sizes or 'none'}")
        self.images = images
        self.metadata = metadata or {}
        self.streams = streams
        self.histories = histories
        #: What was applied to the batch as a whole, after ``histories``.
        self.records: list[Any] = []
        self._class: type[Subject] = Subject

    @classmethod
    def from_subjects(cls, subjects: Sequence[Subject], view: bool = False) -> SubjectsBatch:
        """Batch subjects that have the same images, of the same shapes.

        Args:
            subjects: The subjects.
            view: Let the voxels of a single subject be those of the batch, rather than a copy.
        """
        if not subjects:
            raise ValueError("a batch needs at least one subject, got none")
        first = subjects[0]
        for n, subject in enumerate(subjects):
            if set(subject) != set(first):
                raise ValueError(
                    f"subjects of a batch must have the same images: sample 0 has {list(first)}, "
                    f"sample {n} has {list(subject)}"
                )
        images = {
            name: ImagesBatch.from_images([subject[name] for subject in subjects], name, view)
            for name in first
        }
        names = dict.fromkeys(name for subject in subjects for name in subject.metadata)
        metadata = {name: _column(name, [s.get(name) for s in subjects]) for name in names}
        histories = [list(subject.history) for subject in subjects]
        batch = cls(
            images,
            metadata,
            _join([subject.streams for subject in subjects]),
            histories if any(histories) else None,
        )
        batch._class = type(first)
        return batch

    def unbatch(self) -> list[Subject]:
        """The subjects, each with its images, values and history."""
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
        """Records of what was applied to each sample, oldest first."""
        return [self._history(sample) for sample in range(self.batch_size)]

    def _history(self, sample: int) -> list[Any]:
        before = self.histories[sample] if self.histories else []
        rows = (record.row(sample) for record in self.records)
        return [*before, *(record for record in rows if record is not None)]

    def replace(self, images: dict[str, ImagesBatch]) -> SubjectsBatch:
        """This batch with other images; everything else is shared."""
        new = SubjectsBatch(images, self.metadata, self.streams, self.histories)
        new.records = list(self.records)
        new._class = self._class
        return new

    def apply_inverse_transform(self, **kwargs: Any) -> SubjectsBatch:
        """This batch with what was done to each sample undone, and empty histories.

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
        """Where the voxels of the first image are."""
        return next(iter(self.images.values())).device

    def to(self, *args: Any, **kwargs: Any) -> SubjectsBatch:
        """This batch with its voxels on another device, as ``Tensor.to``."""
        return self.replace({n: b.to(*args, **kwargs) for n, b in self.images.items()})

    def pin_memory(self) -> SubjectsBatch:
        """This batch with its voxels in page-locked memory."""
        return self.replace({n: b.pin_memory() for n, b in self.images.items()})

    def get_images_dict(self, intensity_only: bool = True) -> dict[str, ImagesBatch]:
        """Batches of images by name, by default without label maps."""
        return {n: i for n, i in self.images.items() if not intensity_only or i.kind == INTENSITY}

    def keys(self) -> list[str]:
        """Names of all values."""
        return [*self.images, *self.metadata]

    def __getitem__(self, name: str) -> Any:
        if name in self.images:
            return self.images[name]
        if name in self.metadata:
            return self.metadata[name]
        raise KeyError(f"batch has no {name!r}; it has {self.keys()}")

    def __contains__(self, name: object) -> bool:
        return name in self.images or name in self.metadata

    def __iter__(self) -> Iterator[str]:
        return iter(self.images)

    def __len__(self) -> int:
        return self.batch_size

    def __getattr__(self, name: str) -> Any:
        # Only asked for names that are no attribute of the class or the instance.
        for values in (self.__dict__.get("images", {}), self.__dict__.get("metadata", {})):
            if name in values:
                return values[name]
        raise AttributeError(f"batch has no attribute or value {name!r}")

    def __setitem__(self, name: str, value: Any) -> None:
        """Set an image of all samples, or one value for each."""
        if isinstance(value, ImagesBatch) or name in self.images:
            if not isinstance(value, ImagesBatch):
                raise TypeError(f"{name!r} must be an ImagesBatch, got {type(value).__name__}")
            if len(value) != self.batch_size:
                raise ValueError(
                    f"{name!r} must have the {self.batch_size} samples of the batch, "
                    f"got {len(value)}"
                )
            self.metadata = {n: v for n, v in self.metadata.items() if n != name}
            self.images[name] = value
        else:
            if not isinstance(value, Sized) or len(value) != self.batch_size:
                raise ValueError(
                    f"{name!r} must hold one value for each of {self.batch_size} samples, "
                    f"got {value!r}"
                )
            self.metadata = {**self.metadata, name: value}  # type: ignore[dict-item]

    def __setattr__(self, name: str, value: Any) -> None:
        # one truth: what is read as an attribute is an item
        if name in _OWN or hasattr(type(self), name):
            object.__setattr__(self, name, value)
        else:
            self[name] = value

    def __repr__(self) -> str:
        values = [f"{name}={value!r}" for name, value in self.images.items()]
        values += [f"{name}={value!r}" for name, value in self.metadata.items()]
        return f"SubjectsBatch({', '.join(values)})"


def _column(name: str, values: list[Any]) -> Any:
    """Values of a name, one per sample; locations of patches as one tensor (B, 6)."""
    places = [value for value in values if isinstance(value, torch.Tensor)]
    if name != LOCATION or len(places) < len(values) or len({v.shape for v in places}) > 1:
        return values
    return torch.stack(places)


def _join(streams: Sequence[Streams | None]) -> Streams | None:
    """The streams of a batch: each sample's own seed, and how much of it is used up."""
    if len(streams) == 1 or all(stream is None for stream in streams):
        return streams[0]  # of a single sample the very same: what is used up stays used up
    known = [Streams(fresh_seeds(1)) if stream is None else stream for stream in streams]
    seeds = np.concatenate([stream.seeds for stream in known])
    return Streams(seeds, np.concatenate([stream.used for stream in known]))

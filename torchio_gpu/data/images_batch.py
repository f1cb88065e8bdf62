"""Batches of images: one image of each of several samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ..arrays import as_array, host
from ..functional.patches import extract_patches
from ..functional.samples import samples_at
from ..functional.statistics import fill_value
from ..geometry import Space
from ..shapes import Triple, Volume, check_volume, converted
from .checks import usable
from .facts import facts_of
from .image import Image, image_class
from .keys import AFFINE, DATA, INTENSITY, KINDS, PATH, STEM, TENSOR, TYPE
from .known_fills import KnownFills, portable
from .meta_tensor import is_meta_tensor, split
from .pickling import Transferable

_IDENTITY = np.eye(4)[None]


class ImagesBatch(Transferable):
    """Batch of one image of each of B samples.

    Args:
        data: Voxels, (B, C, I, J, K), on any device.
        affine: Voxel to world of each sample, (B, 4, 4) float64 on the host; identity by default.
        kind: 'intensity', 'label' or 'sampling_map'.
        images: The images the voxels came from, for their paths and metadata.

    >>> images = ImagesBatch(torch.zeros(2, 1, 4, 4, 4))
    >>> images[DATA] is images.data, images.affine.shape
    (True, (2, 4, 4))
    """

    #: True for an image of zeros that a transform is about to fill in.
    placeholder: bool = False
    #: True if voxels stay in a file, of which parts are read: there is no whole ``data`` then.
    unread: bool = False
    #: Size of the boxes by which that file is read once.
    box_at_a_time: Triple = (1, 1, 1)
    #: Fill values of the voxels, if any are known.
    _fills: KnownFills | None = None

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
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
        self.affine = _IDENTITY.repeat(batch, 0) if affine is None else _affines(affine, batch)
        self.kind = kind
        self._images = images  # without voxels: for their paths and metadata

    @classmethod
    def from_images(
        cls, images: Sequence[Image], name: str = "image", view: bool = False
    ) -> ImagesBatch:
        """Stack the voxels of images, one per sample, that share shape and type.

        Images whose voxels have not been read stay without voxels.

        Args:
            images: The images.
            name: Their name, for errors.
            view: Share the voxels of a single image with the batch, rather than copy them.
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
        """Return a list of one image per sample."""
        if self._images is None:
            cls = image_class(self.kind)
            return [cls(tensor=d, affine=a) for d, a in zip(self.data, self.affine, strict=True)]
        samples = zip(self._images, self.data, self.affine, strict=True)
        return [image._with(data, affine) for image, data, affine in samples]

    def with_data(self, data: Volume, affine: np.ndarray | None = None) -> ImagesBatch:
        """Return a batch with other voxels and, if given, other affines."""
        return ImagesBatch(data, self.affine if affine is None else affine, self.kind, self._images)

    def with_same_values(self, data: Volume, affine: np.ndarray | None = None) -> ImagesBatch:
        """Return a batch with these voxels elsewhere, in another order, or as another dtype.

        Unlike :meth:`with_data`, it keeps the minimum of each sample and channel, if it is known.
        """
        new = self.with_data(data, affine)
        new._fills = None if self._fills is None else self._fills.moved(self.data, new.data)
        return new

    def rows(self, samples: Sequence[int]) -> ImagesBatch:
        """Return the images of some samples."""
        images = None if self._images is None else [self._images[n] for n in samples]
        data = self.data[samples_at(samples, self.device)]
        selected = ImagesBatch(data, self.affine[list(samples)], self.kind, images)
        selected.placeholder = self.placeholder
        minimum = None if self._fills is None else self._fills.minimum(self.data)
        if minimum is not None:
            selected._fills = KnownFills(data, minimum[list(samples)])
        return selected

    def metadata(self, key: str) -> list[Any]:
        """Return the value of a metadata key for each sample; None if an image has none."""
        if self._images is None:
            return [None] * len(self)
        return [image.metadata.get(key) for image in self._images]

    def floating(self) -> ImagesBatch:
        """Return a batch with integer voxels converted to float32."""
        floats = self.dtype.is_floating_point or self.dtype.is_complex
        return self if floats else self.with_same_values(self.data.float())

    def read(self) -> ImagesBatch:
        """Return the images with voxels in memory: themselves, unless they are unread."""
        return self

    def prefetch(self, first: np.ndarray, size: Triple, submit: Callable[..., Any]) -> None:
        """Start to read the patch in threads, where voxels are in files; see :meth:`part`.

        Args:
            first, size: As for :meth:`part`, which returns this patch later.
            submit: Starts a function in a thread, and returns its future.
        """

    def part(self, first: np.ndarray, size: Triple) -> Volume:
        """Return a patch of the voxels of each sample.

        Args:
            first: First voxel of the patch of each sample, [B, 3].
            size: Voxels of a patch along I, J, K.
        """
        return extract_patches(self.data, first, size)

    def fill_value(self, rule: str | float) -> Any:
        """Return the fill that a rule gives: a number, or one per sample and channel, [B, C].

        It is computed once, and kept until the voxels are replaced, or written to by operators of
        torch. A loader computes the minimum, which goes along to other devices and processes. Not
        noticed are writes that torch does not count: through an array of numpy or a pointer that
        shares the memory of the voxels, by a CUDA graph, or by ``torch.distributed``. After them,
        set ``images.data = images.data``.

        Args:
            rule: See :func:`torchio_gpu.functional.fill_value`.
        """
        data = self.data
        if not isinstance(rule, str) or data.requires_grad:  # a fill has a gradient of its own
            return fill_value(data, rule)
        if self._fills is None or not self._fills.are_of(data):
            self._fills = KnownFills(data)
        return self._fills.value(data, rule)

    def known(self, keys: Sequence[bytes], compute: Callable[[], Any]) -> Any:
        """Return values for each sample and channel, [B, C]; a subclass may cache them.

        Args:
            keys: Cache key of the values of each sample.
            compute: Function that computes the values of all samples.
        """
        return compute()

    @property
    def data(self) -> Volume:
        """Voxels (B, C, I, J, K)."""
        return self._data

    @data.setter
    def data(self, data: Volume) -> None:
        self._data, self._fills = data, None

    @property
    def tensor(self) -> Volume:
        """Voxels (B, C, I, J, K): :attr:`data` by another name."""
        return self.data

    @property
    def type(self) -> str:
        """'intensity', 'label' or 'sampling_map'."""
        return self.kind

    @property
    def space(self) -> Space:
        """Space of the voxels: shape and affines."""
        return Space(self.spatial_shape, self.affine)

    @property
    def shape(self) -> torch.Size:
        """Shape (B, C, I, J, K)."""
        return self.data.shape

    @property
    def spatial_shape(self) -> Triple:
        """Spatial shape (I, J, K)."""
        _, _, i, j, k = self.shape
        return i, j, k

    @property
    def dtype(self) -> torch.dtype:
        """dtype of the voxels."""
        return self.data.dtype

    @property
    def device(self) -> torch.device:
        """Device of the voxels."""
        return self.data.device

    def to(self, *args: Any, **kwargs: Any) -> ImagesBatch:
        """Return a batch with voxels on another device or of another dtype, as ``Tensor.to``."""
        return self.with_same_values(converted(self.data, *args, **kwargs))

    def pin_memory(self) -> ImagesBatch:
        """Return a batch with voxels in page-locked memory, for asynchronous copies to a GPU."""
        return self.with_same_values(self.data.pin_memory())

    def keys(self) -> list[str]:
        """Return the names of all values, those of metadata included."""
        own = (name for image in self._images or () for name in image.metadata)
        return list(dict.fromkeys((DATA, AFFINE, TYPE, PATH, STEM, *own)))

    def values(self) -> list[Any]:
        """Return all values, as ``images[name]`` does."""
        return [self[name] for name in self.keys()]

    def items(self) -> list[tuple[str, Any]]:
        """Return all names with their values."""
        return [(name, self[name]) for name in self.keys()]

    def __getitem__(self, name: str) -> Any:
        """Return voxels, affines [B, 4, 4] as a tensor, or one value per sample of all else."""
        if name in (DATA, TENSOR):
            return self.data
        if name == AFFINE:
            return torch.from_numpy(self.affine)
        if name == TYPE:
            return [self.kind] * len(self)
        if name in (PATH, STEM):
            return [image[name] for image in self._images or ()] or [""] * len(self)
        if name in self.keys():
            return self.metadata(name)
        raise KeyError(f"images have no {name!r}; they have {self.keys()}")

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a name, or the default."""
        try:
            return self[name]
        except KeyError:
            return default

    def __setitem__(self, name: str, value: Any) -> None:
        """Set voxels or affines, of as many samples as before."""
        if name in (DATA, TENSOR):
            data = usable(check_volume(value, name))
            if len(data) != len(self):
                raise ValueError(f"{name} must have {len(self)} samples, got {len(data)}")
            self.data = data
        elif name == AFFINE:
            self.affine = _affines(value, len(self))
        else:
            raise KeyError(f"only {DATA!r} and {AFFINE!r} of images can be set, got {name!r}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __len__(self) -> int:
        return len(self.affine)

    def __copy__(self) -> ImagesBatch:
        """Copy the batch and its affines; voxels are shared."""
        new = self.__class__.__new__(self.__class__)
        new.__dict__.update(self.__dict__, affine=self.affine.copy())
        return new

    def __getstate__(self) -> dict[str, Any]:
        minimum = None if self._fills is None else self._fills.minimum(self.data)
        return {**self.__dict__, "_fills": portable(minimum)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        minimum = state["_fills"]  # writes are counted anew
        if minimum is not None:
            self._fills = KnownFills(self.data, torch.from_numpy(minimum))

    def _facts(self) -> list[str]:
        """Return type, shape, spacing, orientation, dtype and device as texts."""
        name = image_class(self.kind).__name__
        return facts_of(name, self.shape, self.affine, self.dtype, self.device)

    def __repr__(self) -> str:
        return (
            f"ImagesBatch(shape={tuple(self.shape)}, dtype={self.dtype}, "
            f"device={self.device}, type={self.kind!r})"
        )


def _affines(affine: Any, batch: int) -> np.ndarray:
    """Return affines of a batch, (B, 4, 4) float64, or raise."""
    found: np.ndarray = host(as_array(affine, "affine")).astype(np.float64, copy=False)
    if np.shape(found) != (batch, 4, 4):
        raise ValueError(f"affine must have shape ({batch}, 4, 4), got {np.shape(found)}")
    if not np.isfinite(found).all():
        raise ValueError(f"affine must be finite, got {found}")
    return found

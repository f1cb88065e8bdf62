"""Images whose voxels stay in their files, of which parts are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..functional.patches import extract_patches
from ..functional.statistics import fill_value_of_parts
from ..shapes import Triple, Volume, converted
from . import files, io
from .batch import SubjectsBatch
from .image import Image
from .images_batch import ImagesBatch
from .subject import Subject

#: Fill values of an image, by rule or key.
Fills = dict[Any, Any]
_HOST = torch.device("cpu")


class UnreadImages(ImagesBatch):
    """Image of one sample whose voxels stay in its file: :meth:`part` reads a box of them.

    Args:
        image: An image that was not read, of a file of which regions can be read; see
            :func:`.files.slices`.
        fills: Fill values that are known; those that are computed are added. 'minimum' reads all
            voxels once, a slab at a time.
        device: Device to which voxels are copied.
        dtype: Their dtype; by default that of the file.
    """

    unread = True

    def __init__(
        self,
        image: Image,
        fills: Fills,
        device: torch.device = _HOST,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._image, self._fill_values, self._device = image, fills, device
        self._whole_shape = torch.Size((1, *image.shape))
        self._dtype = image.dtype if dtype is None else dtype
        self.affine = image.affine[None].copy()
        self.kind = image.kind
        self._images = [image._with(None)]
        assert image.path is not None
        self.box_at_a_time = files.box_at_a_time(image.path, image.spatial_shape)

    @property  # type: ignore[misc]
    def data(self) -> Volume:
        """Raise a RuntimeError: the voxels may need more memory than there is; see :meth:`read`."""
        raise RuntimeError(
            f"load_getitem must be True where all voxels are needed at once: those of "
            f"{self._name} stay in the file"
        )

    @property
    def _name(self) -> str:
        assert self._image.path is not None
        return files.shown(self._image.path)

    @property
    def shape(self) -> torch.Size:
        return self._whole_shape

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    @property
    def device(self) -> torch.device:
        return self._device

    def read(self) -> ImagesBatch:
        box = self.read_box(np.zeros((1, 3), np.int64), self.spatial_shape)
        return ImagesBatch(self._delivered(box), self.affine, self.kind, self._images)

    def read_box(self, first: np.ndarray, size: Triple) -> Tensor:
        """Return the voxels of a box from the file, (1, C, \\*size) on the host; 0 outside."""
        start = first[0].clip(0, self.spatial_shape)
        stop = (first[0] + size).clip(start, self.spatial_shape)
        if (stop == start).any():
            return torch.zeros(1, self.shape[1], *size, dtype=self._image.dtype)
        i, j, k = (slice(a, b, 1) for a, b in zip(start.tolist(), stop.tolist(), strict=True))
        box = self._image._check_data(self._voxels((i, j, k)))[None]
        if box.shape[2:] != size:
            box = extract_patches(box, (first[0] - start)[None], size)
        return box.pin_memory() if self._device.type == "cuda" else box

    def _voxels(self, region: files.Region) -> Tensor:
        """Return the voxels of a region; raise an OSError if the file has another shape now."""
        assert self._image.path is not None
        error = None
        try:
            data, _, header = files.volume(self._image.path, self._image.reader, region)
        except ValueError as raised:  # the region may lie outside by now
            header, error = files.header(self._image.path), raised
        if header.shape != self.shape[1:]:
            raise OSError(
                f"{self._name} must not change while it is used: its shape was "
                f"{tuple(self.shape[1:])}, got {header.shape}"
            ) from error
        if error is not None:
            raise error
        return data

    def part(self, first: np.ndarray, size: Triple) -> Volume:
        return self._delivered(self.read_box(first, size))

    def _delivered(self, box: Tensor) -> Tensor:
        return box.to(self._device, non_blocking=True).to(self._dtype)

    def fill_value(self, rule: str | float) -> Any:
        if not isinstance(rule, str):
            return rule
        if rule not in self._fill_values:
            on_host = UnreadImages(self._image, {})
            self._fill_values[rule] = fill_value_of_parts(
                lambda first, size: on_host.part(np.array([first]), size),
                self.spatial_shape,
                rule,
                self.box_at_a_time,
            )
        fill = self._fill_values[rule]
        if not isinstance(fill, Tensor):
            return fill
        return fill.to(self._device, self._dtype if self._dtype.is_floating_point else fill.dtype)

    def known(self, keys: Sequence[bytes], compute: Callable[[], Any]) -> Any:
        key = keys[0], self._dtype
        if key not in self._fill_values:
            self._fill_values[key] = compute()
        return self._fill_values[key]

    def floating(self) -> ImagesBatch:
        known = self.dtype.is_floating_point or self.dtype.is_complex
        return self if known else self.to(torch.float32)

    def rows(self, samples: Sequence[int]) -> ImagesBatch:
        if list(samples) != [0]:
            raise IndexError(f"samples must be [0], of a single one, got {list(samples)}")
        return self

    def to(self, *args: Any, **kwargs: Any) -> ImagesBatch:
        like = converted(torch.empty(0, dtype=self.dtype, device=self.device), *args, **kwargs)
        return UnreadImages(self._image, self._fill_values, like.device, like.dtype)

    def pin_memory(self) -> ImagesBatch:
        return self

    def part_ahead(
        self, first: np.ndarray, size: Triple, submit: Callable[..., Future[Tensor]]
    ) -> Callable[[], Volume]:
        """Start to read a box in a thread; return the function that waits for :meth:`part`."""
        future = submit(self.read_box, first, size)
        return lambda: self._delivered(future.result())


class VoxelRows:
    """Voxels [I, J, K] of an unread image of one channel, of which rows along K are read."""

    def __init__(self, images: UnreadImages) -> None:
        self._images = images.to(_HOST)

    def __getitem__(self, at: tuple[int, int, slice]) -> Tensor:
        i, j, k = at
        row = self._images.part(np.array([[i, j, k.start]]), (1, 1, k.stop - k.start))
        return row[0, 0, 0, 0]


def unread_batch(subject: Subject, fills: Callable[[str, Image], Fills]) -> SubjectsBatch:
    """Return a batch of one subject, whose voxels stay in their files where these can be sliced.

    Images of other files are read. Voxels in memory, points and boxes are shared.

    Args:
        subject: The subject.
        fills: Returns the known fill values of an image, given its name.
    """
    images: dict[str, ImagesBatch] = {}
    for name, image in subject.get_images_dict(intensity_only=False).items():
        if image.loaded or image.path is None or not files.slices(image.path, image.reader):
            images[name] = ImagesBatch.from_images([image], name, view=True)
        else:
            images[name] = UnreadImages(image, fills(name, image))
    return SubjectsBatch._around(images, [subject], view=True)


def version_of(paths: files.Paths) -> tuple[Any, ...]:
    """Return paths with their times of change and sizes, by which a changed file is noticed."""
    each = paths if isinstance(paths, list) else [paths]
    return tuple((str(path), *io.file_stamps(path)) for path in each)


__all__ = ["Fills", "UnreadImages", "VoxelRows", "unread_batch", "version_of"]

"""Images of a batch, and facts about them, for transforms that draw parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch

from ...data import ImagesBatch
from ...geometry import Space
from ...tracing import untraceable
from .sampling import sample
from .warp import PendingWarp


class ContextImages(Mapping[str, ImagesBatch]):
    """Images of a batch at a point of a pipeline.

    An image with pending maps is sampled at each access, and the result is not kept; its space is
    available without sampling.

    Args:
        images: The images.
        warps: Pending maps of some of them.
        on_sample: Called with the name of an image when it is sampled.
        flush: Executes what is pending, called before voxels are looked at; by default the image is
            sampled for the look alone.
    """

    def __init__(
        self,
        images: Mapping[str, ImagesBatch],
        warps: Mapping[str, PendingWarp] | None = None,
        on_sample: Callable[[str], None] = lambda _: None,
        flush: Callable[[], None] | None = None,
    ) -> None:
        self._images, self._on_sample, self._flush = images, on_sample, flush
        self._warps = {} if warps is None else warps

    def space(self, name: str) -> Space:
        """Return the space of an image: shape and affines."""
        warp = self._warps.get(name)
        return self._images[name].space if warp is None else warp.space

    def channels(self, name: str) -> int:
        """Return the number of channels of an image."""
        return self._images[name].shape[1]

    def kind(self, name: str) -> str:
        """Return the kind of an image: 'intensity' or 'label'."""
        return self._images[name].kind

    def device(self, name: str) -> torch.device | None:
        """Return the device of an image; None if it is not known."""
        return self._images[name].device if name in self._images else None

    def metadata(self, name: str, key: str) -> list[Any]:
        """Return the value of a metadata key of an image for each sample; None if it has none."""
        untraceable("metadata are looked at")
        return self._images[name].metadata(key)

    def __getitem__(self, name: str) -> ImagesBatch:
        if self._flush is not None:
            self._flush()
        images, warp = self._images[name], self._warps.get(name)
        if warp is None or warp.maps.is_empty:
            return images
        self._on_sample(name)
        return sample(warp, images, ())

    def __contains__(self, name: object) -> bool:
        return name in self._images

    def __iter__(self) -> Iterator[str]:
        return iter(self._images)

    def __len__(self) -> int:
        return len(self._images)


class Context(NamedTuple):
    """Properties of a batch that a transform may use when it draws parameters.

    Args:
        names: Images that the transform will change.
        spaces: Space of each of them.
        images: All images. Their shapes and types cost nothing; reading voxels on the host waits
            for the device.
    """

    names: tuple[str, ...]
    spaces: tuple[Space, ...]
    images: ContextImages = ContextImages({})

    @classmethod
    def of(cls, names: tuple[str, ...], images: ContextImages) -> Context:
        """Return the context of a transform that changes images of some names."""
        return cls(names, tuple([images.space(name) for name in names]), images)

    @property
    def space(self) -> Space:
        """Space of the first image."""
        return self.spaces[0]

    @property
    def device(self) -> torch.device | None:
        """Device of the first image; None if only its space is known."""
        return self.images.device(self.names[0])

    @property
    def batch(self) -> int:
        """Number of samples."""
        return len(self.space.affine)

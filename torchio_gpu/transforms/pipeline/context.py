"""Images of a batch as a transform may look at them while it draws parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ...data import ImagesBatch
from ...geometry import Space
from .sampling import sample
from .warp import PendingWarp


class ContextImages(Mapping[str, ImagesBatch]):
    """Images of a batch as they are at some point of a pipeline.

    An image with pending maps is sampled when it is asked for, and the result is not kept; where
    its voxels lie is known without that.

    Args:
        images: The images.
        warps: Pending maps of some of them.
        on_look: Called with the name of an image that is sampled.
    """

    def __init__(
        self,
        images: Mapping[str, ImagesBatch],
        warps: Mapping[str, PendingWarp] | None = None,
        on_look: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._images, self._on_look = images, on_look
        self._warps = {} if warps is None else warps

    def space(self, name: str) -> Space:
        """Return where the voxels of an image lie."""
        warp = self._warps.get(name)
        return self._images[name].space if warp is None else warp.space

    def kind(self, name: str) -> str:
        """Return 'intensity' or 'label'."""
        return self._images[name].kind

    def metadata(self, name: str, key: str) -> list[Any]:
        """Return a value that goes with an image, of each sample; None where it has none."""
        return self._images[name].metadata(key)

    def __getitem__(self, name: str) -> ImagesBatch:
        images, warp = self._images[name], self._warps.get(name)
        if warp is None or not warp.moved:
            return images
        self._on_look(name)
        return sample(warp, images, ())

    def __contains__(self, name: object) -> bool:
        return name in self._images

    def __iter__(self) -> Iterator[str]:
        return iter(self._images)

    def __len__(self) -> int:
        return len(self._images)


class Context(NamedTuple):
    """Facts about a batch that a transform may use when it draws parameters.

    Args:
        names: Images that the transform will change.
        spaces: Where the voxels of each of them lie.
        images: All images. Their shapes and types cost nothing; a look at their voxels waits for
            the device.
    """

    names: tuple[str, ...]
    spaces: tuple[Space, ...]
    images: ContextImages = ContextImages({})

    @property
    def space(self) -> Space:
        """Space of the first image."""
        return self.spaces[0]

    @property
    def batch(self) -> int:
        """Number of samples."""
        return len(self.space.affine)

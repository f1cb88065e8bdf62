"""Plots of two images, or two subjects, and of their difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..shapes import brief
from .images import rows_of, same_grid
from .options import ColourMap, Options
from .planes import LABEL, ImageLike, Plane, SubjectLike, planes_of
from .sheet import Row, draw_sheet, window_of

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

#: Colours from the lowest difference to the highest one; black is none, as on the rest of a sheet.
_COLOURS = ("#d6f3ff", "#56b4e9", "#0060a0", "#000000", "#a03000", "#e69f00", "#fff6c0")


def plot_difference(
    before: ImageLike | SubjectLike,
    after: ImageLike | SubjectLike,
    *,
    name: str | None = None,
    limit: float | None = None,
    cmap: ColourMap | None = None,
    **options: Any,
) -> Figure:
    """Draw an image, another one on its grid, and the second minus the first.

    Both images are drawn with the window of the first. Colours of the difference are symmetric
    about 0, which is black; a bar and the title say their range, and how many voxels have no
    difference that is a finite number. Of label maps, voxels whose label differs are white. Of
    complex images, magnitudes are compared. One channel is compared: 0, or ``channel``.

    Args:
        before, after: Two images, or two subjects.
        name: Image of the subjects to draw, by default the first scalar one, with the contours of
            the label maps on its grid.
        limit: Difference that is drawn in the strongest colours, by default the 99.5th percentile
            of the absolute differences in the planes drawn.
        cmap: Colour map of the difference, such as 'RdBu_r'.
        options: As for :func:`plot_image`, of the images and the figure.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: One is an image and the other is a subject, or one a label map and the other not.
        ValueError: They lie on different grids, have different numbers of channels, no image of
            that name, or ``limit`` is not greater than 0.

    >>> image = ScalarImage(torch.rand(1, 8, 8, 8))
    >>> figure = tio.plot.plot_difference(image, RandomNoise()(image))
    >>> [text.get_text() for text in figure.texts][:2]
    ['before', 'after']
    """
    if "rgb" in options:
        raise TypeError("rgb is no option of a difference, which is that of one channel")
    chosen = replace(Options.of(options), rgb=False)
    if limit is not None and not limit > 0:
        raise ValueError(f"limit must be > 0, got {limit!r}")
    if hasattr(before, "get_images_dict") != hasattr(after, "get_images_dict"):
        raise TypeError("before and after must both be images or both be subjects, got one of each")
    first, title = _image_of(before, name)
    second, _ = _image_of(after, title or None)
    _check(first, second)
    if first.kind == LABEL and not (limit is None and cmap is None):
        raise ValueError("limit and cmap must be left out for label maps: labels differ or not")
    old, new = (_planes(each, title, chosen) for each in (before, after))
    prefix = f"{title}, " if title else ""
    window = window_of(old, chosen)
    rows = [Row(f"{prefix}before", old, window), Row(f"{prefix}after", new, window)]
    rows.append(_changes(old, new) if old[0].painted else _signed(old, new, limit, cmap))
    return draw_sheet(rows, chosen, width=9)


def _image_of(value: Any, name: str | None) -> tuple[ImageLike, str]:
    """Return the image to draw, and its name, which is empty for an image by itself."""
    if not hasattr(value, "get_images_dict"):
        if not hasattr(value, "kind"):
            raise TypeError(f"before and after must be images or subjects, got {brief(value)}")
        if name is not None:
            raise ValueError(f"name must be left out for images, which have none, got {name!r}")
        return value, ""
    images = value.get_images_dict(intensity_only=False)
    scalars = [each for each, image in images.items() if image.kind != LABEL]
    name = name if name is not None else (scalars or list(images))[0]
    if name not in images:
        raise ValueError(f"name must be that of an image of both subjects, got {name!r}")
    return images[name], name


def _check(before: ImageLike, after: ImageLike) -> None:
    if (before.kind == LABEL) != (after.kind == LABEL):
        raise TypeError(
            f"before and after must both be label maps or neither, got {before.kind} and "
            f"{after.kind}"
        )
    if not same_grid(before, after):
        raise ValueError(f"after must lie on the grid of {before!r}, got {after!r}")
    if before.num_channels != after.num_channels:
        raise ValueError(
            f"after must have the {before.num_channels} channels of before, got "
            f"{after.num_channels}"
        )


def _planes(value: Any, name: str, options: Options) -> list[Plane]:
    if not name:
        return planes_of(value, [], [], options)
    for _, planes in rows_of(value, options, {}, name):
        return planes
    # a label map that is drawn as contours elsewhere
    return planes_of(value.get_images_dict(intensity_only=False)[name], [], [], options)


def _signed(
    old: Sequence[Plane], new: Sequence[Plane], limit: float | None, cmap: ColourMap | None
) -> Row:
    """Return the row of the differences of scalar images."""
    planes = [
        replace(b, picture=_minus(b, a), cmap=cmap or _colours(), contours=[], dots=[])
        for a, b in zip(old, new, strict=True)
    ]
    values = np.concatenate([plane.picture.ravel() for plane in planes])
    sizes = np.abs(values[np.isfinite(values)])
    count = len(values) - len(sizes)
    odd = f"; {count} of {len(values)} voxels not finite" if count else ""
    if limit is None:
        # where next to nothing differs, that percentile is 0
        limit = float(np.percentile(sizes, 99.5) or sizes.max()) if len(sizes) else 0
    if not limit:
        none = "no finite difference" if count else "no difference"
        return Row(f"after - before: {none} in these planes{odd}", planes, (-1, 1))
    title = f"after - before, from {-limit:.3g} to {limit:.3g}{odd}"
    return Row(title, planes, (-limit, limit), bar=True)


def _minus(after: Plane, before: Plane) -> np.ndarray:
    """Return differences; 0 where both are the same infinity, or no number."""
    a, b = after.picture, before.picture
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.subtract(a, b, out=np.zeros_like(a), where=~same)


def _changes(old: Sequence[Plane], new: Sequence[Plane]) -> Row:
    """Return the row of the voxels whose label differs."""
    planes = [
        replace(b, picture=(a.picture != b.picture) * 1.0, painted=False, cmap="gray")
        for a, b in zip(old, new, strict=True)
    ]
    count = int(sum(plane.picture.sum() for plane in planes))
    total = sum(plane.picture.size for plane in planes)
    return Row(f"another label: {count} of {total} voxels in these planes", planes, (0, 1))


def _colours() -> Colormap:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("difference", _COLOURS, N=257)  # 0 is the middle


__all__ = ["plot_difference"]

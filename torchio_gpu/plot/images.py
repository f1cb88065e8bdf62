"""Plots of an image, of the images of a subject, and of several subjects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import ColourMap, Options
from .planes import LABEL, ImageLike, Plane, PointsLike, SubjectLike, planes_of
from .sheet import Row, draw_sheet, window_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_image(
    image: ImageLike,
    *,
    labels: ImageLike | None = None,
    points: Sequence[PointsLike] = (),
    **options: Any,
) -> Figure:
    """Draw three planes of an image, with letters of the anatomical directions at their edges.

    Planes are those of the voxel grid that come closest to sagittal, coronal and axial, drawn to
    one scale in mm. An image with a single slice has one plane.

    Args:
        image: The image, on any device. The labels of a label map are drawn in colours.
        labels: Label map on the same grid, drawn as contours; each of several channels is a label.
        points: Sets of points, drawn as dots on the planes that they are within a voxel of, with a
            colour for each set.
        options: See below.

    Options, of which TorchIO's and matplotlib's have the meaning that they have there:

    - Values: ``window``, the values to draw black and white, or ``vmin`` and ``vmax``; by default
      the ``percentiles`` (0.5, 99.5) of the voxels drawn. ``cmap``, a colour map of matplotlib or,
      for a label map, a dict of colours by label (names, or red, green and blue from 0 to 255).
      ``interpolation`` of scalar images, one of matplotlib's names.
    - Channels: ``rgb``, by default True: three channels, and the four of a 2D uint8 image, are
      drawn as red, green, blue and opacity, from 0 to 255 if they are uint8, and from 0 to 1 if
      they are floats in that range. ``channel``, such as a time point, to draw alone; otherwise 0.
      Each channel of a label map is a label, and all are drawn.
    - Place: ``indices``, the voxel (i, j, k) that the planes go through, by default the middle one.
      ``radiological``, by default True: the patient's right is at the left of the picture, and
      sagittal planes face left. False is the neurological convention: right is right, and sagittal
      planes face right.
    - Labels: ``contours``, by default True; ``overlay``, the opacity from 0 to 1 of labels that are
      drawn filled, by default 0.
    - Figure: ``title``; ``figsize``, width and height in inches; ``dpi``, by default 150; ``axes``
      of matplotlib to draw into instead, one for each plane.
    - Output: ``show``, by default False: show the figure in a notebook, or in a window if
      matplotlib has an interactive backend. ``output_path``, a file to save the figure in, with
      ``savefig_kwargs``.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: There is no option of that name.
        ValueError: ``labels`` lie on another grid, ``indices`` or ``channel`` outside the image, or
            an option has a value that it cannot have.
    """
    chosen = Options.of(options)
    if labels is not None and not same_grid(image, labels):
        raise ValueError(f"labels must lie on the grid of {image!r}, got {labels!r}")
    if image.kind == LABEL and image.num_channels > 1 and chosen.channel is not None:
        raise ValueError(
            "channel must be left out for a label map, each channel of which is a label"
        )
    planes = planes_of(image, [] if labels is None else [(labels, None)], points, chosen)
    row = Row(chosen.title or "", planes)
    return draw_sheet([row], replace(chosen, title=None), width=9)


def plot_subject(
    subject: SubjectLike, *, cmap_dict: Mapping[str, ColourMap] | None = None, **options: Any
) -> Figure:
    """Draw three planes of each scalar image of a subject, with the contours of its label maps.

    Label maps are drawn over the scalar images on the same grid; a label map on another grid has
    its own row. Points of the subject are drawn, too.

    Args:
        subject: The subject.
        cmap_dict: ``cmap`` by name of the image; of a label map, its contours get these colours.
        options: As for :func:`plot_image`; ``cmap`` is that of scalar images.

    Raises:
        Exception: See :func:`plot_image`.
    """
    chosen = Options.of(options)
    rows = rows_of(subject, chosen, cmap_dict or {})
    return draw_sheet([Row(*row) for row in rows], chosen, width=9)


def plot_gallery(
    rows: Mapping[str, SubjectLike] | Iterable[tuple[str, SubjectLike]],
    path: str | Path | None = None,
    *,
    columns: int = 2,
    **options: Any,
) -> Figure:
    """Draw several subjects: three planes of each one's first scalar image, with label contours.

    Args:
        rows: Subjects by their title, of two lines at most; or an iterable of pairs of title and
            subject, of which only one is held at a time.
        path: File to save the figure in; its suffix names the format.
        columns: Number of columns of subjects, which are filled one after another.
        options: As for :func:`plot_image`; ``window`` is by default that of the first subject for
            all, so that differences in brightness are visible.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: There are no subjects, or see :func:`plot_image`.
    """
    chosen = Options.of(options if path is None else {**options, "output_path": path})
    window, drawn = None, []
    for title, subject in rows.items() if isinstance(rows, Mapping) else rows:
        _, planes = next(rows_of(subject, chosen, {}))
        window = window or window_of(planes, chosen)
        drawn.append(Row(title, planes, window))
    if not drawn:
        raise ValueError("rows must hold at least one subject, got none")
    return draw_sheet(drawn, chosen, width=4.8, columns=columns)


def same_grid(a: ImageLike, b: ImageLike) -> bool:
    """Return True if two images lie on one grid."""
    return a.space.is_same(b.space)


def rows_of(
    subject: SubjectLike,
    options: Options,
    cmaps: Mapping[str, ColourMap],
    only: str | None = None,
) -> Iterator[tuple[str, list[Plane]]]:
    """Yield names and planes of scalar images with label maps on their grids, then of other maps.

    Args:
        subject: The subject; images are read when their planes are asked for.
        options: See :func:`planes_of`.
        cmaps: Colour maps by name of the image.
        only: Name of the one image to draw.
    """
    images = subject.get_images_dict(intensity_only=False)
    maps = {name: image for name, image in images.items() if image.kind == LABEL}
    scalars = {name: image for name, image in images.items() if name not in maps}
    points = list(getattr(subject, "get_points", dict)().values())
    for name, image in scalars.items():
        if only not in (None, name):
            continue
        over = [(m, cmaps.get(n)) for n, m in maps.items() if same_grid(image, m)]
        own = replace(options, cmap=cmaps.get(name, options.cmap))
        yield name, planes_of(image, over, points, own)
    for name, image in maps.items():
        drawn = any(same_grid(image, scalar) for scalar in scalars.values())
        if only in (None, name) and not drawn:
            own = replace(options, cmap=cmaps.get(name))
            yield name, planes_of(image, [], points, own)


__all__ = ["plot_gallery", "plot_image", "plot_subject", "rows_of", "same_grid"]

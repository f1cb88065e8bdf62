"""Plots of images: sagittal, coronal and axial planes, true to scale, with label contours.

Figures are matplotlib figures made without pyplot: they need no display, change no global state,
and are saved with ``figure.savefig(path)``. matplotlib is imported when one is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import Tensor

from .geometry import CODES, Space, apply_affine
from .shapes import Triple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Window = tuple[float, float]  # values drawn black and white
_LABEL = "label"


class ImageLike(Protocol):
    """Protocol of images that can be drawn."""

    @property
    def kind(self) -> str: ...
    @property
    def data(self) -> Tensor: ...
    @property
    def space(self) -> Space: ...
    @property
    def orientation(self) -> tuple[str, str, str]: ...
    @property
    def spacing(self) -> tuple[float, float, float]: ...
    @property
    def spatial_shape(self) -> Triple: ...
    @property
    def num_channels(self) -> int: ...


class PointsLike(Protocol):
    """Protocol of points that can be drawn."""

    def world(self) -> Tensor: ...


class SubjectLike(Protocol):
    """Protocol of subjects that can be drawn; one with ``get_points()`` has its points drawn."""

    def get_images_dict(
        self, intensity_only: bool = True, *, exclude: Sequence[str] = ()
    ) -> Mapping[str, ImageLike]: ...


#: Colours of labels 1, 2, ..., repeated for more labels: distinct on grey, and for colour-blind
#: readers (Okabe & Ito 2008).
COLOURS = ("#f0e442", "#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#0072b2")
#: Planes by the world axis they cut, and the world axes that run across and up the picture.
PLANES = {"sagittal": (0, 1, 2), "coronal": (1, 0, 2), "axial": (2, 0, 1)}
#: Positions of the letters: left, right, bottom and top.
SIDES = (0.02, 0.5, "left"), (0.98, 0.5, "right"), (0.5, 0.02, "bottom"), (0.5, 0.98, "top")
TITLE, GAP = 0.32, 0.04  # inches above a row, for two lines, and between planes


@dataclass(frozen=True)
class _Plane:
    """One plane of an image, and of the label maps over it; pixels are [up, across]."""

    name: str
    picture: np.ndarray
    painted: bool  # the picture holds labels
    contours: list[np.ndarray]
    dots: list[np.ndarray]  # for each set of points, those at the plane, [N, 2], mm across and up
    size: tuple[float, float]  # mm across and up
    letters: tuple[str, str, str, str]  # at the left, right, bottom and top


def plot_image(
    image: ImageLike,
    *,
    labels: ImageLike | None = None,
    points: Sequence[PointsLike] = (),
    window: Window | None = None,
    **kwargs: Any,
) -> Figure:
    """Draw three planes of an image, with letters of the anatomical directions at their edges.

    Planes are those of the voxel grid that come closest to sagittal, coronal and axial, drawn to
    one scale in mm. An image with a single slice has one plane.

    Args:
        image: The image, on any device. The labels of a label map are drawn in colours.
        labels: Label map on the same grid, drawn as contours; each of several channels is a label.
        points: Sets of points, drawn as dots on the planes that they are within a voxel of, with a
            colour for each set.
        window: Values to draw black and white; by default the 0.5th and 99.5th percentile of the
            voxels drawn.
        kwargs: ``indices``, the voxel (i, j, k) that the planes go through, by default the middle
            one; ``channel`` to draw, by default 0; ``radiological``, by default True: the patient's
            right is at the left of the picture, and sagittal planes face left. False is the
            neurological convention: right is right, and sagittal planes face right.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: ``labels`` lie on another grid, or ``indices`` or ``channel`` outside the image.
    """
    if labels is not None and not _same_grid(image, labels):
        raise ValueError(f"labels must lie on the grid of {image!r}, got {labels!r}")
    planes = _planes(image, [] if labels is None else [labels], points, **kwargs)
    return _sheet([("", planes, window)], width=9)


def plot_subject(subject: SubjectLike, *, window: Window | None = None, **kwargs: Any) -> Figure:
    """Draw three planes of each scalar image of a subject, with the contours of its label maps.

    Label maps are drawn over the scalar images on the same grid; a label map on another grid has
    its own row. Points of the subject are drawn, too. Arguments and errors are those of
    :func:`plot_image`.
    """
    return _sheet([(*row, window) for row in _rows(subject, **kwargs).items()], width=9)


def plot_gallery(
    rows: Mapping[str, SubjectLike] | Iterable[tuple[str, SubjectLike]],
    path: str | Path | None = None,
    *,
    columns: int = 2,
    window: Window | None = None,
    **kwargs: Any,
) -> Figure:
    """Draw several subjects: three planes of each one's first scalar image, with label contours.

    Args:
        rows: Subjects by their title, of two lines at most; or an iterable of pairs of title and
            subject, of which only one is held at a time.
        path: File to save the figure in; its suffix names the format.
        columns: Number of columns of subjects, which are filled one after another.
        window: See :func:`plot_image`; by default that of the first subject for all, so that
            differences in brightness are visible.
        kwargs: As for :func:`plot_image`.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: There are no subjects, or see :func:`plot_image`.
    """
    drawn = []
    for title, subject in rows.items() if isinstance(rows, Mapping) else rows:
        planes = next(iter(_rows(subject, **kwargs).values()))
        window = window or _window(planes)
        drawn.append((title, planes, window))
    if not drawn:
        raise ValueError("rows must hold at least one subject, got none")
    figure = _sheet(drawn, width=4.8, columns=columns)
    if path is not None:
        figure.savefig(path)
    return figure


def new_figure(width: float, height: float, **kwargs: Any) -> Figure:
    """Return an empty figure that needs no display, in inches of 150 dots.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "torchio-gpu[plot]"') from error
    figure = Figure(figsize=(width, height), dpi=150, **kwargs)
    FigureCanvasAgg(figure)
    return figure


def _same_grid(a: ImageLike, b: ImageLike) -> bool:
    return a.space.is_same(b.space)


def _rows(subject: SubjectLike, **kwargs: Any) -> dict[str, list[_Plane]]:
    """Return planes of scalar images with label maps on their grids, then of other label maps."""
    scalars = subject.get_images_dict()
    maps = subject.get_images_dict(intensity_only=False, exclude=list(scalars))
    points = list(getattr(subject, "get_points", dict)().values())
    rows = {}
    for name, image in scalars.items():
        over = [m for m in maps.values() if _same_grid(image, m)]
        rows[name] = _planes(image, over, points, **kwargs)
    for name, image in maps.items():
        if not any(_same_grid(image, scalar) for scalar in scalars.values()):
            rows[name] = _planes(image, [], points, **kwargs)
    return rows


def _planes(
    image: ImageLike,
    maps: Sequence[ImageLike],
    points: Sequence[PointsLike] = (),
    indices: Triple | None = None,
    channel: int = 0,
    radiological: bool = True,
) -> list[_Plane]:
    """Return the planes of an image, label maps over it and points, oriented for drawing."""
    codes, shape = image.orientation, image.spatial_shape
    at = indices or tuple(n // 2 for n in shape)
    if not all(0 <= index < n for index, n in zip(at, shape, strict=True)):
        raise ValueError(f"indices must be a voxel of an image of shape {shape}, got {at}")
    if not 0 <= channel < image.num_channels:
        raise ValueError(f"channel must be in 0..{image.num_channels - 1}, got {channel}")
    # For each world axis: the voxel axis along it, and True if that increases towards L, P or I.
    axes = [next(n for n, code in enumerate(codes) if code in pair) for pair in CODES]
    backward = [codes[axis] == pair[0] for axis, pair in zip(axes, CODES, strict=True)]
    extent = [shape[axis] * image.spacing[axis] for axis in axes]

    def picture(image: ImageLike, cut: int, across: int, up: int) -> np.ndarray:
        volume = image.data.permute(0, *(1 + axis for axis in axes))  # [C, X, Y, Z]
        voxels = volume.select(1 + cut, at[axes[cut]]).detach().cpu().mT  # [C, up, across]
        pixels = (voxels.abs() if voxels.is_complex() else voxels.double()).numpy()
        pixels = pixels[:, ::-1] if backward[up] else pixels
        pixels = pixels[:, :, ::-1] if backward[across] != radiological else pixels
        if image.kind != _LABEL:
            return pixels[channel]
        return pixels[0] if len(pixels) == 1 else pixels.argmax(0)

    to_voxel = image.space.to_voxel[0]
    voxels = [apply_affine(to_voxel, each.world().detach().cpu().numpy()) for each in points]

    def dots(voxels: np.ndarray, cut: int, across: int, up: int) -> np.ndarray:
        limits = np.array(shape) - 0.5
        near = ((voxels >= -0.5) & (voxels < limits)).all(1)  # False for missing points
        near &= np.abs(voxels[:, axes[cut]] - at[axes[cut]]) <= 1
        places = []
        for world, mirrored in ((across, backward[across] != radiological), (up, backward[up])):
            place = (voxels[near, axes[world]] + 0.5) * image.spacing[axes[world]]
            places.append(extent[world] - place if mirrored else place)
        return np.stack(places, 1)

    planes = []
    for name, (cut, across, up) in PLANES.items():
        if 1 in shape and shape[axes[cut]] > 1:
            continue  # a line of voxels
        pictures = [picture(each, cut, across, up) for each in (image, *maps)]
        ends = CODES[across][::-1] if radiological else CODES[across]
        size = extent[across], extent[up]
        painted = image.kind == _LABEL
        marks = [dots(each, cut, across, up) for each in voxels]
        letters = (*ends, *CODES[up])
        planes.append(_Plane(name, pictures[0], painted, pictures[1:], marks, size, letters))
    return planes


def _window(planes: Sequence[_Plane]) -> Window:
    values = np.concatenate([plane.picture.ravel() for plane in planes])
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, (0.5, 99.5)) if len(values) else (0, 1)
    return float(low), float(high)


def _sheet(
    rows: Sequence[tuple[str, list[_Plane], Window | None]], width: float, columns: int = 1
) -> Figure:
    """Draw titled rows of planes, in ``columns`` columns that are ``width`` inches wide."""
    sizes = [[plane.size for plane in planes] for _, planes, _ in rows]
    scale = min((width - 4 * GAP) / sum(across for across, _ in row) for row in sizes)  # inch/mm
    height = TITLE + GAP + scale * max(up for row in sizes for _, up in row)
    lines = ceil(len(rows) / columns)
    total = width * min(columns, len(rows)), height * lines
    figure = new_figure(*total, facecolor="black")
    for number, (title, planes, window) in enumerate(rows):
        column, line = divmod(number, lines)
        left, top = column * width + GAP, total[1] - line * height - TITLE
        text = "\n".join(wrap(title, int(17 * width), max_lines=2, placeholder=" …"))
        place = left / total[0], (top + GAP) / total[1]
        figure.text(*place, text, color="white", fontsize=7, verticalalignment="bottom")
        for plane in planes:
            across, up = (scale * mm for mm in plane.size)
            bounds = left / total[0], (top - up) / total[1], across / total[0], up / total[1]
            _draw(figure.add_axes(bounds), plane, window or _window(planes))
            left += across + GAP
    return figure


def _draw(axes: Axes, plane: _Plane, window: Window) -> None:
    from matplotlib.colors import to_rgb

    colours = np.array([to_rgb(colour) for colour in COLOURS])
    picture, extent = plane.picture, (0, plane.size[0], 0, plane.size[1])
    if plane.painted:
        number = np.rint(picture).astype(int)
        picture = colours[(number - 1) % len(colours)] * (number != 0)[..., None]
    axes.imshow(picture, "gray", vmin=window[0], vmax=window[1], origin="lower", extent=extent)
    for contour in plane.contours:
        for label in np.unique(contour[contour != 0]):
            inside = contour == label
            if min(inside.shape) > 1 and not inside.all():  # otherwise there is no line to draw
                colour = [colours[int(label - 1) % len(colours)]]
                axes.contour(
                    inside, [0.5], colors=colour, linewidths=0.6, origin="lower", extent=extent
                )
    for number, (across, up) in enumerate(dots.T for dots in plane.dots):
        fill = COLOURS[number % len(COLOURS)]
        axes.scatter(across, up, s=9, color=fill, edgecolors="black", linewidths=0.4, zorder=3)
    axes.set_axis_off()
    for (x, y, side), letter in zip(SIDES, plane.letters, strict=True):
        ha, va = (side, "center") if y == 0.5 else ("center", side)
        axes.text(x, y, letter, color="#ffb0b0", fontsize=6, transform=axes.transAxes, ha=ha, va=va)
    axes.text(0.02, 0.98, plane.name, color="0.7", fontsize=5, transform=axes.transAxes, va="top")

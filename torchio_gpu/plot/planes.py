"""Planes of images, oriented for drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..geometry import CODES, Space, apply_affine
from ..shapes import Triple
from .options import ColourMap, Options, Window

LABEL = "label"


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


#: Planes by the world axis they cut, and the world axes that run across and up the picture.
PLANES = {"sagittal": (0, 1, 2), "coronal": (1, 0, 2), "axial": (2, 0, 1)}


@dataclass(frozen=True)
class Plane:
    """One plane of an image, and of the label maps over it; pixels are [up, across].

    The picture of an image with red, green and blue is [up, across, 3].
    """

    name: str
    picture: np.ndarray
    painted: bool  # the picture holds labels
    cmap: ColourMap | None
    contours: list[tuple[np.ndarray, ColourMap | None]]
    dots: list[np.ndarray]  # for each set of points, those at the plane, [N, 2], mm across and up
    size: tuple[float, float]  # mm across and up
    letters: tuple[str, str, str, str]  # at the left, right, bottom and top
    range: Window | None = None  # of colours: values without and with all of their light


def planes_of(
    image: ImageLike,
    maps: Sequence[tuple[ImageLike, ColourMap | None]],
    points: Sequence[PointsLike],
    options: Options,
) -> list[Plane]:
    """Return the planes of an image, label maps over it and points, oriented for drawing.

    Args:
        image: The image.
        maps: Label maps on the same grid, with the colours of their contours.
        points: Sets of points.
        options: Of these, ``indices``, ``channel``, ``rgb``, ``radiological`` and ``cmap``.
    """
    codes, shape = image.orientation, image.spatial_shape
    radiological = options.radiological
    at = options.indices or tuple(n // 2 for n in shape)
    if not all(0 <= index < n for index, n in zip(at, shape, strict=True)):
        raise ValueError(f"indices must be a voxel of an image of shape {shape}, got {at}")
    channel = options.channel or 0
    if not 0 <= channel < image.num_channels:
        raise ValueError(f"channel must be in 0..{image.num_channels - 1}, got {channel}")
    # red, green, blue, and opacity; four channels of a volume are rather times or modalities
    transparent = image.num_channels == 4 and 1 in shape and image.data.dtype == torch.uint8
    coloured = options.rgb and options.channel is None and image.kind != LABEL
    coloured = coloured and (transparent or image.num_channels == 3)
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
        if image.kind != LABEL:
            if not coloured:
                return pixels[channel]
            colours = pixels[:3] * pixels[3:] / 255 if transparent else pixels
            return np.moveaxis(colours, 0, -1)
        pixels = np.nan_to_num(pixels, posinf=0, neginf=0)  # no number, no label
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

    full: Window | None = None
    if coloured and image.data.dtype == torch.uint8:
        full = (0, 255)
    elif coloured and image.data.is_floating_point():
        full = (0, 1)
    planes = []
    for name, (cut, across, up) in PLANES.items():
        if 1 in shape and shape[axes[cut]] > 1:
            continue  # a line of voxels
        drawn = picture(image, cut, across, up)
        contours = [(picture(each, cut, across, up), colours) for each, colours in maps]
        ends = CODES[across][::-1] if radiological else CODES[across]
        size = extent[across], extent[up]
        painted = image.kind == LABEL
        marks = [dots(each, cut, across, up) for each in voxels]
        letters = (*ends, *CODES[up])
        plane = Plane(name, drawn, painted, options.cmap, contours, marks, size, letters, full)
        planes.append(plane)
    return planes

"""Lines of k-space changed by matrix products, where a kernel multiplies along any axis.

What depends on one frequency index alone is a circular convolution along one axis. As a product it
is one pass over the volume; transforms along the axis, with what they copy, are six or more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..arrays import Array
from ..shapes import Volume
from .dispatch.launch import to_device
from .eager import phase_encode as eager
from .eager import products
from .samples import with_axes


def take_products(x: Volume) -> bool:
    """Return True if lines are changed by matrix products instead of Fourier transforms.

    A kernel multiplies along any axis in one pass, where transforms take six or more.
    """
    return products.has_kernel(x.device) and max(x.shape[2:]) <= products.MOST_LINES


def filter_lines(
    x: Volume,
    weights: Sequence[Array],
    dims: list[int],
    axes: np.ndarray | None,
    join_parts: Callable[[Volume, Volume], Volume] | None,
) -> Volume:
    """Remove shares of lines of k-space; see :func:`eager.filter_lines`.

    Args:
        x: Volume.
        weights: As for :func:`eager.filter_lines`.
        dims: Axes across the lines that occur.
        axes: Axis of each sample, [B]; None if there is one.
        join_parts: As for :func:`eager.filter_lines`.
    """
    kernels = eager.line_kernels(weights, x.shape[2 + dims[0]])
    moved = to_device(x.device, *kernels, *_given(axes))
    place = products.axis_of(dims, *moved[len(kernels) :])
    matrices = [products.circulant(kernel.to(x.dtype)) for kernel in moved[: len(kernels)]]
    images = [products.along(x, matrix, place) for matrix in matrices]
    return images[0] if join_parts is None else join_parts(*images)


def combine(
    x: Volume,
    axis: int | Sequence[int] | Array,
    owner: Callable[[np.ndarray, int], np.ndarray],
    times: np.ndarray,
    moved: Sequence[Volume],
    magnitude: bool,
) -> Volume:
    """Combine lines of a volume and of the poses it took; see :func:`.kspace.motion`.

    Args:
        x: Volume in the reference pose.
        axis: The phase-encode axis, or one per sample.
        owner: :func:`.kspace.motion_owner`.
        times: When the content moves, [1 or B, P].
        moved: Volume in each of the other poses.
        magnitude: Return the magnitude of the image, not its real part.
    """

    def run(part: Volume, dims: list[int], axes: np.ndarray | None, *some: Any) -> Volume:
        lines = part.shape[2 + dims[0]]
        halves = eager.halves(owner(some[0], lines), len(moved))
        kernels = eager.pose_kernels(*halves, lines)[: 1 + magnitude]  # [1 or 2, B, 1 + P, N]
        on_device, *rest = to_device(x.device, kernels, *_given(axes))
        place = products.axis_of(dims, *rest)
        matrix = products.circulant(on_device.to(x.dtype).flatten(0, -2))
        matrix = matrix.view(*kernels.shape, lines)
        images = []
        for each in matrix:
            image = products.along(part, each[:, 0], place)
            for pose, weights in zip(some[1:], each.unbind(1)[1:], strict=True):
                image = products.along(pose, weights, place, base=image)
            images.append(image)
        return images[0] if len(images) == 1 else eager.magnitude(*images)

    return with_axes(x, axis, run, times, *moved)


def _given(axes: np.ndarray | None) -> list[np.ndarray]:
    return [] if axes is None else [axes]

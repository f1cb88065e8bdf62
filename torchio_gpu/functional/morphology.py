"""Morphology of label maps (B, C, I, J, K): erosion, dilation and smoothing by lengths in mm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array, host
from ..shapes import Volume, check_volume, spatial_shape
from .compiled import traceable
from .dispatch.arguments import at_least, check_real, per_item
from .dispatch.launch import indices, packed
from .eager import morphology as eager
from .filters import blur
from .labels import check_labels, representable

__all__ = ["dilate_labels", "erode_labels", "smooth_labels"]


@traceable
def erode_labels(
    x: Volume,
    radius: float | Array,
    spacing: float | Array = 1.0,
    labels: Sequence[int] | None = None,
) -> Volume:
    """Erode regions by a ball: voxels with another label within a radius become 0.

    Each channel is a label map of its own. Beyond the image there is no other label: a region is
    not eroded where it leaves the image, as by ITK's ``BinaryErodeImageFilter``, and as by
    ``scipy.ndimage.binary_erosion`` with ``border_value=1``.

    Args:
        x: Labels, (B, C, I, J, K), of any real type.
        radius: Radius in mm, >= 0, on the host: a number or one per sample (B). Voxels whose
            centres are exactly so far away are within the ball; 0 changes nothing.
        spacing: Distance of voxels along I, J, K in mm, > 0: a number, (3,) or (B, 3).
        labels: Labels to erode; all by default.

    Returns:
        Volume of the same shape and dtype.

    Raises:
        ValueError: The radius is negative, the spacing not positive, or a shape not as above.

    >>> x = torch.tensor([0, 1, 1, 1, 2, 2, 2]).view(1, 1, 1, 1, 7)
    >>> erode_labels(x, radius=2, spacing=2).flatten()
    tensor([0, 0, 1, 0, 0, 2, 2])
    """
    steps, reach = _ball(x, radius, spacing)
    kept = eager.erode(x, steps, reach)
    return torch.where(kept if labels is None else kept | ~_selected(x, labels), x, x.new_zeros(()))


@traceable
def dilate_labels(
    x: Volume,
    radius: float | Array,
    spacing: float | Array = 1.0,
    labels: Sequence[int] | None = None,
) -> Volume:
    """Dilate regions by a ball, into the background alone: no label covers another.

    Voxels that are 0 get the label of the nearest other voxel within a radius, and the smallest
    label of equally near ones. Each channel is a label map of its own.

    Args:
        x: Labels, (B, C, I, J, K), of any real type: whole numbers of up to 32 bits.
        radius, spacing: As for :func:`erode_labels`.
        labels: Labels that spread; all but 0 by default.

    Returns:
        Volume of the same shape and dtype.

    Raises:
        ValueError: As for :func:`erode_labels`.

    >>> x = torch.tensor([0, 0, 1, 0, 0, 0, 2]).view(1, 1, 1, 1, 7)
    >>> dilate_labels(x, radius=2).flatten()
    tensor([1, 1, 1, 1, 1, 2, 2])
    """
    steps, reach = _ball(x, radius, spacing)
    sources = x != 0
    sources = sources if labels is None else sources & _selected(x, labels)
    return eager.dilate(x, sources, steps, reach)


@traceable
def smooth_labels(
    x: Volume,
    std: float | Array,
    spacing: float | Array = 1.0,
    labels: Sequence[int] | None = None,
) -> Volume:
    """Smooth regions by a vote: each voxel gets the label with most weight under a Gaussian.

    Each channel is a label map of its own, mirrored outside its ends. Of labels with equal weights,
    the smallest is taken.

    Args:
        x: Labels, (B, C, I, J, K), of any real type.
        std: Standard deviation of the Gaussian in mm, >= 0: a number or one per sample (B); 0
            changes nothing.
        spacing: As for :func:`erode_labels`.
        labels: Labels that vote, beside 0: only voxels with one of these change. By default all,
            which are looked up: this waits for the device.

    Returns:
        Volume of the same shape and dtype.

    Raises:
        ValueError: ``std`` is negative, or as for :func:`erode_labels`.

    >>> smooth_labels(torch.tensor([1, 1, 1, 2, 1, 2, 2]).view(1, 1, 1, 1, 7), std=1).flatten()
    tensor([1, 1, 1, 1, 2, 2, 2])
    """
    check_real(x)
    width = at_least(per_item(std, x, "std"), 0, "std")[:, None]
    width = width.expand(-1, 3) if isinstance(width, Tensor) else width.repeat(3, 1)
    labels = check_labels(labels)
    if x.is_meta:
        return torch.empty_like(x)
    if labels is None:
        voters = torch.unique(x)
    else:
        wanted = np.unique([0, *representable(labels, x.dtype)])
        voters = indices(wanted, x.device).to(x.dtype)
    out, most = x, torch.zeros((), device=x.device)
    for label in voters:
        weight = blur((x == label).float(), width, spacing)
        more = weight > most * (1 + 1e-6)  # equal up to rounding: the smaller label stays
        out, most = torch.where(more, label, out), torch.where(more, weight, most)
    return out if labels is None else torch.where(_selected(x, [0, *labels]), out, x)


def _ball(x: Volume, radius: float | Array, spacing: float | Array) -> tuple[list[Tensor], Tensor]:
    """Return steps and reach of a :class:`.eager.morphology.Ball` on the device, int32."""
    check_real(check_volume(x))
    length = at_least(per_item(radius, x, "radius"), 0, "radius")
    size = host(per_item(spacing, x, "spacing", (3,))).astype(np.float64)
    if not (size > 0).all():
        raise ValueError(f"spacing must be > 0, got {spacing!r}")
    ball = eager.ball(host(length).astype(np.float64), size, spatial_shape(x))
    *steps, reach = packed(x.device, [n.astype(np.int32) for n in (*ball.steps, ball.reach)])
    return steps, reach


def _selected(x: Volume, labels: Sequence[int]) -> Tensor:
    """Return the mask of voxels that have one of the given labels."""
    known = indices(representable(check_labels(labels) or (), x.dtype), x.device)
    return torch.isin(x, known.to(x.dtype))

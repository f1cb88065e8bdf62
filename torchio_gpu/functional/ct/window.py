"""Windows of CT images (B, C, I, J, K): a range of Hounsfield units, mapped to another range."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays import Array, Numbers, as_array, common
from ...shapes import Volume
from ..compiled import traceable
from ..dispatch.arguments import check_real, per_item, positive
from ..normalization import check_range
from ..operations import Clamp, Linear
from ..pointwise import pointwise

#: Centre and width in HU of common windows. Institutions and vendors vary; these are the numbers,
#: or middles of the ranges, that Radiopaedia has under "Windowing (CT)".
WINDOWS: dict[str, tuple[float, float]] = {
    "abdomen": (50.0, 400.0),
    "bone": (400.0, 1800.0),
    "brain": (40.0, 80.0),
    "liver": (30.0, 150.0),
    "lung": (-600.0, 1500.0),
    "mediastinum": (50.0, 350.0),
    "soft tissue": (50.0, 400.0),
    "spine": (50.0, 250.0),
    "stroke": (40.0, 40.0),
    "subdural": (75.0, 215.0),
    "temporal bone": (600.0, 2800.0),
}


@traceable
def ct_window(
    x: Volume,
    center: float | Array,
    width: float | Array,
    out_min_max: Numbers = (0, 1),
) -> Volume:
    """Map a window of intensities linearly to a range, and what lies outside to its ends.

    ``a + (b - a) (x - center + width / 2) / width``, clamped to a and b.

    Args:
        x: Volume, (B, C, I, J, K).
        center: Centre of the window in HU: a number or one per sample (B).
        width: Width of the window in HU, > 0, shaped likewise.
        out_min_max: The range (a, b); d means (-d, d).

    Returns:
        Volume; integers become float32. Gradients reach voxels within the window, and its centre
        and width through them.

    Raises:
        ValueError: ``width`` is not positive, the range is empty, or the volume is complex.

    >>> ct_window(torch.tensor([-1000.0, 40, 60, 900]).view(1, 1, 1, 1, 4), 40, 80).flatten()
    tensor([0.0000, 0.5000, 0.7500, 1.0000])
    """
    check_real(x)
    middle, extent = per_item(center, x, "center"), per_item(width, x, "width")
    positive(extent, "width")
    return pointwise(x, window_operations(middle, extent, check_range(out_min_max, "out_min_max")))


def window_operations(center: Array, width: Array, ends: tuple[float, float]) -> list[Any]:
    """Return a window as operations; one of infinite width leaves a sample as it is.

    Args:
        center, width: In HU, [1 or B].
        ends: Range that the window is mapped to.
    """
    xp, center, width = common(center, width)
    used = width < np.inf
    scale = xp.where(used, (ends[1] - ends[0]) / width, 1.0)
    first = xp.where(used, center - width / 2, 0.0)
    shift, low, high = (
        xp.where(used, xp.full_like(width, value), other)
        for value, other in ((ends[0], 0.0), (ends[0], -np.inf), (ends[1], np.inf))
    )
    return [Linear(scale, shift, first), Clamp(low, high)]


def window_of(window: Any, name: str = "window") -> Any:
    """Return centre and width of a window: (2,), or (B, 2), as given or by name.

    Raises:
        ValueError: The name is unknown, or it is no centre and width.

    >>> window_of("lung")
    (-600.0, 1500.0)
    """
    if isinstance(window, str):
        found: Any = WINDOWS.get(window)
    else:
        found = window if tuple(as_array(window, name).shape[-1:]) == (2,) else None
    if found is None:
        raise ValueError(
            f"{name} must be centre and width in HU, or one of {', '.join(map(repr, WINDOWS))}, "
            f"got {window!r}"
        )
    return found


__all__ = ["WINDOWS", "ct_window", "window_of", "window_operations"]

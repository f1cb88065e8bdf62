"""A raw subject that is prepared and augmented: what must be seen whatever is drawn."""

from __future__ import annotations

from math import prod

import torch

from .. import workloads as w
from .asking import Op, ask, voxels

#: Voxels of the raw image; about as many millimetres along each axis.
_RAW = (80, 88, 60)
#: An ellipsoid of 3/4 of each axis stays as far as this from the centre of the result, in voxels of
#: 1 mm; the faces of the raw image do so, too, from the other side.
_REACH = 50


def prep6(op: Op, device: torch.device) -> str | None:
    """An ellipsoid, brighter from one end of I, which is to become the other, to the other."""
    at = voxels(_RAW)
    middle = (torch.tensor(_RAW).view(3, 1, 1, 1) - 1) / 2
    inside = ((at - middle) / (0.75 * middle)).square().sum(0) <= 1
    image = ((100 + 10 * at[0]) * inside).float()[None]
    y = ask(op, image, inside.byte()[None], device=device)[0]
    y = y[tuple(slice(n // 2 - _REACH, n // 2 + _REACH) for n in y.shape)]
    content = (y - y.median()).abs() > 1e-3  # the ellipsoid is an eighth of it
    if not content.any():
        return "shows nothing of the subject"
    values, places = y[content], voxels(tuple(y.shape))[:, content] - (_REACH - 0.5)
    mean, std = values.mean().item(), values.std().item()
    # Its surface is blended with what is around it, by each interpolation.
    if abs(mean) > 1 or not 0.6 < std < 2:
        return f"numbers of the subject have mean {mean:.2g} and std {std:.2g}, not about 0 and 1"
    ratio = content.sum().item() / (inside.sum().item() * prod((0.9, 0.9, 1.2)))
    factor = 1 + w.AFFINE["scales"]
    if not (2 - factor) ** 3 * 0.9 < ratio < factor**3 * 1.6:
        return f"the subject has {ratio:.2g} of its volume"
    spread = places.std(1)
    longer = (spread[2] / spread[0]).item()  # 1, but for scales and bends
    if not 0.77 < longer < 1.3:
        return f"the subject is {longer:.2g} times as long along K as along I, not 1"
    away = places.mean(1).norm().item()
    reach = w.AFFINE["translation"] * 3**0.5 / (2 - factor) + 3  # 3 for what bends
    if away > reach:
        return f"the subject is {away:.2g} mm away from the centre, not at most {reach:.2g}"
    if torch.corrcoef(torch.stack([values, places[0]]))[0, 1] > 0:
        return "the first axis is not mirrored, so not from left to right"
    return None

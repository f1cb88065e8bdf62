"""Linear attenuation of CT images, in 1/mm, from Hounsfield units and back."""

from __future__ import annotations

import torch
from torch import Tensor

from ...shapes import Volume
from ..dispatch.arguments import as_given, real

#: Linear attenuation of water in 1/mm, at an effective energy of 71 keV: that of a tube at 120 kV.
MU_WATER = 0.0193
#: Values that a CT image can have: those of the extended scale of 16 bits.
HU_RANGE = (-10240, 30710)


def hounsfield(x: Volume) -> Volume:
    """Return a volume in float32 or float64 if it can be in Hounsfield units; raise otherwise.

    Voxels on a device are not looked at, since that would wait for it.

    Raises:
        ValueError: The volume is complex, or has voxels outside the extended scale of CT or NaN.
    """
    y = real(x)
    if x.device.type == "cpu" and x.numel():
        low, high = (each.item() for each in torch.aminmax(y.detach()))
        # ends as a clipped volume of few digits has them
        least, most = torch.tensor(HU_RANGE, dtype=y.dtype).to(as_given(y[:0], x).dtype).tolist()
        if not (low >= least and high <= most):
            raise ValueError(
                f"x must be in Hounsfield units, from {HU_RANGE[0]} to {HU_RANGE[1]}, "
                f"got voxels from {low:g} to {high:g}"
            )
    return y


def clipped(x: Volume) -> Volume:
    """Return a volume clipped to Hounsfield units that an image can have; others keep their bits.

    >>> clipped(torch.tensor([-2e4, -0.0, 4e4]))
    tensor([-10240.,     -0.,  30710.])
    """
    return x.clamp(*HU_RANGE)


def attenuation(x: Volume) -> Volume:
    """Return linear attenuation in 1/mm of voxels in Hounsfield units; 0 below -1000, as of air.

    >>> attenuation(torch.tensor([-1024.0, -1000, 0, 1000]))
    tensor([0.0000, 0.0000, 0.0193, 0.0386])
    """
    return (1 + x / 1000).clamp(min=0) * MU_WATER


def hounsfield_change(x: Tensor) -> Tensor:
    """Return the change in Hounsfield units of a change of attenuation in 1/mm."""
    return x * (1000 / MU_WATER)


__all__ = ["HU_RANGE", "MU_WATER", "attenuation", "clipped", "hounsfield", "hounsfield_change"]

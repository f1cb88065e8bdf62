"""Field that magnetic susceptibility adds to the main field, on volumes (B, C, I, J, K)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..arrays import Array, host, on_host
from ..shapes import Volume
from .compiled import traceable
from .dispatch.arguments import as_given, per_item, real
from .dispatch.launch import to_device

__all__ = ["susceptibility_field"]

_SPACE = (2, 3, 4)


@traceable
def susceptibility_field(
    x: Volume, spacing: float | Array = 1.0, direction: Array | tuple[float, ...] = (0.0, 0.0, 1.0)
) -> Volume:
    """Return the change of the main field by magnetic susceptibility, relative to that field.

    A convolution with the dipole kernel, in k-space ``1/3 - (k b)^2 / k^2`` with the unit vector b
    of the field: Salomir, de Senneville and Moonen 2003 (doi:10.1002/cmr.b.10083), Marques and
    Bowtell 2005 (doi:10.1002/cmr.b.20034). Its mean is 0, as after shimming. Around the volume the
    susceptibility is 0 up to twice its size; give that of tissue relative to that of air, about
    -9.4 ppm. Times 42.58 Hz per ppm and tesla, it is a field for
    :class:`torchio_gpu.B0Distortion`: 128 Hz per ppm at 3 T.

    Args:
        x: Susceptibility, (B, C, I, J, K), in any unit.
        spacing: Distance of voxels along I, J, K in mm: (3,) or (B, 3); a number stands for three.
        direction: Direction of the main field along the voxel axes, in mm: (3,) or (B, 3), of any
            length.

    Returns:
        Field in the unit of ``x``. Gradients reach the voxels, spacing and direction.

    Raises:
        ValueError: A shape is not as above, a distance is not positive, the direction has no
            length, or the volume is complex.

    >>> x = torch.zeros(1, 1, 9, 9, 9)
    >>> x[..., 4, 4, 4] = 1
    >>> field = susceptibility_field(x)[0, 0]
    >>> bool(field[4, 4, 6] > 0), bool(field[6, 4, 4] < 0)  # along the main field, and across
    (True, True)
    """
    y = real(x)
    sides, along = per_item(spacing, x, "spacing", (3,)), per_item(direction, x, "direction", (3,))
    if on_host(sides) and not (host(sides) > 0).all():
        raise ValueError(f"spacing must be greater than 0, in mm, got {host(sides).tolist()}")
    if on_host(along) and not host(along).any(-1).all():
        raise ValueError(f"direction must have a length, got {host(along).tolist()}")
    sides, along = to_device(x.device, sides, along)
    # odd: of the highest frequency of an even size, the sign is not known
    i, j, k = (2 * n - 1 for n in y.shape[2:])
    kernel = _dipole((i, j, k), sides, along / along.norm(dim=1, keepdim=True))
    spectrum = torch.fft.rfftn(y, (i, j, k), _SPACE) * kernel.to(y.dtype)[:, None]
    field = torch.fft.irfftn(spectrum, (i, j, k), _SPACE)
    size = y.shape[2:]
    return as_given(field[:, :, : size[0], : size[1], : size[2]].contiguous(), x)


def _dipole(size: tuple[int, int, int], sides: Tensor, along: Tensor) -> Tensor:
    """Return the dipole kernel for frequencies of a real volume, [B, I, J, K // 2 + 1].

    Args:
        size: Voxels along I, J, K.
        sides: Distance of voxels, [B, 3].
        along: Unit vector of the main field, [B, 3].
    """
    batch = max(len(sides), len(along))
    square = product = torch.zeros(batch, 1, 1, 1, dtype=sides.dtype, device=sides.device)
    for axis, n in enumerate(size):
        of_axis = torch.fft.fftfreq if axis < 2 else torch.fft.rfftfreq
        cycles = of_axis(n, dtype=sides.dtype, device=sides.device)
        shape = [1, *(-1 if each == axis else 1 for each in range(3))]
        k = cycles.view(shape) / sides[:, axis].view(-1, 1, 1, 1)
        square, product = square + k * k, product + k * along[:, axis].view(-1, 1, 1, 1)
    zero = square == 0
    kernel = 1 / 3 - product**2 / square.masked_fill(zero, 1)
    return kernel.masked_fill(zero, 0)

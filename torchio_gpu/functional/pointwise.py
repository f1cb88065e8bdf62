"""Fused pointwise operations: each voxel is read once, changed by all of them, written once.

The functions of :mod:`torchio_gpu.functional.intensity` run a list of one operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..random import patch_normals
from ..shapes import Triple, Volume, check_volume, spatial_shape, with_voxel_axes
from .compiled import traceable
from .dispatch import kernels, limits
from .dispatch.arguments import by_parts, check_real
from .dispatch.backend import choose_kernels
from .dispatch.launch import to_device
from .eager import operations as eager
from .eager.slabs import join, slab_planes
from .operations import BiasField, ByChannel, Noise, Operation, View


@traceable
def pointwise(x: Volume, operations: Sequence[Operation], view: View | None = None) -> Volume:
    """Apply pointwise operations one after another.

    Args:
        x: Volume, (B, C, I, J, K). Floats keep their dtype and are computed with in float32 or
            better; integers become float32.
        operations: Operations, in order; their tensors hold one entry per sample.
        view: Position of ``x`` in a larger volume, if it was cut from one. Noise is that of a
            volume of the size of ``x``.

    Returns:
        A new volume; ``x`` is left as it is. Gradients flow to ``x`` and to the parameters.

    >>> from torchio_gpu.functional.operations import BiasField, Gamma
    >>> x = torch.ones(2, 1, 4, 4, 4)
    >>> operations = [Gamma(torch.zeros(2)), BiasField(torch.zeros(2, 4), order=1)]
    >>> bool((pointwise(x, operations) == x).all())
    True
    """
    check_volume(x)
    check_operations(x, operations)
    if x.is_complex():
        of_parts = [op.of_parts() if isinstance(op, Noise) else op for op in operations]
        return by_parts(lambda parts: pointwise(parts, of_parts, view), x)
    size = spatial_shape(x)

    def why_not(backend: str) -> str | None:
        return limits.why_no_kernel(x, size, backend, kernels.parameters_of(operations))

    chosen = choose_kernels(x, x.numel() // len(x), why_not)
    if chosen is not None:
        return kernels.pointwise(x, operations, view, chosen)
    program = Program(operations, x, size, view)
    y = x if x.dtype in (torch.float32, torch.float64) else x.float()
    planes = y.shape[2]
    slab = slab_planes(planes, x.numel() // planes, x.device)
    starts = range(0, planes, slab)
    out = join((program(y[:, :, n : n + slab], n, owns=False) for n in starts), planes)
    return out.to(x.dtype) if x.is_floating_point() else out


def pointwise_of_whole(
    x: Volume, operations: Sequence[Operation], whole: Triple, first: Sequence[int]
) -> Volume:
    """Apply pointwise operations to a patch, with the noise that a whole volume has there.

    Unlike :func:`pointwise`, whose patches get noise of their own.

    Args:
        x: The patch, (B, C, i, j, k), of all samples at one place.
        operations: Operations, in order.
        whole: Shape of the volume along I, J, K.
        first: First voxel of the patch in it.
    """
    view = View(whole, np.array([first] * len(x)))
    for operation in operations:
        if isinstance(operation, Noise):
            x = _noise_of_whole(x, operation, whole, first)
        else:
            x = pointwise(x, [operation], view)
    return x


def _noise_of_whole(x: Volume, noise: Noise, whole: Triple, first: Sequence[int]) -> Volume:
    check_volume(x)
    check_operations(x, [noise])
    if x.is_complex():
        parts = noise.of_parts()
        return by_parts(lambda part: _noise_of_whole(part, parts, whole, first), x)
    y = x if x.dtype == torch.float64 else x.float()
    mean, std = (with_voxel_axes(v.to(y.dtype)) for v in to_device(x.device, *noise.by_channel))
    size = spatial_shape(x)
    draw = partial(patch_normals, noise.seeds, whole, x.shape[1], first, size, device=x.device)
    out = y + draw().to(y.dtype) * std + mean
    if noise.rician:
        out = torch.hypot(out, draw(second=True).to(y.dtype) * std + mean)
        if noise.active is not None:
            active = with_voxel_axes(torch.as_tensor(noise.active).to(x.device))
            out = torch.where(active, out, y)
    return out.to(x.dtype) if x.is_floating_point() else out


def check_operations(x: Volume, operations: Sequence[Operation]) -> None:
    """Raise if an operation does not support complex voxels, or a parameter fits no sample."""
    batch, channels = x.shape[:2]
    for operation in operations:
        by_part = isinstance(operation, BiasField)
        by_part |= isinstance(operation, Noise) and not operation.rician
        if not by_part:  # others need real and imaginary part together
            check_real(x)
        for parameter in vars(operation).values():
            if isinstance(parameter, (np.ndarray, Tensor)) and len(parameter) not in (1, batch):
                raise ValueError(
                    f"parameters must hold one entry per sample: expected {batch}, "
                    f"got {len(parameter)}"
                )
        for name in operation.names if isinstance(operation, ByChannel) else ():
            given = list(getattr(operation, name).shape)
            if given[1:] not in ([], [1], [channels]):
                raise ValueError(
                    f"{name} must hold one value per sample [{batch}] or per channel "
                    f"[{batch}, {channels}], got {given}"
                )


class Program:
    """Pointwise operations prepared for a volume: with their parameters on its device.

    Args:
        operations: Operations, in order.
        x: The volume, or one of the same batch, channels, dtype and device.
        size: Voxels along I, J, K of what the operations are applied to.
        view: As for :func:`pointwise`.
    """

    def __init__(
        self, operations: Sequence[Operation], x: Volume, size: Triple, view: View | None = None
    ) -> None:
        parameters = [eager.parameters(operation, size, view) for operation in operations]
        flat = [parameter for group in parameters for parameter in group]
        self.differentiable = torch.is_grad_enabled() and any(
            isinstance(t, Tensor) and t.requires_grad for t in (x, *flat)
        )
        moved = iter(to_device(x.device, *flat))
        self.planes = size[0]
        self.steps = [
            (operation, [next(moved) for _ in group])
            for operation, group in zip(operations, parameters, strict=True)
        ]

    def __call__(self, x: Volume, first: int, owns: bool) -> Volume:
        """Apply the operations to a slab that begins with plane ``first``.

        Args:
            x: Slab in float32 or float64.
            first: Its first plane along I, in the whole volume.
            owns: True if ``x`` may be overwritten.
        """
        slab = eager.Slab(first, self.planes)
        for operation, values in self.steps:
            mine = owns and not (self.differentiable or x.requires_grad)
            x = eager.apply(operation, x, slab, mine, *values)
            owns = True
        return x

"""Kernels that are tested, maps that treat every axis and sample differently, and comparisons.

The reference is plain torch in float64; the error of plain torch in the dtype of the kernel is the
measure of the kernel's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

import torchio_gpu as tio
from torchio_gpu.functional.eager.separable import expand
from torchio_gpu.functional.eager.spatial import separable
from torchio_gpu.functional.warping import warp_volume
from torchio_gpu.geometry import Space, control_lattice

#: Nothing cubic, more than one of everything, and small: interpreted tiles take long.
SHAPE = (2, 2, 3, 5, 6)
#: Of axes: 1, 2, and odd primes.
LENGTHS = (1, 2, 3, 5, 7, 11, 13)

Call = Callable[..., Tensor]


class Target(NamedTuple):
    """Kernels of one backend on one device. Those of numba have values alone, no gradients."""

    name: str
    device: torch.device

    @property
    def differentiable(self) -> bool:
        return self.name != "numba"


PLAIN = Target("torch", torch.device("cpu"))


def volume(shape: Sequence[int] = SHAPE, dtype: torch.dtype = torch.float32, seed: int = 0):
    """Random voxels: about 0 where there are negative ones, small counts in integers."""
    generator = torch.Generator().manual_seed(seed)
    if dtype.is_floating_point:
        return torch.randn(*shape, generator=generator).to(dtype)
    high = 2 if dtype == torch.bool else 6
    return torch.randint(0, high, tuple(shape), generator=generator).to(dtype)


def matrices(source, size=None, batch=2, seed=0) -> Tensor:
    """Affine maps [B, 4, 4] float64 that take the centre of the output near that of the source:
    most places lie within, some outside, and none on a voxel centre.
    """
    generator = torch.Generator().manual_seed(seed)
    size = source if size is None else size
    ends, starts = (torch.tensor(s, dtype=torch.float64) for s in (source, size))
    out = torch.eye(4, dtype=torch.float64).repeat(batch, 1, 1)
    skew = torch.randn(batch, 3, 3, generator=generator, dtype=torch.float64) * 0.15
    out[:, :3, :3] = (torch.eye(3) + skew) * (ends / starts)[:, None]
    middle = (starts - 1) / 2
    wander = torch.rand(batch, 3, generator=generator, dtype=torch.float64) - 0.4
    out[:, :3, 3] = (ends - 1) / 2 - out[:, :3, :3] @ middle + wander
    return out


def points(counts=(6, 5, 4), batch=2, seed=1, scale=0.4) -> Tensor:
    """Control points [B, 3, N0, N1, N2] float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, *counts, generator=generator, dtype=torch.float64) * scale


def places(source, matrix: Tensor, control_points=None, size=None, lattice=None) -> Tensor:
    """Return the coordinates that a map reads at, in voxels, [B, I, J, K, 3] float64."""
    size = tuple(source) if size is None else size
    if control_points is not None:
        control_points = control_points.numpy()
        if lattice is None:
            counts = control_points.shape[2:]
            lattice = control_lattice(Space(size, np.eye(4)[None]), counts)
            lattice = lattice.repeat(len(matrix), 0)
    factors = separable(
        source, matrix.numpy(), control_points, lattice, size, "bspline"
    )  # in voxels
    assert factors is not None
    tensors = [torch.from_numpy(np.ascontiguousarray(f)) for f in factors]
    return expand(tensors, torch.float64).movedim(2, -1)


def near_change(at: Tensor, mode: str, width: float = 1e-4) -> Tensor:
    """Return True where rounding may decide which voxels are read, [B, 1, I, J, K]."""
    share = at - at.floor() if mode == "linear" else (at + 0.5) - (at + 0.5).floor()
    return ((share < width) | (share > 1 - width)).any(-1)[:, None]


def run(f: Call, *tensors: Tensor, target: Target = PLAIN, dtype=None, cotangent=None):
    """Value and gradients of a function, brought to the CPU.

    Args:
        f: Called with the tensors, on the device.
        tensors: Volume first; those that ask for a gradient get one. The volume is cast.
        target: Backend and device, by default plain torch on the CPU.
        dtype: Of the volume.
        cotangent: Gradient of the value, if gradients are wanted.
    """
    leaves = []
    for n, t in enumerate(tensors):
        moved = t.detach()
        if n == 0 and dtype is not None:
            moved = moved.to(dtype)
        # parameters stay on the host, where their values are known, unless they have a gradient
        moved = moved.to(target.device) if n == 0 or t.requires_grad else moved
        leaves.append(moved.clone().requires_grad_(t.requires_grad and target.differentiable))
    with tio.backend(target.name):
        out = f(*leaves)
    grads: Sequence[Tensor] = ()
    if cotangent is not None:
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        grads = torch.autograd.grad(out, wanted, cotangent.to(target.device, out.dtype))
        assert all(g.dtype == leaf.dtype for g, leaf in zip(grads, wanted, strict=True))
    return out.detach().cpu(), *(g.cpu() for g in grads)


def hold(
    f: Call, *tensors: Tensor, target: Target, slack: float, reason: str, gradients=True, skip=None
):
    """Hold a kernel against the reference in float64, in value and, if it has any, all gradients.

    Errors may be three times those of plain torch in the same dtype, whose roundings fall in other
    places, plus ``slack`` times the largest value; those of values in float32, 1e-5 of the range.

    Args:
        f: A function of the tensors.
        tensors: The volume in the dtype of the kernel; parameters in float64.
        target: Backend and device of the kernel.
        slack: For roundings that plain torch does not have, as a share of the largest value.
        reason: Why there are such.
        gradients: False if values alone are compared.
        skip: Where values are not compared, [B, 1, I, J, K].
    """
    x = tensors[0]
    with torch.no_grad(), tio.backend("torch"):
        shape = f(*(t.detach() for t in tensors)).shape
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    if x.dtype in (torch.float16, torch.bfloat16):
        weights = weights.to(x.dtype)
    cotangent = weights.double() if gradients and target.differentiable else None
    if skip is not None and cotangent is not None:
        cotangent = cotangent.masked_fill(skip, 0)
    exact = run(f, *tensors, dtype=torch.float64, cotangent=cotangent)
    plain = run(f, *tensors, cotangent=cotangent)
    ours = run(f, *tensors, target=target, cotangent=cotangent)
    for number, (a, b, c) in enumerate(zip(ours, plain, exact, strict=True)):
        what = "value" if number == 0 else f"gradient {number - 1}"
        assert a.shape == c.shape, (what, a.shape, c.shape)
        assert a.dtype == b.dtype, (what, a.dtype, b.dtype)
        assert torch.isfinite(a).all(), f"{what}: not all are finite"
        mine, theirs = (a.double() - c.double()).abs(), (b.double() - c.double()).abs()
        if number == 0 and skip is not None:
            mine = mine.masked_fill(skip, 0)
        # Triton's interpreter cuts bfloat16 off, where GPUs and numba round to nearest
        interpreted = target.name == "triton" and target.device.type == "cpu"
        cut = 2**-7 if a.dtype == torch.bfloat16 and interpreted else 0.0
        allowed = 3 * theirs.max().item() + (slack + cut) * c.abs().max().item()
        if number == 0 and a.dtype == torch.float32 and c.numel() > 1:
            allowed = min(allowed, 1e-5 * (c.max() - c.min()).item())
        worst = mine.max().item()
        assert worst <= allowed, f"{what} off by {worst:.2e}, {allowed:.2e} allowed: {reason}"
        # a comparison with nothing but zeros would prove nothing
        assert c.abs().max() > 0, what
    return ours


def agree(f: Call, *tensors: Tensor, target: Target) -> Tensor:
    """Return the result of the kernel; it must be that of the reference, bit for bit."""
    expected = run(f, *tensors)[0]
    out = run(f, *tensors, target=target)[0]
    assert out.dtype == expected.dtype
    assert out.shape == expected.shape
    # NaN equals NaN here
    torch.testing.assert_close(out, expected, rtol=0, atol=0, equal_nan=True)
    return out


def warp(x, rows, control_points=None, **options):
    """By the first three rows of matrices: the last one is always the same."""
    last = torch.tensor([[[0.0, 0, 0, 1]]]).to(rows).expand(len(rows), 1, 4)
    return warp_volume(x, torch.cat((rows[:, :3], last), 1), control_points, **options)


def leaf(t: torch.Tensor) -> torch.Tensor:
    """Return a copy that requires a gradient; of matrices, the rows that have one."""
    t = t[:, :3] if t.shape[1:] == (4, 4) else t
    return t.detach().clone().requires_grad_()

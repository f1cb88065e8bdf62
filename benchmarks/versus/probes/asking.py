"""How operations are asked: small batches, a few calls, answers as float64 on the host."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Op = Callable[..., Tensor]
#: From an operation and the device of the batch to what is wrong with what it computes.
Probe = Callable[[Op, torch.device], "str | None"]

#: Axes differ, so that none is taken for another.
SIZE = (32, 38, 44)
#: Odd ones, and odd differences to what they are cropped, padded and resampled to.
ODD = (30, 33, 37)
#: Samples of a batch, and batches. Whether ranges are used is judged by the 16 samples in all: that
#: each of so many uniform numbers lies in one given half of its range has a chance of 2^-16.
BATCH, CALLS = 4, 4


def ask(op: Op, *given: Tensor, device: torch.device) -> Tensor:
    """What an operation makes of its inputs, float64 on the host."""
    return op(*(x.to(device, copy=True) for x in given)).double().cpu()


def ask_often(op: Op, sample: Tensor, device: torch.device) -> Tensor:
    """What a random operation makes of one sample (C, I, J, K): (CALLS * BATCH, C, ...)."""
    batch = sample.expand(BATCH, *sample.shape)
    return torch.cat([ask(op, batch, device=device) for _ in range(CALLS)])


def alike(parameters: Tensor, tolerance: float) -> str | None:
    """Whether samples share what should be their own.

    Args:
        parameters: Numbers found in each answer of :func:`ask_often`, (CALLS * BATCH, ...).
        tolerance: How well each is known.
    """
    calls = parameters.reshape(CALLS, BATCH, -1)
    if ((calls.amax(1) - calls.amin(1)) <= tolerance).all(1).any():
        return "samples of a batch share their parameters"
    if ((calls.amax(0) - calls.amin(0)) <= tolerance).all():
        return "every call draws the same parameters"
    return None


def beyond(what: str, values: Tensor, most: float, unit: str = "") -> str | None:
    """Whether the largest of some magnitudes is not about what it should be.

    Args:
        what: What is measured, as in 'turns by'.
        values: Magnitudes that are drawn from 0 to ``most``, rounding and fitting allowed for.
        most: The end of the range. The largest must reach half of it.
        unit: With a space in front.
    """
    largest = values.max().item()
    if most / 2 <= largest <= most:
        return None
    return f"{what} up to {largest:.2g}{unit}, not {most:.2g}"


def voxels(size: tuple[int, ...]) -> Tensor:
    """Coordinates of all voxels, (3, I, J, K) float64."""
    axes = [torch.arange(n, dtype=torch.float64) for n in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def noise(size: tuple[int, ...]) -> Tensor:
    """Uniform numbers in [0, 1), float32, always the same; not those of a seed that others use."""
    return torch.rand(size, generator=torch.Generator().manual_seed(602_214))

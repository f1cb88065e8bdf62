"""Checks of batches, devices, seeds and gradients. A call takes and returns tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .answers import Answer, no, partly, yes

Call = Callable[[Tensor], Tensor]


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Numbers between 0 and 1, always the same."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def reason(error: BaseException) -> str:
    """The first line of an error, for a note."""
    line = (str(error).strip().splitlines() or [""])[0]
    return shorten(f"{type(error).__name__}: {line}", 100, placeholder=" ...")


def batch(call: Call) -> Answer:
    """Three equal samples get parameters of their own."""
    x = noise(1, 1, 12, 12, 12).expand(3, -1, -1, -1, -1).clone()
    y = call(x)
    if y.shape != x.shape:
        return no(f"the result of a batch {list(x.shape)} is {list(y.shape)}")
    if any(torch.equal(y[a], y[b]) for a, b in ((0, 1), (0, 2), (1, 2))):
        return no("samples of a batch are augmented alike")
    return yes()


@contextmanager
def leaving(size: int) -> Iterator[list[str]]:
    """Names of the doors through which tensors of at least some size leave torch for numpy."""
    seen: list[str] = []
    doors = {name: getattr(Tensor, name) for name in ("numpy", "__array__", "tolist")}

    def watched(name: str) -> Callable[..., Any]:
        def door(self: Tensor, *args: Any, **kwargs: Any) -> Any:
            if self.numel() >= size:
                seen.append(name)
            return doors[name](self, *args, **kwargs)

        return door

    for name in doors:
        setattr(Tensor, name, watched(name))
    try:
        yield seen
    finally:
        for name, door in doors.items():
            setattr(Tensor, name, door)


def device(call: Call, x: Tensor) -> Answer:
    """No tensor of the size of a sample leaves torch while x is transformed."""
    y = x.clone()
    with leaving(x[0].numel()) as seen:
        y = call(y)
    if torch.equal(y, x):
        raise AssertionError("nothing happened to the voxels")
    if seen:
        return no(f"through {', '.join(sorted({name.strip('_') for name in seen}))}")
    return yes()


def seeds(load: Callable[[Sequence[int], int], dict[int, Tensor]]) -> Answer:
    """Samples 0 to 3, loaded in an order, some at a time, with the same seed each time."""
    one, other = load([0, 1, 2, 3], 1), load([3, 1, 0, 2], 2)
    if not all(torch.equal(value, load([0, 1, 2, 3], 1)[key]) for key, value in one.items()):
        return no("not even the same calls give the same numbers")
    if torch.equal(one[0], one[1]):
        return no("equal samples are augmented alike")
    if all(torch.equal(one[key], other[key]) for key in range(4)):
        return yes()
    return no("another order and batch size give other numbers")


def grad_image(call: Call, *batch: int) -> Answer:
    """Gradients with respect to the voxels are there and finite.

    Args:
        call: To the image.
        batch: Axes before the channel: 1 where batches are taken.
    """
    x = noise(*batch, 1, 10, 10, 10).requires_grad_()
    weight = noise(*x.shape, seed=1)
    try:
        (call(x).reshape(x.shape) * weight).sum().backward()
    except RuntimeError as error:
        return no(reason(error))
    if x.grad is None or not x.grad.abs().sum() > 0:
        return no("they are zero")
    return yes() if torch.isfinite(x.grad).all() else no("they are not finite")


def grad_params(call: Callable[[Tensor, Tensor], Tensor]) -> Answer:
    """call: An image (1, 1, I, J, K) and degrees, a number, to the image rotated about an axis."""
    ramp = torch.linspace(0, 3, 16)
    x = ramp.sin()[:, None, None] + ramp.square()[:, None] + (2 * ramp).cos()
    x = (x - x.min())[None, None]

    def loss(degrees: Tensor) -> Tensor:
        y = call(x, degrees).reshape(16, 16, 16).float()
        return (y * ramp[:, None, None] * ramp.flip(0)[:, None])[4:12, 4:12, 4:12].mean()

    degrees = torch.tensor(11.0, requires_grad=True)
    try:
        loss(degrees).backward()
    except (RuntimeError, TypeError, ValueError) as error:
        return no(reason(error))
    if degrees.grad is None or degrees.grad == 0:
        return no("they are zero")
    with torch.no_grad():
        low, high = (loss(torch.tensor(11.0 + h)) for h in (-0.25, 0.25))
    slope = (high - low) / 0.5
    # a finite difference of float32 numbers across kinks of linear interpolation
    if abs(degrees.grad - slope) > 0.1 * abs(slope):
        return no(f"{degrees.grad.item():.3g} where a finite difference is {slope.item():.3g}")
    return yes()


def compiled(call: Call, x: Tensor) -> Answer:
    """The whole call is one graph, and random at each run."""
    import torch._dynamo as dynamo

    dynamo.reset()
    run = torch.compile(call, fullgraph=True, backend="eager")
    try:
        one, two = run(x), run(x)
    except dynamo.exc.TorchDynamoException as error:
        return no(reason(error))
    if torch.equal(one, two):
        return partly("the random numbers of the first call are kept")
    return yes()


class _Largest(TorchDispatchMode):
    """Remembers the largest tensor that is made, views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {x.untyped_storage().data_ptr() for x in args if isinstance(x, Tensor)}
        for x in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(x, Tensor) and x.untyped_storage().data_ptr() not in given:
                self.size = max(self.size, x.numel())
        return result


#: Sides of the volume and of its patch, where windows are asked for.
VOLUME, PATCH = 48, 12


def windows(make: Callable[[], Any], patch: Callable[[Any], Tensor]) -> Answer:
    """A patch is made without a tensor of a quarter of the volume.

    Args:
        make: Prepares; what it does does not count.
        patch: Gets what was prepared; returns the augmented patch.
    """
    ready = make()
    with _Largest() as largest, leaving(VOLUME**3 // 4) as seen:
        y = patch(ready)
    if tuple(y.shape[-3:]) != (PATCH,) * 3:
        return no(f"the patch is {list(y.shape)}")
    times = largest.size / VOLUME**3
    if seen:
        return no("the whole volume passes through numpy")
    if times < 0.25:
        return yes()
    if times <= 1:
        return partly("the volume is copied once")
    return no(f"a tensor of {times:.2g} times the volume is made")

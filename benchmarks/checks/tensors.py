"""Batches, devices, seeds, gradients and graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .asking import Op, Part, group, happened, noise, parts, reason

asks = group("Batches, devices, gradients")


@asks("a batch in one call")
def batch(op: Op) -> str | None:
    """An affine of a tensor (3, 1, I, J, K) of equal samples gives three different ones."""
    x = noise(1, 1, 12, 12, 12).expand(3, -1, -1, -1, -1).clone()
    try:
        y = op(x)
    except Exception as error:
        return f"a batch is refused: {reason(error)}"
    if y.shape != x.shape:
        return f"the result of a batch {list(x.shape)} is {list(y.shape)}"
    different = all(not torch.equal(y[a], y[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    return None if different else "samples of a batch are augmented alike"


@contextmanager
def leaving(size: int) -> Iterator[set[str]]:
    """Collect the names of methods by which tensors of at least some size leave torch."""
    seen: set[str] = set()
    doors = {name: getattr(Tensor, name) for name in ("numpy", "__array__", "tolist")}

    def watched(name: str) -> Callable[..., Any]:
        def door(self: Tensor, *args: Any, **kwargs: Any) -> Any:
            if self.numel() >= size:
                seen.add(name.strip("_"))
            return doors[name](self, *args, **kwargs)

        return door

    for name in doors:
        setattr(Tensor, name, watched(name))
    try:
        yield seen
    finally:
        for name, door in doors.items():
            setattr(Tensor, name, door)


@asks("voxels never leave torch")
def device(op: Op) -> str | None:
    """Affine, elastic and noise of a batch: neither voxels nor fields of their size pass through
    numpy, as they would on their way to the CPU."""
    x = noise(2, 1, 16, 16, 16)
    with leaving(x[0].numel()) as seen:
        y = op(x.clone())
    happened(y, x)
    return f"through {', '.join(sorted(seen))}" if seen else None


@asks("a sample's augmentation depends on the seed alone")
def seeds(load: Callable[..., dict[int, Tensor]]) -> str | None:
    """Four samples, one by one in order, or two by two in another order, with the same seed: each
    sample is augmented alike."""
    one, other = load([0, 1, 2, 3], 1), load([3, 1, 0, 2], 2)
    if not all(torch.equal(value, load([0, 1, 2, 3], 1)[key]) for key, value in one.items()):
        return "not even the same calls give the same numbers"
    if torch.equal(one[0], one[1]):
        return "equal samples are augmented alike"
    if all(torch.equal(one[key], other[key]) for key in range(4)):
        return None
    return "another order and batch size give other numbers"


@asks("gradients reach the voxels")
def grad_image(op: Op) -> str | None:
    """Backward through an affine and a change of contrast."""
    x = noise(1, 1, 10, 10, 10).requires_grad_()
    try:
        (op(x) * noise(*x.shape, seed=1)).sum().backward()
    except RuntimeError as error:
        return reason(error)
    if x.grad is None or not x.grad.abs().sum() > 0:
        return "they are zero"
    return None if torch.isfinite(x.grad).all() else "they are not finite"


@asks("gradients reach the angles of an affine")
def grad_params(op: Op) -> str | None:
    """Backward to a tensor of degrees, against a finite difference."""
    ramp = torch.linspace(0, 3, 16)
    x = ramp.sin()[:, None, None] + ramp.square()[:, None] + (2 * ramp).cos()
    x = (x - x.min())[None, None]

    def loss(angle: Tensor) -> Tensor:
        y = op(x, angle).reshape(16, 16, 16).float()
        return (y * ramp[:, None, None] * ramp.flip(0)[:, None])[4:12, 4:12, 4:12].mean()

    angle = torch.tensor(11.0, requires_grad=True)
    try:
        loss(angle).backward()
    except (RuntimeError, TypeError, ValueError) as error:
        return reason(error)
    if angle.grad is None or angle.grad == 0:
        return "they are zero"
    with torch.no_grad():
        slope = (loss(torch.tensor(11.25)) - loss(torch.tensor(10.75))) / 0.5
    # a finite difference of float32 numbers across kinks of linear interpolation
    if abs(angle.grad - slope) > 0.1 * abs(slope):
        return f"{angle.grad.item():.3g} where a finite difference is {slope.item():.3g}"
    return None


@asks("inside torch.compile(fullgraph=True)")
def compile_(op: Op) -> str | None:
    """Affine and noise in one graph, with new random numbers at each call."""
    import torch._dynamo as dynamo

    dynamo.reset()
    run = torch.compile(lambda x: op(x * 2) + 1, fullgraph=True, backend="eager")
    x = noise(2, 1, 8, 8, 8)
    try:
        one, two = run(x), run(x)
    except dynamo.exc.TorchDynamoException as error:
        return reason(error)
    return Part("the random numbers of the first call are kept") if torch.equal(one, two) else None


@asks("replays CUDA graphs with new random numbers", "graph", "captur")
def graphs(make: Callable[[], Op]) -> str | None:
    """A captured affine gives other numbers at each replay. Tried where there is a GPU."""
    x, step = noise(2, 1, 16, 16, 16).cuda(), make()
    one, two = step(x).clone(), step(x).clone()
    return "the same numbers again" if torch.equal(one, two) else None


@asks("GPU kernels of its own")
def kernels(ops: dict[str, Op]) -> str | None:
    """An affine by the kernels and by plain torch, where there is a GPU: the same numbers."""
    x, results = noise(2, 1, 16, 16, 16).cuda(), []
    for op in ops.values():
        torch.manual_seed(0)
        results.append(op(x))
    # other roundings of coordinates, at the edges of noise
    return None if torch.allclose(*results, atol=1e-3) else "another result"


class _Largest(TorchDispatchMode):
    """Remembers the largest tensor that is made, views left out."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {x.untyped_storage().data_ptr() for x in args if isinstance(x, Tensor)}
        for x in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(x, Tensor) and x.untyped_storage().data_ptr() not in given:
                self.size = max(self.size, x.numel())
        return result


#: Sides of the volume and of its patch, where windows are asked for.
VOLUME, PATCH = 48, 12


@asks("computes the voxels of a patch alone")
def windows(ops: dict[str, Callable[[Tensor], Op]]) -> str | None:
    """A patch of 12³ of an affinely and elastically deformed volume of 48³, without any other
    tensor a quarter of the volume's size. What prepares the volume does not count."""
    return parts(**{name: _alone(make) for name, make in ops.items()})


def _alone(make: Callable[[Tensor], Op]) -> str | None:
    patch = make(noise(1, *(VOLUME,) * 3))
    with _Largest() as largest, leaving(VOLUME**3 // 4) as seen:
        y = patch()
    if tuple(y.shape[-3:]) != (PATCH,) * 3:
        return f"the patch is {list(y.shape)}"
    if seen:
        return "the whole volume passes through numpy"
    times = largest.size / VOLUME**3
    return None if times < 0.25 else f"a tensor of {times:.2g} times the volume is made"

"""Batches, devices, seeds, gradients and graphs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .asking import Op, happened, need, noise, parts, refusal, row

asks = partial(row, "Batches, devices, gradients")


@asks("a batch in one call")
def batch(op: Op) -> None:
    """An affine of a tensor (3, 1, I, J, K) of equal samples gives three different ones."""
    x = noise(1, 1, 12, 12, 12).expand(3, -1, -1, -1, -1).clone()
    with refusal("a batch is refused: "):
        y = op(x)
    need(y.shape == x.shape, f"the result of a batch {list(x.shape)} is {list(y.shape)}")
    need(len(y.unique(dim=0)) == 3, "samples of a batch are augmented alike")


@contextmanager
def leaving(size: int) -> Iterator[set[str]]:
    """Collect the names of methods by which tensors of at least some size leave torch."""
    seen: set[str] = set()

    def watch(name: str) -> Any:
        leave = getattr(Tensor, name)

        def watched(self: Tensor, *args: Any, **kwargs: Any) -> Any:
            if self.numel() >= size:
                seen.add(name.strip("_"))
            return leave(self, *args, **kwargs)

        return patch.object(Tensor, name, watched)

    with watch("numpy"), watch("__array__"), watch("tolist"):
        yield seen


@asks("voxels never leave torch")
def device(op: Op) -> None:
    """Affine, elastic and noise: neither voxels nor fields of their size pass through numpy."""
    x = noise(2, 1, 16, 16, 16)
    with leaving(x[0].numel()) as seen:
        y = op(x.clone())
    happened(y, x)
    need(not seen, f"through {', '.join(sorted(seen))}")


@asks("a sample's augmentation depends on the seed alone")
def seeds(load: Callable[[list[int], int], dict[int, Tensor]]) -> None:
    """Samples one by one, or two by two in another order, with the same seed: the same numbers."""
    calls = ([0, 1, 2, 3], 1), ([0, 1, 2, 3], 1), ([3, 1, 0, 2], 2)
    found = [load(*call) for call in calls]
    one, again, other = (torch.stack([each[n] for n in range(4)]) for each in found)
    need(torch.equal(one, again), "not even the same calls give the same numbers")
    need(not torch.equal(one[0], one[1]), "equal samples are augmented alike")
    need(torch.equal(one, other), "another order and batch size give other numbers")


@asks("gradients reach the voxels")
def grad_image(op: Op) -> None:
    """Backward through an affine and a change of contrast."""
    x = noise(1, 1, 10, 10, 10).requires_grad_()
    with refusal():
        (op(x) * noise(*x.shape, seed=1)).sum().backward()
    need(x.grad is not None and x.grad.abs().sum() > 0, "they are zero")
    need(torch.isfinite(x.grad).all(), "they are not finite")


@asks("gradients reach the angles of an affine")
def grad_params(op: Op) -> None:
    """Backward to a tensor of degrees, against a finite difference."""
    ramp = torch.linspace(0, 3, 16)
    x = ramp.sin()[:, None, None] + ramp.square()[:, None] + (2 * ramp).cos()
    weight = ramp[:, None, None] * ramp.flip(0)[:, None]

    def loss(angle: Tensor) -> Tensor:
        return (op(x[None, None], angle)[..., 4:12, 4:12, 4:12] * weight[4:12, 4:12]).mean()

    angle = torch.tensor(11.0, requires_grad=True)
    with refusal():
        loss(angle).backward()
    need(angle.grad is not None and angle.grad != 0, "they are zero")
    slope = ((loss(angle + 0.25) - loss(angle - 0.25)) / 0.5).detach()
    # a finite difference of float32 numbers across kinks of linear interpolation
    right = abs(angle.grad / slope - 1) <= 0.1
    need(right, f"{angle.grad:.3g} where a finite difference is {slope:.3g}")


@asks("inside torch.compile(fullgraph=True)")
def compile_(op: Op) -> None:
    """Affine and noise in one graph, with new random numbers at each call."""
    torch._dynamo.reset()
    run = torch.compile(lambda x: op(x * 2) + 1, fullgraph=True, backend="eager")
    x = noise(2, 1, 8, 8, 8)
    with refusal():
        one, two = run(x), run(x)
    need(not torch.equal(one, two), "the random numbers of the first call are kept", part=True)


@asks("replays CUDA graphs with new random numbers", "graph", "captur")
def graphs(make: Callable[[], Op]) -> None:
    """A captured affine gives other numbers at each replay. Tried where there is a GPU."""
    x, step = noise(2, 1, 16, 16, 16).cuda(), make()
    need(not torch.equal(step(x).clone(), step(x)), "the same numbers again")


@asks("GPU kernels of its own")
def kernels(ops: dict[str, Op]) -> None:
    """An affine by the kernels and by plain torch, where there is a GPU: the same numbers."""
    x, results = noise(2, 1, 16, 16, 16).cuda(), []
    for op in ops.values():
        torch.manual_seed(0)
        results.append(op(x))
    # other roundings of coordinates, at the edges of noise
    need(torch.allclose(*results, atol=1e-3), "another result")


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
def windows(ops: dict[str, Callable[[Tensor], Op]]) -> None:
    """A patch of 12³ of a deformed volume of 48³, without another tensor of a quarter of it."""

    def alone(make: Callable[[Tensor], Op]) -> None:
        patch_of = make(noise(1, *(VOLUME,) * 3))
        with _Largest() as largest, leaving(VOLUME**3 // 4) as seen:
            y = patch_of()
        need(y.shape[-3:] == (PATCH,) * 3, f"the patch is {list(y.shape)}")
        need(not seen, "the whole volume passes through numpy")
        times = largest.size / VOLUME**3
        need(times < 0.25, f"a tensor of {times:.2g} times the volume is made")

    parts(alone, ops)

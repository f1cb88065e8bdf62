"""Launches, bytes and passes of Fourier transforms of a call, counted without a GPU.

The call is made on ``meta``, where everything is decided as on a GPU and nothing is computed.
Operators of torch, and kernels of this library, are counted as they are called.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from torchio_gpu.functional.dispatch import backend
from torchio_gpu.functional.dispatch.launch import PackedCopies

#: Operators that launch nothing, beside views.
_FREE = {"empty", "new_empty", "new_empty_strided", "empty_like", "empty_strided", "detach"} | {
    *("alias", "_unsafe_view", "_reshape_alias", "set_", "lift_fresh"),
}
#: Operators that overwrite their first tensor without reading it.
_WRITES = {"copy_", "fill_", "zero_", "uniform_", "normal_", "random_"}
#: Operators that touch as much of their first tensor as their index has elements.
_SPARSE = {"gather", "index_select", "index", "scatter_", "scatter_add_", "index_put_", "scatter"}
_PRODUCTS = {"bmm", "mm", "baddbmm", "addmm", "baddbmm_"}


@dataclass
class Launch:
    """Work of one operator.

    Args:
        name: Its name.
        launches: How many kernels it launches.
        bytes: What moves between the GPU and its memory: each tensor once.
        voxels: Elements of its largest tensor.
        fourier: Passes of Fourier transforms, one for each axis.
        multiplications: Products of a matrix multiplication.
        tensor_cores: Whether these are for tensor cores, each as three in TF32.
    """

    name: str
    launches: int
    bytes: int
    voxels: int
    fourier: int = 0
    multiplications: int = 0
    tensor_cores: bool = False


@dataclass
class Counts:
    """Work of a call, operator by operator."""

    launched: list[Launch] = field(default_factory=list)

    @property
    def launches(self) -> int:
        return sum(each.launches for each in self.launched)

    @property
    def bytes(self) -> int:
        return sum(each.bytes for each in self.launched)

    @property
    def fourier(self) -> int:
        return sum(each.fourier for each in self.launched)

    def over(self, voxels: int) -> list[Launch]:
        """Return the operators that go through so many voxels."""
        return [each for each in self.launched if each.voxels >= voxels]


def counted(call: Callable[[], Any]) -> Counts:
    """Count the launches of a call on ``meta`` tensors; its second call, as constants are kept."""
    with _as_on_a_gpu():
        call()
        with _Recorder() as recorder:
            call()
    return recorder.counts


@contextmanager
def _as_on_a_gpu() -> Iterator[None]:
    with (
        mock.patch.object(backend, "_why_no_triton", return_value=None),
        backend.rehearsing(torch.device("cuda")),
        PackedCopies().running(),
    ):
        yield


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Record of the operators that are called on a device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts = Counts()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        before = _tensors((args, kwargs))
        out = func(*args, **kwargs)
        name = func._schema.name.partition("::")[2]
        made = _tensors(out)
        if any(t.is_meta for t in (*before, *made)) and not (func.is_view or name in _FREE):
            self.counts.launched.append(_launch(func, name, args, kwargs, before, made))
        return out


def _launch(
    func: Any,
    name: str,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    given: Sequence[Tensor],
    made: Sequence[Tensor],
) -> Launch:
    voxels = max(t.numel() for t in (*given, *made))
    if name.startswith("_fft_"):
        return _fourier(name, given[0], made[0], args)
    found = Launch(name, 1, _bytes(func, name, args, kwargs, given, made), voxels)
    if name.startswith("_embedding_bag"):  # a row of the table for each weight, none from a cache
        table, index = given[:2]
        found.bytes += index.numel() * table.shape[1] * table.element_size()
    if name in _PRODUCTS:
        found.multiplications = made[0].numel() * given[-2].shape[-1]
    if name == "along":  # a kernel for each axis that occurs, of which each sample has one
        found.multiplications = made[0].numel() * given[1].shape[2]
        found.launches, found.tensor_cores = len(args[4]), given[0].dtype == torch.float32
    if name == "sort":  # radix sort: four passes over keys of 8 bits, and places of 8 bytes
        found.launches = 2 * given[0].element_size()
        found.bytes *= given[0].element_size()
    return found


def _bytes(
    func: Any,
    name: str,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    given: Sequence[Tensor],
    made: Sequence[Tensor],
) -> int:
    written, read = [], []
    for place, argument in enumerate(func._schema.arguments):
        value = args[place] if place < len(args) else kwargs.get(argument.name)
        writes = argument.alias_info is not None and argument.alias_info.is_write
        for t in _tensors(value):
            if writes:
                written.append(t)
            if not writes or (name.endswith("_") and name not in _WRITES):
                read.append(t)
    written += [t for t in made if not any(t is other for other in given)]
    if name in _SPARSE:
        index = max((t for t in given if not t.dtype.is_floating_point), key=Tensor.numel)
        least = max(index.numel(), *(t.numel() for t in made if t is not args[0]), 0)
        return sum(min(least, _elements(t)) * t.element_size() for t in (*read, *written))
    once = {id(t): t for t in read}
    return sum(_elements(t) * t.element_size() for t in (*once.values(), *written))


def _fourier(name: str, x: Tensor, out: Tensor, args: Sequence[Any]) -> Launch:
    """Passes of cuFFT, one for each axis, and what torch does before and after them."""
    axes = len(args[1])
    size, made = (t.numel() * t.element_size() for t in (x, out))
    half = max if name == "_fft_c2c" else min
    between = made if name == "_fft_r2c" else size
    launches, moved = axes, size + made + 2 * (axes - 1) * half(between, between)
    copied = name == "_fft_c2r"  # whose input cuFFT overwrites
    if not copied and sorted(a % x.ndim for a in args[1]) != list(range(x.ndim - axes, x.ndim)):
        copied = True
    copied |= not x.is_contiguous()
    if copied:
        launches, moved = launches + 1, moved + 2 * size
    if args[2]:  # torch divides by the number of voxels in a pass of its own
        launches, moved = launches + 1, moved + 2 * made
    return Launch(name, launches, moved, max(x.numel(), out.numel()), axes)


def _elements(x: Tensor) -> int:
    """Return how many elements of memory a tensor shows."""
    return math.prod(n for n, s in zip(x.shape, x.stride(), strict=True) if s or n == 0)


def _tensors(values: Any) -> list[Tensor]:
    return [v for v in tree_flatten(values)[0] if isinstance(v, Tensor)]

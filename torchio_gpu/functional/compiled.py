"""Nodes of graphs: calls that ``torch.compile`` takes as they are.

A function reads host arrays, chooses kernels and works slab by slab, which a compiler can neither
trace nor improve. The compiler therefore sees one node per call, a pure function of its tensors.
The other arguments are kept here, under a text that the node holds. Shapes are found by a call on
the meta device, and gradients by a second call, so that a node saves nothing but its tensors.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

# private, but the same in all versions since torch 2.6, which has no public ones
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

from ..signature import check_arguments

Function = TypeVar("Function", bound=Callable[..., Any])

#: Arguments of functions, or of one function, that are read on the host. Shapes are found with
#: other values in their place, since they do not depend on them.
_ON_HOST = frozenset(
    (
        "affine",
        "angles",
        "axes",
        "axis",
        "first",
        "landmarks",
        "phase_axis",
        "positions",
        "q",
        "remapping",
    )
    + ("times", "resample.matrix", "low_resolution.zoom", "cutout.size")
    + tuple(f"{name}.spacing" for name in ("beam_hardening", "low_dose", "streaks"))
    + tuple(
        f"{name}_labels.{argument}"
        for name in ("erode", "dilate")
        for argument in ("radius", "spacing")
    )
)
#: Types of arguments that a graph can hold, beside tensors.
_CONSTANTS = (int, float, str, torch.dtype, torch.device, np.generic, type(None))

#: Functions that are traceable, by name.
_functions: dict[str, Callable[..., Any]] = {}
#: Functions that a compiler has not been told of yet.
_new: list[Callable[..., Any]] = []


def in_graph(function: Function) -> Function:
    """Let graphs hold calls of a function, which is then traced with tensors without values."""
    _new.append(function)
    return function


def allow_in_graphs() -> bool:
    """Tell the compiler which functions graphs may hold; return True.

    Torch 2.6 must be told before it meets the function, and meets the ones of a closure at once.
    """
    while _new:
        torch.compiler.allow_in_graph(_new.pop())  # type: ignore[no-untyped-call]
    return True


# The compiler is to run it, and not to trace it. torch.compiler.assume_constant_result() says so by
# this attribute, but it imports the compiler, and Triton with it.
allow_in_graphs._dynamo_marked_constant = True  # type: ignore[attr-defined]


def traceable(function: Function) -> Function:
    """Wrap a function so that it checks its arguments, and is one node under ``torch.compile``.

    The arguments are checked by :func:`.check_arguments`. A node is differentiable in every tensor
    that requires a gradient; seeds that are not given are drawn by the graph.
    """
    name = function.__name__
    _functions[name] = function

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling() and is_traced((args, kwargs)):
            allow_in_graphs()
            return _function_node(name, args, kwargs)
        check_arguments(function, args, kwargs)
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]


@in_graph
def _function_node(name: str, args: Any, kwargs: Any) -> Any:
    function = _functions[name]
    args, kwargs = pytree.tree_map(constant, (args, kwargs))
    check_arguments(function, args, kwargs)
    signature = inspect.signature(function)
    arguments = signature.bind(*args, **kwargs).arguments
    if "seeds" in signature.parameters and arguments.get("seeds") is None:
        arguments["seeds"] = draw_seeds(len(next(iter(arguments.values()))))
    return as_node(function, arguments, _ON_HOST)


def is_traced(arguments: Any) -> bool:
    """Return True if a call is being traced.

    ``torch.compiler.is_compiling()`` alone is not enough: it is also true of other threads, and of
    the call on the meta device by which shapes are found.
    """
    return torch.compiler.is_dynamo_compiling() or any(
        isinstance(value, Tensor) and type(value) not in (Tensor, nn.Parameter)
        for value in pytree.tree_leaves(arguments)
    )


def constant(value: Any) -> Any:
    """Return a symbolic number as the number that it stands for; other values unchanged.

    Another number is then another graph.
    """
    if isinstance(value, torch.SymInt):
        return int(value)
    return float(value) if isinstance(value, torch.SymFloat) else value


def draw_seeds(batch: int) -> Tensor:
    """Draw seeds of the samples of a batch in a graph, [B] int64 on the host."""
    words = torch.randint(0, 2**32, (2, batch), device="cpu")  # whatever the default device is
    return words[0] | (words[1] << 32)


@dataclass(frozen=True)
class _Slot:
    """Place of a tensor in the arguments of a call."""

    index: int
    differentiable: bool
    on_host: bool


class _Call:
    """Call of a function, with slots for its tensors.

    Args:
        function: The function.
        arguments: Its arguments by name: pytrees of slots and constants.
        slots: The slots in order.
    """

    def __init__(
        self, function: Callable[..., Any], arguments: dict[str, Any], slots: list[_Slot]
    ) -> None:
        self.function, self.arguments, self.slots = function, arguments, slots
        self.structure: Any = None
        self.kinds: list[tuple[tuple[int, ...], torch.dtype]] = []

    def find_kinds(self, tensors: Sequence[Tensor]) -> None:
        """Find the structure, shapes and dtypes of results, by a call on the meta device."""
        shapes = [tuple(map(int, x.shape)) for x in tensors]
        with _disable_current_modes(), torch.no_grad():
            stand_ins = [
                _host_values(shape, x.dtype)
                if slot.on_host
                else torch.empty(shape, dtype=x.dtype, device="meta")
                for shape, x, slot in zip(shapes, tensors, self.slots, strict=True)
            ]
            out = self.run(self.leaves(stand_ins))
            for y in out:
                if not isinstance(y, Tensor):
                    raise TypeError(
                        f"under torch.compile {self.function.__name__} must return tensors, got "
                        f"{y!r}: call it outside of the compiled function"
                    )
            self.kinds = [(tuple(y.shape), y.dtype) for y in out]

    def leaves(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return tensors without history, which require a gradient where the call's ones do."""
        pairs = zip(tensors, self.slots, strict=True)
        return [x.detach().requires_grad_(slot.differentiable) for x, slot in pairs]

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Call the function with tensors in its slots, and return the list of its results."""
        arguments = pytree.tree_map(
            lambda value: tensors[value.index] if isinstance(value, _Slot) else value,
            self.arguments,
        )
        out, self.structure = pytree.tree_flatten(self.function(**arguments))
        return out


#: Calls by the texts that nodes hold. A text says all that a graph depends on, with the shapes of
#: results, because caches of compilers outlive a process.
_calls: dict[str, _Call] = {}


def as_node(
    function: Callable[..., Any], arguments: dict[str, Any], on_host: Collection[str] = ()
) -> Any:
    """Call a function as one node of the graph that is being traced.

    Args:
        function: Function that returns a pytree of tensors, on the device of the first tensor among
            its arguments.
        arguments: Arguments by name: pytrees of tensors, arrays and constants.
        on_host: Names of arguments whose tensors are on the host even where shapes are found.

    Raises:
        TypeError: An argument is none of these, or the function returns no tensors.
    """
    tensors: list[Tensor] = []
    slots: list[_Slot] = []

    def slot(name: str, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(value)
        if isinstance(value, _CONSTANTS):
            return value
        if not isinstance(value, Tensor):
            raise TypeError(
                f"under torch.compile {function.__name__} takes tensors, numbers and names, got "
                f"{type(value).__name__} for {name}: call it outside of the compiled function"
            )
        host = name in on_host or f"{function.__name__}.{name}" in on_host
        slots.append(_Slot(len(tensors), value.requires_grad, host))
        tensors.append(value)
        return slots[-1]

    static = {name: pytree.tree_map(partial(slot, name), v) for name, v in arguments.items()}
    call = _Call(function, static, slots)
    call.find_kinds(tensors)
    text = f"{function.__name__}({static}) -> {call.kinds}"
    _calls[text] = call
    return pytree.tree_unflatten(torch.ops.torchio_gpu.node(tensors, text), call.structure)


def _forward(tensors: Sequence[Tensor], text: str) -> list[Tensor]:
    call = _calls[text]
    with torch.no_grad():
        out = call.run(call.leaves(tensors))
    return _own([y.detach() for y in out], tensors)


def _own(out: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return contiguous results that share no memory with inputs or each other, as torch requires.

    Results share memory where a function leaves a volume as it is.
    """
    taken = {x.untyped_storage().data_ptr() for x in inputs}
    own = []
    for y in out:
        if y.untyped_storage().data_ptr() in taken:
            y = y.clone(memory_format=torch.contiguous_format)
        own.append(y.contiguous())
        taken.add(own[-1].untyped_storage().data_ptr())
    return own


def _fake(tensors: Sequence[Tensor], text: str) -> list[Tensor]:
    device = tensors[0].device
    return [torch.empty(shape, dtype=dtype, device=device) for shape, dtype in _calls[text].kinds]


def _host_values(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return values that any function takes: identity matrices, rising shares, or zeros."""
    if shape[-2:] == (4, 4):
        return torch.eye(4, dtype=dtype, device="cpu").repeat(*shape[:-2], 1, 1)
    if dtype.is_floating_point and shape:
        return torch.linspace(0, 1, shape[-1] + 2, dtype=dtype, device="cpu")[1:-1].repeat(
            *shape[:-1], 1
        )
    return torch.zeros(shape, dtype=dtype, device="cpu")


def _backward(grads: Sequence[Tensor], tensors: Sequence[Tensor], text: str) -> list[Tensor]:
    """Return the gradients of the tensors that require one."""
    call = _calls[text]
    with torch.enable_grad():
        leaves = call.leaves(tensors)
        out = call.run(leaves)
    pairs = [(y, g) for y, g in zip(out, grads, strict=True) if y.requires_grad]
    wanted = [x for x in leaves if x.requires_grad]
    if not pairs:
        return [torch.zeros_like(x, memory_format=torch.contiguous_format) for x in wanted]
    ys, gs = zip(*pairs, strict=True)
    found = torch.autograd.grad(ys, wanted, gs, materialize_grads=True)
    return _own(found, [*grads, *tensors])


def _fake_backward(grads: Sequence[Tensor], tensors: Sequence[Tensor], text: str) -> list[Tensor]:
    pairs = zip(tensors, _calls[text].slots, strict=True)
    wanted = [x for x, slot in pairs if slot.differentiable]
    return [torch.empty_like(x, memory_format=torch.contiguous_format) for x in wanted]


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: Sequence[Tensor]) -> None:
    tensors, ctx.text = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, grads: Sequence[Tensor]) -> tuple[Any, ...]:
    found = torch.ops.torchio_gpu.node_backward(grads, list(ctx.saved_tensors), ctx.text)
    grad = iter(found)
    return [next(grad) if slot.differentiable else None for slot in _calls[ctx.text].slots], None


_LIBRARY: Any = torch.library.Library("torchio_gpu", "FRAGMENT")  # type: ignore[no-untyped-call]
_LIBRARY.define("node(Tensor[] tensors, str text) -> Tensor[]")
_LIBRARY.define("node_backward(Tensor[] grads, Tensor[] tensors, str text) -> Tensor[]")
_LIBRARY.impl("node", _forward, "CompositeExplicitAutograd")
_LIBRARY.impl("node_backward", _backward, "CompositeExplicitAutograd")
torch.library.register_fake("torchio_gpu::node", _fake, lib=_LIBRARY)
torch.library.register_fake("torchio_gpu::node_backward", _fake_backward, lib=_LIBRARY)
torch.library.register_autograd(
    "torchio_gpu::node", _differentiate, setup_context=_save_inputs, lib=_LIBRARY
)

__all__ = [
    "allow_in_graphs",
    "as_node",
    "constant",
    "draw_seeds",
    "in_graph",
    "is_traced",
    "traceable",
]

"""Registration of operators under ``torch.ops.torchio_gpu``: opaque to ``torch.compile``,
differentiable by autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import torch

_LIBRARY = torch.library.Library("torchio_gpu", "FRAGMENT")


def register(schema: str, run: Callable[..., Any], fake: Callable[..., Any]) -> Callable[..., Any]:
    """Register a function that launches kernels as an operator, and return the operator.

    Args:
        schema: Name and signature, in the notation of torch.
        run: Function of tensors on a GPU, or on a CPU in Triton's interpreter.
        fake: Function that returns empty tensors like those of ``run``.
    """
    name = schema[: schema.index("(")]
    _LIBRARY.define(schema)
    _LIBRARY.impl(name, run, "CPU")
    _LIBRARY.impl(name, _on_tensors_device(run), "CUDA")
    torch.library.register_fake(f"torchio_gpu::{name}", fake, lib=_LIBRARY)
    operator: Callable[..., Any] = getattr(torch.ops.torchio_gpu, name).default
    return operator


def _on_tensors_device(run: Callable[..., Any]) -> Callable[..., Any]:
    """Make the device of the tensors the current one, on which Triton launches."""

    @wraps(run)
    def launch(*arguments: Any) -> Any:
        with torch.cuda.device(_first_cuda_device(arguments)):
            return run(*arguments)

    return launch


def _first_cuda_device(arguments: Iterable[Any]) -> torch.device | None:
    """Return the device of the first tensor on a GPU, among arguments and in lists of them."""
    for argument in arguments:
        if isinstance(argument, torch.Tensor):
            device = argument.device if argument.is_cuda else None
        else:
            device = _first_cuda_device(argument) if isinstance(argument, (list, tuple)) else None
        if device is not None:
            return device
    return None


def differentiate(
    name: str, setup_context: Callable[..., None], backward: Callable[..., Any]
) -> None:
    """Register the gradient of an operator.

    Args:
        name: Name of the operator.
        setup_context: Function of a context, the inputs and the output.
        backward: Function of the context and the gradient of the output.
    """
    torch.library.register_autograd(
        f"torchio_gpu::{name}", backward, setup_context=setup_context, lib=_LIBRARY
    )


def refuse_gradient(name: str) -> None:
    """Let the backward of an operator raise; torch would take its gradient to be zero."""

    def refuse(ctx: Any, *grads: torch.Tensor) -> None:
        raise RuntimeError(
            f"no gradient flows through the kernel {name}: torchio_gpu.backend('reference') has one"
        )

    differentiate(name, lambda ctx, inputs, output: None, refuse)

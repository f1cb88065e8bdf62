"""Operators under ``torch.ops.torchio_gpu``: opaque to ``torch.compile``, known to autograd."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import torch

_LIBRARY = torch.library.Library("torchio_gpu", "FRAGMENT")


def register(schema: str, run: Callable[..., Any], fake: Callable[..., Any]) -> Callable[..., Any]:
    """Make an operator out of a function that launches kernels.

    Args:
        schema: Name and signature, as torch writes them.
        run: Called with tensors on a GPU, or on a CPU where Triton interprets.
        fake: Makes empty tensors like those that ``run`` returns.

    Returns:
        The operator.
    """
    name = schema[: schema.index("(")]
    _LIBRARY.define(schema)
    _LIBRARY.impl(name, run, "CPU")
    _LIBRARY.impl(name, _where_tensors_are(run), "CUDA")
    torch.library.register_fake(f"torchio_gpu::{name}", fake, lib=_LIBRARY)
    operator: Callable[..., Any] = getattr(torch.ops.torchio_gpu, name).default
    return operator


def _where_tensors_are(run: Callable[..., Any]) -> Callable[..., Any]:
    """Triton launches on the current device, whichever the tensors are on."""

    @wraps(run)
    def launch(*arguments: Any) -> Any:
        with torch.cuda.device(_device(arguments)):
            return run(*arguments)

    return launch


def _device(arguments: Iterable[Any]) -> torch.device | None:
    """That of the first tensor on a GPU, among arguments and in lists of them."""
    for argument in arguments:
        if isinstance(argument, torch.Tensor):
            device = argument.device if argument.is_cuda else None
        else:
            device = _device(argument) if isinstance(argument, (list, tuple)) else None
        if device is not None:
            return device
    return None


def differentiate(name: str, remember: Callable[..., None], backward: Callable[..., Any]) -> None:
    """Give an operator a gradient.

    Args:
        name: Of the operator.
        remember: Called with a context, the inputs and the output.
        backward: Called with the context and the gradient of the output.
    """
    torch.library.register_autograd(
        f"torchio_gpu::{name}", backward, setup_context=remember, lib=_LIBRARY
    )


def has_no_gradient(name: str) -> None:
    """Let an operator refuse to be differentiated; torch would take its gradient to be zero."""

    def refuse(ctx: Any, *grads: torch.Tensor) -> None:
        raise RuntimeError(
            f"no gradient flows through the kernel {name}: torchio_gpu.backend('reference') has one"
        )

    differentiate(name, lambda ctx, inputs, output: None, refuse)

"""The warp and its gradient as operators that torch knows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import pointwise
from .library import differentiate, has_no_gradient, register
from .warp import warp
from .warp_backward import warp_backward


def _warp(*arguments: Any) -> Tensor:
    tensors, how = arguments[:10], arguments[10:]
    return warp(*(*tensors, None, None, *how))[0]


def _warp_pair(x: Tensor, labels: Tensor, *others: Any) -> tuple[Tensor, Tensor | None]:
    *places, fill, labels_fill, values, seeds, size, taps, program, dtype = others
    tensors = (x, *places, fill, None, None, values, seeds, labels, labels_fill)
    return warp(*(*tensors, size, taps, "linear", program, dtype))


def _fake(x: Tensor, *others: Any) -> Tensor:
    *_, size, _, _, _, dtype = others
    return torch.empty((*x.shape[:2], *size), dtype=dtype, device=x.device)


def _fake_backward(
    grad: Tensor, x: Tensor, matrix: Tensor, columns: Tensor | None, *others: Any
) -> tuple[Tensor, Tensor, Tensor]:
    *_, voxels, points = others
    none = torch.empty(0, device=x.device)
    g_columns = torch.empty_like(columns) if points and columns is not None else none.clone()
    return (
        torch.empty(x.shape, dtype=x.dtype, device=x.device) if voxels else none,
        torch.empty_like(matrix) if points else none.clone(),
        g_columns,
    )


def _fake_pair(x: Tensor, labels: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    *_, size, _, _, dtype = others
    return (
        torch.empty((*x.shape[:2], *size), dtype=dtype, device=x.device),
        torch.empty((*labels.shape[:2], *size), dtype=labels.dtype, device=x.device),
    )


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    tensors, ctx.settings = inputs[:10], inputs[10:]
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, matrix, columns, along_j, lowest, fill, boxes, copies, values, seeds = ctx.saved_tensors
    size, taps, mode, program, _ = ctx.settings
    wants = ctx.needs_input_grad
    g_values = None
    if program:
        # what was read is read again: it was never written
        y = operator(
            *(x, matrix, columns, along_j, lowest, fill, boxes, copies, None, None),
            *(size, taps, mode, [], torch.float32),
        )
        grad, g_values = pointwise.backward_operator(grad, y, program, values, seeds, wants[8])
    # what is moved whole does not change with small changes of place
    voxels, points = wants[0], mode == "linear" and (wants[1] or wants[2])
    g_x = g_matrix = g_columns = None
    if voxels or points:
        g_x, g_matrix, g_columns = backward_operator(
            grad, x, matrix, columns, along_j, lowest, boxes, taps, mode, voxels, points
        )
    return (
        g_x if voxels else None,
        g_matrix if points and wants[1] else None,
        g_columns if points and wants[2] else None,
        *(None,) * 5,
        g_values if wants[8] else None,
        *(None,) * 6,
    )


operator = register(
    "warp(Tensor x, Tensor matrix, Tensor? columns, Tensor? along_j, Tensor? lowest, Tensor fill, "
    "Tensor? boxes, Tensor? copies, Tensor? values, Tensor? seeds, int[] size, int taps, str mode, "
    "int[] program, ScalarType dtype) -> Tensor",
    _warp,
    _fake,
)
backward_operator = register(
    "warp_backward(Tensor grad, Tensor x, Tensor matrix, Tensor? columns, Tensor? along_j, "
    "Tensor? lowest, Tensor? boxes, int taps, str mode, bool voxels, bool points) "
    "-> (Tensor, Tensor, Tensor)",
    warp_backward,
    _fake_backward,
)
differentiate("warp", _remember, _backward)
has_no_gradient("warp_backward")


#: Has no gradient: where one is wanted, both are read one after the other.
pair_operator = register(
    "warp_pair(Tensor x, Tensor labels, Tensor matrix, Tensor? columns, Tensor? along_j, "
    "Tensor? lowest, Tensor fill, Tensor labels_fill, Tensor? values, Tensor? seeds, int[] size, "
    "int taps, int[] program, ScalarType dtype) -> (Tensor, Tensor)",
    _warp_pair,
    _fake_pair,
)
has_no_gradient("warp_pair")

"""The warp and its gradient as operators of torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import pointwise
from .library import differentiate, refuse_gradient, register
from .tiles import before_hopper
from .warp import warp
from .warp_backward import warp_backward


class _Arguments(NamedTuple):
    """Arguments of the operator ``warp``, or their gradients, in the order of its schema."""

    x: Any = None
    matrix: Any = None
    columns: Any = None
    runs: Any = None
    spans: Any = None
    fill: Any = None
    fields: Any = None
    copies: Any = None
    values: Any = None
    seeds: Any = None
    size: Any = None
    mode: Any = None
    program: Any = None
    dtype: Any = None


def _warp(
    x: Tensor,
    matrix: Tensor,
    columns: Tensor | None,
    runs: Tensor | None,
    spans: Tensor | None,
    fill: Tensor,
    fields: Tensor | None,
    copies: Tensor | None,
    values: Tensor | None,
    seeds: Tensor | None,
    size: Sequence[int],
    mode: str,
    program: Sequence[int],
    dtype: torch.dtype,
) -> Tensor:
    out, _ = warp(
        x=x,
        matrix=matrix,
        columns=columns,
        runs=runs,
        spans=spans,
        fill=fill,
        fields=fields,
        copies=copies,
        values=values,
        seeds=seeds,
        labels=None,
        labels_fill=None,
        size=size,
        mode=mode,
        program=program,
        dtype=dtype,
    )
    return out


def _fake(*arguments: Any) -> Tensor:
    given = _Arguments(*arguments)
    shape = (*given.x.shape[:2], *given.size)
    return torch.empty(shape, dtype=given.dtype, device=given.x.device)


def _warp_pair(
    x: Tensor,
    labels: Tensor,
    matrix: Tensor,
    columns: Tensor | None,
    runs: Tensor | None,
    spans: Tensor | None,
    fill: Tensor,
    labels_fill: Tensor,
    values: Tensor | None,
    seeds: Tensor | None,
    size: Sequence[int],
    program: Sequence[int],
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor | None]:
    if x.shape[1] > 1 and before_hopper():  # together, they take more registers than there are
        where, alone = (matrix, columns, runs, spans), (None, None, None, None)
        out = _warp(x, *where, fill, None, None, values, seeds, size, "linear", program, dtype)
        kind = labels.dtype
        return out, _warp(labels, *where, labels_fill, *alone, size, "nearest", [], kind)
    return warp(
        x=x,
        matrix=matrix,
        columns=columns,
        runs=runs,
        spans=spans,
        fill=fill,
        fields=None,
        copies=None,
        values=values,
        seeds=seeds,
        labels=labels,
        labels_fill=labels_fill,
        size=size,
        mode="linear",
        program=program,
        dtype=dtype,
    )


def _fake_pair(
    x: Tensor,
    labels: Tensor,
    matrix: Tensor,
    columns: Tensor | None,
    runs: Tensor | None,
    spans: Tensor | None,
    fill: Tensor,
    labels_fill: Tensor,
    values: Tensor | None,
    seeds: Tensor | None,
    size: Sequence[int],
    program: Sequence[int],
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    return (
        torch.empty((*x.shape[:2], *size), dtype=dtype, device=x.device),
        torch.empty((*labels.shape[:2], *size), dtype=labels.dtype, device=x.device),
    )


def _fake_backward(
    grad: Tensor,
    x: Tensor,
    matrix: Tensor,
    columns: Tensor | None,
    runs: Tensor | None,
    spans: Tensor | None,
    fields: Tensor | None,
    mode: str,
    needs_x: bool,
    needs_map: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    none = torch.empty(0, device=x.device)
    g_columns = torch.empty_like(columns) if needs_map and columns is not None else none.clone()
    return (
        torch.empty(x.shape, dtype=x.dtype, device=x.device) if needs_x else none,
        torch.empty_like(matrix) if needs_map else none.clone(),
        g_columns,
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    given = _Arguments(*inputs)
    saved = given._replace(size=None, mode=None, program=None, dtype=None)
    ctx.save_for_backward(*saved)
    ctx.size, ctx.mode, ctx.program = given.size, given.mode, given.program


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    given, needs = _Arguments(*ctx.saved_tensors), _Arguments(*ctx.needs_input_grad)
    g_x = g_matrix = g_columns = g_values = None
    if ctx.program:
        # the sampled volume was not stored: it is sampled again, without the program
        without = given._replace(values=None, seeds=None, program=[], dtype=torch.float32)
        without = without._replace(size=ctx.size, mode=ctx.mode)
        grad, g_values = pointwise.backward_operator(
            grad=grad,
            x=operator(**without._asdict()),
            program=ctx.program,
            values=given.values,
            seeds=given.seeds,
            needs_values=needs.values,
        )
    # nearest voxels and labels do not change with small changes of the map
    needs_map = ctx.mode == "linear" and (needs.matrix or needs.columns)
    if needs.x or needs_map:
        g_x, g_matrix, g_columns = backward_operator(
            grad=grad,
            x=given.x,
            matrix=given.matrix,
            columns=given.columns,
            runs=given.runs,
            spans=given.spans,
            fields=given.fields,
            mode=ctx.mode,
            needs_x=needs.x,
            needs_map=needs_map,
        )
    gradients = _Arguments(
        x=g_x if needs.x else None,
        matrix=g_matrix if needs_map and needs.matrix else None,
        columns=g_columns if needs_map and needs.columns else None,
        values=g_values if needs.values else None,
    )
    return tuple(gradients)


operator = register(
    "warp(Tensor x, Tensor matrix, Tensor? columns, Tensor? runs, Tensor? spans, Tensor fill, "
    "Tensor? fields, Tensor? copies, Tensor? values, Tensor? seeds, int[] size, "
    "str mode, int[] program, ScalarType dtype) -> Tensor",
    _warp,
    _fake,
)
backward_operator = register(
    "warp_backward(Tensor grad, Tensor x, Tensor matrix, Tensor? columns, Tensor? runs, "
    "Tensor? spans, Tensor? fields, str mode, bool needs_x, bool needs_map) "
    "-> (Tensor, Tensor, Tensor)",
    warp_backward,
    _fake_backward,
)
differentiate("warp", _setup_context, _backward)
refuse_gradient("warp_backward")


#: Samples a volume and labels. It has no gradient: where one is wanted, ``warp`` samples both, one
#: after the other.
pair_operator = register(
    "warp_pair(Tensor x, Tensor labels, Tensor matrix, Tensor? columns, Tensor? runs, "
    "Tensor? spans, Tensor fill, Tensor labels_fill, Tensor? values, Tensor? seeds, int[] size, "
    "int[] program, ScalarType dtype) -> (Tensor, Tensor)",
    _warp_pair,
    _fake_pair,
)
refuse_gradient("warp_pair")

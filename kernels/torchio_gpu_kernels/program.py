"""Programs: sequences of pointwise operations on neighbouring rows in registers; their gradients.

A program is a constexpr tuple of four integers for each operation: its code of :mod:`.shared`, the
index of its first value among those of a sample, its kind (the order of a polynomial, or the number
of values of each parameter), and the index of its seed. A kernel that runs a program is compiled to
code without branches. Rows are a tuple of :data:`.tiling.BJ` vectors [BK], of which the first is a
row whose number is a multiple of BJ, in the plane i of channel c of sample b.
"""

from __future__ import annotations

import triton
import triton.language as tl

from . import shared
from .intrinsics import exp2, is_zero, log2, log2_of_magnitude, sqrt, with_sign
from .noise import normals

BIAS = tl.constexpr(shared.BIAS)
GAMMA = tl.constexpr(shared.GAMMA)
NOISE = tl.constexpr(shared.NOISE)
RICIAN = tl.constexpr(shared.RICIAN)
CLAMP = tl.constexpr(shared.CLAMP)
LINEAR = tl.constexpr(shared.LINEAR)
_LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def prepare(values, seeds, i, k, PROGRAM: tl.constexpr):
    """Compute the terms of each operation that do not depend on j, once for all rows of a block.

    Args:
        values, seeds: Values and seeds of the sample.
        i, k: Plane, and voxels along K [BK].
    """
    ready = ()
    for n in tl.static_range(len(PROGRAM) // 4):
        ready = ready + (_prepare(values, seeds, i, k, n, PROGRAM),)
    return ready


@triton.jit
def run(rows, ready, values, place, shape, PROGRAM: tl.constexpr):
    """Apply a program to rows.

    Args:
        rows: Voxels, float32, a tuple of [BK].
        ready: Terms from :func:`prepare`.
        values: Values of the sample.
        place: Position of the rows: channel, plane, first row, voxels along K [BK].
        shape: Shape of the sample: C, I, J, K.
    """
    for n in tl.static_range(len(PROGRAM) // 4):
        rows = _forward(rows, ready[n], values, place, shape, n, PROGRAM)
    return rows


@triton.jit
def no_sums(k, PROGRAM: tl.constexpr):
    """Return sums of :func:`run_back` before any rows: zeros [BK], in a tuple of each operation."""
    zero = k.to(tl.float32) * 0.0
    sums = ()
    for n in tl.static_range(len(PROGRAM) // 4):
        own = ()
        for _ in tl.static_range(_sum_count(PROGRAM[4 * n], PROGRAM[4 * n + 2])):
            own = own + (zero,)
        sums = sums + (own,)
    return sums


@triton.constexpr_function
def _sum_count(code, kind):
    if code == shared.BIAS:
        return kind + 1
    return 1 if code == shared.GAMMA else 2


@triton.jit
def run_back(
    g,
    rows,
    ready,
    values,
    sums,
    place,
    shape,
    inside,
    PROGRAM: tl.constexpr,
    NEEDS_VALUES: tl.constexpr,
):
    """Return the gradient of :func:`run` with respect to its rows, and sums for that of its values.

    Intermediate results are computed again.

    Args:
        g: Gradient of the result, 0 outside the volume: a tuple of [BK].
        rows, ready, values, place, shape: As for :func:`run`.
        sums: Sums over rows so far, from :func:`no_sums`.
        inside: True for voxels that are in the volume: a tuple of [BK].
        NEEDS_VALUES: True if gradients of the values are wanted.
    """
    count: tl.constexpr = len(PROGRAM) // 4
    steps = (rows,)
    for n in tl.static_range(count - 1):
        steps = steps + (_forward(steps[n], ready[n], values, place, shape, n, PROGRAM),)
    new = ()
    for n in tl.static_range(count - 1, -1, -1):
        g, own = _backward(
            g, steps[n], ready[n], values, sums[n], place, shape, inside, n, PROGRAM, NEEDS_VALUES
        )
        new = (own,) + new
    return g, new


@triton.jit
def store_sums(partial, sums, ready, values, place, PROGRAM: tl.constexpr):
    """Store the contribution of a block to the gradients of the values of its sample.

    Args:
        partial: Pointer to the contribution, [V].
        sums: Sums over all rows of the block, from :func:`run_back`.
        ready, values, place: As for :func:`run`.
    """
    for n in tl.static_range(len(PROGRAM) // 4):
        _store_sums(partial, sums[n], ready[n], values, place, n, PROGRAM)


@triton.jit
def _store_sums(partial, sums, ready, values, place, N: tl.constexpr, PROGRAM: tl.constexpr):
    CODE: tl.constexpr = PROGRAM[4 * N]
    KIND: tl.constexpr = PROGRAM[4 * N + 2]
    own = partial + PROGRAM[4 * N + 1]
    channel = place[0] if KIND > 1 else 0  # of values that are one per channel
    if CODE == BIAS:
        _store_moments(own + 6, sums, ready[2], ready[3], KIND)
    else:
        for m in tl.static_range(len(sums)):
            tl.store(own + m * KIND + channel, tl.sum(sums[m], 0))
    if CODE == LINEAR:  # of the centre
        scale = _of_channel(ready, values + PROGRAM[4 * N + 1], place, 0, KIND)
        tl.store(own + 2 * KIND + channel, -tl.sum(sums[1], 0) * scale)


@triton.jit
def _prepare(values, seeds, i, k, N: tl.constexpr, PROGRAM: tl.constexpr):
    CODE: tl.constexpr = PROGRAM[4 * N]
    KIND: tl.constexpr = PROGRAM[4 * N + 2]
    own = values + PROGRAM[4 * N + 1]
    if CODE == BIAS:
        X = tl.load(own) * i.to(tl.float32) + tl.load(own + 1)
        Z = tl.load(own + 4) * k.to(tl.float32) + tl.load(own + 5)
        ready = (tl.load(own + 2), tl.load(own + 3), X, Z)
        for m in tl.static_range(KIND + 1):  # of the exponent of 2
            ready = ready + (_coefficient(own + 6, X, Z, m, KIND) * _LOG2_E,)
    elif CODE == GAMMA:
        ready = (_positive_exponent(own),)
    elif CODE == LINEAR:
        ready = (tl.load(own), tl.load(own + KIND), tl.load(own + 2 * KIND))
    elif CODE == CLAMP:
        ready = (tl.load(own), tl.load(own + KIND))
    else:
        key = tl.load(seeds + PROGRAM[4 * N + 3])
        ready = (tl.load(own), tl.load(own + KIND), tl.load(own + 2 * KIND), key)
    return ready


@triton.jit
def _forward(rows, ready, values, place, shape, N: tl.constexpr, PROGRAM: tl.constexpr):
    CODE: tl.constexpr = PROGRAM[4 * N]
    KIND: tl.constexpr = PROGRAM[4 * N + 2]
    own = values + PROGRAM[4 * N + 1]
    if CODE == NOISE or CODE == RICIAN:  # noqa: SIM109 - Triton has no `in` of constants
        numbers, others = _normals(ready[3], place, shape, CODE == RICIAN)
    out = ()
    for r in tl.static_range(len(rows)):
        x = rows[r]
        if CODE == BIAS:
            y = x * exp2(_polynomial(ready, place, r, KIND))
        elif CODE == GAMMA:
            exponent = _exponent(ready, own, place, KIND)
            power = exp2(exponent * log2_of_magnitude(x))  # 0 of 0, whose logarithm is -inf
            y = tl.where(exponent == 1, x, with_sign(power, x))  # exact for an exponent of 1
        elif CODE == LINEAR:
            scale = _of_channel(ready, own, place, 0, KIND)
            shift = _of_channel(ready, own, place, 1, KIND)
            centre = _of_channel(ready, own, place, 2, KIND)
            y = (x - centre) * scale + shift
        elif CODE == CLAMP:
            low = _of_channel(ready, own, place, 0, KIND)
            high = _of_channel(ready, own, place, 1, KIND)
            # comparisons keep NaN
            y = tl.where(x < low, low, x)
            y = tl.where(y > high, high, y)
        else:
            mean = _of_channel(ready, own, place, 0, KIND)
            std = _of_channel(ready, own, place, 1, KIND)
            y = x + (mean + std * numbers[r])
            if CODE == RICIAN:
                active = _of_channel(ready, own, place, 2, KIND)
                other = mean + std * others[r]
                y = tl.where(active != 0, sqrt(y * y + other * other), x)
        out = out + (y,)
    return out


@triton.jit
def _backward(
    g,
    rows,
    ready,
    values,
    sums,
    place,
    shape,
    inside,
    N: tl.constexpr,
    PROGRAM: tl.constexpr,
    NEEDS_VALUES: tl.constexpr,
):
    CODE: tl.constexpr = PROGRAM[4 * N]
    KIND: tl.constexpr = PROGRAM[4 * N + 2]
    own = values + PROGRAM[4 * N + 1]
    if CODE == RICIAN or (CODE == NOISE and NEEDS_VALUES):
        numbers, others = _normals(ready[3], place, shape, CODE == RICIAN)
    out = ()
    for r in tl.static_range(len(rows)):
        x, known = rows[r], inside[r]
        if CODE == BIAS:
            field = exp2(_polynomial(ready, place, r, KIND))
            if NEEDS_VALUES:
                slope = tl.where(known, g[r] * x * field, 0.0)
                Y = _along_j(ready, place, r)
                moments = ()
                for m in tl.static_range(KIND + 1):
                    moments = moments + (sums[m] + slope,)
                    slope = slope * Y
                sums = moments
            back = g[r] * field
        elif CODE == GAMMA:
            exponent = _exponent(ready, own, place, KIND)
            nothing = is_zero(x)
            logarithm = log2(tl.where(nothing, 1.0, tl.abs(x)))
            if NEEDS_VALUES:
                # d/d log_gamma of sign(x) |x|**e = sign(x) |x|**e e ln|x|; 0 where x is 0
                power = with_sign(exp2(exponent * logarithm), x)
                slope = power * (exponent * 0.6931471805599453) * logarithm
                sums = (sums[0] + tl.where(known & (nothing == 0), g[r] * slope, 0.0),)
            slope = exponent * exp2((exponent - 1.0) * logarithm)
            back = tl.where(nothing, 0.0, g[r] * slope)
        elif CODE == LINEAR:
            scale = _of_channel(ready, own, place, 0, KIND)
            if NEEDS_VALUES:
                centre = _of_channel(ready, own, place, 2, KIND)
                moved = tl.where(known, g[r] * (x - centre), 0.0)
                sums = (sums[0] + moved, sums[1] + tl.where(known, g[r], 0.0))
            back = g[r] * scale
        elif CODE == CLAMP:
            low = _of_channel(ready, own, place, 0, KIND)
            high = _of_channel(ready, own, place, 1, KIND)
            below = x < low
            above = tl.where(below, low, x) > high
            if NEEDS_VALUES:
                less = tl.where(known & below & ~above, g[r], 0.0)
                sums = (sums[0] + less, sums[1] + tl.where(known & above, g[r], 0.0))
            back = tl.where((x >= low) & (x <= high), g[r], 0.0)  # 0 for NaN
        elif CODE == NOISE:
            if NEEDS_VALUES:
                of_mean = tl.where(known, g[r], 0.0)
                sums = (sums[0] + of_mean, sums[1] + of_mean * numbers[r])
            back = g[r]
        else:
            mean = _of_channel(ready, own, place, 0, KIND)
            std = _of_channel(ready, own, place, 1, KIND)
            active = _of_channel(ready, own, place, 2, KIND)
            real = x + (mean + std * numbers[r])
            imaginary = mean + std * others[r]
            size = tl.sqrt(real * real + imaginary * imaginary)
            unit = tl.where(active != 0, g[r] / tl.where(size == 0, 1.0, size), 0.0)
            if NEEDS_VALUES:
                unit = tl.where(known, unit, 0.0)
                of_std = unit * (real * numbers[r] + imaginary * others[r])
                sums = (sums[0] + unit * (real + imaginary), sums[1] + of_std)
            back = tl.where(active != 0, unit * real, g[r])
        out = out + (back,)
    return out, sums


@triton.jit
def _normals(key, place, shape, SECOND: tl.constexpr):
    """Return the normal numbers of rows, and the second ones of their voxels, if wanted."""
    c, i, j0, k = place
    C, I, J, K = shape
    plane = tl.cast(tl.cdiv(J, 4), tl.int64) * K
    counter = (i.to(tl.int64) * C + c) * plane + ((j0 // 4).to(tl.int64) * K + k)
    numbers = normals(key, counter)
    others = normals(key, counter + plane * C * I) if SECOND else numbers
    return numbers, others


@triton.jit
def _positive_exponent(own):
    """Return an exponent, above 0 even where its logarithm is so low that it is not in float32."""
    exponent = tl.exp(tl.load(own))
    return tl.where(exponent < 1e-37, 1e-37, exponent)  # keeps NaN


@triton.jit
def _exponent(ready, own, place, KIND: tl.constexpr):
    if KIND > 1:
        return _positive_exponent(own + place[0])
    return ready[0]


@triton.jit
def _of_channel(ready, own, place, M: tl.constexpr, KIND: tl.constexpr):
    """Return value M of an operation for the channel of a tile."""
    if KIND > 1:
        return tl.load(own + M * KIND + place[0])
    return ready[M]


@triton.jit
def _coefficient(c, X, Z, M: tl.constexpr, ORDER: tl.constexpr):
    """Coefficient of Y**M in ``sum_lmn c_lmn X^l Y^m Z^n``, l + m + n <= ORDER, n fastest, [BK].

    Horner's rule is applied first in X, a scalar, then in Z.
    """
    column = Z * 0.0
    for n in tl.static_range(ORDER - M, -1, -1):
        plane = X * 0.0
        for l in tl.static_range(ORDER - M - n, -1, -1):
            plane = plane * X + tl.load(c + _monomial(ORDER, l, M) + n)
        column = column * Z + plane
    return column


@triton.jit
def _along_j(ready, place, R: tl.constexpr):
    """Return the coordinate Y, in [-1, 1], of row R."""
    return ready[0] * place[2].to(tl.float32) + ready[1] + ready[0] * R


@triton.jit
def _polynomial(ready, place, R: tl.constexpr, ORDER: tl.constexpr):
    """Evaluate the polynomial on row R, from its coefficients for each column."""
    Y = _along_j(ready, place, R)
    total = ready[4 + ORDER]
    for m in tl.static_range(ORDER - 1, -1, -1):
        total = total * Y + ready[4 + m]
    return total


@triton.jit
def _power(x, N: tl.constexpr):
    power = x * 0.0 + 1.0
    for _ in tl.static_range(N):
        power = power * x
    return power


@triton.constexpr_function
def _monomial(order, l, m):
    """Return the index of the monomial X^l Y^m among those up to a total order, Z fastest."""
    before = 0
    for a in range(l + 1):
        for b in range(order + 1 - a if a < l else m):
            before += order + 1 - a - b
    return before


@triton.jit
def _store_moments(share, sums, X, Z, ORDER: tl.constexpr):
    """Store sums of ``g X^l Y^m Z^n`` over a block, for each monomial.

    Args:
        sums: Sums of ``g Y^m`` over rows, for each m.
    """
    for m in tl.static_range(ORDER + 1):
        for n in tl.static_range(ORDER + 1 - m):
            moment = tl.sum(sums[m] * _power(Z, n), 0)
            for l in tl.static_range(ORDER + 1 - n - m):
                tl.store(share + _monomial(ORDER, l, m) + n, moment * _power(X, l))

"""Programs: sequences of pointwise operations on a tile of voxels in registers; their gradients.

A program is a constexpr tuple of four integers for each operation: its code of :mod:`.shared`, the
index of its first value among those of a sample, its kind (the order of a polynomial, or the number
of values of each parameter), and the index of its seed. A kernel that runs a program is compiled to
code without branches. A tile [BJ, BK] lies in the plane i of channel c of sample b; its rows are
along K.
"""

from __future__ import annotations

import triton
import triton.language as tl

from . import shared
from .logarithm import log2
from .noise import noise_tile

BIAS = tl.constexpr(shared.BIAS)
GAMMA = tl.constexpr(shared.GAMMA)
NOISE = tl.constexpr(shared.NOISE)
RICIAN = tl.constexpr(shared.RICIAN)
CLAMP = tl.constexpr(shared.CLAMP)
LINEAR = tl.constexpr(shared.LINEAR)


@triton.jit
def prepare(values, seeds, i, k, PROGRAM: tl.constexpr):
    """Compute the terms of each operation that do not depend on j, once for all tiles of a block.

    Args:
        values, seeds: Values and seeds of the sample.
        i, k: Plane, and voxels along K [BK].
    """
    ready = ()
    for n in tl.static_range(len(PROGRAM) // 4):
        ready = ready + (_prepare(values, seeds, i, k, n, PROGRAM),)
    return ready


@triton.jit
def run(x, ready, values, place, shape, PROGRAM: tl.constexpr):
    """Apply a program to a tile.

    Args:
        x: Voxels, float32 [BJ, BK].
        ready: Terms from :func:`prepare`.
        values: Values of the sample.
        place: Position of the tile: channel, plane, rows [BJ], the first of them, first voxel
            along K.
        shape: Shape of the sample: C, I, J, K.
    """
    for n in tl.static_range(len(PROGRAM) // 4):
        x = _forward(x, ready[n], values, place, shape, n, PROGRAM)
    return x


@triton.jit
def run_back(
    g,
    x,
    ready,
    values,
    partial,
    place,
    shape,
    k,
    inside,
    PROGRAM: tl.constexpr,
    NEEDS_VALUES: tl.constexpr,
):
    """Return the gradient of :func:`run` with respect to its tile, and store that of its values.

    Intermediate results are computed again.

    Args:
        g: Gradient of the result, 0 outside the volume.
        x, ready, values, place, shape: As for :func:`run`.
        partial: Pointer to the contribution of this tile to the gradients of the values.
        k: Voxels along K, [BK].
        inside: True for voxels of the tile that are in the volume.
        NEEDS_VALUES: True if gradients of the values are wanted.
    """
    count: tl.constexpr = len(PROGRAM) // 4
    steps = (x,)
    for n in tl.static_range(count - 1):
        steps = steps + (_forward(steps[n], ready[n], values, place, shape, n, PROGRAM),)
    for n in tl.static_range(count - 1, -1, -1):
        g = _backward(
            g,
            steps[n],
            ready[n],
            values,
            partial,
            place,
            shape,
            k,
            inside,
            n,
            PROGRAM,
            NEEDS_VALUES,
        )
    return g


@triton.jit
def _prepare(values, seeds, i, k, N: tl.constexpr, PROGRAM: tl.constexpr):
    CODE: tl.constexpr = PROGRAM[4 * N]
    KIND: tl.constexpr = PROGRAM[4 * N + 2]
    own = values + PROGRAM[4 * N + 1]
    if CODE == BIAS:
        X = tl.load(own) * i.to(tl.float32) + tl.load(own + 1)
        Z = tl.load(own + 4) * k.to(tl.float32) + tl.load(own + 5)
        ready = (tl.load(own + 2), tl.load(own + 3), X, Z)
        for m in tl.static_range(KIND + 1):
            ready = ready + (_coefficient(own + 6, X, Z, m, KIND),)
    elif CODE == GAMMA:
        ready = (tl.exp(tl.load(own)),)
    elif CODE == LINEAR:
        ready = (tl.load(own), tl.load(own + KIND), tl.load(own + 2 * KIND))
    elif CODE == CLAMP:
        ready = (tl.load(own), tl.load(own + KIND))
    else:
        key = tl.load(seeds + PROGRAM[4 * N + 3])
        ready = (tl.load(own), tl.load(own + KIND), tl.load(own + 2 * KIND), key)
    return ready


@triton.jit
def _forward(x, ready, values, place, shape, N: tl.constexpr, PROGRAM: tl.constexpr):
    CODE: tl.constexpr = PROGRAM[4 * N]
    KIND: tl.constexpr = PROGRAM[4 * N + 2]
    own = values + PROGRAM[4 * N + 1]
    BJ: tl.constexpr = x.shape[0]
    BK: tl.constexpr = x.shape[1]
    if CODE == BIAS:
        y = x * tl.exp(_polynomial(ready, place, KIND))
    elif CODE == GAMMA:
        exponent = _exponent(ready, own, place, KIND)
        magnitude = tl.where(x == 0, 1.0, tl.abs(x))
        power = tl.exp2(exponent * log2(magnitude))
        power = tl.where(x < 0, -power, power)
        y = tl.where(x == 0, x, power)
        y = tl.where(exponent == 1, x, y)  # exact for an exponent of 1
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
        active = _of_channel(ready, own, place, 2, KIND)
        key = ready[3]
        first, count = _counters(place, shape)
        y = x + (mean + std * noise_tile(key, first, place, shape, BJ, BK))
        if CODE == RICIAN:
            other = mean + std * noise_tile(key, first + count, place, shape, BJ, BK)
            y = tl.where(active != 0, tl.sqrt(y * y + other * other), x)
    return y


@triton.jit
def _backward(
    g,
    x,
    ready,
    values,
    partial,
    place,
    shape,
    k,
    inside,
    N: tl.constexpr,
    PROGRAM: tl.constexpr,
    NEEDS_VALUES: tl.constexpr,
):
    CODE: tl.constexpr = PROGRAM[4 * N]
    KIND: tl.constexpr = PROGRAM[4 * N + 2]
    BJ: tl.constexpr = x.shape[0]
    BK: tl.constexpr = x.shape[1]
    own = values + PROGRAM[4 * N + 1]
    share = partial + PROGRAM[4 * N + 1]
    channel = place[0] if KIND > 1 else 0  # of values that are one per channel
    if CODE == BIAS:
        field = tl.exp(_polynomial(ready, place, KIND))
        if NEEDS_VALUES:
            Y = ready[0] * place[2].to(tl.float32) + ready[1]
            slope = tl.where(inside, g * x * field, 0.0)
            _store_moments(share + 6, slope, ready[2], Y, ready[3], KIND)
        g = g * field
    elif CODE == GAMMA:
        exponent = _exponent(ready, own, place, KIND)
        magnitude = tl.where(x == 0, 1.0, tl.abs(x))
        logarithm = log2(magnitude)
        power = tl.exp2(exponent * logarithm)
        if NEEDS_VALUES:
            # d/d log_gamma of sign(x) |x|**e = sign(x) |x|**e e ln|x|; 0 where x is 0
            slope = tl.where(x < 0, -power, power) * (exponent * 0.6931471805599453) * logarithm
            slope = tl.where(inside & (x != 0), g * slope, 0.0)
            tl.store(share + channel, tl.sum(tl.sum(slope, 1), 0))
        g = tl.where(x == 0, 0.0, g * exponent * power / magnitude)
    elif CODE == LINEAR:
        scale = _of_channel(ready, own, place, 0, KIND)
        if NEEDS_VALUES:
            known = tl.where(inside, g, 0.0)
            total = tl.sum(tl.sum(known, 1), 0)
            centre = _of_channel(ready, own, place, 2, KIND)
            moved = tl.where(inside, g * (x - centre), 0.0)
            tl.store(share + channel, tl.sum(tl.sum(moved, 1), 0))
            tl.store(share + KIND + channel, total)
            tl.store(share + 2 * KIND + channel, -total * scale)
        g = g * scale
    elif CODE == CLAMP:
        low = _of_channel(ready, own, place, 0, KIND)
        high = _of_channel(ready, own, place, 1, KIND)
        below = x < low
        above = tl.where(below, low, x) > high
        if NEEDS_VALUES:
            less = tl.where(inside & below & ~above, g, 0.0)
            more = tl.where(inside & above, g, 0.0)
            tl.store(share + channel, tl.sum(tl.sum(less, 1), 0))
            tl.store(share + KIND + channel, tl.sum(tl.sum(more, 1), 0))
        g = tl.where((x >= low) & (x <= high), g, 0.0)  # 0 for NaN
    else:
        mean = _of_channel(ready, own, place, 0, KIND)
        std = _of_channel(ready, own, place, 1, KIND)
        active = _of_channel(ready, own, place, 2, KIND)
        key = ready[3]
        first, count = _counters(place, shape)
        share = share + channel
        if CODE == NOISE:
            if NEEDS_VALUES:
                known = tl.where(inside, g, 0.0)
                of_std = known * noise_tile(key, first, place, shape, BJ, BK)
                _store_noise(share, known, of_std, KIND)
        else:
            one = noise_tile(key, first, place, shape, BJ, BK)
            two = noise_tile(key, first + count, place, shape, BJ, BK)
            real = x + (mean + std * one)
            imaginary = mean + std * two
            size = tl.sqrt(real * real + imaginary * imaginary)
            unit = tl.where(active != 0, g / tl.where(size == 0, 1.0, size), 0.0)
            if NEEDS_VALUES:
                unit = tl.where(inside, unit, 0.0)
                both = unit * (real + imaginary)
                _store_noise(share, both, unit * (real * one + imaginary * two), KIND)
            g = tl.where(active != 0, unit * real, g)
    return g


@triton.jit
def _counters(place, shape):
    """Return the counter of voxel (0, 0) of the plane of a tile, and how many a sample has."""
    c, i, _, _, _ = place
    C, I, J, K = shape
    plane = tl.cast(tl.cdiv(J, 4), tl.int64) * K
    return (i.to(tl.int64) * C + c) * plane, plane * C * I


@triton.jit
def _exponent(ready, own, place, KIND: tl.constexpr):
    if KIND > 1:
        return tl.exp(tl.load(own + place[0]))
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
def _polynomial(ready, place, ORDER: tl.constexpr):
    """Evaluate the polynomial on a tile [BJ, BK], from its coefficients for each column."""
    Y = (ready[0] * place[2].to(tl.float32) + ready[1])[:, None]
    total = Y * 0.0 + ready[4 + ORDER][None, :]
    for m in tl.static_range(ORDER - 1, -1, -1):
        total = total * Y + ready[4 + m][None, :]
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
def _store_moments(share, g, X, Y, Z, ORDER: tl.constexpr):
    """Store sums of ``g X^l Y^m Z^n`` over a tile, for each monomial."""
    for n in tl.static_range(ORDER + 1):
        rows = tl.sum(g * _power(Z, n)[None, :], 1)
        for m in tl.static_range(ORDER + 1 - n):
            moment = tl.sum(rows * _power(Y, m), 0)
            for l in tl.static_range(ORDER + 1 - n - m):
                tl.store(share + _monomial(ORDER, l, m) + n, moment * _power(X, l))


@triton.jit
def _store_noise(share, g_mean, g_std, KIND: tl.constexpr):
    tl.store(share, tl.sum(tl.sum(g_mean, 1), 0))
    tl.store(share + KIND, tl.sum(tl.sum(g_std, 1), 0))

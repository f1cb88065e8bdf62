"""A program of pointwise operations on four neighbouring rows, which stay in the cache.

Programs and values are those of :mod:`torchio_gpu_kernels.program`. A program is read while it
runs, once for each operation and group of rows, so that one compiled kernel serves all programs.
"""

from __future__ import annotations

import math

import numpy as np

from ..shared import BIAS, CLAMP, GAMMA, LINEAR, NOISE, RICIAN
from .compiling import inlined
from .mathematics import exp2, log2
from .noise import fill_normals

_TO_BASE_2 = np.float32(1.4426950408889634)
_ZERO, _ONE = np.float32(0), np.float32(1)


@inlined
def run(y, program, values, seeds, place, shape, scratch, words):
    """Apply a program to rows.

    Args:
        y: Voxels, float32 [4 K], overwritten.
        program: Four integers for each operation, int64 [N, 4].
        values, seeds: Values [V] and seeds [S] of the sample.
        place: Channel, plane, first row, and number of rows.
        shape: Shape of the sample: C, I, J, K.
        scratch: Memory, float32 [2, 4 K].
        words: Memory, uint32 [4, K].
    """
    c, i, j, rows = place
    C, I, J, K = shape
    for n in range(len(program)):
        code, own, kind = program[n, 0], program[n, 1], program[n, 2]
        channel = own + (c if kind > 1 else 0)  # of values that are one per channel
        if code == BIAS:
            _bias(y, values, own, kind, i, j, rows, K, scratch)
        elif code == GAMMA:
            exponent = np.float32(math.exp(values[channel]))
            if exponent != _ONE:
                _gamma(y, exponent, rows * K)
        elif code == LINEAR:
            scale, shift = values[channel], values[channel + kind]
            centre = values[channel + 2 * kind]
            if scale != _ONE or shift != _ZERO or centre != _ZERO:
                for k in range(rows * K):
                    y[k] = (y[k] - centre) * scale + shift
        elif code == CLAMP:
            low, high = values[channel], values[channel + kind]
            for k in range(rows * K):  # comparisons keep NaN
                x = low if y[k] < low else y[k]
                y[k] = high if x > high else x
        elif code in (NOISE, RICIAN):
            mean, std = values[channel], values[channel + kind]
            groups = np.uint64((J + 3) // 4)
            counter = (np.uint64(i * C + c) * groups + np.uint64(j // 4)) * np.uint64(K)
            key = np.uint64(seeds[program[n, 3]])
            if code == NOISE:
                if mean != 0 or std != 0:
                    fill_normals(scratch[0], words, K, key, counter)
                    for k in range(rows * K):
                        y[k] += mean + std * scratch[0, k]
            elif values[channel + 2 * kind] != 0:
                fill_normals(scratch[0], words, K, key, counter)
                counter += np.uint64(I * C) * groups * np.uint64(K)
                fill_normals(scratch[1], words, K, key, counter)
                for k in range(rows * K):
                    real = y[k] + (mean + std * scratch[0, k])
                    imaginary = mean + std * scratch[1, k]
                    y[k] = math.sqrt(real * real + imaginary * imaginary)


@inlined
def _gamma(y, exponent, count):
    for k in range(count):
        x = y[k]
        magnitude = _ONE if x == _ZERO else abs(x)
        power = exp2(exponent * log2(magnitude))
        power = -power if x < _ZERO else power
        y[k] = x if x == _ZERO else power


@inlined
def _bias(y, values, own, order, i, j, rows, K, scratch):
    """Multiply by ``exp(sum_lmn c_lmn X^l Y^m Z^n)``, l + m + n <= order, n fastest."""
    X = values[own] * np.float32(i) + values[own + 1]
    step, start = values[own + 4], values[own + 5]
    field = scratch[0]
    for r in range(rows):
        Y = values[own + 2] * np.float32(j + r) + values[own + 3]
        c0 = _coefficient(values, own + 6, X, Y, 0, order)
        c1 = _coefficient(values, own + 6, X, Y, 1, order)
        c2 = _coefficient(values, own + 6, X, Y, 2, order)
        c3 = _coefficient(values, own + 6, X, Y, 3, order)
        if order <= 3:  # as most are: all terms in one loop
            for k in range(K):
                Z = step * np.float32(np.int32(k)) + start
                y[r * K + k] *= exp2((((c3 * Z + c2) * Z + c1) * Z + c0) * _TO_BASE_2)
            continue
        for k in range(K):
            field[k] = _ZERO
        for n in range(order, -1, -1):
            coefficient = _coefficient(values, own + 6, X, Y, n, order)
            for k in range(K):
                field[k] = field[k] * (step * np.float32(np.int32(k)) + start) + coefficient
        for k in range(K):
            y[r * K + k] *= exp2(field[k] * _TO_BASE_2)


@inlined
def _coefficient(values, first, X, Y, n, order):
    """Return the coefficient of Z**n: the sum of the monomials X^l Y^m Z^n."""
    total, at, x = _ZERO, first, _ONE
    for l in range(order + 1):
        y = x
        for m in range(order + 1 - l):
            if n <= order - l - m:
                total += values[at + n] * y
            at += order + 1 - l - m
            y *= Y
        x *= X
    return total

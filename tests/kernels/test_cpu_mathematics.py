"""Elementary functions of the kernels for CPUs against float64, over all that they take."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

numba = pytest.importorskip("numba", reason="NOT TESTED: needs numba, torchio-gpu[cpu]")

from torchio_gpu_kernels.cpu.compiling import inlined  # noqa: E402
from torchio_gpu_kernels.cpu.mathematics import cos_sin, exp2, log2  # noqa: E402

#: Bits of the mantissa that are tried with each exponent, 0 and all ones among them: 257 numbers
#: that are not too regular.
MANTISSAS = (np.arange(257, dtype=np.int64) * 0x7FFFFF // 256) ^ (np.arange(257) % 2 * 0x155)


@inlined
def _log2_of_all(out, x):
    for n in range(len(x)):
        out[n] = log2(x[n])


@inlined
def _exp2_of_all(out, x):
    for n in range(len(x)):
        out[n] = exp2(x[n])


@inlined
def _cos_sin_of_all(cos, sin, words):
    for n in range(len(words)):
        cos[n], sin[n] = cos_sin(words[n])


def each(function: Callable, x: np.ndarray) -> np.ndarray:
    """Return the values of a function, computed in a loop that is vectorized."""
    out = np.full(len(x), 7, np.float32)
    function(out, x)
    return out


def positive(low: float = 0.0, high: float = math.inf) -> np.ndarray:
    """Return numbers of all exponents between two of them, subnormal ones too, float32."""
    words = (np.arange(255, dtype=np.int64)[:, None] << 23) + MANTISSAS
    x = np.unique(words.astype(np.int32)).view(np.float32)
    return x[(x >= low) & (x <= high)]


def near(*values: float, steps: int = 3000) -> np.ndarray:
    """Return the floats next to some positive values on both sides, float32."""
    words = np.array(values, np.float32).view(np.int32)
    return (words[:, None] + np.arange(-steps, steps + 1, dtype=np.int32)).view(np.float32).ravel()


def worst(values: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest relative error."""
    assert np.isfinite(values).all()
    expected = expected.astype(np.float64)
    zero = expected == 0
    assert (values[zero] == 0).all()
    return float(np.max(abs(values[~zero].astype(np.float64) / expected[~zero] - 1)))


def test_log2_of_every_exponent():
    # ends of the polynomial, and 1, where the logarithm vanishes
    x = np.concatenate([positive(low=1e-45), near(math.sqrt(0.5), 1, math.sqrt(2), 2.0**-126)])
    assert len(x) > 60000
    assert (x < 2.0**-126).sum() > 200  # subnormal ones
    assert worst(each(_log2_of_all, x), np.log2(x.astype(np.float64))) <= 2e-7


def test_log2_of_powers_of_two_is_exact():
    exponents = np.arange(-149, 128)
    x = np.ldexp(np.ones(len(exponents), np.float32), exponents)
    assert np.array_equal(each(_log2_of_all, x), exponents)


def test_log2_of_special_numbers():
    x = np.array([0.0, -0.0, np.inf, np.nan, np.finfo(np.float32).max], np.float32)
    out = each(_log2_of_all, x)
    assert out[:3].tolist() == [-math.inf, -math.inf, math.inf]
    assert np.isnan(out[3])
    assert out[4] == 128


def test_exp2_of_every_exponent():
    large, small = positive(high=127.9999), positive(high=126)
    halves = near(*(np.arange(127) + 0.5), steps=40)  # where another whole number is subtracted
    x = np.concatenate([large, -small, halves, -halves[halves <= 126]])
    assert (x < 0).sum() > 30000
    assert worst(each(_exp2_of_all, x), np.exp2(x.astype(np.float64))) <= 1e-7


def test_exp2_of_whole_numbers_is_exact():
    x = np.arange(-126, 128, dtype=np.float32)
    assert np.array_equal(each(_exp2_of_all, x), np.ldexp(1.0, x.astype(int)).astype(np.float32))


def test_exp2_of_what_is_no_float_is_0_or_infinite():
    below = -np.concatenate([near(126)[3001:], positive(low=126.001)])
    assert (each(_exp2_of_all, below) == 0).all()
    assert (each(_exp2_of_all, positive(low=128)) == np.inf).all()


def test_exp2_of_special_numbers():
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], np.float32)
    out = each(_exp2_of_all, x)
    assert out[:4].tolist() == [1, 1, math.inf, 0]
    assert np.isnan(out[4])


def test_cos_sin_of_the_whole_turn():
    around = np.arange(-500, 501)
    ends = np.arange(0, 2**32 + 1, 2**29)[:, None] + around  # of eighths of a turn
    words = np.concatenate([np.arange(0, 2**32, 65521), ends.ravel() % 2**32]).astype(np.uint32)
    cos, sin = np.empty((2, len(words)), np.float32)
    _cos_sin_of_all(cos, sin, words)
    angle = words * (2 * np.pi / 2**32)
    assert abs(cos - np.cos(angle)).max() <= 1e-7
    assert abs(sin - np.sin(angle)).max() <= 1e-7


def test_cos_sin_of_quarters_is_exact():
    words = np.array([0, 2**30, 2**31, 3 * 2**30], np.uint32)
    cos, sin = np.empty((2, 4), np.float32)
    _cos_sin_of_all(cos, sin, words)
    assert cos.tolist() == [1, 0, -1, 0]
    assert sin.tolist() == [0, 1, 0, -1]

"""Traces of numpy, and programs that repeat them: every result equals that of the function."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from torchio_gpu.tracing import EscapeError, Program, Trace, hook, instruction, traced_in

FIXED = np.arange(6.0).reshape(2, 3)


def _add(program: Program, function, u: np.ndarray, fixed: np.ndarray = FIXED) -> Trace:
    trace = Trace()
    with trace.running():
        out = function(trace.input(u), trace.input(fixed))
    slots = [traced.slot for traced in traced_in(out)]
    program.add(trace, slots, slots, out)
    return trace


def _check(program: Program, function, u: np.ndarray, fixed: np.ndarray = FIXED) -> bool:
    """Compare a run with the function; return False if no trace fits."""
    run = program.run([u, fixed], fixed.tobytes())
    if run is None:
        return False
    later = run.later()
    expected = function(u.copy(), fixed.copy())
    for traced, value in zip(traced_in(run.result), expected, strict=True):
        np.testing.assert_array_equal(run.value(traced.slot), value)
        np.testing.assert_array_equal(later(traced.slot), value)
    return True


def _numbers(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(2, 3))


def in_place(u, fixed):
    doubled = 2 * u
    view = doubled[:, 1:]
    before = view + 1  # must be read before it is written to
    view *= fixed[:, 1:]
    doubled[0, 0] = -1
    return doubled, before, np.stack([doubled, before[:, [0, 1, 0]]])


def fixed_in_place(u, fixed):
    inverse = 1 / (fixed + 1)
    sums = inverse.sum(1)
    inverse += u  # what follows from fixed inputs alone must not be kept
    return inverse, sums[:, None] + u


def decided(u, fixed):
    if (u > 0.5).any() and not (u > 0.5).all():
        u = np.where(u > 0.5, u, 0)
    for row in (u[:, 0] > 0.5).nonzero()[0].tolist():
        u = u + fixed[row]
    some = u[u > 0.25]
    return u, some * len(some)


def decided_after_writes(u, fixed):
    doubled, tripled = 2 * u, 3 * u
    before = doubled + 1  # the decision needs a write that comes after this
    doubled *= fixed
    tripled[0] = u[1]
    if doubled.sum() > 4 and (tripled + u).sum() > 5:
        doubled = doubled + 1
    return before, doubled, tripled


def keywords(u, fixed):
    out = np.zeros_like(u)
    np.add(u, fixed, out=out, where=u > 0.5)
    return out, u.sum(axis=1, keepdims=True), np.concatenate((u, fixed), axis=1), u.T @ fixed


def repeated(u, fixed):
    one, other, third = u * 3, u * 3, u * 3
    third = third + u * 5
    written, again = u * 7, u * 7
    written += 1
    total = np.abs(fixed @ u.T).max() + np.abs(fixed @ u.T).max()
    return one, other, third, written, again, total[None]


@instruction
def spread(values: np.ndarray, size: int) -> np.ndarray:
    out = np.zeros((len(values), size))
    out[:, : values.shape[1]] = values
    return out


@instruction
def parts(values: np.ndarray) -> tuple[np.ndarray, int]:
    return values[: 1 + int(values[0, 0] > 0.5)], len(values)


def instructions(u, fixed):
    some, count = parts(u)
    return spread(u, 4), spread(u, 4) * count, some


FUNCTIONS = [
    in_place,
    fixed_in_place,
    decided,
    decided_after_writes,
    keywords,
    repeated,
    instructions,
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_runs_equal_calls(function):
    program, traces = Program(2), 0
    for seed in range(30):
        u, fixed = _numbers(seed), FIXED + seed // 10
        if not _check(program, function, u, fixed):
            _add(program, function, u, fixed)
            traces += 1
            assert _check(program, function, u, fixed)
    assert traces == 1 if function in (in_place, fixed_in_place, keywords, repeated) else traces > 1
    for seed in range(30):  # in another order, with what is known of the fixed inputs
        assert _check(program, function, _numbers(seed), FIXED + seed // 10)


def test_what_is_not_asked_for_is_not_computed():
    calls = []

    @instruction
    def counted(values):
        calls.append(values)
        return values + 1

    def function(u, fixed):
        counted(u)
        return (counted(fixed) * u,)

    program = Program(2)
    _add(program, function, _numbers(0))
    calls.clear()
    for seed in range(3):
        program.run([_numbers(seed), FIXED], b"same")
    assert len(calls) == 1  # of the fixed input, once
    program.run([_numbers(0), FIXED + 1], b"other")
    assert len(calls) == 2


def test_repeated_computations_are_made_once():
    program = Program(2)
    trace = _add(program, repeated, _numbers(0))
    segment = program._first
    assert len(segment.calls) + len(segment.fixed) < len(trace.instructions)


@pytest.mark.parametrize(
    "use",
    [
        lambda u: np.zeros((2, 3)).__setitem__(0, u[0]),
        lambda u: np.add(u, 1, out=np.zeros((2, 3))),
        lambda u: np.zeros((2, 3)).__iadd__(u),
        np.array,
        np.asarray,
        torch.from_numpy,
        torch.tensor,
        lambda u: torch.as_tensor(u[0]),
        lambda u: np.zeros(3)[u],
        lambda u: {u: 1},
    ],
)
def test_unrecorded_uses_raise(use):
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        use(Trace().input(_numbers(0)))


def test_numbers_that_python_reads_are_guarded():
    def function(u, fixed):
        return (u * (int(u[0, 0] * 2) + round(float(fixed[0, 0]))),)

    program = Program(2)
    _add(program, function, np.full((2, 3), 0.3))
    assert _check(program, function, np.full((2, 3), 0.4))
    assert not _check(program, function, np.full((2, 3), 0.6))


@dataclass(frozen=True)
class Drawn:
    values: np.ndarray
    inverse: bool = False


class Own:
    """Class of a user, whose methods may do what they like."""

    def __init__(self) -> None:
        self.calls = 0

    def draw(self, u: np.ndarray) -> Drawn:
        self.calls += 1
        out = np.zeros(u.shape)
        out[...] = u
        return Drawn(out + self.calls)


def test_methods_of_users_are_called_in_each_run():
    own = Own()

    def function(u, fixed):
        drawn = hook(own.draw, u)
        return drawn.values * fixed, drawn.values

    program = Program(2)
    trace = _add(program, function, _numbers(0))
    for seed in range(3):
        run = program.run([_numbers(seed), FIXED], b"")
        values = _numbers(seed) + own.calls
        product, drawn = (traced.slot for traced in traced_in(run.result))
        np.testing.assert_array_equal(run.value(product), values * FIXED)
        later = run.later()
        program.run([_numbers(7), FIXED], b"")
        np.testing.assert_array_equal(later(drawn), values)
    assert len(trace.guards) == 1  # of the shapes
    assert isinstance(own.draw(np.ones(1)).values, np.ndarray)


def test_escapes_name_the_reason():
    with pytest.raises(EscapeError, match="array of numpy itself"):
        np.asarray(Trace().input(_numbers(0)))

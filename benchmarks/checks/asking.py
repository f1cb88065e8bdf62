"""Entry of checks, questions to operations, and answers."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..failure import FailureError

Op = Callable[..., Any]
Run = Callable[[Any], None]
#: Axes differ, so that none is taken for another.
SIZE = (32, 38, 44)
#: Samples of a batch, and batches. Ranges are judged by 16 samples: that each of so many uniform
#: numbers lies in one given half of its range has a chance of 2^-16.
BATCH, CALLS = 4, 4


class WrongError(Exception):
    """A result is wrong."""


class PartError(WrongError):
    """A result is right in part."""


class Answer(NamedTuple):
    """A cell of the table: '✓' right, '~' in part or something else, '-' not offered or wrong, '?'
    cannot be tried here, '!' the check broke, which says nothing about the library."""

    sign: str
    note: str = ""
    by: str = "run"  # or 'names' where public names were searched, or 'read' where it was read


class Check(NamedTuple):
    """A row of the table."""

    title: str
    words: tuple[str, ...]  # public names that hold none of these offer nothing to try
    run: Run

    @property
    def asked(self) -> str:
        """Return what exactly is tried."""
        return " ".join((self.run.__doc__ or "").split())


#: All rows by key, and keys of groups in order; what is timed and no feature is in no group.
CHECKS: dict[str, Check] = {}
GROUPS: dict[str, list[str]] = {}


def row(group: str, title: str, *words: str, key: str = "") -> Callable[[Run], Run]:
    """Return a decorator that enters a check in a group of rows, by the name of its function."""

    def enter(run: Run) -> Run:
        name = key or run.__name__.rstrip("_")
        CHECKS[name] = Check(title, words, run)
        if group:
            GROUPS.setdefault(group, []).append(name)
        return run

    return enter


def tried(run: Callable[[], None], timed: bool) -> Answer:
    """Return what a check finds; what is timed counts in part where it does something else."""
    random.seed(0)  # the same random numbers each time
    np.random.seed(0)
    torch.manual_seed(0)
    try:
        run()
    except WrongError as wrong:
        return Answer("~" if timed or isinstance(wrong, PartError) else "-", str(wrong)[:100])
    except Exception as error:  # whatever a library raises where it is not at its best
        sign = "-" if isinstance(error, NotImplementedError) else "!"
        return Answer(sign, str(FailureError.of(error)))
    return Answer("✓")


def need(right: Any, otherwise: str, part: bool = False) -> None:
    """Raise an error that says what is wrong, unless the result is right; at least in part."""
    if not right:
        raise PartError(otherwise) if part else WrongError(otherwise)


@contextmanager
def refusal(words: str = "") -> Iterator[None]:
    """Say that a library refuses what it is asked for, and why."""
    try:
        yield
    except (RuntimeError, TypeError, ValueError) as error:
        raise WrongError(f"{words}{FailureError.of(error)}") from error


def parts(run: Run, given: dict[str, Any]) -> None:
    """Run a check with what it is given, by the name of the part of the question it stands for."""
    right, wrong = [], []
    for name, each in given.items():
        try:
            run(each)
            right.append(name.replace("_", " "))
        except WrongError as error:
            wrong.append(str(error))
    only = f"{' and '.join(right)} only; " if right else ""
    need(not wrong, only + "".join(wrong[:1]), part=bool(right))


def ask(op: Op, *given: Tensor) -> Tensor:
    """Return what an operation makes of its inputs as float64; the first of several results."""
    found = op(*(x.clone() for x in given))
    return (found[0] if isinstance(found, tuple) else found).double()


def one(op: Op, sample: Tensor) -> Tensor:
    """Return what an operation makes of a sample (C, I, J, K)."""
    return ask(op, sample[None])[0]


def often(op: Op, sample: Tensor) -> Tensor:
    """Return what a random operation makes of a sample (C, I, J, K): (CALLS * BATCH, C, ...)."""
    return torch.cat([ask(op, sample.expand(BATCH, *sample.shape)) for _ in range(CALLS)])


def same(y: Tensor, right: Tensor, tolerance: float = 0) -> None:
    """Compare a result with what it should be."""
    off = (y - right).abs()
    share = 100 * (~(off <= tolerance)).double().mean().item()
    need(share == 0, f"{share:.3g} % of the numbers are wrong, by up to {off.max().item():.2g}")


def alike(parameters: Tensor, tolerance: float) -> None:
    """Find out whether samples share what should be their own: numbers (CALLS * BATCH, ...)."""
    calls = parameters.reshape(CALLS, BATCH, -1)
    spread = [(calls.amax(d) - calls.amin(d) <= tolerance).all(-1) for d in (0, 1)]
    need(not spread[1].any(), "samples of a batch share their parameters")
    need(not spread[0].all(), "every call draws the same parameters")


def beyond(what: str, values: Tensor, most: float) -> None:
    """Find out whether the largest of magnitudes, drawn from 0 to ``most``, is about that."""
    largest = values.max().item()
    need(most / 2 <= largest <= most, f"{what} up to {largest:.2g}, not {most:.2g}")


def voxels(size: tuple[int, ...]) -> Tensor:
    """Return the coordinates of all voxels, (3, I, J, K) float64."""
    axes = [torch.arange(n, dtype=torch.float64) for n in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def noise(*size: int, seed: int = 602_214) -> Tensor:
    """Return uniform numbers in [0, 1), always the same; not those of a seed that others use."""
    return torch.rand(size, generator=torch.Generator().manual_seed(seed))


def happened(y: Tensor, x: Tensor, least: float = 0.0) -> None:
    """Raise where nothing was done, so that the check is broken and says nothing."""
    assert y.shape != x.shape or (y - x).abs().max() > least, "nothing happened"

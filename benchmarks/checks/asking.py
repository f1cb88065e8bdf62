"""How checks are entered, how operations are asked, and what is answered."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..failure import FailureError

Op = Callable[..., Any]
#: Axes differ, so that none is taken for another.
SIZE = (32, 38, 44)
#: Samples of a batch, and batches. Whether ranges are used is judged by the 16 samples in all: that
#: each of so many uniform numbers lies in one given half of its range has a chance of 2^-16.
BATCH, CALLS = 4, 4
SPACE = (-3, -2, -1)
_LONGEST = 100


class Part(str):
    """What is missing of a result that is right in part."""


class Answer(NamedTuple):
    """A cell of the table.

    Args:
        sign: '✓' right, '~' in part or something else, '-' not offered or wrong, '?' cannot be
            tried here, '!' the check broke, which says nothing about the library.
        note: A few words, needed where the sign is not '✓'.
        by: 'run', or 'names' where public names were searched, or 'read' where it was read.
    """

    sign: str
    note: str = ""
    by: str = "run"


class Check(NamedTuple):
    """A row of the table.

    Args:
        title: The head of the row.
        words: Public names that hold none of these, in small letters, offer nothing to try.
        run: From what a library offers to what is wrong with it.
    """

    title: str
    words: tuple[str, ...]
    run: Callable[[Any], str | None]

    @property
    def asked(self) -> str:
        """What exactly is tried."""
        return " ".join((self.run.__doc__ or "").split())


#: All rows by key, and the keys of each group of the table in order; operations
#: that are timed and no features are in no group.
CHECKS: dict[str, Check] = {}
GROUPS: dict[str, list[str]] = {}


def group(name: str) -> Callable[..., Any]:
    """Return a decorator that enters a check, by the name of its function, in a group of rows."""

    def asks(title: str, *words: str) -> Callable[[Callable[[Any], str | None]], Any]:
        def enter(run: Callable[[Any], str | None]) -> Any:
            key = run.__name__.rstrip("_")
            CHECKS[key] = Check(title, words, run)
            if name:
                GROUPS.setdefault(name, []).append(key)
            return run

        return enter

    return asks


def tried(run: Callable[[], str | None], timed: bool) -> Answer:
    """Return what a check finds, with the same random numbers each time.

    Args:
        run: The check.
        timed: The operation counts, and so does its time, where it does something else.
    """
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    try:
        wrong = run()
    except NotImplementedError as error:
        return Answer("-", str(FailureError.of(error)))
    except Exception as error:  # whatever a library raises where it is not at its best
        return Answer("!", str(FailureError.of(error)))
    if wrong is None:
        return Answer("✓")
    return Answer("~" if timed or isinstance(wrong, Part) else "-", str(wrong)[:_LONGEST])


def ask(op: Op, *given: Tensor) -> Tensor:
    """Return what an operation makes of its inputs as float64; the first of several results."""
    found = op(*(x.clone() for x in given))
    return (found[0] if isinstance(found, tuple) else found).double()


def one(op: Op, sample: Tensor) -> Tensor:
    """Return what an operation makes of a sample (C, I, J, K)."""
    return ask(op, sample[None])[0]


def ask_often(op: Op, sample: Tensor) -> Tensor:
    """Return what a random operation makes of a sample (C, I, J, K): (CALLS * BATCH, C, ...)."""
    batch = sample.expand(BATCH, *sample.shape)
    return torch.cat([ask(op, batch) for _ in range(CALLS)])


def alike(parameters: Tensor, tolerance: float) -> str | None:
    """Say whether samples share what should be their own.

    Args:
        parameters: Numbers found in each answer of :func:`ask_often`, (CALLS * BATCH, ...).
        tolerance: How well each is known.
    """
    calls = parameters.reshape(CALLS, BATCH, -1)
    if ((calls.amax(1) - calls.amin(1)) <= tolerance).all(1).any():
        return "samples of a batch share their parameters"
    if ((calls.amax(0) - calls.amin(0)) <= tolerance).all():
        return "every call draws the same parameters"
    return None


def beyond(what: str, values: Tensor, most: float, unit: str = "") -> str | None:
    """Say whether the largest of some magnitudes, drawn from 0 to ``most``, is not about that."""
    largest = values.max().item()
    if most / 2 <= largest <= most:
        return None
    return f"{what} up to {largest:.2g}{unit}, not {most:.2g}"


def voxels(size: tuple[int, ...]) -> Tensor:
    """Return the coordinates of all voxels, (3, I, J, K) float64."""
    axes = [torch.arange(n, dtype=torch.float64) for n in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def noise(*size: int, seed: int = 602_214) -> Tensor:
    """Return uniform numbers in [0, 1), always the same; not those of a seed that others use."""
    return torch.rand(size, generator=torch.Generator().manual_seed(seed))


def happened(y: Tensor, x: Tensor, least: float = 0.0) -> None:
    """Raise where nothing was done, so that the check is broken and says nothing."""
    if y.shape == x.shape and (y - x).abs().max() <= least:
        raise AssertionError("nothing happened")


def reason(error: BaseException) -> str:
    """Return the first line of an error, for a note."""
    return str(FailureError.of(error))  # type: ignore[arg-type]


def parts(**wrong: str | None) -> str | None:
    """Return what is wrong with a question of several parts: a :class:`Part` where some are right.

    Args:
        wrong: What is wrong with each, by its name with spaces as '_'.
    """
    right = [name.replace("_", " ") for name, found in wrong.items() if found is None]
    notes = [found for found in wrong.values() if found]
    if not notes:
        return None
    return Part(f"{' and '.join(right)} only; {notes[0]}") if right else notes[0]

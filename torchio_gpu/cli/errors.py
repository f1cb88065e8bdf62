"""Errors in one sentence, with the nearest of the names that there are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import SequenceMatcher

import typer


def nearest(word: str, names: Iterable[str]) -> str:
    """Return the end of an error message that says which names look like ``word``; '' if none.

    >>> nearest("randomaffin", ["RandomAffine", "Blur"])
    '; did you mean RandomAffine?'
    """
    scores = {n: SequenceMatcher(None, word.lower(), n.lower()).ratio() for n in names}
    # many names begin alike, and have a high score without being meant
    least = max(0.6, 0.9 * max(scores.values(), default=0))
    found = [n for n in sorted(scores, key=lambda n: -scores[n]) if scores[n] >= least][:3]
    return f"; did you mean {' or '.join(found)}?" if found else ""


@contextmanager
def errors_as_exit_code() -> Iterator[None]:
    """Print the message of an error, and end with exit code 2."""
    try:
        yield
    except (
        ValueError, TypeError, KeyError, OSError, ImportError, RuntimeError, MemoryError,
    ) as error:  # fmt: skip
        if isinstance(error, typer.Exit):  # a RuntimeError
            raise
        message = str(error.args[0] if isinstance(error, KeyError) else error)
        if (
            isinstance(error, MemoryError) or "allocate memory" in message
        ):  # torch raises RuntimeError
            needed = re.search(r"allocate (\d+ bytes|.*for an array.*)", message)
            message = f"there is not enough memory{f' for {needed[1]}' if needed else ''}"
        elif isinstance(error, RuntimeError):  # torch appends a C++ trace
            message = message.partition("\n")[0]
        typer.echo(f"torchio-gpu: {message}", err=True)
        raise typer.Exit(2) from error

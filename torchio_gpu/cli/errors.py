"""Errors of commands in one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import typer


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

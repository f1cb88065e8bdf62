"""Progress bar of a long task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(items: str, total: int | None, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """Show a progress bar while the block runs.

    Args:
        items: Name of the items that are counted, in the plural.
        total: Number of items; None if it is not known.
        shown: Show the bar; rich is needed only then.

    Yields:
        Function to call with the number of items done since the last call.
    """
    if not shown:
        yield lambda _: None
        return
    from rich.progress import Progress

    with Progress() as bar:
        task = bar.add_task(items, total=total)
        yield lambda count: bar.update(task, advance=count)

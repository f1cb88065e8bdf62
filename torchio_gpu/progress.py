"""A bar that shows how far a long task is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(what: str, total: int, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """Show a bar as long as a block runs.

    Args:
        what: Counted, in the plural.
        total: How many there are.
        shown: Whether to show it; rich is needed only then.

    Yields:
        What to call with the number done since the last call.
    """
    if not shown:
        yield lambda _: None
        return
    from rich.progress import Progress

    with Progress() as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.update(task, advance=count)

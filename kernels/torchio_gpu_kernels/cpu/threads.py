"""Threads that run a kernel over ranges of planes, samples or rows."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from threading import Lock

import torch

#: Ranges per thread: the more, the shorter the wait for the last thread, and the more calls.
_RANGES = 4


def in_parallel(work: Callable[[int, int], object], count: int) -> None:
    """Call ``work(start, stop)`` for ranges that together cover ``range(count)``.

    Calls run at once in up to ``torch.get_num_threads()`` threads, of which the calling one is one;
    they gain where ``work`` releases the GIL. With one thread ``work`` is called once.

    An error of ``work`` is raised when the calls that were running have ended, and ends the rest.

    >>> squares = [0] * 5
    >>> def work(start, stop):
    ...     for i in range(start, stop):
    ...         squares[i] = i * i
    >>> in_parallel(work, 5)
    >>> squares
    [0, 1, 4, 9, 16]
    """
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        if count > 0:
            work(0, count)
        return
    parts = min(threads * _RANGES, count)
    bounds = [count * i // parts for i in range(parts + 1)]
    # threads take ranges from one queue, since each may be slowed down by others of the machine
    ranges = deque(pairwise(bounds))

    errors: list[BaseException] = []

    def work_on_ranges(running: Lock) -> None:
        with running:
            try:
                while True:
                    try:
                        start, stop = ranges.popleft()
                    except IndexError:
                        return
                    work(start, stop)
            except BaseException as error:
                errors.append(error)
                ranges.clear()

    helpers = [Lock() for _ in range(threads - 1)]
    _submit(work_on_ranges, helpers)
    work_on_ranges(Lock())
    # no range is left: a helper that starts only now, since the pool was busy, has nothing to do,
    # and to wait for its start could be to wait for oneself
    for running in helpers:
        with running:
            pass
    if errors:
        raise errors[0]


#: Pool of this process and its number of threads.
_pool: tuple[ThreadPoolExecutor, int] | None = None


def _submit(work: Callable[[Lock], None], arguments: list[Lock]) -> None:
    """Let a thread of the pool call ``work`` for each argument, as soon as one is free."""
    global _pool
    pool, threads = _pool, len(arguments)
    if pool is None or pool[1] < threads:
        # threads of a smaller pool end by themselves when nobody refers to it any more; two callers
        # that come here at once each make one, of which one is used once
        pool = _pool = (ThreadPoolExecutor(threads, "torchio_gpu"), threads)
    with suppress(RuntimeError):  # no thread can be started, as at exit: the caller works alone
        for argument in arguments:
            pool[0].submit(work, argument)


def _forget_pool() -> None:
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):  # which Windows lacks
    os.register_at_fork(after_in_child=_forget_pool)  # where its threads do not live

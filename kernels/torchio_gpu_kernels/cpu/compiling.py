"""Compilation of kernels for the CPU by numba, and the compiled code on disk."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import llvmlite
import numba
from filelock import FileLock, Timeout
from numba.core import event
from numba.core.caching import FunctionCache
from numba.core.compiler_lock import global_compiler_lock

_config: Any = numba.config  # whose names are made at import
#: Seconds of compilation after which a process says that it compiles.
PATIENCE = 2.0
#: Seconds that a process waits for another one that compiles the same function.
_LOCK_TIMEOUT = 300.0

# NaN and infinity count, so of fast math 'contract' alone: a product and a sum may become one fused
# operation. nogil lets ranges of one call run in several threads. With the error model of numpy a
# division by zero is infinity or NaN, and loops with divisions can be vectorized.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function that kernels call; its code is part of theirs, in memory and on disk."""
    return numba.njit(**_OPTIONS, forceinline=True)(function)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls, once for each combination of argument types.

    Compiled code is kept in a folder of the user's cache (`cache_folder`), from where other
    processes load it; where that folder cannot be written, each process compiles for itself. A
    process that compiles for more than `PATIENCE` seconds says so once, on stderr.

    Returns:
        Dispatcher of numba; ``stats`` counts what was loaded and what was compiled.
    """
    dispatcher = numba.njit(**_OPTIONS)(function)
    cache = _kernels[dispatcher] = _cache(function)
    if cache is not None:
        dispatcher._cache = cache  # where numba puts its own, with cache=True
    return dispatcher


def cache_folder() -> Path:
    """Return the folder of compiled code: one for each version of the kernels and of numba.

    It lies in ``NUMBA_CACHE_DIR`` if that is set, else in the cache folder of the user.
    """
    base = _config.CACHE_DIR or _user_cache()
    return Path(base).absolute() / "torchio_gpu" / f"kernels-{_version()}"


def _user_cache() -> Path:
    """Return the folder that the operating system has for caches of the user."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local")
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


@lru_cache
def _version(package: Path = Path(__file__).parent.parent) -> str:
    """Return a hash of the sources of all kernels, and of the versions of what compiles them.

    numba compiles a function anew if the file of that function changed, but not if it calls
    functions, or uses constants, of other files that did.
    """
    state = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes()
        state.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode() + content)
    return state.hexdigest()[:16]


class _Cache(FunctionCache):
    """Cache of numba in which one process compiles what others wait for, and then load.

    Faults of files cost a compilation, where numba's cache raises in the call. numba calls both
    methods under its global lock, the second one unless compilation failed.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._lock_name = f"{function.__module__}.{function.__name__}.lock"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        # numba writes files under other names and renames them, so that it reads whole ones
        with suppress(Exception):  # a damaged file makes pickle raise anything
            found = super().load_overload(sig, target_context)
            if found is not None:
                return found
        # a new lock each time, since none may be used by a process and its child
        self._lock = FileLock(Path(self.cache_path) / self._lock_name, timeout=_LOCK_TIMEOUT)
        with suppress(OSError, Timeout, NotImplementedError):  # no lock: each for itself
            self._lock.acquire()
        try:
            found = super().load_overload(sig, target_context)
        except Exception:
            found = None
            with suppress(OSError):
                self.flush()
        if found is not None:
            self.release()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        # two processes that change numba's index at once could mix up the code of their types
        try:
            if self._lock.is_locked:
                with suppress(OSError):
                    super().save_overload(sig, data)
        finally:
            self.release()

    def release(self) -> None:
        """Let other processes compile the function."""
        self._lock.release(force=True)


def _cache(function: Callable[..., Any]) -> _Cache | None:
    """Return the cache of a function in `cache_folder`, or None if it cannot be written."""
    with suppress(OSError, RuntimeError):  # no folder for numba, no home
        folder = cache_folder()
        with _as_numbas_folder(folder):
            cache = _Cache(function)
        # numba takes a folder beside the sources where that one cannot be written
        return cache if folder in Path(cache.cache_path).parents else None
    return None


@contextmanager
def _as_numbas_folder(folder: Path) -> Iterator[None]:
    """Let numba choose a folder in `folder` for a cache, which it does when it makes one."""
    with global_compiler_lock:
        before = _config.CACHE_DIR
        _config.CACHE_DIR = str(folder)
        try:
            yield
        finally:
            _config.CACHE_DIR = before


_kernels: WeakKeyDictionary[Any, _Cache | None] = WeakKeyDictionary()


#: ``is_failed`` of a compilation that did not fail: True in numba 0.68, the wrong way round.
_IF_DONE = event.Event("numba:compile", event.EventStatus.END).is_failed


class _Listener(event.Listener):
    """Sentence on stderr, once in a process, when compilation takes long; end of failed ones.

    numba compiles under a global lock, so that all events come from one thread at a time: starts
    and ends of a kernel, and of kernels that it calls, in between.
    """

    def __init__(self) -> None:
        self._seconds, self._depth, self._said = 0.0, 0, False

    def on_start(self, event: Any) -> None:
        if event.data["dispatcher"] not in _kernels:
            return
        self._depth += 1
        if self._depth == 1 and not self._said:
            self._start = time.monotonic()
            self._timer = threading.Timer(max(0.0, PATIENCE - self._seconds), self._say)
            self._timer.daemon = True
            with suppress(RuntimeError):  # no thread can be started any more
                self._timer.start()

    def on_end(self, event: Any) -> None:
        if event.data["dispatcher"] not in _kernels:
            return
        cache = _kernels[event.data["dispatcher"]]
        if event.is_failed != _IF_DONE and cache is not None:
            cache.release()
        self._depth -= 1
        if self._depth == 0 and not self._said:
            self._timer.cancel()
            self._seconds += time.monotonic() - self._start

    def _say(self) -> None:
        self._said = True
        print("torchio_gpu: compiling CPU kernels, once", file=sys.stderr, flush=True)


event.register("numba:compile", _Listener())

if hasattr(os, "register_at_fork"):  # which Windows lacks
    # a fork waits for the end of a compilation, whose lock would stay taken in the child
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )

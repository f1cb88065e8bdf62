"""Compilation of kernels for the CPU by numba, and the compiled code on disk."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from threading import RLock, Timer
from typing import Any

import llvmlite
import numba
import numpy as np
from filelock import FileLock

from .threads import in_parallel

_config: Any = numba.config  # whose names are made at import
#: Seconds of compilation after which a process says that it compiles.
PATIENCE = 2.0
#: Seconds that a process waits for others that compile, before it compiles for itself.
_LOCK_TIMEOUT = 300.0
# NaN and infinity count, so of fast math 'contract' alone: a product and a sum may become one fused
# operation. nogil lets ranges of one call run in several threads. With the error model of numpy a
# division by zero is infinity or NaN, and loops with divisions can be vectorized.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}

_compiling = RLock()


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function that kernels call; its code is part of theirs.

    LLVM vectorizes a loop only if all that it calls is part of it.
    """
    return numba.njit(**_OPTIONS, forceinline=True)(function)


class Kernel:
    """Function that is compiled once for each combination of argument types.

    Compiled code is kept in :func:`cache_folder`, from where other processes load it; where that
    cannot be written or read, each process compiles for itself. Compilation that takes more than
    :data:`PATIENCE` seconds is told on stderr, once.

    Args:
        function: Function whose last two arguments are a range, which may be empty.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self._function = function
        self._compiled: set[tuple[Any, ...]] = set()
        self.dispatcher: Any = None

    def __call__(self, *arguments: Any, count: int) -> None:
        """Call the function for ranges that together cover ``range(count)``, in threads.

        Args:
            arguments: All arguments but the range.
        """
        types = tuple(map(_type_of, arguments))
        if types not in self._compiled:
            self._compile(arguments)
            self._compiled.add(types)
        in_parallel(lambda start, stop: self.dispatcher(*arguments, start, stop), count)

    def _compile(self, arguments: Sequence[Any]) -> None:
        """Compile for the types of arguments, or load the code, by a call that does nothing."""
        timer = Timer(PATIENCE, _tell)
        timer.daemon = True
        with _compiling, _locked_folder() as folder:
            with suppress(RuntimeError):  # no thread can be started, as at exit
                timer.start()
            try:
                dispatcher = self.dispatcher or self._new_dispatcher(folder)
                dispatcher(*arguments, 0, 0)
            except Exception:  # files are damaged, or the disk is full: numba raises many kinds
                dispatcher = self._new_dispatcher(None)
                dispatcher(*arguments, 0, 0)
                _clear(folder)
            finally:
                timer.cancel()
            self.dispatcher = dispatcher

    def _new_dispatcher(self, folder: Path | None) -> Any:
        """Return the function with numba's compiled code, which is kept in a folder, if any."""
        before, _config.CACHE_DIR = _config.CACHE_DIR, str(folder or "")
        try:  # numba takes this setting when a function is decorated
            return numba.njit(**_OPTIONS, cache=folder is not None)(self._function)
        finally:
            _config.CACHE_DIR = before


def _type_of(argument: Any) -> Any:
    """Return what numba's type of an argument depends on."""
    if isinstance(argument, np.ndarray):
        return argument.dtype, argument.ndim, argument.flags.c_contiguous, argument.flags.writeable
    return tuple(map(_type_of, argument)) if isinstance(argument, tuple) else type(argument)


@lru_cache
def _tell() -> None:
    print("torchio_gpu: compiling kernels for the CPU, once", file=sys.stderr, flush=True)


def cache_folder() -> Path:
    """Return the folder of compiled code, one for each version of the kernels and of numba.

    It lies in ``NUMBA_CACHE_DIR`` if that is set, else in the cache folder of the user.
    """
    return Path(_config.CACHE_DIR or _user_cache()).absolute() / "torchio_gpu" / _version()


def _user_cache() -> Path:
    """Return the folder that the operating system has for caches of the user."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local")
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _version() -> str:
    """Return a hash of the sources of the kernels, and of the versions of what compiles them.

    numba compiles a function anew if the file of that function changed, but not if it calls
    functions, or uses constants, of other files that did.
    """
    folder = Path(__file__).parent
    state = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    for path in (folder.parent / "shared.py", *sorted(folder.glob("*.py"))):
        state.update(path.name.encode() + path.read_bytes())
    return f"kernels-{state.hexdigest()[:16]}"


@contextmanager
def _locked_folder() -> Iterator[Path | None]:
    """Give the folder of compiled code, kept from other processes; None if it cannot be used.

    Two processes that changed numba's index of compiled code at once could mix up code for
    different types. One that waits will load what the other compiled.
    """
    with ExitStack() as stack:
        folder = None
        # no home, no permission, no locks on this file system, or a timeout
        with suppress(RuntimeError, OSError, NotImplementedError):
            wanted = cache_folder()
            wanted.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(wanted / "lock", timeout=_LOCK_TIMEOUT))
            folder = wanted
        yield folder


def _clear(folder: Path | None) -> None:
    """Delete compiled code, so that the next process compiles anew."""
    for path in [] if folder is None else folder.rglob("*.nb[ci]"):
        with suppress(OSError):
            path.unlink()


if hasattr(os, "register_at_fork"):  # which Windows lacks
    # a fork waits for the end of a compilation, whose locks would stay taken in the child
    os.register_at_fork(
        before=_compiling.acquire,
        after_in_parent=_compiling.release,
        after_in_child=_compiling.release,
    )

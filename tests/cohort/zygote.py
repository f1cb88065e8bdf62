"""Process that has imported everything, and runs modules in copies of itself, which start at once.

It reads one JSON value a line, and answers with one: a list of the words of a command and a log
file starts a process and is answered by its number; a number waits for that process, and is
answered by its exit code, which is negative after a signal.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import threading
import traceback


def run(words: list[str], log: str) -> None:
    """Run a module as ``python -m`` does, and end the process."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    number = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(number, 1)
    os.dup2(number, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code: object = 0
    try:
        sys.argv = list(words)
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    except SystemExit as error:
        code = error.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def main() -> None:
    import distributed  # noqa: F401

    import torchio_gpu as tio
    from torchio_gpu import cli  # noqa: F401
    from torchio_gpu.cohort import run as _  # noqa: F401

    tio.RandomAffine()(tio.ScalarImage(tensor=__import__("torch").rand(1, 4, 4, 4)))
    assert threading.active_count() == 1, threading.enumerate()  # others would not be copied
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if isinstance(asked, int):
            answer = os.waitstatus_to_exitcode(os.waitpid(asked, 0)[1])
        else:
            answer = os.fork()
            if not answer:
                run(*asked)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

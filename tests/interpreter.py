"""Triton's interpreter, without work that it repeats."""

from __future__ import annotations

import inspect

import pytest


def patch_once_a_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the interpreter replace the functions of Triton's language once in a launch.

    It does so again in each call of one function by another, which takes most of its time and
    changes nothing: what a launch replaced stays replaced until the launch ends. Versions of
    Triton that do this in another way are left as they are.
    """
    from triton.runtime import interpreter

    if not all(hasattr(interpreter, name) for name in ("_patch_lang", "_LangPatchScope")):
        return
    patch = interpreter._patch_lang
    #: Modules whose functions the launch in progress has replaced, and those that call them.
    replaced: set[str] = set()
    callers: set[str] = set()

    class Launch(interpreter._LangPatchScope):
        """Changes of the language by a kernel, the first function of a launch."""

        def restore(self) -> None:
            replaced.clear()
            callers.clear()
            super().restore()

    def patch_once(fn):
        launch = Launch()
        caller = fn.__globals__["__name__"]
        if caller not in callers:
            # functions of Triton itself know another module than those of kernels
            language = {
                value.__name__
                for value in fn.__globals__.values()
                if inspect.ismodule(value) and value.__name__.startswith("triton.language")
            }
            if not language <= replaced:
                launch._changes = patch(fn)._changes
                replaced.update(language)
            callers.add(caller)
        return launch

    monkeypatch.setattr(interpreter, "_patch_lang", patch_once)

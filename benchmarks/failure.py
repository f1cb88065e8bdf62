"""Reasons why something was not measured."""

from __future__ import annotations

import re


class FailureError(Exception):
    """A contender cannot be measured: why, in one line without paths."""

    @classmethod
    def of(cls, error: Exception) -> FailureError:
        line = (str(error).strip().splitlines() or [""])[0]
        line = re.sub(r"(?<!\w)(/[\w.+-]+){2,}/?", "...", line)
        return cls(f"{type(error).__name__}: {line}"[:200])

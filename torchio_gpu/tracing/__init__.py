"""Traces of computations in numpy, and programs that repeat them with other numbers."""

from .instructions import hook, instruction, untraceable
from .programs import Later, Program, Run
from .trace import EscapeError, Trace, Traced, is_traced, known, traced_in
from .trees import replaced

__all__ = [
    "EscapeError",
    "Later",
    "Program",
    "Run",
    "Trace",
    "Traced",
    "hook",
    "instruction",
    "is_traced",
    "known",
    "replaced",
    "traced_in",
    "untraceable",
]

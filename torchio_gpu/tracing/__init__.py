"""Traces of computations in numpy, and programs that repeat them with other numbers."""

from .instructions import hook, instruction, untraceable
from .programs import Later, Program, Run
from .trace import EscapeError, Slot, Trace, Traced, is_traced, known, slots_in, traced_in
from .trees import replaced

__all__ = [
    "EscapeError",
    "Later",
    "Program",
    "Run",
    "Slot",
    "Trace",
    "Traced",
    "hook",
    "instruction",
    "is_traced",
    "known",
    "replaced",
    "slots_in",
    "traced_in",
    "untraceable",
]

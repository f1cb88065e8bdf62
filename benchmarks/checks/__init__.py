"""Checks of what every library offers: one function for each row of the table.

A check is given what a library offers for it, on small volumes, and raises :class:`WrongError`, in
a few words, where the result is wrong; :class:`PartError` where it is partly right. Its docstring
says what is tried. Operations that are timed get the same check, so that a contender that computes
something else is marked. Checks run in the library's own interpreter, with torch and numpy alone.

Volumes are batches (B, C, I, J, K) unless the docstring of a module says otherwise.
"""

# ruff: noqa: I001, F401  the order of imports is that of the rows
from . import tensors, geometry, intensity, scanners, fixed, data
from .asking import CHECKS, GROUPS, Answer, tried

__all__ = ["CHECKS", "GROUPS", "Answer", "tried"]

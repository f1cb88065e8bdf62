"""Demo of the command line: ``torchio-gpu demo``."""

from .script import find_device, run

__all__ = ["find_device", "run"]

"""Example images."""

from .mni import mni152

__all__ = ["mni152"]

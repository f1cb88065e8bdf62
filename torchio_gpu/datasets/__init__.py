"""Images to try things with."""

from .mni import mni152

__all__ = ["mni152"]

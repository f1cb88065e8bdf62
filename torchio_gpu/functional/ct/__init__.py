"""Functions on CT images in Hounsfield units, (B, C, I, J, K)."""

from .projection import filtered_back_projection, project

__all__ = ["filtered_back_projection", "project"]

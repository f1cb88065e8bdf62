"""Functions on CT images in Hounsfield units, (B, C, I, J, K)."""

from .kernel import reconstruction_kernel
from .projection import filtered_back_projection, project
from .thickness import slice_thickness
from .window import ct_window

__all__ = [
    "ct_window",
    "filtered_back_projection",
    "project",
    "reconstruction_kernel",
    "slice_thickness",
]

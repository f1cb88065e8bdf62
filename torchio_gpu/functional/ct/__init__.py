"""Functions on CT images in Hounsfield units, (B, C, I, J, K)."""

from .beam_hardening import beam_hardening
from .kernel import reconstruction_kernel
from .low_dose import low_dose
from .projection import filtered_back_projection, project
from .streaks import streaks
from .thickness import slice_thickness
from .window import ct_window

__all__ = [
    "beam_hardening",
    "ct_window",
    "filtered_back_projection",
    "low_dose",
    "project",
    "reconstruction_kernel",
    "slice_thickness",
    "streaks",
]

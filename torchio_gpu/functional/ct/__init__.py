"""Functions on CT images in Hounsfield units, (B, C, I, J, K)."""

from .beam_hardening import beam_hardening
from .kernel import reconstruction_kernel
from .low_dose import low_dose
from .metal import metal
from .projection import filtered_back_projection, project
from .rings import rings
from .streaks import streaks
from .thickness import slice_thickness
from .views import limited_angle, sparse_views
from .window import ct_window

__all__ = [
    "beam_hardening",
    "ct_window",
    "filtered_back_projection",
    "limited_angle",
    "low_dose",
    "metal",
    "project",
    "reconstruction_kernel",
    "rings",
    "slice_thickness",
    "sparse_views",
    "streaks",
]

"""Functions on CT images in Hounsfield units, (B, C, I, J, K)."""

from .kernel import reconstruction_kernel
from .metal import metal
from .projection import filtered_back_projection, project
from .rings import rings
from .thickness import slice_thickness
from .views import limited_angle, sparse_views
from .window import ct_window

__all__ = [
    "ct_window",
    "filtered_back_projection",
    "limited_angle",
    "metal",
    "project",
    "reconstruction_kernel",
    "rings",
    "slice_thickness",
    "sparse_views",
]

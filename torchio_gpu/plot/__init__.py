"""Plots of images: sagittal, coronal and axial planes, true to scale, with label contours.

Figures are matplotlib figures made without pyplot: they need no display, change no global state,
and are saved with ``figure.savefig(path)``. matplotlib is imported when one is drawn.
"""

from .histogram import plot_histogram
from .images import plot_gallery, plot_image, plot_subject
from .output import html_of, new_figure
from .planes import ImageLike, PointsLike, SubjectLike

__all__ = [
    "ImageLike",
    "PointsLike",
    "SubjectLike",
    "html_of",
    "new_figure",
    "plot_gallery",
    "plot_histogram",
    "plot_image",
    "plot_subject",
]

"""Plots of images: sagittal, coronal and axial planes, true to scale, with label contours.

Figures are matplotlib figures made without pyplot: they need no display, change no global state,
and are saved with ``figure.savefig(path)``. matplotlib is imported when one is drawn.
"""

from .difference import plot_difference
from .histogram import plot_histogram
from .html import html_of, table_of
from .images import plot_gallery, plot_image, plot_subject
from .options import label_colour
from .output import display, in_notebook, new_figure
from .planes import ImageLike, PointsLike, SubjectLike

__all__ = [
    "ImageLike",
    "PointsLike",
    "SubjectLike",
    "display",
    "html_of",
    "in_notebook",
    "label_colour",
    "new_figure",
    "plot_difference",
    "plot_gallery",
    "plot_histogram",
    "plot_image",
    "plot_subject",
    "table_of",
]

"""Images, points, boxes, subjects, batches, and datasets. Files are read in ``io`` alone."""

from .batch import SubjectsBatch
from .boxes import BoundingBoxes
from .dataset import SubjectsDataset
from .image import (
    INTENSITY,
    LABEL,
    LOCATION,
    SAMPLING_MAP,
    Image,
    LabelMap,
    ScalarImage,
)
from .images_batch import ImagesBatch
from .mapping import AFFINE, DATA, PATH, STEM, TYPE
from .points import Points
from .spatial_map import SpatialMap
from .subject import Subject
from .velocity_field import VelocityField

__all__ = [
    "AFFINE",
    "DATA",
    "INTENSITY",
    "LABEL",
    "LOCATION",
    "PATH",
    "SAMPLING_MAP",
    "STEM",
    "TYPE",
    "BoundingBoxes",
    "Image",
    "ImagesBatch",
    "LabelMap",
    "Points",
    "ScalarImage",
    "SpatialMap",
    "Subject",
    "SubjectsBatch",
    "SubjectsDataset",
    "VelocityField",
]

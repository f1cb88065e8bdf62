"""Images, points, boxes, subjects, batches, and datasets. Files are read in ``io`` alone."""

from .batch import SubjectsBatch
from .boxes import BoundingBoxes
from .dataset import SubjectsDataset
from .image import (
    AFFINE,
    DATA,
    INTENSITY,
    LABEL,
    LOCATION,
    TYPE,
    Image,
    LabelMap,
    ScalarImage,
)
from .images_batch import ImagesBatch
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

"""Images, subjects, batches of them, and datasets. Files are read in ``io`` alone."""

from .batch import SubjectsBatch
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
from .spatial_map import SpatialMap
from .subject import Subject

__all__ = [
    "AFFINE",
    "DATA",
    "INTENSITY",
    "LABEL",
    "LOCATION",
    "TYPE",
    "Image",
    "ImagesBatch",
    "LabelMap",
    "ScalarImage",
    "SpatialMap",
    "Subject",
    "SubjectsBatch",
    "SubjectsDataset",
]

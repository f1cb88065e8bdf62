"""Images, points, boxes, subjects, batches, and datasets. Files are read in ``io`` alone."""

from .batch import SubjectsBatch
from .boxes import BoundingBoxes
from .dataset import SubjectsDataset
from .image import Image, LabelMap, ScalarImage
from .images_batch import ImagesBatch
from .keys import *  # noqa: F403
from .keys import __all__ as _keys
from .points import Points
from .spatial_map import SpatialMap
from .subject import Subject
from .velocity_field import VelocityField

__all__ = [
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
    *_keys,
]

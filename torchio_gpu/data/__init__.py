"""Images, points, boxes, subjects, batches, and datasets. Files are read in ``io`` alone."""

from importlib import import_module

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

#: Modules, in higher layers, of names that TorchIO 1 has here.
_ELSEWHERE = {
    **dict.fromkeys(("SubjectsLoader",), "torchio_gpu.loader"),
    **dict.fromkeys(
        (
            *("GridAggregator", "GridSampler", "LabelSampler", "PatchSampler", "Queue"),
            *("UniformSampler", "WeightedSampler"),
        ),
        "torchio_gpu.patches",
    ),
}


def __getattr__(name: str) -> object:
    """Return what TorchIO 1 has in this module and is elsewhere here."""
    if name in ("inference", "sampler"):  # modules of this package, imported when asked for
        return import_module(f"{__name__}.{name}")
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE[name]), name)


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

"""torchio_gpu: loading and augmentation of 3D medical images as batched tensors on the device."""

import os as _os

import torch as _torch

from . import functional, geometry, random, transforms
from .data import (
    AFFINE,
    DATA,
    INTENSITY,
    LABEL,
    LOCATION,
    PATH,
    SAMPLING_MAP,
    STEM,
    TYPE,
    BoundingBoxes,
    Image,
    ImagesBatch,
    LabelMap,
    Points,
    ScalarImage,
    Subject,
    SubjectsBatch,
    SubjectsDataset,
)
from .functional.dispatch.backend import backend
from .loader import SubjectsLoader
from .patches import *  # noqa: F403
from .patches import __all__ as _patches
from .transforms import *  # noqa: F403
from .transforms import __all__ as _transforms
from .transforms.captured import Captured

__version__ = "0.1.0"

if hasattr(_os, "register_at_fork"):  # which Windows lacks
    # the threads of torch's pool do not live on in a child, which would wait for them for ever
    _os.register_at_fork(after_in_child=lambda: _torch.set_num_threads(1))

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
    "Captured",
    "Image",
    "ImagesBatch",
    "LabelMap",
    "Points",
    "ScalarImage",
    "Subject",
    "SubjectsBatch",
    "SubjectsDataset",
    "SubjectsLoader",
    "backend",
    "functional",
    "geometry",
    "random",
    "transforms",
    *_patches,
    *_transforms,
]

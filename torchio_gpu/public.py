"""Imports of all public names; ``torchio_gpu`` imports this module when the first one is used.

Every name here is listed in ``torchio_gpu/names.py`` as well.
"""

from . import functional as functional
from . import geometry as geometry
from . import random as random
from . import transforms as transforms
from .cached_dataset import CachedDataset as CachedDataset
from .cohort.fitting import fit_cohort as fit_cohort
from .cohort.manifest import Case as Case
from .cohort.manifest import Cohort as Cohort
from .cohort.run import preprocess as preprocess
from .configuration import load_pipeline as load_pipeline
from .configuration import save_pipeline as save_pipeline
from .data import BoundingBoxes as BoundingBoxes
from .data import Image as Image
from .data import ImagesBatch as ImagesBatch
from .data import LabelMap as LabelMap
from .data import Points as Points
from .data import ScalarImage as ScalarImage
from .data import Subject as Subject
from .data import SubjectsBatch as SubjectsBatch
from .data import SubjectsDataset as SubjectsDataset
from .data.io import Header as Header
from .data.io import Source as Source
from .data.io import register_source as register_source
from .data.keys import *  # noqa: F403
from .functional.dispatch.backend import backend as backend
from .functional.ultrasound.geometry import BeamGeometry as BeamGeometry
from .loader import SubjectsLoader as SubjectsLoader
from .patches import *  # noqa: F403
from .transforms import *  # noqa: F403
from .transforms.captured import Captured as Captured

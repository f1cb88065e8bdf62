"""Public datasets, atlases and sample images, with the names of ``torchio.datasets``.

Datasets of many subjects lie in a folder that the user names. Single subjects are downloaded, the
first time, to :func:`cache_folder`, as are the files of MedMNIST.
"""

from .bite import BITE3
from .ct_rate import CtRate
from .download import cache_folder
from .episurg import EPISURG
from .fpg import FPG
from .itk_snap import T1T2, AorticValve, BrainTumor
from .ixi import IXI, IXITiny
from .medmnist import (
    AdrenalMNIST3D,
    FractureMNIST3D,
    NoduleMNIST3D,
    OrganMNIST3D,
    SynapseMNIST3D,
    VesselMNIST3D,
)
from .mni import Colin27, ICBM2009CNonlinearSymmetric, Pediatric, Sheep, mni152
from .rsna_miccai import RSNAMICCAI
from .rsna_spine_fracture import RSNACervicalSpineFracture
from .slicer import Slicer
from .zone_plate import ZonePlate

__all__ = [
    "BITE3",
    "EPISURG",
    "FPG",
    "IXI",
    "RSNAMICCAI",
    "T1T2",
    "AdrenalMNIST3D",
    "AorticValve",
    "BrainTumor",
    "Colin27",
    "CtRate",
    "FractureMNIST3D",
    "ICBM2009CNonlinearSymmetric",
    "IXITiny",
    "NoduleMNIST3D",
    "OrganMNIST3D",
    "Pediatric",
    "RSNACervicalSpineFracture",
    "Sheep",
    "Slicer",
    "SynapseMNIST3D",
    "VesselMNIST3D",
    "ZonePlate",
    "cache_folder",
    "mni152",
]

"""Functions on B-mode images of ultrasound, (B, C, I, J, K)."""

from .attenuation import attenuate, time_gain
from .geometry import BeamGeometry
from .haze import haze
from .reverberation import reverberation
from .shadow import acoustic_shadow, label_attenuation
from .speckle import speckle
from .synthesis import labels_to_ultrasound

__all__ = [
    "BeamGeometry",
    "acoustic_shadow",
    "attenuate",
    "haze",
    "label_attenuation",
    "labels_to_ultrasound",
    "reverberation",
    "speckle",
    "time_gain",
]

"""Functions on B-mode images of ultrasound, (B, C, I, J, K)."""

from .attenuation import attenuate, time_gain
from .geometry import BeamGeometry
from .reverberation import reverberation
from .shadow import acoustic_shadow, label_attenuation
from .synthesis import labels_to_ultrasound

__all__ = [
    "BeamGeometry",
    "acoustic_shadow",
    "attenuate",
    "label_attenuation",
    "labels_to_ultrasound",
    "reverberation",
    "time_gain",
]

"""Functions on B-mode images of ultrasound, (B, C, I, J, K)."""

from .attenuation import attenuate, time_gain
from .geometry import BeamGeometry
from .haze import haze
from .speckle import speckle

__all__ = ["BeamGeometry", "attenuate", "haze", "speckle", "time_gain"]

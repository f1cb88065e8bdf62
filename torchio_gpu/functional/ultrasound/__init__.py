"""Functions on B-mode images of ultrasound, (B, C, I, J, K)."""

from .attenuation import attenuate, time_gain
from .geometry import BeamGeometry

__all__ = ["BeamGeometry", "attenuate", "time_gain"]

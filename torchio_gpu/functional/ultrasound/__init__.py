"""Functions on B-mode ultrasound images, (B, C, I, J, K)."""

from .geometry import BeamGeometry

__all__ = ["BeamGeometry"]

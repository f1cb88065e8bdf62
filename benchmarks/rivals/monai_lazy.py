"""MONAI's pipelines with lazy resampling."""

from .monai import DISTRIBUTION, VERSION
from .monai import LAZY as OPS

NAME = "MONAI lazy"

__all__ = ["DISTRIBUTION", "NAME", "OPS", "VERSION"]

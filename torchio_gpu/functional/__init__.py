"""Pure functions on volumes: (B, C, I, J, K) tensors and per-sample parameters in, tensors out.

Everything here is batched, runs on the device of the voxels and is differentiable in the volume
and in the continuous parameters. Arguments are checked; random numbers come in as seeds.
"""

from .intensity import bias_field, gamma, noise, rician_noise
from .program import pointwise
from .spatial import affine_warp, bspline_warp, flip, warp
from .statistics import fill_value

__all__ = [
    "affine_warp",
    "bias_field",
    "bspline_warp",
    "fill_value",
    "flip",
    "gamma",
    "noise",
    "pointwise",
    "rician_noise",
    "warp",
]

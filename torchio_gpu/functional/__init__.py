"""Pure functions on volumes: (B, C, I, J, K) tensors and per-sample parameters in, tensors out.

Everything here is batched, runs on the device of the voxels and is differentiable in the volume
and in the continuous parameters. Arguments are checked; random numbers come in as seeds.
"""

from .filters import anisotropy, blur, swap
from .intensity import bias_field, gamma, noise, rician_noise
from .kspace import ghosting, motion, motion_owner, spike
from .pad import window
from .program import pointwise
from .resample import is_parallel, resample
from .spatial import affine_warp, bspline_warp, flip, is_exact, warp
from .statistics import fill_value
from .synthesis import labels_to_image

__all__ = [
    "affine_warp",
    "anisotropy",
    "bias_field",
    "blur",
    "bspline_warp",
    "fill_value",
    "flip",
    "gamma",
    "ghosting",
    "is_exact",
    "is_parallel",
    "labels_to_image",
    "motion",
    "motion_owner",
    "noise",
    "pointwise",
    "resample",
    "rician_noise",
    "spike",
    "swap",
    "warp",
    "window",
]

"""Pure functions on volumes: (B, C, I, J, K) tensors and per-sample parameters in, tensors out.

Everything here is batched, runs on the device of the voxels and is differentiable in the volume
and in the continuous parameters. Arguments are checked; random numbers come in as seeds.
"""

from .chemical_shift import chemical_shift
from .coil_noise import coil_noise
from .ct import (
    beam_hardening,
    ct_window,
    filtered_back_projection,
    limited_angle,
    low_dose,
    metal,
    project,
    reconstruction_kernel,
    rings,
    slice_thickness,
    sparse_views,
    streaks,
)
from .curves import histogram_shift, sigmoid_contrast
from .cutout import cutout
from .displacement import displacement_warp, exponentiate, jacobian_determinant
from .distortion import b0_distortion
from .filters import anisotropy, blur, low_resolution, swap
from .intensity import (
    bias_field,
    brightness,
    clamp,
    contrast,
    gamma,
    noise,
    rician_noise,
)
from .kspace import motion, motion_owner, spike
from .kspace_lines import ghosting, gibbs, partial_fourier, wrap
from .labels import (
    connected_components,
    contour,
    largest_component,
    one_hot,
    remap_labels,
)
from .low_field import low_field
from .maps import VoxelMap, is_exact
from .morphology import dilate_labels, erode_labels, smooth_labels
from .normalization import (
    mask_voxels,
    match_landmarks,
    principal_components,
    rescale,
    standardize,
)
from .pad import window
from .patches import aggregate_patches, extract_patches
from .pointwise import pointwise
from .resample import is_parallel, resample
from .slices import slice_motion
from .spatial import affine_warp, bspline_warp, flip, warp, warp_pair
from .statistics import fill_value, moments, percentile
from .susceptibility import susceptibility_field
from .synthesis import labels_to_image
from .ultrasound import (
    acoustic_shadow,
    attenuate,
    haze,
    label_attenuation,
    labels_to_ultrasound,
    reverberation,
    speckle,
    time_gain,
)
from .zipper import zipper

__all__ = [
    "VoxelMap",
    "acoustic_shadow",
    "affine_warp",
    "aggregate_patches",
    "anisotropy",
    "attenuate",
    "b0_distortion",
    "beam_hardening",
    "bias_field",
    "blur",
    "brightness",
    "bspline_warp",
    "chemical_shift",
    "clamp",
    "coil_noise",
    "connected_components",
    "contour",
    "contrast",
    "ct_window",
    "cutout",
    "dilate_labels",
    "displacement_warp",
    "erode_labels",
    "exponentiate",
    "extract_patches",
    "fill_value",
    "filtered_back_projection",
    "flip",
    "gamma",
    "ghosting",
    "gibbs",
    "haze",
    "histogram_shift",
    "is_exact",
    "is_parallel",
    "jacobian_determinant",
    "label_attenuation",
    "labels_to_image",
    "labels_to_ultrasound",
    "largest_component",
    "limited_angle",
    "low_dose",
    "low_field",
    "low_resolution",
    "mask_voxels",
    "match_landmarks",
    "metal",
    "moments",
    "motion",
    "motion_owner",
    "noise",
    "one_hot",
    "partial_fourier",
    "percentile",
    "pointwise",
    "principal_components",
    "project",
    "reconstruction_kernel",
    "remap_labels",
    "resample",
    "rescale",
    "reverberation",
    "rician_noise",
    "rings",
    "sigmoid_contrast",
    "slice_motion",
    "slice_thickness",
    "smooth_labels",
    "sparse_views",
    "speckle",
    "spike",
    "standardize",
    "streaks",
    "susceptibility_field",
    "swap",
    "time_gain",
    "warp",
    "warp_pair",
    "window",
    "wrap",
    "zipper",
]

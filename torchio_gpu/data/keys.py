"""Names of values of images, subjects and batches, and types of images, as in TorchIO."""

import torch

DATA = "data"
TENSOR = "tensor"
AFFINE = "affine"
TYPE = "type"
PATH = "path"
STEM = "stem"
#: Types of images.
INTENSITY = "intensity"
LABEL = "label"
#: Type of images of weights for sampling: spatial transforms treat them as scalar images, and
#: intensity transforms leave them alone.
SAMPLING_MAP = "sampling_map"
KINDS = (INTENSITY, LABEL, SAMPLING_MAP)
#: Location of a patch, in a patch and in a batch of patches.
LOCATION = "location"
#: Records of the transforms that were applied to each sample of a batch.
HISTORY = "history"
#: Number of patches to take of a subject, if a queue is to take another number of it.
NUM_SAMPLES = "num_samples"
#: Usual name of an image.
IMAGE = "image"
#: Dimension of channels in a batch of voxels.
CHANNELS_DIMENSION = 1
#: Distance between 1 and the next larger float32.
MIN_FLOAT_32 = torch.finfo(torch.float32).eps

__all__ = [
    "AFFINE",
    "CHANNELS_DIMENSION",
    "DATA",
    "HISTORY",
    "IMAGE",
    "INTENSITY",
    "LABEL",
    "LOCATION",
    "MIN_FLOAT_32",
    "NUM_SAMPLES",
    "PATH",
    "SAMPLING_MAP",
    "STEM",
    "TENSOR",
    "TYPE",
]

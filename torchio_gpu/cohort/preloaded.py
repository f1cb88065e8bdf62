"""Imports of all workers of a machine, which are forked from a process that has made them.

Without it each worker would take seconds to import torch, libraries of files and kernels.
"""

from contextlib import suppress

import distributed.nanny  # noqa: F401
import torch

from ..data.io.voxels import nibabel, sitk
from ..functional import moments
from . import preparation  # noqa: F401

for library in (nibabel, sitk):
    with suppress(ImportError):
        library()
moments(torch.zeros(1, 1, 32, 32, 32))  # numba imports much when it loads the first kernel

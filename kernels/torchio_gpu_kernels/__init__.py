"""Triton kernels for torchio_gpu: each is a claim about a reference written in plain torch.

Importing this package registers its operators under ``torch.ops.torchio_gpu``. They run on NVIDIA
GPUs, and anywhere in Triton's interpreter (``TRITON_INTERPRET=1``, set before triton is imported),
which is slow and meant for tests.
"""

from . import columns, pointwise, program, tiles, warp, warp_backward

__all__ = ["columns", "pointwise", "program", "tiles", "warp", "warp_backward"]

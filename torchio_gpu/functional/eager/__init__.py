"""Implementations in plain torch.

Kernels are tested against these functions, which expect arguments that the public functions have
checked and copied to the device of the voxels.
"""

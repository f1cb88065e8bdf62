"""The readable definition of every operation, in plain torch.

A kernel is a claim about one of these functions. They expect arguments that the functional layer
has checked and brought to the device of the voxels.
"""

"""Numbers that the kernels of all backends share."""

from __future__ import annotations

#: Codes of pointwise operations. Their float32 ``values`` for each sample:
#: BIAS: scale and offset from voxel to [-1, 1] along I, J, K, then the coefficients
#: GAMMA: logarithm of the exponent
#: NOISE: mean, std
#: RICIAN: mean, std, and 1, or 0 for what is not changed
#: CLAMP: low, high
#: LINEAR: scale, shift, centre
#: All but those of BIAS are one for all channels, or one per channel.
BIAS, GAMMA, NOISE, RICIAN, CLAMP, LINEAR = range(6)

#: Tolerance of coordinates, in voxels: one that is short of halfway between two voxels by less, or
#: of an end of the volume (half a voxel outside the outermost centres), counts as being there. So
#: all points of a regular grid halfway between voxels get the upper voxel, however rounded.
TIE = 1e-4

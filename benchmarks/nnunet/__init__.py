"""Training of nnU-Net v2 on a toy data set, with its own trainer and with that of this library."""

SUITE = "nnunet"

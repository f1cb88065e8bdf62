"""The trainer where nnU-Net looks for it: nnU-Net imports the modules of this folder by their names.

Nothing else may be in this folder.
"""

from torchio_gpu.adapters.nnunet.trainer import nnUNetTrainerTorchIOGPU

__all__ = ["nnUNetTrainerTorchIOGPU"]

"""The trainer, where nnU-Net looks for it: it imports all modules of this folder by their names."""

from torchio_gpu.adapters.nnunet.trainer import nnUNetTrainerTorchIOGPU

__all__ = ["nnUNetTrainerTorchIOGPU"]

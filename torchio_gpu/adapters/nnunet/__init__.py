"""Training of nnU-Net v2 with its default augmentation on the device.

nnU-Net looks for trainers of others in the folders that an environment variable names::

    export nnUNet_extTrainer="$(python -m torchio_gpu.adapters.nnunet)"
    nnUNetv2_train 1 3d_fullres 0 -tr nnUNetTrainerTorchIOGPU

:func:`default_augmentation` is the pipeline alone, and needs no nnU-Net.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from .augmentation import AroundOne, Reciprocal, default_augmentation
from .batches import BatchAugmentation, deep_supervision_targets, region_masks

if TYPE_CHECKING:
    from .trainer import nnUNetTrainerTorchIOGPU as nnUNetTrainerTorchIOGPU

#: Folder in which nnU-Net finds the trainer.
TRAINERS = Path(__file__).parent / "trainers"

__all__ = [
    "TRAINERS",
    "AroundOne",
    "BatchAugmentation",
    "Reciprocal",
    "deep_supervision_targets",
    "default_augmentation",
    "region_masks",
]


def __getattr__(name: str) -> object:
    if name != "nnUNetTrainerTorchIOGPU":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .trainer import nnUNetTrainerTorchIOGPU

    return nnUNetTrainerTorchIOGPU


def __dir__() -> list[str]:
    return sorted({*globals(), "nnUNetTrainerTorchIOGPU"})

"""Trainer of nnU-Net v2 that augments on the device, inside the training step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...random.streams import sample_seeds
from .augmentation import default_augmentation
from .batches import BatchAugmentation

try:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "nnunetv2":
        raise
    raise ModuleNotFoundError(
        "nnUNetTrainerTorchIOGPU needs nnU-Net: pip install nnunetv2", name="nnunetv2"
    ) from error


class nnUNetTrainerTorchIOGPU(nnUNetTrainer):  # type: ignore[misc]  # noqa: N801
    """nnU-Net's trainer with its default augmentation as one batched pipeline on the device.

    Workers read and cut patches, and do no more. Validation is nnU-Net's own. To train with another
    augmentation, override :meth:`make_pipeline`.

    The augmentation of a run is reproduced by ``torch.manual_seed``; ranks differ, and so do the
    epochs of a run that is continued.
    """

    #: Augmentation of batches; made along with the data loaders.
    augmentation: BatchAugmentation | None = None
    _samples = 0

    def make_pipeline(
        self,
        patch_size: Sequence[int],
        degrees: Sequence[float],
        in_plane: bool,
        mirror_axes: Sequence[int],
    ) -> Any:
        """Return the augmentation; arguments as for :func:`default_augmentation`."""
        return default_augmentation(patch_size, degrees, in_plane, mirror_axes)

    def get_training_transforms(  # type: ignore[no-untyped-def]
        self,
        patch_size,
        rotation_for_DA,  # noqa: N803
        deep_supervision_scales,
        mirror_axes,
        do_dummy_2d_data_aug,
        use_mask_for_norm=None,
        is_cascaded=False,
        foreground_labels=None,
        regions=None,
        ignore_label=None,
    ) -> None:
        """Make :attr:`augmentation`; workers get no transforms, and return patches as they are."""
        pipeline = self.make_pipeline(
            [int(n) for n in patch_size],
            np.rad2deg(rotation_for_DA).tolist(),
            do_dummy_2d_data_aug,
            [int(axis) for axis in mirror_axes or ()],
        )
        if regions is not None:
            regions = tuple(regions) if ignore_label is None else (*regions, ignore_label)
        self.augmentation = BatchAugmentation(
            pipeline,
            masked_channels=tuple(n for n, used in enumerate(use_mask_for_norm or ()) if used),
            previous_labels=tuple(foreground_labels) if is_cascaded else (),
            regions=regions,
            scales=deep_supervision_scales,
        )
        self.print_to_log_file(f"Augmentation on {self.device}:\n{pipeline.explain()}")

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Augment a batch, and train on it."""
        assert self.augmentation is not None, "data loaders come first"
        data, target = (batch[key].to(self.device, non_blocking=True) for key in ("data", "target"))
        data, target = self.augmentation(data, target, self.next_seeds(len(data)))
        return super().train_step({"data": data, "target": target})  # type: ignore[no-any-return]

    def next_seeds(self, count: int) -> np.ndarray:
        """Return int64 seeds of the next samples, [count], by epoch, rank and number."""
        first = (self.local_rank << 32) + self._samples
        self._samples += count
        base = torch.initial_seed() & (2**63 - 1)
        return sample_seeds(base, self.current_epoch, [*range(first, first + count)])

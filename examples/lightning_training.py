"""Train a segmentation network with Lightning, and augment batches where the network is.

Needs ``pip install lightning``. The volumes are made here: a bright ball in noise, with its mask.

    python examples/lightning_training.py --epochs 5
"""

from __future__ import annotations

import argparse
import logging
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything
from torch import Tensor, nn

import torchio_gpu as tio
from torchio_gpu.adapters.lightning import AugmentOnDevice


def ball(number: int, size: int) -> tio.Subject:
    """Return a volume with a ball in noise, and the mask of the ball.

    Args:
        number: Seed of place and radius.
        size: Voxels along each axis.
    """
    generator = torch.Generator().manual_seed(number)
    centre = size * (0.35 + 0.3 * torch.rand(3, generator=generator))
    radius = size * (0.15 + 0.1 * torch.rand((), generator=generator))
    grid = torch.stack(torch.meshgrid(*[torch.arange(size)] * 3, indexing="ij"))
    mask = (grid - centre.view(3, 1, 1, 1)).norm(dim=0, keepdim=True) < radius
    noise = torch.randn(mask.shape, generator=generator)
    return tio.Subject(
        t1=tio.ScalarImage(mask.float() + 0.3 * noise),
        seg=tio.LabelMap(mask.to(torch.uint8)),
        name=f"ball {number}",
    )


class Balls(AugmentOnDevice, LightningDataModule):
    """Subjects in loaders that seed every sample, and their augmentation, in training only."""

    def __init__(self, subjects: int = 8, size: int = 16, batch_size: int = 4) -> None:
        super().__init__()
        self.subjects, self.size, self.batch_size = subjects, size, batch_size
        self.augmentation = tio.Compose(
            [
                tio.RandomFlip((0, 1, 2)),
                tio.RandomAffine(scales=0.1, degrees=15),
                tio.RandomNoise(std=(0, 0.2)),
            ]
        )

    def _loader(self, numbers: range, shuffle: bool) -> tio.SubjectsLoader:
        # what all samples need, on the CPU
        normalize = tio.ZNormalization()
        dataset = tio.SubjectsDataset([ball(n, self.size) for n in numbers], normalize)
        # with a seed, a sample is augmented in the same way by any number of processes
        return tio.SubjectsLoader(dataset, batch_size=self.batch_size, shuffle=shuffle, seed=0)

    def train_dataloader(self) -> tio.SubjectsLoader:
        return self._loader(range(self.subjects), shuffle=True)

    def val_dataloader(self) -> tio.SubjectsLoader:
        return self._loader(range(100, 102), shuffle=False)


class Segmenter(LightningModule):
    """Network of two convolutions, which gets augmented batches in training."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 1, 3, padding=1)
        )

    def _loss(self, batch: tio.SubjectsBatch) -> Tensor:
        truth = batch.seg.data.float()
        return nn.functional.binary_cross_entropy_with_logits(self.network(batch.t1.data), truth)

    def training_step(self, batch: tio.SubjectsBatch, _: int) -> Tensor:
        loss = self._loss(batch)
        self.log("train_loss", loss, on_epoch=True, batch_size=len(batch))
        return loss

    def validation_step(self, batch: tio.SubjectsBatch, _: int) -> None:
        self.log("val_loss", self._loss(batch), batch_size=len(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def train(epochs: int = 3, **trainer: Any) -> tuple[float, float]:
    """Train, and return the validation loss before and after.

    Args:
        epochs: Number of epochs.
        trainer: Arguments of Lightning's Trainer.
    """
    seed_everything(0, verbose=False)
    model, balls = Segmenter(), Balls()
    runner = Trainer(
        max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **trainer,
    )  # fmt: skip
    (before,) = runner.validate(model, balls, verbose=False)
    runner.fit(model, balls)
    (after,) = runner.validate(model, balls, verbose=False)
    return before["val_loss"], after["val_loss"]


def main() -> None:
    """Train on what Lightning finds, and print the losses."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    before, after = train(parser.parse_args().epochs)
    print(f"validation loss before {before:.3f}, after {after:.3f}")


if __name__ == "__main__":
    main()

"""Trainers of a few steps, which keep their times; nnU-Net imports this file by its name."""

import json
import os
from pathlib import Path
from time import perf_counter

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from torchio_gpu.adapters.nnunet import nnUNetTrainerTorchIOGPU


class Short:
    """Train for as many epochs and steps as the environment says."""

    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cpu")):  # noqa: B008
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = int(os.environ["SHORT_EPOCHS"])
        self.num_iterations_per_epoch = int(os.environ["SHORT_STEPS"])
        self.num_val_iterations_per_epoch = 1
        self.seconds: list[float] = []
        self.losses: list[float] = []

    def on_train_epoch_start(self):
        super().on_train_epoch_start()
        self.started = perf_counter()

    def on_train_epoch_end(self, train_outputs):
        self.seconds.append(perf_counter() - self.started)
        self.losses += [float(each["loss"]) for each in train_outputs]
        super().on_train_epoch_end(train_outputs)

    def on_train_end(self):
        super().on_train_end()
        kept = {"epoch_s": self.seconds, "losses": self.losses}
        Path(self.output_folder, "short.json").write_text(json.dumps(kept))


class ShortDefault(Short, nnUNetTrainer):
    """nnU-Net's trainer: workers augment."""


class ShortTorchIOGPU(Short, nnUNetTrainerTorchIOGPU):
    """The trainer of this library: the training step augments."""

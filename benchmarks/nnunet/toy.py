"""A toy data set, planned, trained on and predicted by nnU-Net's own commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from torchio_gpu.adapters.nnunet import TRAINERS

NAME = "Dataset001_Toy"
CONFIGURATION = "3d_fullres"
#: Folder of the trainers of a few steps.
SHORT = Path(__file__).parent / "trainers"


@dataclass(frozen=True)
class Toy:
    """Balls and boxes in noise, in a folder of their own.

    Args:
        folder: Where everything goes.
        cases: Number of volumes; a fifth of them are for validation.
        size: Voxels along each axis.
        patch: Voxels of a patch along each axis, a multiple of 4.
        workers: Processes that load data, and augment if the trainer lets them; 0 for none.
    """

    folder: Path
    cases: int = 5
    size: int = 40
    patch: int = 32
    workers: int = 0

    def make(self) -> None:
        """Write images, labels and their description."""
        raw = self.folder / "raw" / NAME
        for part in ("imagesTr", "labelsTr"):
            (raw / part).mkdir(parents=True)
        random = np.random.default_rng(0)
        for case in range(self.cases):
            image, labels = _volume(random, self.size)
            nib.save(nib.Nifti1Image(image, np.eye(4)), raw / "imagesTr" / f"c{case}_0000.nii.gz")
            nib.save(nib.Nifti1Image(labels, np.eye(4)), raw / "labelsTr" / f"c{case}.nii.gz")
        described = {
            "channel_names": {"0": "MRI"},
            "labels": {"background": 0, "ball": 1, "box": 2},
            "numTraining": self.cases,
            "file_ending": ".nii.gz",
        }
        (raw / "dataset.json").write_text(json.dumps(described))

    def plan(self) -> None:
        """Plan and preprocess, and make the network small enough for a CPU."""
        threads = {"nnUNet_n_proc_DA": "1"}  # as many as planning takes, which are some
        self._run("plan_and_preprocess", "-d", "1", "-c", CONFIGURATION, "-np", "1", **threads)
        file = self.folder / "preprocessed" / NAME / "nnUNetPlans.json"
        plans = json.loads(file.read_text())
        chosen = plans["configurations"][CONFIGURATION]
        chosen["patch_size"] = [self.patch] * 3
        network = chosen["architecture"]["arch_kwargs"]
        for key, value in network.items():
            if isinstance(value, list):
                network[key] = value[:3]
        network |= {
            "n_stages": 3,
            "features_per_stage": [8, 16, 32],
            "n_conv_per_stage_decoder": [2, 2],
        }
        file.write_text(json.dumps(plans))

    def train(self, trainer: str, epochs: int, steps: int) -> dict[str, Any]:
        """Train fold 0; return the times, the losses and the mean Dice of its validation."""
        counts = {"SHORT_EPOCHS": str(epochs), "SHORT_STEPS": str(steps)}
        self._run("train", "1", CONFIGURATION, "0", "-tr", trainer, "-device", "cpu", **counts)
        found = self.results(trainer) / "fold_0"
        summary = json.loads((found / "validation" / "summary.json").read_text())
        kept: dict[str, Any] = json.loads((found / "short.json").read_text())
        return {**kept, "dice": summary["foreground_mean"]["Dice"]}

    def predict(self, trainer: str, out: Path) -> list[Path]:
        """Predict all images; return the files."""
        images = str(self.folder / "raw" / NAME / "imagesTr")
        where = ["-i", images, "-o", str(out), "-d", "1", "-c", CONFIGURATION, "-f", "0"]
        options = ["-npp", "0", "-nps", "0", "-device", "cpu", "--disable_tta"]
        counts = {"SHORT_EPOCHS": "1", "SHORT_STEPS": "1"}
        self._run("predict", *where, "-tr", trainer, *options, **counts)
        return sorted(out.glob("*.nii.gz"))

    def results(self, trainer: str) -> Path:
        """Return the folder of what a trainer has left."""
        return self.folder / "results" / NAME / f"{trainer}__nnUNetPlans__{CONFIGURATION}"

    def environment(self) -> dict[str, str]:
        """Return the variables that tell nnU-Net its folders and processes."""
        folders = {
            f"nnUNet_{name}": str(self.folder / name) for name in ("raw", "preprocessed", "results")
        }
        return folders | {
            "nnUNet_extTrainer": os.pathsep.join((str(TRAINERS), str(SHORT))),
            "nnUNet_n_proc_DA": str(self.workers),
            "nnUNet_def_n_proc": "1",
            "nnUNet_compile": "false",
        }

    def _run(self, command: str, *arguments: str, **more: str) -> None:
        script = Path(sys.executable).with_name(f"nnUNetv2_{command}")
        _checked([str(script), *arguments], {**os.environ, **self.environment(), **more})


def _checked(command: Sequence[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")
    if done.returncode:
        said = f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        raise RuntimeError(f"{Path(command[0]).name} has failed:\n{said}")


def _volume(random: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image with a ball and a box in noise, float32, and its labels, uint8."""
    place = np.stack(np.meshgrid(*[np.arange(size)] * 3, indexing="ij"), -1)
    middle = np.array([size / 4, size / 2, size / 2])
    middles = [middle + random.uniform(-3, 3, 3) for _ in range(2)]
    middles[1][0] += size / 2
    radius, half = random.uniform(0.12, 0.2, 2) * size
    labels = np.zeros((size,) * 3, np.uint8)
    labels[np.linalg.norm(place - middles[0], axis=-1) < radius] = 1
    labels[np.abs(place - middles[1]).max(-1) < half] = 2
    image = np.take([0.0, 1.0, 1.6], labels) * random.uniform(0.8, 1.2)
    return (image + random.normal(0, 0.5, labels.shape)).astype(np.float32), labels

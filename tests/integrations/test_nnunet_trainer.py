"""nnU-Net's own commands plan, train and predict a toy data set with this library's trainer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from benchmarks.nnunet import CONFIGURATION, NAME, OURS, Toy
from torchio_gpu.adapters import nnunet

pytest.importorskip("nnunetv2", reason="nnunetv2 is not installed: make test-integrations")


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Toy:
    made = Toy(tmp_path_factory.mktemp("nnunet"))
    made.make()
    return made


def test_training_and_prediction(toy, tmp_path):
    """Two epochs of two steps, validation, and prediction of all volumes."""
    found = toy.train(OURS, 2, 2)
    assert len(found["losses"]) == 4
    assert np.isfinite(found["losses"]).all()
    assert 0 <= found["dice"] <= 1
    log = next((toy.results(OURS) / "fold_0").glob("training_log*")).read_text()
    assert "RandomFlip -> RandomAffine -> RandomAffine -> CropOrPad" in log
    images = str(toy.folder / "raw" / NAME / "imagesTr")
    where = ["-i", images, "-o", str(tmp_path), "-d", "1", "-c", CONFIGURATION, "-f", "0"]
    options = ["-npp", "0", "-nps", "0", "-device", "cpu", "--disable_tta"]
    toy.run("nnUNetv2_predict", *where, "-tr", OURS, *options)
    files = sorted(tmp_path.glob("*.nii.gz"))
    assert len(files) == toy.cases
    for file in files:
        predicted = nib.load(file)
        assert predicted.shape == (toy.size,) * 3
        assert set(np.unique(predicted.dataobj)) <= {0, 1, 2}


def test_trainer_is_found_by_its_name():
    """The line of the documentation names a folder in which nnU-Net finds the class."""
    command = [sys.executable, "-m", "torchio_gpu.adapters.nnunet"]
    folder = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    code = """
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find
import torchio_gpu as tio
found = find("nnUNetTrainerTorchIOGPU")
assert found is tio.adapters.nnunet.nnUNetTrainerTorchIOGPU, found
"""
    environment = {**os.environ, "nnUNet_extTrainer": folder.strip()}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr


KINDS = ("volumes", "thick slices", "planes", "regions", "masked", "cascade")


def keep_as_previous_stage(toy: Toy, folder: Path, plans_name: str) -> None:
    """Let the true labels be what a network of low resolution has predicted."""
    blosc2 = pytest.importorskip("blosc2")
    run = f"nnUNetTrainerTorchIOGPU__{plans_name}__3d_lowres"
    where = toy.folder / "results" / NAME / run / "predicted_next_stage" / CONFIGURATION
    where.mkdir(parents=True)
    for file in folder.glob("*_seg.b2nd"):
        labels = blosc2.open(str(file), mode="r")[0]
        blosc2.asarray(labels, urlpath=str(where / file.name.replace("_seg", "")))


@pytest.mark.parametrize("kind", KINDS)
def test_steps_of_each_kind(monkeypatch, toy, kind):
    """Augmented batches look like those that nnU-Net makes for validation; a step is taken."""
    folder = toy.folder / "preprocessed" / NAME
    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    description = json.loads((folder / "dataset.json").read_text())
    configuration = "2d" if kind == "planes" else CONFIGURATION
    chosen = plans["configurations"][configuration]
    chosen["data_identifier"] = plans["configurations"][CONFIGURATION]["data_identifier"]
    chosen["batch_size"] = 2
    if kind == "thick slices":
        chosen["patch_size"] = [8, 32, 32]
    if kind == "regions":
        description["labels"] = {"background": 0, "both": [1, 2], "box": 2}
        description["regions_class_order"] = [1, 2]
    if kind == "masked":
        chosen["use_mask_for_norm"] = [True]
    if kind == "cascade":
        chosen["previous_stage"] = "3d_lowres"
        keep_as_previous_stage(toy, folder / chosen["data_identifier"], kind)
    plans |= {"continue_training": False, "plans_name": kind}
    for name, value in toy.environment().items():
        monkeypatch.setenv(name, value)

    cls = nnunet.nnUNetTrainerTorchIOGPU
    trainer = cls(plans, configuration, 0, description, torch.device("cpu"))
    trainer.initialize()
    trainer.dataloader_train, trainer.dataloader_val = trainer.get_dataloaders()
    batch, reference = next(trainer.dataloader_train), next(trainer.dataloader_val)
    size = trainer.configuration_manager.patch_size
    assert all(n >= m for n, m in zip(batch["data"].shape[2:], size, strict=True))
    assert batch["data"].shape[2:] > reference["data"].shape[2:]
    data, targets = trainer.augmentation(batch["data"], batch["target"])
    assert data.shape == reference["data"].shape
    assert data.dtype == reference["data"].dtype
    assert len(targets) == len(reference["target"])
    for target, expected in zip(targets, reference["target"], strict=True):
        assert target.shape == expected.shape
        assert target.dtype == expected.dtype
        assert target.min() >= 0
    assert np.isfinite(trainer.train_step(batch)["loss"])
    (lost,) = (t.axes for t in trainer.augmentation.pipeline if t.name == "RandomLowResolution")
    assert list(lost) == ([1, 2] if kind in ("thick slices", "planes") else [0, 1, 2])


def test_seeds_differ_by_step_rank_and_epoch(monkeypatch, toy):
    cls = nnunet.nnUNetTrainerTorchIOGPU
    trainer = cls.__new__(cls)
    trainer.local_rank = trainer.current_epoch = 0
    found = [trainer.next_seeds(2), trainer.next_seeds(2)]
    again = cls.__new__(cls)
    again.local_rank = again.current_epoch = 0
    np.testing.assert_array_equal(again.next_seeds(4), np.concatenate(found))
    for rank, epoch in ((1, 0), (0, 1)):
        other = cls.__new__(cls)
        other.local_rank, other.current_epoch = rank, epoch
        found.append(other.next_seeds(4))
    assert len(np.unique(np.concatenate(found))) == 12

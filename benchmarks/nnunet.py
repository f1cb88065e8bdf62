"""Training of nnU-Net v2 on a toy data set: ``python -m benchmarks.nnunet``; needs nnunetv2.

Its own trainer, whose workers augment while the network trains, and that of this library, whose
training step augments, train the same network on the same data, after which nnU-Net validates.
``step_ms`` is the time from the end of a step to the end of the next of its epoch, so that waits
for batches are part of it; ``dice`` is the mean of the foreground, of nnU-Net's validation.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import nibabel as nib
import numpy as np

from torchio_gpu.adapters.nnunet import TRAINERS

from . import machine, records
from .markdown import table

SUITE = "nnunet"
NAME, CONFIGURATION = "Dataset001_Toy", "3d_fullres"
OURS = "nnUNetTrainerTorchIOGPU"
TITLES = {"nnUNetTrainer": "nnU-Net's own", OURS: "torchio_gpu"}


@dataclass(frozen=True)
class Toy:
    """Balls and boxes in noise, in the folders of nnU-Net.

    Args:
        folder: Folder of all files.
        cases: Number of volumes; a fifth of them are for validation.
        size, patch: Voxels along each axis; of a patch a multiple of 4.
        workers: Processes that load data, and augment if the trainer lets them; 0 for none.
    """

    folder: Path
    cases: int = 5
    size: int = 40
    patch: int = 32
    workers: int = 0

    def make(self) -> None:
        """Write images and labels, plan, and make the network small enough for a CPU."""
        raw, random = self.folder / "raw" / NAME, np.random.default_rng(0)
        described: dict[str, Any] = {"channel_names": {"0": "MRI"}, "numTraining": self.cases}
        described |= {"labels": {"background": 0, "ball": 1, "box": 2}, "file_ending": ".nii.gz"}
        for part in ("imagesTr", "labelsTr"):
            (raw / part).mkdir(parents=True)
        (raw / "dataset.json").write_text(json.dumps(described))
        place = np.stack(np.meshgrid(*[np.arange(self.size)] * 3, indexing="ij"), -1)
        for case in range(self.cases):
            centres = self.size / 4 * np.array([[1, 2, 2], [3, 2, 2]])
            centres += random.uniform(-3, 3, (2, 3))
            radius, half = random.uniform(0.12, 0.2, 2) * self.size
            labels = np.zeros(place.shape[:3], np.uint8)
            labels[np.linalg.norm(place - centres[0], axis=-1) < radius] = 1
            labels[np.abs(place - centres[1]).max(-1) < half] = 2
            image = np.take([0.0, 1.0, 1.6], labels) * random.uniform(0.8, 1.2)
            image = (image + random.normal(0, 0.5, labels.shape)).astype(np.float32)
            nib.save(nib.Nifti1Image(image, np.eye(4)), raw / f"imagesTr/c{case}_0000.nii.gz")
            nib.save(nib.Nifti1Image(labels, np.eye(4)), raw / f"labelsTr/c{case}.nii.gz")
        # planning takes as many processes as augmentation, which are some
        where = ["-d", "1", "-c", CONFIGURATION, "-np", "1"]
        self.run("nnUNetv2_plan_and_preprocess", *where, nnUNet_n_proc_DA="1")
        file = self.folder / "preprocessed" / NAME / "nnUNetPlans.json"
        plans = json.loads(file.read_text())
        chosen = plans["configurations"][CONFIGURATION]
        chosen["patch_size"] = [self.patch] * 3
        given = chosen["architecture"]["arch_kwargs"]
        given |= {name: value[:3] for name, value in given.items() if isinstance(value, list)}
        given |= {"n_stages": 3, "features_per_stage": [8, 16, 32]}
        given["n_conv_per_stage_decoder"] = [2, 2]
        file.write_text(json.dumps(plans))

    def train(self, trainer: str, epochs: int, steps: int) -> dict[str, Any]:
        """Train fold 0; return the times and losses of steps, and the Dice of its validation."""
        command = f"-m benchmarks.nnunet --train {trainer} --epochs {epochs} --steps {steps}"
        self.run("python", *command.split())
        found = self.results(trainer) / "fold_0"
        summary = json.loads((found / "validation" / "summary.json").read_text())
        kept = json.loads((found / "steps.json").read_text())
        return {**kept, "dice": summary["foreground_mean"]["Dice"]}

    def results(self, trainer: str) -> Path:
        return self.folder / "results" / NAME / f"{trainer}__nnUNetPlans__{CONFIGURATION}"

    def environment(self) -> dict[str, str]:
        """Return the variables that tell nnU-Net its folders and processes."""
        folders = ("raw", "preprocessed", "results")
        found = {f"nnUNet_{name}": str(self.folder / name) for name in folders}
        found |= {"nnUNet_n_proc_DA": str(self.workers), "nnUNet_def_n_proc": "1"}
        return found | {"nnUNet_extTrainer": str(TRAINERS), "nnUNet_compile": "false"}

    def run(self, script: str, *arguments: str, **more: str) -> None:
        command = [Path(sys.executable).with_name(script), *arguments]
        env = {**os.environ, **self.environment(), **more}
        done = subprocess.run(command, env=env, cwd=machine.ROOT, capture_output=True, text=True)
        if done.returncode:
            said = f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
            raise RuntimeError(f"{script} has failed:\n{said}")


def train(name: str, epochs: int, steps: int) -> None:
    """Train and validate in this process, and keep the time and loss of each step."""
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args

    trainer = get_trainer_from_args("1", CONFIGURATION, 0, name, device=torch.device("cpu"))
    trainer.num_epochs, trainer.num_iterations_per_epoch = epochs, steps
    trainer.num_val_iterations_per_epoch = 1
    step, ends, losses = trainer.train_step, [], []

    def timed(batch: Any) -> Any:
        found = step(batch)
        losses.append(float(found["loss"]))
        ends.append(perf_counter())
        return found

    trainer.train_step = timed
    trainer.run_training()
    trainer.perform_actual_validation()
    took = np.diff(np.reshape(ends, (epochs, steps)))  # [epochs, steps - 1]
    kept = {"step_ms": (1000 * took).tolist(), "losses": losses}
    Path(trainer.output_folder, "steps.json").write_text(json.dumps(kept))


def run(toy: Toy, epochs: int, steps: int) -> records.Result:
    """Train with each trainer; the first epoch, in which workers begin, is not timed."""
    toy.make()
    rows = []
    for trainer, title in TITLES.items():
        found = toy.train(trainer, epochs, steps)
        each = [statistics.mean(epoch) for epoch in found["step_ms"][1:]]
        row = {"trainer": title, "dice": found["dice"], "step_ms": statistics.median(each)}
        row |= {"fastest_ms": min(each), "slowest_ms": max(each)}
        rows.append(row | {"last_loss": statistics.mean(found["losses"][-steps:])})
    setup = {
        "epochs": epochs,
        "steps": steps,
        "patch": toy.patch,
        "workers": toy.workers,
        "batch": 2,
    }
    stamp = records.stamp(SUITE, "cpu", machine.threads()) | {
        "nnunetv2": machine.version("nnunetv2")
    }
    return {**stamp, "setup": {**setup, "cases": toy.cases, "size": toy.size}, "rows": rows}


def text(result: records.Result) -> str:
    """Return a table of the trainers."""
    setup, lines = result["setup"], []
    for row in result["rows"]:
        spread = f"{row['step_ms']:.0f} ({row['fastest_ms']:.0f} to {row['slowest_ms']:.0f})"
        lines.append([row["trainer"], f"{row['dice']:.3f}", spread, f"{row['last_loss']:.3f}"])
    about = (
        f"{setup['epochs']} epochs of {setup['steps']} steps on batches of {setup['batch']} "
        f"patches of {setup['patch']}³, {setup['cases']} volumes of {setup['size']}³ with balls "
        f"and boxes in noise, {setup['workers']} workers, nnU-Net {result['nnunetv2']}. "
        "In nnU-Net's own trainer workers augment beside the step, and share its cores; here the "
        "step does so itself. Each has trained once, on random patches of its own."
    )
    head = ["trainer", "Dice", "ms a step, median of epochs", "loss of the last epoch"]
    return f"{about}\n\n{table(head, lines)}\n\n{records.origin(result)}"


def main() -> None:
    """Run, print the table, and keep the result."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.nnunet", description=__doc__)
    p.add_argument("--epochs", type=int, default=5)
    p.add_argument("--steps", type=int, default=40, help="of each epoch")
    p.add_argument("--workers", type=int, default=2, help="processes of nnU-Net's data loader")
    p.add_argument("--output", type=Path, help="JSON file; by default in benchmarks/results")
    p.add_argument("--train", help=argparse.SUPPRESS)
    given = p.parse_args()
    if given.train:
        return train(given.train, given.epochs, given.steps)
    with tempfile.TemporaryDirectory() as folder:
        toy = Toy(Path(folder), cases=10, workers=given.workers)
        result = run(toy, given.epochs, given.steps)
    print(text(result))
    return records.write(result, given.output or records.path(result))


if __name__ == "__main__":
    main()

"""Transforms of nnU-Net's trainer, and those of this library that stand for them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from torchio_gpu.adapters.nnunet import default_augmentation

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of other packages, while they are imported
    trainer = pytest.importorskip(
        "nnunetv2.training.nnUNetTrainer.nnUNetTrainer",
        reason="nnunetv2 is not installed: make test-integrations",
    )
NnUNetTrainer = trainer.nnUNetTrainer

#: Draws of each transform.
DRAWS = 500
ROTATION = (-np.pi / 6, np.pi / 6)


def theirs(patch: Sequence[int] = (8, 8, 8), in_plane: bool = False, **given: Any) -> list[Any]:
    """Return the steps that nnU-Net's default trainer trains with."""
    rotation = (-np.pi, np.pi) if in_plane else ROTATION
    axes = tuple(range(len(patch)))
    made = NnUNetTrainer.get_training_transforms(patch, rotation, None, axes, in_plane, **given)
    return made.transforms


def their(name: str, **given: Any) -> Any:
    """Return a step of nnU-Net, which is one of a name, or applies it with a probability."""
    steps = theirs(**given)
    inner = [getattr(step, "transform", step) for step in steps]
    found = [s for s, i in zip(steps, inner, strict=True) if type(i).__name__ == name]
    return found


def ours(name: str, patch: Sequence[int] = (8, 8, 8), in_plane: bool = False) -> list[Any]:
    """Return the steps of the pipeline of that name."""
    degrees = 180 if in_plane else 30
    axes = tuple(range(len(patch)))
    steps = default_augmentation(patch, degrees, in_plane and len(patch) == 3, axes)
    return [step for step in steps if step.name == name]


def always(transform: Any) -> Any:
    """Return the transform with a probability of 1."""
    return type(transform)(**{**transform.arguments(), "p": 1})


def draw_ours(transform: Any, image: Tensor, draws: int = DRAWS) -> Tensor:
    """Transform as many copies of an image (C, I, J, K), as one batch."""
    return transform(image.repeat(draws, 1, 1, 1, 1))


def draw_theirs(transform: Any, image: Tensor, draws: int = DRAWS) -> Tensor:
    """Transform as many copies of an image, one after another."""
    return torch.stack([transform(image=image.clone())["image"] for _ in range(draws)])


def seed() -> None:
    """Seed all that the two draw from."""
    np.random.seed(0)
    torch.manual_seed(0)


def to_both(name: str, their_name: str, image: Tensor, index: int = 0) -> tuple[Tensor, Tensor]:
    """Return the results of a step whose coin is left out, ours and theirs."""
    return (
        draw_ours(always(ours(name)[index]), image),
        draw_theirs(their(their_name)[index].transform, image),
    )

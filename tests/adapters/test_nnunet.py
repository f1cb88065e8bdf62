"""Parts of the adapter to nnU-Net that need no nnU-Net; others are in tests/integrations."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from torchio_gpu.adapters.nnunet import (
    TRAINERS,
    AroundOne,
    BatchAugmentation,
    Reciprocal,
    default_augmentation,
    region_masks,
)

EIGHT = (8, 8, 8)


def batch(size: int = 14, channels: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    target = torch.randint(0, 3, (3, 1, size, size, size), dtype=torch.int16)
    return torch.rand(3, channels, size, size, size), target


def test_all_spatial_steps_share_one_sampling():
    augment = default_augmentation(EIGHT)
    first = augment.explain().splitlines()[0]
    assert first.startswith("spatial: RandomFlip -> RandomAffine -> RandomAffine -> CropOrPad  ")


@pytest.mark.parametrize(
    ("size", "mirror_axes", "axes"),
    [
        ((8, 8, 8), None, (0, 1, 2)),
        ((8, 8), None, (1, 2)),
        ((8, 8), (1,), (2,)),
        ((8, 8, 8), [2, 0], (2, 0)),
        ((8, 8, 8), (), None),
        ((8, 8), [], None),
    ],
)
def test_all_axes_of_the_patch_are_mirrored_by_default(size, mirror_axes, axes):
    steps = default_augmentation(size, mirror_axes=mirror_axes)
    assert [step.axes for step in steps if isinstance(step, tio.RandomFlip)] == [axes][: bool(axes)]
    x = torch.rand(2, 1, *(1,) * (3 - len(size)), *size)
    assert steps(x).shape == x.shape


def test_seeds_determine_a_batch():
    data, target = batch()
    augmentation = BatchAugmentation(default_augmentation(EIGHT), scales=[(1, 1, 1), (0.5,) * 3])
    first, again = (augmentation(data, target, np.arange(3)) for _ in range(2))
    other = augmentation(data.roll(-1, 0), target.roll(-1, 0), np.arange(3) + 1)
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert [t.shape[2:] for t in first[1]] == [(8, 8, 8), (4, 4, 4)]
    torch.testing.assert_close(first[0][1:], other[0][:2], rtol=0, atol=0)  # by sample


def test_outside_is_masked_where_channels_are_normalized_within_a_mask():
    data, target = batch()
    target[:, :, :9] = -1
    augmentation = BatchAugmentation(tio.Compose([tio.CropOrPad(EIGHT)]), masked_channels=(1,))
    masked, labels = augmentation(data + 1, target)
    assert (masked[:, 0] > 0).all()
    outside = torch.arange(8).view(-1, 1, 1) < 6
    assert torch.equal(masked[:, 1] == 0, outside.expand(3, 8, 8, 8))
    assert labels.min() == 0


def test_regions_overlap():
    _, target = batch()
    masks = region_masks(target, [(1, 2), 2])
    assert torch.equal(masks[:, :1], target > 0)
    assert torch.equal(masks[:, 1:], target == 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: default_augmentation((8,)), "patch_size must have 2 or 3 entries, got"),
        (lambda: default_augmentation((8, 8), mirror_axes=(2,)), r"among \[0, 1\], got \(2,\)"),
        (lambda: default_augmentation(EIGHT, in_plane="yes"), "in_plane must be True or False"),
        (lambda: AroundOne(1.1, 1.2), "low and high must have 1 between them, got 1.1 and 1.2"),
        (lambda: Reciprocal(0, 1), "low and high must be 0 < low <= high, got 0 and 1"),
        (lambda: Reciprocal(2, 1), "low and high must be 0 < low <= high, got 2 and 1"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_reciprocals_and_halves_are_distributions_of_ranges():
    assert repr(AroundOne(0.7, 1.5, log=True)) == "AroundOne(0.7, 1.5, log=True)"
    drawn = AroundOne(0.5, 3).sample((4000,))
    # standard error of a share of 1/2 in 4000 draws: 0.008; of a mean of uniform values: less
    assert abs((drawn < 1).float().mean() - 0.5) < 0.04
    assert abs(drawn[drawn < 1].mean() - 0.75) < 0.02
    assert abs(drawn[drawn >= 1].mean() - 2) < 0.08
    drawn = 1 / Reciprocal(0.7, 1.4).sample((4000,))
    assert abs(drawn.mean() - 1.05) < 0.02
    assert 0.7 <= drawn.min() < drawn.max() <= 1.4 + 1e-6


def test_folder_of_the_trainer_is_printed():
    command = [sys.executable, "-m", "torchio_gpu.adapters.nnunet"]
    printed = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    assert Path(printed.strip()) == TRAINERS
    assert [file.name for file in TRAINERS.glob("*.py")] == ["torchio_gpu_trainer.py"]


def test_missing_nnunet_is_named():
    code = """
import sys
sys.modules["nnunetv2"] = None
from torchio_gpu.adapters import nnunet
nnunet.default_augmentation((8, 8, 8))
nnunet.nnUNetTrainerTorchIOGPU
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert "nnUNetTrainerTorchIOGPU needs nnU-Net: pip install nnunetv2" in done.stderr

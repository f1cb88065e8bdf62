"""Pictures of the demo: augmented subjects, and predictions next to the true labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

import torchio_gpu as tio

from .training import OVERLAPS

BEFORE, DIFFERENT = 5, 3  # labels that are drawn pink and orange
DRAWN = 70, 100, 80  # voxel through which planes are drawn


def pipeline(size: int) -> tio.Compose:
    """Return the augmentation to train with, for crops of ``size`` mm."""
    return tio.Compose(
        [
            tio.RandomAffine(scales=0.1, degrees=15, translation=5, p=0.8),
            tio.RandomElasticDeformation(max_displacement=size / 16, p=0.5),  # too little to fold
            tio.RandomFlip(axes=("LR",)),
            tio.RandomBiasField(p=0.5),
            tio.RandomGamma(p=0.5),
            tio.RandomNoise(std=(0, 0.1), p=0.5),
        ]
    )


#: Transforms of the gallery: every augmentation, strong enough to be visible.
SHOWN: tuple[tio.Transform, ...] = (
    tio.RandomAffine(scales=(0.75, 0.9), degrees=(10, 20)),
    tio.RandomElasticDeformation(num_control_points=6, max_displacement=20, locked_borders=0),
    tio.RandomAffineElasticDeformation(
        affine_kwargs={"scales": (0.75, 0.9), "degrees": (10, 20)},
        elastic_kwargs={"num_control_points": 6, "max_displacement": 20},
    ),
    # The template is symmetric between left and right: only this flip is visible.
    tio.RandomFlip(axes=("AP",), flip_probability=1),
    tio.RandomBiasField(coefficients=0.5),
    tio.RandomGamma(log_gamma=(0.6, 0.8)),
    tio.RandomNoise(std=(0.15, 0.15)),
    tio.RandomNoise(std=(0.15, 0.15), rician=True),
    tio.RandomMotion(degrees=5, num_transforms=8, axes=("AP",), output="magnitude"),
    tio.RandomGhosting(num_ghosts=(3, 3), axes=("AP",), intensity=(0.7, 0.8)),
    tio.RandomSpike(intensity=(1, 1.5)),
    tio.RandomBlur(std=(2, 4)),
    tio.RandomAnisotropy(axes=("IS",), downsampling=(8, 8), image_interpolation="nearest"),
    tio.RandomAnisotropy(axes=("IS",), downsampling=(8, 8), antialias=True),
    tio.RandomSwap(patch_size=25, num_iterations=20),
    # Grey matter brighter than white and the rest dark, as in FLAIR: a contrast that T1 lacks.
    tio.RandomLabelsToImage(
        image_key="t1", mean=(0, 0.8, 0.5), default_std=0.05, ignore_background=True
    ),
)


def gallery(
    head: tio.Subject, augment: tio.Transform, seed: int
) -> Iterator[tuple[str, tio.Subject]]:
    """Yield a head, its augmentations, and three draws of a pipeline, each with a title.

    The label map ``before`` of each is its tissue before augmentation, for contours.
    """
    before = tio.LabelMap((head.seg.data > 0) * BEFORE, affine=head.seg.affine)

    def shown(head: tio.Subject) -> tio.Subject:
        return tio.Subject(t1=head.t1, before=before, seg=head.seg)

    yield "Original. Grey matter yellow, white matter blue; pink: where they were", head
    for transform in SHOWN:
        torch.manual_seed(seed)
        yield repr(transform), shown(transform(head))
    for draw in (1, 2, 3):
        yield f"The pipeline of the training, draw {draw}", shown(augment(head))


def prediction(
    head: tio.Subject, found: dict[str, tio.LabelMap], report: dict[str, Any], learnt: str
) -> dict[str, tio.Subject]:
    """Return a head with its true and its predicted tissues, by title.

    Args:
        head: The head.
        found: Predicted tissues, by overlap mode.
        report: Result of :func:`compare`.
        learnt: Description of the training data, for titles.
    """
    hann, crop = (
        ", ".join(f"{tissue} {dice:.2f}" for tissue, dice in report["dice"][overlap].items())
        for overlap in OVERLAPS
    )
    different = (found["hann"].data != found["crop"].data) * DIFFERENT
    return {
        "Original. Grey matter yellow, white matter blue": head,
        f"Found after learning from {learnt}; overlapping patches weighted (hann). Dice: {hann}": (
            tio.Subject(found=found["hann"])
        ),
        "The same, as contours": tio.Subject(t1=head.t1, found=found["hann"]),
        "Its tissues": tio.Subject(seg=head.seg),
        f"The same network, only the middle of each patch kept (crop). Dice: {crop}": (
            tio.Subject(found=found["crop"])
        ),
        f"Where the two differ: {report['differing']:.1%} of the voxels": (
            tio.Subject(different=tio.LabelMap(different, affine=head.seg.affine))
        ),
    }

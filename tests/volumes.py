"""Volumes and affines to test with: nothing cubic, nothing isotropic, nothing aligned."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import torchio_gpu as tio

#: Voxel axes point anterior, superior and right.
ASR_AFFINE = np.array([[0.0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


def oblique_affine(spacing=(1.0, 2.0, 3.0), origin=(-11.0, 7.0, 23.0), left_handed=False):
    """Return an affine with a spacing, a rotation about a skew axis and an origin."""
    rotation = tio.geometry.rotation(np.array([[12.0, -23.0, 34.0]]))[0]
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.array(spacing)
    affine[:3, 3] = origin
    if left_handed:
        affine[:, 0] *= -1
    return affine


def smooth(shape=(1, 1, 40, 60, 80), seed=0) -> Tensor:
    """Return volumes of random waves, smooth at the scale of voxels."""
    generator = torch.Generator().manual_seed(seed)
    axes = [torch.arange(n, dtype=torch.float64) for n in shape[2:]]
    out = torch.zeros(shape, dtype=torch.float64)
    for b in range(shape[0]):
        for c in range(shape[1]):
            for _ in range(6):
                frequency = torch.rand(3, generator=generator, dtype=torch.float64) * 0.5
                phase = torch.rand(1, generator=generator, dtype=torch.float64) * 6
                i, j, k = (f * axis for f, axis in zip(frequency, axes, strict=True))
                wave = i[:, None, None] + j[None, :, None] + k[None, None, :] + phase
                out[b, c] += wave.sin()
    return out


def subject(shape=(12, 14, 16), affine=None, seed=0) -> tio.Subject:
    """Return a subject with a scalar image and a label map on one grid."""
    affine = oblique_affine() if affine is None else affine
    image = smooth((1, 1, *shape), seed)[0].float()
    labels = (image > 0.5).to(torch.uint8) + (image > 1.5).to(torch.uint8)
    return tio.Subject(
        t1=tio.ScalarImage(image, affine=affine), seg=tio.LabelMap(labels, affine=affine), age=45
    )


def batch_of(subjects, seeds=None) -> tio.SubjectsBatch:
    """Batch of subjects, with a seed for each sample if given."""
    batch = tio.SubjectsBatch.from_subjects(subjects)
    if seeds is not None:
        batch.streams = tio.random.Streams(np.array(seeds))
    return batch


def random_batch(size, names=("t1",), shape=(4, 5, 6)) -> tio.SubjectsBatch:
    """Batch of images of uniform random voxels."""
    return tio.SubjectsBatch({name: tio.ImagesBatch(torch.rand(size, 1, *shape)) for name in names})

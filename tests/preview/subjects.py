"""Subjects of the tests of the page."""

from __future__ import annotations

import numpy as np
import torch

import torchio_gpu as tio

#: Images of :func:`subject`.
KINDS = {"t1": "intensity", "seg": "label"}


def subject(size: tuple[int, int, int] = (48, 48, 46)) -> tio.Subject:
    """Return an ellipsoid with a bright ball on the left, in RAS+ at 2, 2, 3 mm, with labels."""
    i, j, k = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in size), indexing="ij")
    head = (i / 0.8) ** 2 + (j / 0.9) ** 2 + (k / 0.7) ** 2 < 1
    ball = (i + 0.4) ** 2 + j**2 + (k - 0.2) ** 2 < 0.1
    seg = head.byte() + ball.byte()
    generator = torch.Generator().manual_seed(1)
    t1 = torch.tensor([0.0, 60, 100])[seg.long()] + 3 * torch.randn(size, generator=generator)
    affine = np.diag([2.0, 2, 3, 1])
    affine[:3, 3] = -48, -48, -69
    return tio.Subject(
        t1=tio.ScalarImage(t1[None], affine=affine), seg=tio.LabelMap(seg[None], affine=affine)
    )

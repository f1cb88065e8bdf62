"""Comparisons, each with the reason for its tolerance."""

from __future__ import annotations

import torch
from torch import Tensor


def assert_close(actual: Tensor, expected: Tensor, *, share: float, reason: str) -> None:
    """Assert that the largest difference is at most a share of the range of the expected values.

    Args:
        actual: Computed values.
        expected: Expected values.
        share: Tolerated difference over (max - min) of ``expected``, or over its size if flat.
        reason: Source of the tolerated difference.
    """
    assert actual.shape == expected.shape, (tuple(actual.shape), tuple(expected.shape))
    actual, expected = actual.double(), expected.double()
    assert torch.isfinite(actual).all(), "not all values are finite"
    span = (expected.max() - expected.min()).item() or expected.abs().max().item() or 1.0
    worst = (actual - expected).abs().max().item() / span
    assert worst <= share, f"differs by {worst:.2e} of the range, {share:.0e} allowed: {reason}"


def interior(x: Tensor, margin: int) -> Tensor:
    """Return a volume without its outer voxels, at which conventions of borders differ."""
    return x[..., margin:-margin, margin:-margin, margin:-margin]

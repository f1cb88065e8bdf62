"""Toy segmentation: heads, what is measured of them, and what is said about it."""

from __future__ import annotations

import re

import pytest
import torch
from torch.nn import functional as F

from benchmarks import segmentation as s

heads = s.label_maps(24, 3, 0)


def test_heads_have_all_tissues_and_differ() -> None:
    for head in heads:
        assert head.unique().tolist() == list(range(len(s.SEEN)))
    assert (heads[0] == heads[1]).float().mean() < 0.95


@pytest.mark.parametrize("condition", s.CONDITIONS)
def test_contrast_and_artifact_of_images(condition: str) -> None:
    x, seen = s.images(heads, condition, 1), s.images(heads, "seen contrast", 1)
    means = torch.stack([x[heads == n].mean() for n in range(4)])  # the small ones are blurred
    assert means.argsort().equal(torch.tensor(s.MEANS.get(condition, s.SEEN)[:4]).argsort())
    assert x.equal(seen) == (condition == "seen contrast")
    rough = (x[heads == 0].std() / seen[heads == 0].std()).item()
    assert (rough > 2) == (condition == "noise")


@pytest.mark.parametrize("contender", s.CONTENDERS)
def test_batches_are_augmented_and_reproducible(contender: str) -> None:
    x = s.images(heads, "seen contrast", 1)
    (a, first), (b, _), (c, _) = (next(s.batches(contender, x, heads, n)) for n in (1, 1, 2))
    assert a.equal(b)
    assert not a.equal(c)
    assert a.shape == first.shape == (s.BATCH, 1, 24, 24, 24)
    assert a.mean(dim=(1, 2, 3, 4)).abs().max() < 1e-4  # normalized
    assert (first[0] == heads).flatten(1).all(1).any() == (contender == "no augmentation")


def test_dice_of_known_overlap() -> None:
    right = F.one_hot(heads[:, 0].long(), len(s.SEEN)).movedim(-1, 1)
    assert s.dice(lambda x: right[:1], heads[:1].float(), heads[:1]) == 1
    assert s.dice(lambda x: right[:1].roll(1, 1), heads[:1].float(), heads[:1]) == 0
    half = right[:1] * (torch.arange(len(s.SEEN)) < 4).view(1, -1, 1, 1, 1)
    assert s.dice(lambda x: half, heads[:1].float(), heads[:1]) == 0.6


def test_text_of_a_quick_run(capfd: pytest.CaptureFixture[str]) -> None:
    result = s.run(s.QUICK)
    for row in result["rows"]:  # ahead by 0.1 in one seed, by 0.3 in the other
        ahead = (row["contender"] == "torchio_gpu") * (0.1 + 0.2 * (row["seed"] % 2))
        row["dice"] = dict.fromkeys(s.CONDITIONS, 0.5 + ahead)
    shown = s.text(result)
    assert "torchio_gpu - TorchIO +0.200 ± 0.141 after 2 steps" in shown
    assert "random contrasts - torchio_gpu -0.200 ± 0.141 after 0.2 seconds" in shown
    assert len(re.findall(r"\| 0.700 ± 0.141", shown)) == 14
    assert capfd.readouterr().err.count("steps 2") == 8

"""Rules that all functions and transforms of CT images keep: bits, ranges of values, draws."""

from __future__ import annotations

from inspect import signature

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.volumes import batch_of, subject
from torchio_gpu import functional as F
from torchio_gpu.functional.ct.attenuation import HU_RANGE
from torchio_gpu.functional.ct.views import weights_of_range, weights_of_some

SEEDS = np.array([5, 6])


def bits(x):
    return x.view(torch.int32)


# Weights of views


@pytest.mark.parametrize("views", [1, 2, 7, 60, 97, 360])
def test_weights_of_some_views_sum_to_all(views):
    count = np.arange(1.0, views + 1)
    for each in (count, torch.from_numpy(count).float()):
        weights = torch.as_tensor(weights_of_some(each, views))
        assert torch.equal(weights.sum(1), torch.full((views,), views).double())
        assert torch.equal((weights > 0).sum(1), torch.arange(1, views + 1))


@pytest.mark.parametrize("views", [1, 2, 3, 7, 11, 60, 97, 360, 719, 1000])
@pytest.mark.parametrize("dtype", [np.float64, torch.float32])
def test_a_range_of_one_view_has_one(views, dtype):
    k = np.arange(-views, 2 * views)
    start, degrees = k * 180 / views, np.full(len(k), 180 / views)
    if dtype == torch.float32:
        start, degrees = (torch.from_numpy(each).float() for each in (start, degrees))
    weights = torch.as_tensor(weights_of_range(degrees, start, views))
    wanted = torch.nn.functional.one_hot(torch.from_numpy(k % views), views)
    assert torch.equal(weights, views * wanted.double())
    for part in (0.3, 0.9999999):  # between two views
        weights = torch.as_tensor(weights_of_range(degrees, start + part * 180 / views, views))
        assert torch.equal((weights > 0).sum(1), torch.ones(len(k), dtype=torch.long))


@pytest.mark.parametrize("views", [7, 60, 97])
def test_ranges_of_views_have_as_many_as_fit(views):
    n = np.arange(1, views + 1)
    weights = weights_of_range(n * 180 / views, np.full(views, 3 * 180 / views), views)
    assert ((weights > 0).sum(1) == n).all()
    assert np.allclose(weights.sum(1), views)


def test_the_least_range_is_allowed_in_float32():
    x = torch.zeros(1, 1, 4, 4, 1)
    for views in range(1, 40):
        assert F.limited_angle(x, torch.tensor(180 / views), views=views).isfinite().all()


@pytest.mark.parametrize(
    "call", [lambda x: F.sparse_views(x, 7.5), lambda _: tio.SparseView([7.5])]
)
def test_counts_that_are_not_whole_are_refused(call):
    with pytest.raises(ValueError, match=r"count must be whole, got \[7.5\]"):
        call(torch.zeros(1, 1, 4, 4, 4))


# Ranges of values


def wide():
    """Return voxels from end to end of the range."""
    x = torch.rand(2, 1, 8, 9, 4, generator=torch.Generator().manual_seed(0))
    x = HU_RANGE[0] + x * (HU_RANGE[1] - HU_RANGE[0])
    x[0, 0, 0, 0, :2] = torch.tensor(HU_RANGE)
    return x


CHANGES = {
    "beam_hardening": lambda x: F.beam_hardening(x, 50, views=12),
    "limited_angle": lambda x: F.limited_angle(x, 60, views=12),
    "low_dose": lambda x: F.low_dose(x, 0.01, 50, seeds=SEEDS, views=12, spacing=0.01),
    "metal": lambda x: F.metal(x, x > 2e4, 30000, views=12, maximum=30710),
    "reconstruction_kernel": lambda x: F.reconstruction_kernel(x, 20.0),
    "rings": lambda x: F.rings(x, 5, seeds=SEEDS, spacing=0.01),
    "sparse_views": lambda x: F.sparse_views(x, 1, views=12),
    "streaks": lambda x: F.streaks(x, 20, seeds=SEEDS, views=12, spacing=0.01),
}


@pytest.mark.parametrize("name", CHANGES)
def test_results_are_in_the_range_that_is_asked_for(name):
    out = CHANGES[name](wide())
    assert HU_RANGE[0] <= out.min()
    assert out.max() <= HU_RANGE[1]
    if name != "metal":  # which has a range of its own
        assert out.max() == HU_RANGE[1]
    F.rings(out, 0.01)


# Bits


def zeros():
    """Return voxels of -0 and 0 and others, two samples."""
    x = torch.randn(2, 1, 9, 8, 6, generator=torch.Generator().manual_seed(0)) * 300
    x[:, :, ::2], x[:, :, 1, 1] = -0.0, 0.0
    return x


NEUTRAL = {
    "beam_hardening": lambda x: F.beam_hardening(x, [0.0, 1], views=12),
    "beam_hardening of tensors": lambda x: F.beam_hardening(
        x, torch.tensor([0.0, 1], requires_grad=True), views=12
    ).detach(),
    "limited_angle": lambda x: F.limited_angle(x, [180, 90], views=12),
    "low_dose": lambda x: F.low_dose(x, [1, 0.1], seeds=SEEDS, views=12),
    "metal": lambda x: F.metal(x, (x > 500) & torch.arange(2).bool().view(2, 1, 1, 1, 1), views=12),
    "reconstruction_kernel": lambda x: F.reconstruction_kernel(x, [1.0, 2]),
    "rings": lambda x: F.rings(x, [0.0, 0.01], 1, seeds=SEEDS),
    "rings of no detector": lambda x: F.rings(x, 0.01, [0.0, 1], seeds=SEEDS),
    "slice_thickness": lambda x: F.slice_thickness(x, [0.7, 3.0]),
    "slice_thickness of the spacing": lambda x: F.slice_thickness(x, [2.0, 6.0], spacing=2.0),
    "sparse_views": lambda x: F.sparse_views(x, [12, 5], views=12),
    "streaks": lambda x: F.streaks(x, [1000, 200], seeds=SEEDS, views=12),
}  # fmt: skip


@pytest.mark.parametrize("name", NEUTRAL)
def test_nothing_to_do_keeps_the_bits(name):
    x = zeros()
    out = NEUTRAL[name](x)
    assert torch.equal(bits(out[0]), bits(x[0]))
    assert not torch.equal(out[1], x[1])


# Draws


#: Arguments of random transforms: ranges of their own for each parameter that is drawn.
DRAWN = {
    tio.RandomBeamHardening: {"strength": (0.1, 0.2), "bone_threshold": (-400, -300)},
    tio.RandomLimitedAngle: {"degrees": (60, 80), "start": (10, 30)},
    tio.RandomLowDose: {"dose": (0.1, 0.2), "photons": (2e4, 3e4), "electronic": (3, 4)},
    tio.RandomMetal: {"hu": (4000, 5000), "ratio": (0.3, 0.4), "scatter": (0.01, 0.02)},
    tio.RandomReconstructionKernel: {"ratio": (2, 3), "frequency": (0.4, 0.5)},
    tio.RandomRings: {"strength": (0.01, 0.02), "share": (0.3, 0.5), "planes": (2, 9)},
    tio.RandomSliceThickness: {"thickness": (7, 9)},
    tio.RandomSparseView: {"count": (5, 30)},
    tio.RandomStreaks: {"photons": (300, 400), "electronic": (20, 30), "threshold": (800, 900)},
}


@pytest.mark.parametrize("cls", DRAWN, ids=lambda cls: cls.__name__)
def test_each_parameter_is_drawn_from_its_own_range(cls):
    ranges = DRAWN[cls]
    views = {"views": 40} if "views" in signature(cls).parameters else {}
    torch.manual_seed(0)
    out = cls(**ranges, **views)(batch_of([subject(seed=n) for n in range(24)]))
    drawn = []
    for name, (low, high) in ranges.items():
        values = np.array([getattr(out.history[n][0].params, name).item() for n in range(24)])
        assert low <= values.min() < values.max() <= high, name
        assert np.ptp(values) > 0.6 * (high - low), name
        drawn.append((values - low) / (high - low))
    for n, one in enumerate(drawn):  # each of a number of its own
        assert all(abs(np.corrcoef(one, other)[0, 1]) < 0.7 for other in drawn[:n])


def test_ratios_of_kernels_are_log_uniform():
    kernel = tio.RandomReconstructionKernel((0.25, 4))
    batch = batch_of([subject(seed=n) for n in range(40)])
    torch.manual_seed(0)
    drawn = np.array(
        [each[0].params.ratio.item() for _ in range(10) for each in kernel(batch).history]
    )
    # 400 numbers: quantiles are known to 2.5 % of the range, here four times that
    for quantile in (0.25, 0.5, 0.75):
        wanted = np.log(0.25) + quantile * np.log(16)
        assert abs(np.quantile(np.log(drawn), quantile) - wanted) < 0.1 * np.log(16)
    for value, expected in ((2, {2.0}), (tio.Choice([0.5, 3]), {0.5, 3.0})):
        out = tio.RandomReconstructionKernel(value)(batch)
        assert {each[0].params.ratio.item() for each in out.history} == expected


@pytest.mark.parametrize(("views", "low", "high"), [(60, 30, 60), (20, 20, 20), (360, 30, 90)])
def test_sparse_views_are_by_default_no_more_than_there_are(views, low, high):
    torch.manual_seed(0)
    out = tio.RandomSparseView(views=views)(batch_of([subject(seed=n) for n in range(24)]))
    drawn = [each[0].params.count.item() for each in out.history]
    assert low <= min(drawn) <= low + 9
    assert high - 9 <= max(drawn) <= high


def test_bone_may_be_of_any_value():
    x = torch.randn(1, 1, 6, 6, 2, generator=torch.Generator().manual_seed(0)) * 300
    given = tio.BeamHardening(1, -200, views=12)(x[0])
    assert torch.equal(tio.RandomBeamHardening((1, 1), -200, views=12)(x[0]), given)
    for call in (
        lambda: tio.BeamHardening(1, -2e4),
        lambda: tio.RandomBeamHardening(1, -2e4),
        lambda: F.beam_hardening(x, 1, -2e4),
    ):
        with pytest.raises(ValueError, match="bone_threshold must be"):
            call()

"""Percentiles and maps of intensities by kernels: those of plain torch."""

import numpy as np
import pytest
import torch
from torch.library import opcheck
from torchio_gpu_kernels import load

import torchio_gpu as tio
from torchio_gpu import functional as F
from torchio_gpu.functional.eager import statistics

NAN, INF = float("nan"), float("inf")


def volume(device, channels=2):
    x = torch.randn(3, channels, 7, 9, 11, generator=torch.Generator().manual_seed(0)) * 10
    x[0, :, :4] = 0  # background
    x[1] = x[1].round()  # ties
    x[2, 0, 0, 0, :4] = torch.tensor([INF, -INF, -0.0, 1e-42])
    return x.to(device)


@pytest.mark.parametrize("channels", [None, 1, 2])
def test_voxels_of_given_ranks_are_found(channels, device):
    x, mask = volume(device), None
    inside = torch.ones(3, 2, 7, 9, 11, dtype=torch.bool, device=device)
    if channels is not None:
        mask = torch.rand(3, channels, 7, 9, 11, device=device) > 0.4
        inside = mask.expand_as(x)
    ordered = [x[n][inside[n]].sort().values for n in range(3)]
    least = min(map(len, ordered))
    ranks = torch.tensor([0, 1, least // 3, least // 2, least - 1], device=device).repeat(3, 1)
    with tio.backend("triton"):
        found = statistics._select(x, mask, ranks)
        # what is no view of memory, and half precision
        strided = torch.stack((x, x), -1)[..., 0]
        again = statistics._select(strided, mask, ranks)
        half = statistics._select(x.half(), mask, ranks)
    expected = torch.stack([values[ranks[0]] for values in ordered])
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    torch.testing.assert_close(again, expected, rtol=0, atol=0)
    torch.testing.assert_close(half, expected.half().float(), rtol=0, atol=0)


def test_nothing_is_counted_in_an_empty_mask(device):
    mask = torch.zeros(3, 1, 7, 9, 11, dtype=torch.bool, device=device)
    with tio.backend("triton"):
        found = statistics._select(
            volume(device), mask, torch.zeros(3, 2, dtype=torch.long, device=device)
        )
    assert found.shape == (3, 2)  # of no meaning, but not out of bounds


LANDMARKS = np.array([0, 5, 8, 9, 10, 20, 30, 45, 50, 55, 60, 90, 100])
FUNCTIONS = {
    "rescale": lambda x: F.rescale(x, (-1, 3)),
    "rescale, percentiles": lambda x: F.rescale(x, (0, 1), (5, 95)),
    "rescale, given": lambda x: F.rescale(x, (0, 1), in_min_max=(-3, 7)),
    "rescale, given, percentiles": lambda x: F.rescale(x, (0, 1), (5, 95), in_min_max=(-3, 7)),
    "rescale, to a point": lambda x: F.rescale(x, (2, 2), (5, 95)),
    "rescale, masked": lambda x: F.rescale(x, (0, 1), (5, 95), x > 0),
    "standardize": F.standardize,
    "standardize, masked": lambda x: F.standardize(x, x > 2),
    "match landmarks": lambda x: F.match_landmarks(x, LANDMARKS),
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, torch.float32) for name in FUNCTIONS),
        *((name, torch.float16) for name in ("rescale", "standardize", "match landmarks")),
        ("rescale, percentiles", torch.int16),
    ],
)
def test_functions_are_those_of_plain_torch(name, dtype, device):
    x = volume(device)
    x = x.clamp(-100, 100)
    x = torch.cat((x, torch.full_like(x[:1], -3)))  # and a constant sample
    if dtype.is_floating_point:
        x[2, 1, 1, 1, 1] = NAN
    x = x.to(dtype)
    with tio.backend("torch"):
        expected = FUNCTIONS[name](x)
    with tio.backend("triton"):
        out = FUNCTIONS[name](x)
    bound = 2e-3 if dtype == torch.float16 else 1e-6
    torch.testing.assert_close(out, expected, rtol=bound, atol=bound * 10, equal_nan=True)


def test_both_ends_are_reached(device):
    x = torch.rand(8, 1, 3, 4, 5, generator=torch.Generator().manual_seed(0)).to(device) * 7 - 3
    with tio.backend("triton"):
        out = F.rescale(x, (0.1, 0.7)).flatten(1)
        clamped = F.rescale(x, (0.1, 0.7), (3, 97)).flatten(1)
    for found in (out, clamped):
        low, high = torch.tensor(0.1), torch.tensor(0.7)
        assert (found.amin(1).cpu() == low).all()
        assert (found.amax(1).cpu() == high).all()


def test_the_operators_are_well_formed(device):
    x = torch.randn(2, 30, device=device)
    starts = torch.full((2, 65536), 8, dtype=torch.int64, device=device)
    utils = "test_schema", "test_faketensor"
    opcheck(load().count_digits.default, (x, x > 0, starts, 8), test_utils=utils)
    pieces = [torch.zeros(2, 3, device=device)] * 4
    opcheck(load().map_pieces.default, (x, *pieces), test_utils=utils)

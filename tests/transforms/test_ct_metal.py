"""Metal in CT images: bands between rods, values, labels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.close import assert_close
from tests.transforms.test_ct_views import places, scan
from torchio_gpu import functional as F
from torchio_gpu.functional.ct.attenuation import MU_WATER


def rods(size=(80, 100), spacing=(1.0, 1.0), radius=3.0, apart=20.0):
    """Return a cylinder of water in HU, and two rods beside each other along Q."""
    p, q = places(size, spacing)
    x = torch.where((p / 34) ** 2 + (q / 42) ** 2 < 1, 0.0, -1000.0)
    mask = (p**2 + (q.abs() - apart) ** 2) < radius**2
    return x[None, None, ..., None], mask[None, None, ..., None]


@pytest.mark.parametrize(
    ("size", "spacing"), [((80, 100), (1.0, 1.0)), ((60, 110), (1.3, 0.9)), ((101, 72), (0.8, 1.3))]
)
def test_a_dark_band_runs_between_rods_and_grows_with_the_metal(size, spacing):
    x, mask = rods(size, spacing)
    p, q = places(size, spacing)
    between = (p.abs() < 2) & (q.abs() < 10)
    beside = (p.abs() > 10) & (p.abs() < 20) & (q.abs() < 10)
    depth = []
    for hu in (3000, 8000, 16000):
        out = F.metal(x, mask, hu, views=180, maximum=30000, spacing=(*spacing, 1))[0, 0, ..., 0]
        depth.append((out[beside].mean() - out[between].mean()).item())
        assert (out - x[0, 0, ..., 0])[beside].mean().abs() < 25
        assert out[mask[0, 0, ..., 0]].max() > 0.5 * hu
    assert depth[0] > 15
    assert depth[1] > 1.5 * depth[0]
    assert depth[2] > 1.3 * depth[1]


def test_two_rods_darken_what_one_does_not():
    """Hardening is not additive: the dark band is what rays through both see."""
    x, both = rods()
    first = both.clone()
    first[:, :, :, 50:] = False
    settings = {"hu": 12000, "views": 180, "maximum": 30000}
    change = [
        (F.metal(x, mask, **settings) - x)[0, 0, 38:42, 42:58].mean().item()
        for mask in (both, first, both & ~first)
    ]
    assert change[0] < change[1] + change[2] - 20


def test_metal_of_one_energy_without_scatter_is_in_its_place_alone():
    x, mask = rods()
    out = F.metal(x, mask, 5000, ratio=1, scatter=1e-6, views=90, maximum=10000)
    assert_close(out, torch.where(mask, 5000.0, x), share=2e-3, reason="a photon of a million")
    other = F.metal(x, mask, 5000, ratio=1, scatter=1e-2, views=90, maximum=10000)
    assert (other - x)[0, 0, 38:42, 42:58].mean() < -15  # scatter alone makes the band
    scattered = [
        (F.metal(x, mask, 5000, scatter=s, views=90) - x)[0, 0, 38:42, 42:58].mean()
        for s in (1e-5, 1e-3, 1e-2)
    ]
    assert scattered[0] > scattered[1] > scattered[2]


def test_line_integrals_of_metal_are_those_of_two_energies():
    """The central ray of a wide rod has the line integral of a plate in closed form."""
    thick, hu, ratio = 20.0, 6000.0, 0.3
    mu = MU_WATER * (1 + hu / 1000)
    soft = 2 / (1 + ratio)
    wanted = -math.log(0.5 * (math.exp(-soft * mu * thick) + math.exp(-soft * ratio * mu * thick)))
    x = torch.full((1, 1, 64, 64, 1), -1000.0, dtype=torch.float64)
    mask = torch.zeros(x.shape, dtype=torch.bool)
    mask[:, :, 22:42, 22:42] = True
    out = F.metal(x, mask, hu, ratio, 1e-6, views=360, maximum=30000)
    out = torch.where((out - x).abs() > 0, out, x)
    seen = F.project((1 + out / 1000) * MU_WATER, [0, 90], 1.0)[0, 0, :, :, 0]
    middle = seen[:, seen.shape[1] // 2 - 3 : seen.shape[1] // 2 + 3]
    assert_close(middle.mean(), torch.tensor(wanted), share=0.05, reason="clipped at -1024 HU")


def test_values_are_clipped_to_what_a_scanner_stores():
    x, mask = rods()
    out = F.metal(x, mask, 12000, views=60)
    assert (out[mask] == 3071).any()
    assert out.max() == 3071
    assert out.min() == -1024
    x[..., 0, :2, :] = -3024  # padding of some scanners
    x[..., 0, 2:4, :] = 4000
    out = F.metal(x, mask & False, 12000, views=60)
    assert torch.equal(out, x)


def test_planes_without_metal_keep_their_bits():
    x, mask = rods()
    x, mask = x.repeat(1, 1, 1, 1, 3), mask.repeat(1, 1, 1, 1, 3)
    mask[..., 1] = False
    out = F.metal(x, mask, views=30)
    assert torch.equal(out[..., 1], x[..., 1])
    assert torch.equal(out[..., 0], out[..., 2])
    assert not torch.equal(out[..., 0], x[..., 0])


# Transforms


def test_metal_is_where_labels_or_values_are():
    s = scan()
    out = tio.Metal("rod", 9000, views=20, maximum=30000)(s)
    mask = s.rod.data[None] != 0
    axis = int(tio.RandomMetal("rod", views=20)(s).history[0].params.axis[0, 0])
    expected = F.metal(
        s.t1.data[None], mask, 9000, axis=axis, views=20, maximum=30000, spacing=s.t1.spacing
    )
    assert_close(out.t1.data, expected[0], share=1e-6, reason="float32")
    bright = tio.Subject(t1=tio.ScalarImage(s.t1.data.masked_fill(mask[0], 2900)))
    bright.t1.affine = s.t1.affine
    by_value = tio.Metal(hu=9000, views=20, maximum=30000)(bright)
    assert_close(by_value.t1.data, out.t1.data, share=1e-6, reason="float32")
    assert torch.equal(tio.RandomMetal()(s).t1.data, s.t1.data)
    several = tio.LabelMap(torch.cat([s.rod.data * 0, s.rod.data * 3]), affine=s.t1.affine)
    out = tio.Metal("rod", 9000, views=20, maximum=30000)(scan(rod=several))
    assert_close(out.t1.data, expected[0], share=1e-6, reason="float32")


def test_masks_that_do_not_fit_are_named():
    s = scan()
    for name in ("t1", "rods"):
        with pytest.raises(KeyError, match=r"metal must name a label map .*'seg', 'rod'.*got"):
            tio.Metal(name)(s)
    moved = tio.LabelMap(s.rod.data, affine=np.diag([2.0, 2, 2, 1]))
    with pytest.raises(ValueError, match="metal must name a label map on the grid of 't1'"):
        tio.RandomMetal("rod")(scan(rod=moved))
    cut = tio.Crop((1, 0, 0, 0, 0, 0))(s.rod)
    with pytest.raises(ValueError, match="on another grid of"):
        tio.RandomMetal("rod")(scan(rod=cut))

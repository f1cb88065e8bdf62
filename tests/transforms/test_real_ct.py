"""CT artifacts on a real head, of the Debian package invesalius-examples, where it is installed."""

from __future__ import annotations

import io
import plistlib
import tarfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import torchio_gpu as tio

HEAD = Path("/usr/share/doc/invesalius-examples/examples/Cranium.inv3")
pytestmark = pytest.mark.skipif(
    not HEAD.exists(), reason="no real CT: the package invesalius-examples is not installed"
)
ARTIFACTS = {
    "low dose": lambda: tio.LowDose(0.1, photons=3e5, views=180),
    "streaks": lambda: tio.Streaks(500, views=180),
    "beam hardening": lambda: tio.BeamHardening(1, views=180),
    "metal": lambda: tio.Metal(hu=8000, threshold=2000, views=180),
    "rings": lambda: tio.Rings(0.01),
    "sparse views": lambda: tio.SparseView(40, views=180),
    "limited angle": lambda: tio.LimitedAngle(150, views=180),
    "soft kernel": lambda: tio.ReconstructionKernel(0.2),
    "thick slices": lambda: tio.SliceThickness(12),
}


@cache
def head() -> tio.Subject:
    """Return the head, `ct` in HU and the mask `bone`, every fourth slice."""
    with tarfile.open(HEAD) as file:
        content = {Path(each.name).name: file.extractfile(each) for each in file if each.isfile()}
        facts = plistlib.load(io.BytesIO(content["main.plist"].read()))
        shape = facts["matrix"]["shape"]  # slices, rows, columns
        voxels = np.frombuffer(content["matrix.dat"].read(), np.int16).reshape(shape)
        margin = [n + 1 for n in shape]  # of flags before each slice, row and column
        mask = np.frombuffer(content["mask_0.dat"].read(), np.uint8).reshape(margin)[1:, 1:, 1:]
    affine = np.diag([*facts["spacing"], 1])
    affine[2, 2] *= 4
    ct, bone = (
        torch.from_numpy(array[::4].transpose(2, 1, 0).copy())[None]
        for array in (voxels, (mask > 127).astype(np.uint8))
    )
    return tio.Subject(
        ct=tio.ScalarImage(ct, affine=affine), bone=tio.LabelMap(bone, affine=affine)
    )


def test_head_is_in_hounsfield_units():
    ct = head().ct
    assert ct.spatial_shape == (256, 256, 27)
    assert ct.spacing == pytest.approx((0.957, 0.957, 6), abs=1e-3)
    assert (ct.data.min(), ct.data.max()) == (-1024, 2986)
    bone = head().bone.data.bool()
    assert 0.02 < bone.float().mean() < 0.3
    # the mask was made with the threshold 226, and edited by hand
    assert (ct.data[bone] >= 226).float().mean() > 0.95


@pytest.mark.parametrize("name", ARTIFACTS)
def test_artifacts_change_the_head_and_keep_its_tissue(name):
    torch.manual_seed(0)
    before, after = head().ct.data.float(), ARTIFACTS[name]()(head()).ct.data
    change = after - before
    assert after.isfinite().all()
    assert change.square().mean().sqrt() > 1  # HU
    tissue = (before > 0) & (before < 100)
    # a scan of another quality, of the same head
    assert abs(after[tissue].median() - before[tissue].median()) < 60
    assert np.corrcoef(before.flatten(), after.flatten())[0, 1] > 0.9


def test_low_dose_is_noise_where_bone_is_most():
    before = head().ct.data.float()
    change = tio.LowDose(0.1, photons=3e5, views=180)(head()).ct.data - before
    inside = before > -200
    bony = inside.float().mean((1, 2)).flatten() * head().bone.data.float().mean((1, 2)).flatten()
    std = change.square().mean((1, 2)).sqrt().flatten()
    assert abs(change.mean()) < 1
    assert np.corrcoef(bony, std)[0, 1] > 0.5


def test_metal_of_a_mask_draws_bands_in_its_planes_alone():
    subject = head()
    mask = torch.zeros_like(subject.bone.data)
    mask[:, 100:104, 150:154, 10] = mask[:, 150:154, 150:154, 10] = 1
    with_metal = tio.Subject(ct=subject.ct, metal=tio.LabelMap(mask, affine=subject.ct.affine))
    after = tio.Metal("metal", hu=12000, views=180)(with_metal).ct.data
    before = subject.ct.data.float()
    others = [n for n in range(27) if n != 10]
    assert torch.equal(after[..., others], before[..., others])
    change = (after - before)[0, 108:146, :, 10]
    # darker between the rods than beside, where only streaks are
    assert change[:, 151:153].mean() < change[:, 190:200].mean() - 50

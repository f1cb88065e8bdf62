"""Equality of spaces: all checks share a tolerance relative to the voxel."""

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.volumes import oblique_affine
from torchio_gpu.geometry import Space

SHAPE = (20, 24, 16)
#: Millimetres to a voxel: a micrometre atlas, a scan, a planet.
SCALES = (1e-4, 0.45, 2.0, 1e3)


def affines(scale: float, voxels: float) -> tuple[np.ndarray, np.ndarray]:
    """Return an oblique affine, and one at a distance of some voxels."""
    affine = oblique_affine((scale, scale, scale))
    other = affine.copy()
    other[:3, 3] += voxels * scale * np.array([0, 0, 1.0])
    return affine, other


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("voxels", "same"), [(0.003, True), (0.02, False), (5, False)])
def test_all_checks_have_a_tolerance_in_voxels(scale, voxels, same, tmp_path):
    one, other = affines(scale, voxels)
    a, b = (Space(SHAPE, affine[None]) for affine in (one, other))
    assert a.is_same(b) == b.is_same(a) == same
    assert not a.is_same(Space((20, 24, 17), one[None]))
    subject = tio.Subject(
        t1=tio.ScalarImage(torch.rand(1, *SHAPE), affine=one),
        mask=tio.LabelMap(torch.ones(1, *SHAPE, dtype=torch.uint8), affine=other),
    )

    def accepts(call) -> bool:
        try:
            call()
        except ValueError as error:
            return not ("mm apart" in str(error) or "other grids" in str(error))
        return True

    assert accepts(subject.check_consistent_space) == same
    assert accepts(lambda: tio.GridSampler(subject, 8)) == same
    assert accepts(lambda: tio.UniformSampler(8)(subject)) == same
    assert accepts(lambda: tio.CropOrPad(mask_name="mask", target_shape=None)(subject)) == same


@pytest.mark.parametrize("scale", SCALES)
def test_images_of_another_shape_with_one_affine_are_refused_at_any_scale(scale):
    one, near = affines(scale, 0.003)
    _, apart = affines(scale, 5)
    small = torch.rand(1, 10, 24, 16)

    def subject(affine):
        return tio.Subject(
            a=tio.ScalarImage(torch.rand(1, *SHAPE), affine=one),
            b=tio.ScalarImage(small, affine=affine),
        )

    with pytest.raises(ValueError, match="must share a shape"):
        tio.RandomAffine()(subject(near))
    tio.RandomAffine()(subject(apart))

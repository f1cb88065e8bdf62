"""Masks: halves, label maps on other grids, functions."""

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.volumes import smooth
from torchio_gpu.transforms.parameters.masks import HALVES, check_masking, mask_of


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("code", ["RAS", "LPI", "SAR", "PIL"])
def test_anatomical_halves_do_not_depend_on_the_orientation(half, code):
    """Halves agree with TorchIO 1.x in RAS+, including odd numbers of voxels."""
    image = tio.ScalarImage(torch.zeros(1, 5, 7, 9))
    reoriented = tio.ToOrientation(code)(image)
    mask = mask_of(half.lower(), {"a": tio.ImagesBatch.from_images([reoriented])}, "a")[0]
    back = tio.ToOrientation("RAS")(tio.LabelMap(mask, affine=reoriented.affine)).data[0]
    expected = torch.zeros(5, 7, 9, dtype=torch.bool)
    axis, n = next((a, n) for a, n in enumerate((5, 7, 9)) if half in HALVES[2 * a : 2 * a + 2])
    upper = half in ("Right", "Anterior", "Superior")
    expected.movedim(axis, 0)[slice(n // 2, n) if upper else slice(0, n // 2)] = True
    assert torch.equal(back, expected)


def test_label_maps_on_another_grid_are_sampled_by_nearest_neighbour():
    coarse = torch.zeros(1, 1, 4, 4, 4, dtype=torch.uint8)
    coarse[0, 0, 1, 2, 3] = 2
    images = {
        "t1": tio.ImagesBatch(torch.zeros(1, 3, 8, 8, 8)),
        "seg": tio.ImagesBatch(coarse, np.diag([2.0, 2, 2, 1])[None], kind="label"),
    }
    mask = mask_of("seg", images, "t1")
    assert mask.shape == (1, 1, 8, 8, 8)
    at = mask[0, 0].nonzero().double().mean(0)
    assert torch.allclose(at, torch.tensor([1.5, 3.5, 5.5], dtype=torch.float64))
    assert mask.sum() == 8
    assert mask_of("seg", images, "t1", labels=[1]).sum() == 0
    assert torch.equal(mask_of("seg", images, "t1", labels=[1, 2]), mask)


def test_a_function_sees_one_sample_at_a_time():
    x = smooth((3, 2, 5, 6, 7)) * torch.tensor([1.0, 2, 3]).view(3, 1, 1, 1, 1)
    mask = mask_of(lambda voxels: voxels > voxels.mean(), {"a": tio.ImagesBatch(x)}, "a")
    for n in range(3):
        assert torch.equal(mask[n], x[n] > x[n].mean())
    with pytest.raises(ValueError, match=r"masking_method must return a mask of shape \(1 or 2"):
        mask_of(lambda voxels: voxels[:, 1:] > 0, {"a": tio.ImagesBatch(x)}, "a")


def test_invalid_masks_are_named():
    with pytest.raises(TypeError, match="masking_method must be None, the name of a label map"):
        check_masking(3.5)
    images = {"a": tio.ImagesBatch(torch.zeros(1, 1, 2, 2, 2))}
    for name, fact in (("a", "is a scalar image"), ("brain", "is none of these")):
        with pytest.raises(KeyError, match=f"{name!r} {fact}"):
            mask_of(name, images, "a")

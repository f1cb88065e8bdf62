"""Positions, directions and names of axes of images, compared with TorchIO's."""

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.volumes import ASR_AFFINE, oblique_affine

AFFINES = {
    "identity": np.eye(4),
    "oblique": oblique_affine(),
    "left-handed": oblique_affine(left_handed=True),
    "permuted": ASR_AFFINE @ np.diag([2.0, 3, 4, 1]),
    "LPS": np.array([[-2.0, 0, 0, 9], [0, -1, 0, 8], [0, 0, 3, 7], [0, 0, 0, 1]]),
}


@pytest.fixture(params=AFFINES)
def affine(request):
    return AFFINES[request.param]


def image(affine, shape=(2, 4, 5, 6)):
    return tio.ScalarImage(torch.rand(shape), affine=affine)


def test_positions_are_those_of_torchio(affine):
    torchio = pytest.importorskip("torchio")
    ours = image(affine)
    theirs = torchio.ScalarImage(tensor=ours.data, affine=affine)
    np.testing.assert_allclose(ours.bounds, theirs.bounds, atol=1e-9)
    np.testing.assert_allclose(ours.get_bounds(), theirs.get_bounds(), atol=1e-9)
    for lps in (False, True):
        np.testing.assert_allclose(ours.get_center(lps), theirs.get_center(lps), atol=1e-9)
    np.testing.assert_allclose(ours.direction, theirs.direction, atol=1e-9)
    assert (ours.memory, ours.itemsize) == (theirs.memory, theirs.itemsize)


def test_positions_follow_the_affine(affine):
    x = image(affine)
    last = np.array([3, 4, 5])
    np.testing.assert_allclose(x.bounds[0], affine[:3, 3])
    np.testing.assert_allclose(x.bounds[1], (affine @ [*last, 1])[:3])
    np.testing.assert_allclose(x.get_center(), x.bounds.mean(0))
    np.testing.assert_allclose(np.transpose(x.get_bounds())[1], (affine @ [*last + 0.5, 1])[:3])
    columns = np.reshape(x.direction, (3, 3)) * x.spacing
    np.testing.assert_allclose(columns, affine[:3, :3])


@pytest.mark.parametrize("name", ["Left", "r", "anterior", "P", "Superior", "inferior", "top", "B"])
def test_axes_have_names(affine, name):
    torchio = pytest.importorskip("torchio")
    x = image(affine)
    theirs = torchio.ScalarImage(tensor=x.data, affine=affine)
    assert x.axis_name_to_index(name) == theirs.axis_name_to_index(name)


def test_opposite_directions():
    pairs = {"left": "R", "R": "L", "p": "A", "A": "P", "I": "S", "superior": "I"}
    pairs |= {"T": "B", "bottom": "T", "D": "V", "ventral": "D"}
    assert {name: tio.ScalarImage.flip_axis(name) for name in pairs} == pairs
    for bad, error in (("x", ValueError), ("", ValueError), (3, TypeError)):
        with pytest.raises(error, match=f"axis must .*got {bad!r}"):
            tio.ScalarImage.flip_axis(bad)
    with pytest.raises(ValueError, match="without D and V, got dorsal"):
        image(np.eye(4)).axis_name_to_index("dorsal")


def test_width_and_height_are_of_2d_images():
    flat = image(np.eye(4), (1, 4, 5, 1))
    assert (flat.width, flat.height) == (4, 5)
    flat.check_is_2d()
    thick = image(np.eye(4))
    for wrong in (lambda: thick.width, lambda: thick.height, thick.check_is_2d):
        with pytest.raises(RuntimeError, match=r"must be 2D.*got \(4, 5, 6\)"):
            wrong()


def test_to_ras_is_that_of_the_transform(affine):
    x = image(affine)
    x["age"] = 45
    before = x.data.clone()
    out, expected = x.to_ras(), tio.ToCanonical()(x)
    assert out.orientation_str == "RAS"
    assert torch.equal(out.data, expected.data)
    np.testing.assert_allclose(out.affine, expected.affine, atol=1e-9)
    assert out.data.is_contiguous()
    assert out.age == 45
    assert torch.equal(x.data, before)
    assert (out is x) == (x.orientation_str == "RAS")

"""Patch locations, and their conversion from tensors, arrays and numbers."""

import itertools

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from torchio_gpu.patches.sampling.location import check_locations

LOCATION = tio.PatchLocation((2, 0, 3), (4, 5, 1))
OTHER = tio.PatchLocation((-2, 1, 0), (4, 5, 1))
SIX = [[2, 0, 3, 6, 5, 4], [-2, 1, 0, 2, 6, 1]]


def test_ends_and_slices():
    assert LOCATION.index_ini == (2, 0, 3)
    assert LOCATION.index_fin == (6, 5, 4)
    x = torch.arange(7 * 6 * 8).view(7, 6, 8)
    expected = [
        x[2 + i, j, 3 + k].item() for i, j, k in itertools.product(range(4), range(5), range(1))
    ]
    assert x[LOCATION.to_slices()].shape == (4, 5, 1)
    assert x[LOCATION.to_slices()].flatten().tolist() == expected


def test_slices_of_a_location_outside_are_refused():
    """Negative ends of slices would count from the other end of the axis."""
    with pytest.raises(ValueError, match=r"index must be >= 0 to slice a volume, got .*-2, 1, 0"):
        OTHER.to_slices()


def test_conversion_to_six_numbers_and_back():
    assert LOCATION.to_tensor().dtype == torch.int64
    assert LOCATION.to_tensor().tolist() == SIX[0]
    for place in (LOCATION, OTHER):
        for six in (place.to_tensor(), place.to_tensor().numpy(), place.to_tensor().tolist()):
            assert tio.PatchLocation.from_tensor(six) == place
    assert tio.PatchLocation.from_tensor(LOCATION.to_tensor().double()) == LOCATION
    index = tio.PatchLocation.from_tensor(LOCATION.to_tensor()).index
    assert all(type(n) is int for n in index)


@pytest.mark.parametrize(
    "six",
    [[0, 0, 0, 4, 4], [0, 0, 0, 4, 4, 4, 4], [0, 0, 0, 4, 0, 4], [0, 5, 0, 4, 4, 4], []],
)
def test_invalid_locations_are_refused(six):
    with pytest.raises(ValueError, match="location must be six numbers"):
        tio.PatchLocation.from_tensor(six)


@pytest.mark.parametrize("six", [[0, 0.5, 0, 4, 4, 4], [0, 0, 0, 4, 4, 4.9]])
def test_fractions_of_voxels_are_refused(six):
    with pytest.raises(ValueError, match="location must be six"):
        tio.PatchLocation.from_tensor(torch.tensor(six))


def test_is_immutable_and_hashable():
    same = tio.PatchLocation((2, 0, 3), (4, 5, 1))
    assert same == LOCATION
    assert len({same, LOCATION, OTHER}) == 2
    assert tio.PatchLocation((2, 0, 3), (4, 5, 1), subject_index=1) != LOCATION
    with pytest.raises(AttributeError):
        LOCATION.index = (0, 0, 0)


def test_scaled():
    place = tio.PatchLocation((8, -4, 6), (8, 4, 6), subject_index=3)
    assert place.scaled(0.5) == tio.PatchLocation((4, -2, 3), (4, 2, 3), 3)
    assert place.scaled((2, 1, 0.5)) == tio.PatchLocation((16, -4, 3), (16, 4, 3), 3)
    assert place.scaled(torch.tensor([2, 1, 0.5])) == place.scaled((2, 1, 0.5))
    assert place.scaled(1) == place
    assert all(type(n) is int for n in place.scaled(0.5).index + place.scaled(0.5).size)


@pytest.mark.parametrize("factor", [0.3, 0.5, 0.75, 1.5, 2.5])
@pytest.mark.parametrize("size", [3, 5, 8])
def test_scaled_neighbours_remain_adjacent(factor, size):
    line = [tio.PatchLocation((n, 0, 0), (size, 4, 4)) for n in range(-2 * size, 9 * size, size)]
    scaled = [place.scaled(factor) for place in line]
    for one, two in itertools.pairwise(scaled):
        assert one.index_fin[0] == two.index[0]
        # both ends move by at most half a voxel
        assert abs(one.size[0] - size * factor) <= 1


class TestCheckLocations:
    def test_one_location(self):
        for form in (
            LOCATION,
            LOCATION.to_tensor(),
            LOCATION.to_tensor().numpy(),
            [LOCATION],
            SIX[:1],
        ):
            assert check_locations(form) == [LOCATION]

    @pytest.mark.parametrize(
        "form",
        [
            [LOCATION, OTHER],
            (LOCATION, OTHER),
            torch.tensor(SIX),
            torch.tensor(SIX, dtype=torch.int32),
            torch.tensor(SIX, dtype=torch.float32),
            np.array(SIX),
            SIX,
            [torch.tensor(six) for six in SIX],
            [np.array(six) for six in SIX],
            [LOCATION, torch.tensor(SIX[1])],
        ],
    )
    def test_several_locations(self, form):
        assert check_locations(form) == [LOCATION, OTHER]

    def test_the_subject_index_is_kept(self):
        place = tio.PatchLocation((0, 0, 0), (1, 1, 1), subject_index=4)
        assert check_locations([place])[0].subject_index == 4

    @pytest.mark.parametrize(
        ("locations", "error", "words"),
        [
            (torch.zeros(3, 5), ValueError, r"locations must have shape \(B, 6\), got \(3, 5\)"),
            (np.zeros((1, 1, 6)), ValueError, r"must have shape \(B, 6\), got \(1, 1, 6\)"),
            (torch.zeros(()), ValueError, r"must have shape \(B, 6\)"),
            (torch.tensor([[0, 0, 0, 4, 4, 0]]), ValueError, "location must be six numbers"),
            (None, TypeError, "locations must be PatchLocations .*, got NoneType"),
            (7, TypeError, "got int"),
            ([0, 0, 0, 4, 4, 4], (TypeError, ValueError), "location"),
            ([None], (TypeError, ValueError), "location"),
        ],
    )
    def test_errors(self, locations, error, words):
        with pytest.raises(error, match=words):
            check_locations(locations)

"""Labels as the widget of notebooks takes them; tests/test_notebooks.py has the widget itself."""

import pytest
import torch

from torchio_gpu.data import widget


@pytest.mark.parametrize(
    ("labels", "stored"),
    [
        ([0, 1, 2], [0, 1, 2]),
        ([1, 2, 1900], [1, 2, 1900]),
        ([-2, 0, 5], [-2, 0, 5]),
        ([0, 7, 14175], [0, 1, 2]),  # numbered anew
        ([-9000, 0, 14175], [-1, 0, 1]),
        ([3, 14175], [1, 2]),
    ],
)
def test_labels_have_a_table_of_colours(labels, stored):
    voxels = torch.tensor(labels)[None, :, None, None].expand(1, -1, 2, 2)
    data, table = widget._labels(voxels)
    assert data[0, :, 0, 0].tolist() == stored
    rows = zip(*(table[name] for name in ("I", "A", "labels")), strict=True)
    named = {number: name for number, opacity, name in rows if opacity}
    assert named == {n: str(label) for n, label in zip(stored, labels, strict=True) if label}
    size = max(table["I"]) - min(table["I"]) + 1
    assert size <= 2048  # WebGL 2 takes such textures everywhere
    # NiiVue draws the first 2/256 of a table in one colour: these are of no label
    assert min(0, *stored) - min(table["I"]) > size * 2 / 256


def test_channels_of_labels_become_labels():
    channels = torch.eye(3)[:, :, None, None]
    data, table = widget._labels(channels)
    assert data.flatten().tolist() == [0, 1, 2]
    assert data.dtype == torch.uint8
    assert table["labels"][1:] == ["background", "1", "2"]


def test_labels_that_are_no_numbers_are_background():
    data, table = widget._labels(torch.tensor([torch.nan, torch.inf, 1.2])[None, :, None, None])
    assert data.flatten().tolist() == [0, 0, 1]
    assert table["labels"][1:] == ["background", "1"]


def test_too_many_labels_have_no_colours():
    data, table = widget._labels(torch.arange(3000).view(1, 30, 10, 10))
    assert table is None
    assert data.max() == 2999

"""Images, subjects and batches of TorchIO, both ways; of TorchIO 2 where that is installed."""

import numpy as np
import pytest
import torch
import torchio
from torch.utils.data import DataLoader

import torchio_gpu as tio
from tests.volumes import oblique_affine
from torchio_gpu.adapters.torchio import from_torchio, to_torchio

NEWER = hasattr(torchio, "SubjectsBatch")
only_2 = pytest.mark.skipif(not NEWER, reason="TorchIO 1 is installed")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
AFFINE = oblique_affine()


def subject():
    return tio.Subject(
        t1=tio.ScalarImage(torch.rand(2, 4, 5, 6), affine=AFFINE, protocol="MPRAGE"),
        seg=tio.LabelMap(torch.ones(1, 4, 5, 6, dtype=torch.uint8), affine=AFFINE),
        age=45,
        t2=None,
    )


def test_subjects():
    ours = subject()
    theirs = to_torchio(ours)
    assert type(theirs) is torchio.Subject
    assert type(theirs["t1"]) is torchio.ScalarImage
    assert type(theirs["seg"]) is torchio.LabelMap
    assert theirs.age == 45
    assert theirs["t1"].protocol == "MPRAGE" if NEWER else theirs["t1"]["protocol"] == "MPRAGE"
    back = from_torchio(theirs)
    assert type(back) is tio.Subject
    assert dict(back.metadata) == {"age": 45, "t2": None}
    for name in ("t1", "seg"):
        np.testing.assert_array_equal(np.asarray(theirs[name].affine), AFFINE)
        np.testing.assert_array_equal(back[name].affine, AFFINE)
        places = {each[name].data.data_ptr() for each in (ours, theirs, back)}
        assert len(places) == 1  # nothing is copied
        assert type(back[name]) is type(ours[name])
    assert back.t1.metadata == {"protocol": "MPRAGE"}


def test_the_history_is_not_carried():
    assert from_torchio(to_torchio(tio.Flip(0)(subject()))).history == []
    assert to_torchio(tio.Flip(0)(subject())).applied_transforms == []


@pytest.mark.parametrize("read", [False, True])
def test_paths(tmp_path, read):
    path = tmp_path / "x.nii.gz"
    subject().seg.save(path)
    theirs = torchio.LabelMap(path)
    ours = from_torchio(theirs)
    if read:
        theirs.load()
        ours = from_torchio(theirs)
    assert ours.path == path
    assert ours.loaded == read
    np.testing.assert_allclose(ours.affine, AFFINE, atol=1e-5)
    assert torch.equal(ours.data, theirs.data)
    again = tio.LabelMap(path)
    again.affine  # noqa: B018  reads the header
    back = to_torchio(again)
    assert not (back.is_loaded if NEWER else back._loaded)
    assert back.path == path
    assert torch.equal(back.data, theirs.data)
    moved = tio.LabelMap(path, affine=np.diag([2.0, 2, 2, 1]))
    np.testing.assert_array_equal(np.asarray(to_torchio(moved).affine), np.diag([2.0, 2, 2, 1]))


def reader(path):
    return torch.full((1, 2, 2, 2), 3.0), np.diag([4.0, 4, 4, 1])


def test_readers_of_the_user(tmp_path):
    path = tmp_path / "x.own"
    path.touch()
    theirs = torchio.ScalarImage(path, reader=reader)
    ours = from_torchio(theirs)
    assert ours.loaded == NEWER  # whose reader is its own affair
    for image in (ours, to_torchio(tio.ScalarImage(path, reader=reader))):
        assert image.data.unique().tolist() == [3]
        assert image.spacing == (4, 4, 4)


def test_batches():
    ours = tio.SubjectsBatch.from_subjects([subject(), subject()])
    del ours["t2"]
    theirs = to_torchio(ours)
    assert type(theirs) is (torchio.SubjectsBatch if NEWER else dict)
    data = theirs["t1"].data if NEWER else theirs["t1"]["data"]
    assert data is ours.t1.data
    back = from_torchio(theirs)
    assert type(back) is tio.SubjectsBatch
    assert back.t1.data is data
    assert back.kinds == ours.kinds
    assert back["age"].tolist() == [45, 45]
    np.testing.assert_array_equal(back.t1.affine, np.stack([AFFINE] * 2))
    assert tio.RandomAffine()(back).unbatch()[1].seg.data.shape == (1, 4, 5, 6)


def test_batches_of_their_loader(tmp_path):
    path = tmp_path / "x.nii.gz"
    subject().t1.save(path)
    made = [torchio.Subject(t1=torchio.ScalarImage(path), number=n) for n in range(3)]
    if NEWER:
        batch = torchio.SubjectsBatch.from_subjects(made)
    else:
        loader = torchio.SubjectsLoader(torchio.SubjectsDataset(made), batch_size=3)
        (batch,) = loader
    ours = from_torchio(batch)
    assert ours["number"].tolist() == [0, 1, 2]
    np.testing.assert_allclose(ours.t1.affine, np.stack([AFFINE] * 3), atol=1e-5)
    if not NEWER:
        assert [str(image.path) for image in ours.t1.unbatch()] == [str(path)] * 3
    (mine,) = DataLoader(tio.SubjectsDataset(list(map(from_torchio, made))), batch_size=3)
    assert torch.equal(mine.t1.data, ours.t1.data)


def test_maps_of_weights():
    weights = tio.Image(torch.rand(1, 4, 4, 4), type="sampling_map")
    theirs = to_torchio(weights)
    if not NEWER:
        assert theirs.type == "sampling_map"
        assert from_torchio(theirs).type == "sampling_map"
    assert torch.equal(theirs.data, weights.data)


def test_other_types_are_refused():
    for x in (3, torch.rand(1, 4, 4, 4), subject()):
        with pytest.raises(TypeError, match="x must be an image, a subject or a batch of TorchIO"):
            from_torchio(x)
    with pytest.raises(TypeError, match="with images, got keys"):
        from_torchio({"t1": 3})
    with pytest.raises(TypeError, match="x must be an image"):
        to_torchio(3)


@only_2
def test_points_and_boxes():
    s = subject()
    s.tips = tio.Points([[1.0, 2, 3]], axes="LPS", labels=["tip"], by="A")
    s.boxes = tio.BoundingBoxes([[1.0, 1, 1, 2, 3, 4]], affine=AFFINE, labels=[7])
    s.sizes = tio.BoundingBoxes([[1.0, 1, 1, 2, 3, 4]], format="cijkwhd", affine=AFFINE)
    theirs = to_torchio(s)
    assert theirs.tips.axes == "LPS"
    assert theirs.boxes.labels.tolist() == [7]
    theirs.t1.points["own"] = theirs.tips
    attached = torchio.ScalarImage(theirs.t1.data, points={"own": theirs.tips})
    with pytest.warns(RuntimeWarning, match="points and boxes of a single image"):
        from_torchio(attached)
    back = from_torchio(torchio.Subject(t1=attached, **theirs.points, **theirs.bounding_boxes))
    assert torch.equal(back.t1_own.data, s.tips.data)
    for name in ("tips", "boxes", "sizes"):
        assert torch.equal(back[name].data, s[name].data)
        assert back[name].labels == s[name].labels
        assert back[name].axes == s[name].axes
    assert back.tips.by == "A"
    assert back.sizes.format == "cijkwhd"

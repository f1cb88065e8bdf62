"""The demo, small: it learns, it writes what it says, and its gallery shows each augmentation."""

import json
from statistics import mean

import pytest
import torch

import torchio_gpu as tio
from torchio_gpu import demo


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """One short run, with two augmentations in the gallery."""
    output = tmp_path_factory.mktemp("demo") / "new" / "folder"
    torch.manual_seed(42)
    expected = torch.rand(3)
    torch.manual_seed(42)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for work this small, threads mostly wait for each other
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "SHOWN", demo.SHOWN[3:5])
        report = demo.run(output, device="cpu", steps=16, size=24)
    torch.set_num_threads(threads)
    assert torch.equal(torch.rand(3), expected), "torch's generator must be left as it was"
    return output, report


@pytest.fixture(scope="module")
def head() -> tio.Subject:
    """The whole brain at 4 mm: voxel (0, 0, 0) stays in place."""
    brain = demo.mni152()
    images = {}
    for name in ("t1", "seg"):
        affine = brain[name].affine.copy()
        affine[:3, :3] *= 4
        images[name] = type(brain[name])(brain[name].data[:, ::4, ::4, ::4], affine=affine)
    return tio.Subject(images)


def test_it_writes_what_it_says_and_nothing_else(result):
    output, report = result
    assert {path.name for path in output.iterdir()} == {
        "subjects",
        "gallery.png",
        "loss.png",
        "report.json",
    }
    assert len(list((output / "subjects").iterdir())) == 16
    assert json.loads((output / "report.json").read_text(encoding="utf-8")) == report


def test_the_report_is_complete(result):
    _, report = result
    assert set(report["milliseconds"]) == {"loading", "augmentation", "model_step"}
    assert all(time > 0 for time in report["milliseconds"].values())
    assert report["batch_shape"] == [2, 1, 24, 24, 24]
    assert report["device"]["type"] == "cpu"
    assert report["versions"]["torch"] == torch.__version__
    assert report["versions"]["torchio_gpu"] == tio.__version__
    assert len(report["passes"]) == 2, "augmentation is fused into two passes"
    assert report["seconds"] > 0


def test_the_loss_goes_down(result):
    losses = result[1]["losses"]
    assert len(losses) == 16
    assert mean(losses[-4:]) < 0.9 * mean(losses[:4])


def test_pictures_are_not_blank(result):
    from matplotlib.image import imread

    for name, least in (("gallery.png", 0.1), ("loss.png", 0.005)):
        pixels = imread(result[0] / name)[..., :3]
        assert min(pixels.shape[:2]) > 300
        background = pixels[0, 0]
        assert (abs(pixels - background) > 0.2).any(-1).mean() > least, name


def test_crops_lie_where_they_were_cut(result, head):
    for path in sorted((result[0] / "subjects").glob("*_t1.nii.gz")):
        image, seg = tio.ScalarImage(path), tio.LabelMap(str(path).replace("t1", "seg"))
        assert image.shape == seg.shape == (1, 24, 24, 24)
        assert (image.affine == seg.affine).all()
        for axis, letter in enumerate(path.name[4:7]):
            middle = image.affine[axis] @ [11.5, 11.5, 11.5, 1]
            centre = head.t1.affine[axis, 3] + demo.CENTRE[axis]  # the template is RAS
            assert (middle > centre) == (letter in "RAS")
        i, j, k = ((image.affine @ [0, 0, 0, 1] - head.t1.affine[:, 3])[:3] / 4).astype(int)
        voxel = ((head.t1.affine @ [i + 1, j + 1, k + 1, 1]) - image.affine[:, 3])[:3].astype(int)
        same = head.t1.data[0, i + 1, j + 1, k + 1]
        assert image.data[0][tuple(voxel)] == pytest.approx(same.item(), abs=1e-6)


def test_the_largest_crops_fit_into_the_template(tmp_path):
    labels = tio.LabelMap(torch.zeros(1, 197, 233, 189, dtype=torch.uint8))
    template = tio.Subject(t1=labels, seg=labels)
    for octant in ((0, 0, 0), (1, 1, 1)):
        assert demo.save_crop(template, tmp_path, 76, octant).seg.shape == (1, 76, 76, 76)


@pytest.mark.parametrize("transform", demo.SHOWN, ids=repr)
def test_each_augmentation_of_the_gallery_is_seen_and_keeps_labels_aligned(transform, head):
    torch.manual_seed(0)
    out = transform(head)
    brain = head.t1.data > 0
    change = (out.t1.data - head.t1.data)[brain].abs().mean()
    assert change > 0.04, f"changes the brain by {change:.3f} of the range only"
    # White matter is brighter than grey, and both than the rest, wherever the labels went; only
    # in the image that is made of them, grey matter is the brightest.
    made = isinstance(transform, tio.RandomLabelsToImage)
    order = (0, 2, 1) if made else (0, 1, 2)
    means = [out.t1.data[out.seg.data == label].mean() for label in order]
    assert means[0] < means[1] < means[2]


def test_the_gallery_has_a_row_for_each_augmentation(head):
    augment = demo.pipeline(24)
    rows = dict(demo.gallery(head, augment, seed=0))
    assert len(rows) == len(demo.SHOWN) + 4
    original, affine, *_ = rows.values()
    assert original is head
    torch.manual_seed(0)
    expected = demo.SHOWN[0](head)
    for name in ("t1", "seg"):
        assert torch.equal(affine[name].data, expected[name].data)
    assert torch.equal(affine.before.data, (head.seg.data > 0) * demo.BEFORE)
    assert len({row.t1.data.mean().item() for row in rows.values()}) > len(demo.SHOWN)
    again = dict(demo.gallery(head, augment, seed=0))
    assert all(torch.equal(again[title].t1.data, row.t1.data) for title, row in rows.items())


def test_mistakes_are_named(tmp_path):
    for arguments, message in (
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"size": 30}, "size must be a multiple of 4 from 16 to 76, got 30"),
        ({"size": 80}, "size must be a multiple of 4 from 16 to 76, got 80"),
        ({"device": "abacus"}, "device must be one that torch can use here.*abacus"),
    ):
        with pytest.raises(ValueError, match=message):
            demo.run(tmp_path / "none", **arguments)
    assert not (tmp_path / "none").exists()

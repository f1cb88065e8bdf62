"""Results as bytes, coarse results, strips, and errors at their steps."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.preview.subjects import subject
from tests.volumes import ASR_AFFINE, oblique_affine
from torchio_gpu.preview import session as sessions
from torchio_gpu.preview import wire
from torchio_gpu.preview.errors import StaleError, StepError
from torchio_gpu.preview.session import Session, Wish

NOISE = {"name": "RandomNoise", "arguments": {"std": 5}, "on": True}
TURN = {"name": "RandomAffine", "arguments": {"degrees": 20}, "on": True}


def parts(content: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    """Return the header and the arrays of a message, as the page reads them."""
    length = int.from_bytes(content[:4], "little")
    header = json.loads(content[4 : 4 + length])
    assert (4 + length) % 8 == 0
    arrays = {}
    for name, (start, size) in header["arrays"].items():
        codes = np.frombuffer(content, "<u2", size, 4 + length + start)
        v = header["volumes"][name]
        arrays[name] = np.where(codes == 65535, np.nan, codes * v["scale"] + v["offset"])
    return header, arrays


@pytest.fixture(scope="module")
def session() -> Session:
    return Session(subject())


def test_a_result_is_that_of_the_library(session):
    header, arrays = parts(session.result(Wish([TURN, NOISE], 4, "t1", "seg")))
    torch.manual_seed(4)
    expected = tio.Compose([tio.RandomAffine(degrees=20), tio.RandomNoise(std=5)])(subject())
    shape = header["volumes"]["image"]["shape"]
    voxels = arrays["image"].reshape(shape[::-1]).transpose(2, 1, 0)
    span = float(np.ptp(expected.t1.data.numpy()))
    assert np.abs(voxels - expected.t1.data[0].numpy()).max() <= span / 65534
    labels = arrays["label"].reshape(shape[::-1]).transpose(2, 1, 0)
    assert np.array_equal(labels, expected.seg.data[0].numpy())
    assert [line.partition("(")[0] for line in header["drawn"]] == ["RandomAffine", "RandomNoise"]
    assert (header["coarse"], header["notes"]) == (False, [])


def test_steps_that_are_off_do_nothing(session):
    off = session.result(Wish([{**TURN, "on": False}], 1, "t1"))
    before, after = parts(session.result(Wish([], 1, "t1")))[1], parts(off)[1]
    assert np.array_equal(before["image"], after["image"])


@pytest.mark.parametrize("affine", [oblique_affine(), ASR_AFFINE, oblique_affine(left_handed=True)])
def test_volumes_lie_where_the_image_lies(affine):
    data = torch.arange(4 * 5 * 6.0).reshape(1, 4, 5, 6)
    image = tio.ScalarImage(data, affine=affine)
    header, codes = wire.volume(image)
    placed = np.array(header["affine"]).reshape(4, 4)
    assert (np.abs(placed[:3, :3]).argmax(0) == [0, 1, 2]).all()
    assert (np.diag(placed) > 0).all()
    values = codes * header["scale"] + header["offset"]
    for voxel in [(0, 0, 0), (3, 1, 2), (1, 4, 5)]:
        world = affine @ [*voxel, 1]
        i, j, k = np.rint(np.linalg.inv(placed) @ world)[:3].astype(int)
        assert values[k, j, i] == pytest.approx(float(data[(0, *voxel)]), abs=0.01)


def test_voxels_that_are_no_numbers_stay_so():
    data = torch.tensor([[[[1.0, float("nan")], [float("inf"), 3.0]]]])
    header, codes = wire.volume(tio.ScalarImage(data))
    assert codes.ravel().tolist() == [0, 65535, 65535, 65534]
    assert (header["offset"], header["window"]) == (1.0, [pytest.approx(1.02), pytest.approx(2.99)])
    for value in (float("nan"), 5.0):
        header, codes = wire.volume(tio.ScalarImage(torch.full((1, 2, 2, 2), value)))
        assert set(codes.ravel().tolist()) == {65535 if value != value else 0}


def test_large_volumes_are_thinned_for_the_way(monkeypatch):
    monkeypatch.setattr(wire, "MOST", 1000)
    header, codes = wire.volume(tio.ScalarImage(torch.rand(1, 20, 21, 22)))
    assert (header["stride"], header["shape"], codes.size) == (3, [7, 7, 8], 392)
    assert header["affine"][0] == 3


def test_labels_above_255_and_shares_of_labels():
    _, codes = wire.volume(tio.LabelMap(torch.tensor([[[[0, 300, 70000, -1]]]])))
    assert codes.ravel().tolist() == [0, 300, 65534, 0]
    shares = torch.tensor([0.2, 0.7, 0.1]).reshape(3, 1, 1, 1).expand(3, 2, 2, 2)
    assert set(wire.volume(tio.LabelMap(shares))[1].ravel().tolist()) == {1}


def test_coarse_results_draw_the_same_parameters(session, monkeypatch):
    fine = parts(session.result(Wish([TURN], 2, "t1")))[0]
    coarse = parts(session.result(Wish([TURN], 2, "t1", coarse=True)))[0]
    assert coarse["coarse"]
    assert coarse["volumes"]["image"]["shape"] == [24, 24, 23]
    numbers = [line.split("centre")[0] for line in fine["drawn"]]
    assert [line.split("centre")[0] for line in coarse["drawn"]] == numbers


def test_steps_that_count_voxels_are_never_coarse(session):
    crop = {"name": "Crop", "arguments": {"cropping": 3}}
    header = parts(session.result(Wish([crop], 0, "t1", coarse=True)))[0]
    assert not header["coarse"]
    assert header["volumes"]["image"]["shape"] == [42, 42, 40]


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("RandomNoise", {"std": -1}, "std must be a range (a, b) with a <= b, got -1"),
        ("RandomNoise", {"stt": 1}, "RandomNoise has no argument 'stt'; did you mean std?"),
        ("Crop", {"cropping": 30}, "cropping must leave at least one voxel"),
        ("Mask", {"masking_method": "none"}, "masking_method"),
        ("RandomNois", {}, "must name a transform"),
        ("Lambda", {"function": "print"}, "function"),
        ("Resample", {"target": "/etc/passwd"}, "Resample must name an image of the subject"),
    ],
)
def test_errors_are_those_of_the_library_at_their_steps(session, name, arguments, said):
    wrong = {"name": name, "arguments": arguments}
    with pytest.raises(StepError) as caught:
        session.result(Wish([TURN, {**NOISE, "on": False}, wrong, NOISE], 0, "t1"))
    assert said in str(caught.value)
    assert caught.value.step == 2


def test_warnings_are_notes(session):
    bent = {"name": "RandomElasticDeformation", "arguments": {"max_displacement": 60}}
    assert "fold" in parts(session.result(Wish([bent], 0, "t1")))[0]["notes"][0]


def test_a_strip_holds_one_plane_for_each_variant(session):
    variants = [{"step": 0, "argument": "std", "value": [v, v]} for v in (0, 10)]
    arrays = parts(session.strip(Wish([NOISE], 1, "t1"), variants, "coronal", (0, 0, 0)))[1]
    assert {array.size for array in arrays.values()} == {24 * 23}
    assert arrays["0"].std() < arrays["1"].std()
    seeds = [{"seed": 1}, {"seed": 2}, {"seed": 1}]
    arrays = parts(session.strip(Wish([NOISE], 9, "t1"), seeds, "axial", (0, 0, 0)))[1]
    assert np.array_equal(arrays["0"], arrays["2"])
    assert not np.array_equal(arrays["0"], arrays["1"])
    with pytest.raises(StaleError):
        session.strip(Wish([NOISE]), seeds, "axial", (0, 0, 0), lambda: True)
    with pytest.raises(ValueError, match="plane must be one of axial"):
        session.strip(Wish([NOISE]), seeds, "oblique", (0, 0, 0))


def test_explain_is_the_plan(session):
    assert "spatial: RandomAffine" in session.explain(Wish([TURN, NOISE]))
    assert "no steps" in session.explain(Wish([]))


def test_points_are_sent_where_they_lie():
    given = subject((8, 8, 8))
    given["marks"] = tio.Points([[1.0, 2, 3], [float("nan")] * 3])
    flip = {"name": "Flip", "arguments": {"axes": ["LR"]}}
    header = parts(Session(given).result(Wish([flip], 0, "t1")))[0]
    (place,) = header["points"]["marks"]
    assert place == pytest.approx([-48 - 48 + 14 - 1, 2, 3])


@pytest.mark.parametrize(
    "image",
    [
        tio.ScalarImage(torch.rand(3, 40, 50, 1)),
        tio.ScalarImage(torch.rand(2, 9, 8, 7), affine=oblique_affine()),
        tio.ScalarImage(torch.randint(0, 4000, (1, 9, 8, 7), dtype=torch.int16)),
        tio.ScalarImage(torch.rand(1, 9, 8, 7) + 1j),
        tio.LabelMap(torch.ones(1, 9, 8, 7, dtype=torch.int64)),
    ],
)
def test_images_of_all_kinds_are_shown(image):
    given = Session(tio.Subject(image=image))
    assert given.state()["images"][0]["kind"] == image.kind
    flip = {"name": "Flip", "arguments": {}}
    for coarse in (False, True):
        header, arrays = parts(given.result(Wish([flip], 0, "image", channel=5, coarse=coarse)))
        assert arrays["image"].size == np.prod(header["volumes"]["image"]["shape"])


def test_the_phantom_is_a_head_with_labels():
    phantom = sessions._phantom()
    assert phantom.spatial_shape == (91, 109, 91)
    assert set(phantom.seg.count_labels()) == {0, 1, 2, 3}
    assert phantom.t1.orientation_str == "RAS"

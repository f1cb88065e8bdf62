"""Attenuation and time gain of ultrasound along the beams, and the geometry of these transforms."""

import json

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.volumes import batch_of
from torchio_gpu import functional as F
from torchio_gpu.configuration import schema
from torchio_gpu.functional.ultrasound.geometry import BeamGeometry, Fan

DOUBLE = torch.float64
LINEAR = BeamGeometry("linear", width=50.0, depth=70.0)
CONVEX = BeamGeometry("convex", angle=60.0, radius=40.0, depth=60.0, center=(2.0, 8.0))
PHASED = BeamGeometry("phased", angle=80.0, depth=70.0, center=(-3.0, 1.0))
every_probe = pytest.mark.parametrize("geometry", [LINEAR, CONVEX, PHASED], ids=lambda g: g.probe)
#: Lateral and axial axis, shape and spacing of images of about 80 x 80 mm.
GRIDS = pytest.mark.parametrize(
    ("axes", "shape", "spacing"),
    [
        ((0, 1), (80, 80, 1), (1.0, 1.0, 5.0)),
        ((1, 0), (100, 60, 3), (0.8, 1.3, 1.0)),
        ((2, 1), (2, 160, 70), (7.0, 0.5, 1.1)),
    ],
    ids=str,
)


def depth_of(geometry, axes, shape, spacing):
    """Return the distance of voxels from the surface in mm, and a mask of the fan, [I, J, K]."""
    at = np.meshgrid(*map(np.arange, shape), indexing="ij")
    across, down = ((at[a] - (shape[a] - 1) / 2) * spacing[a] for a in axes)
    across, down = across - geometry.center[0], down + shape[axes[1]] * spacing[axes[1]] / 2
    down = down - geometry.center[1]
    if geometry.probe == "linear":
        return down, (abs(across) <= 25) & (down >= 0) & (down <= geometry.depth)
    radius = 40 if geometry.probe == "convex" else 0
    depth = np.hypot(across, down + radius) - radius
    angle = np.degrees(np.arctan2(across, down + radius))
    return depth, (abs(angle) <= geometry.angle / 2) & (depth >= 0) & (depth <= geometry.depth)


@every_probe
@GRIDS
def test_levels_fall_by_exactly_so_many_decibels_per_cm(geometry, axes, shape, spacing):
    x = torch.full((1, 2, *shape), 200.0, dtype=DOUBLE)  # two frames of a sequence
    out = F.attenuate(x, 1.5, geometry, spacing, axes, dynamic_range=50, white=240)
    depth, inside = depth_of(geometry, axes, shape, spacing)
    lost = (x - out)[0] * 50 / 240
    for frame in lost:
        np.testing.assert_allclose(frame.numpy()[inside], 0.15 * depth[inside], atol=1e-4)
    assert torch.equal(lost[0], lost[1])
    assert 0.2 < inside.mean() < 0.9
    assert (lost[:, ~torch.from_numpy(inside)] == 0).all()


@every_probe
@GRIDS
def test_attenuation_is_undone_by_the_gain_of_the_same_slope(geometry, axes, shape, spacing):
    x = 100 + 50 * torch.rand(1, 1, *shape, dtype=DOUBLE)
    low = F.attenuate(x, 1.2, geometry, spacing, axes)
    back = F.time_gain(low, np.array([0, 0.12 * geometry.depth]), geometry, spacing, axes)
    assert (low - x).abs().max() > 20
    torch.testing.assert_close(back, x, rtol=0, atol=1e-4)


@every_probe
def test_gains_are_those_of_the_sliders_at_their_depths(geometry):
    gains = np.array([3.0, -4, 10, 2])
    x = torch.full((1, 1, 160, 160, 1), 120.0, dtype=DOUBLE)
    out = (F.time_gain(x, gains, geometry, 0.5) - x)[0, 0, ..., 0] * 60 / 255
    depth, inside = (each[..., 0] for each in depth_of(geometry, (0, 1), (160, 160, 1), [0.5] * 3))
    want = np.interp(depth, np.linspace(0, geometry.depth, 4), gains)
    np.testing.assert_allclose(out.numpy()[inside], want[inside], atol=1e-9)


@every_probe
@pytest.mark.parametrize("name", ["attenuate", "time_gain"])
def test_nothing_changes_bit_for_bit_without_gain_or_outside_the_fan(name, geometry):
    x = 400 * torch.randn(1, 2, 80, 80, 2)  # values outside black and white, too
    assert torch.equal(getattr(F, name)(x, 0.0, geometry), x)
    _, inside = depth_of(geometry, (0, 1), (80, 80, 2), (1.0, 1.0, 1.0))
    x, inside = x.clamp(20, 200), torch.from_numpy(inside).expand(x.shape)
    out = getattr(F, name)(x, -3.0, geometry)
    assert torch.equal(out[~inside], x[~inside])
    assert (out != x)[inside].float().mean() > 0.95


def test_levels_end_at_black_and_white():
    x = torch.tensor([0.0, 10, 245, 255]).view(1, 1, 4, 1, 1)
    loud, low = (F.time_gain(x, n, "linear").flatten().tolist() for n in (6, -6))
    assert loud == [25.5, 35.5, 255, 255]
    assert low == [0, 0, 219.5, 229.5]


def test_an_exact_grey_value_for_integers_and_half_precision():
    x = torch.full((1, 1, 3, 4, 1), 100, dtype=torch.uint8)
    out = F.attenuate(x, 10, "linear", 10.0)  # 5, 15, 25, 35 dB
    assert out.dtype == torch.float32
    torch.testing.assert_close(out[0, 0, 0, :, 0], torch.tensor([78.75, 36.25, 0, 0]))
    assert F.attenuate(x.half(), 10, "linear", 10.0).dtype == torch.float16


@pytest.mark.parametrize("function", ["attenuate", "time_gain"])
def test_gradients(function):
    x = (100 + 50 * torch.rand(2, 1, 5, 6, 2, dtype=DOUBLE)).requires_grad_()
    shape = (2,) if function == "attenuate" else (2, 3)
    value = torch.rand(shape, dtype=DOUBLE, requires_grad=True)
    probe = BeamGeometry("convex", angle=90, radius=3, depth=5)
    assert torch.autograd.gradcheck(lambda *a: getattr(F, function)(*a, probe), (x, value))


def frame(seed=0, **metadata):
    chance = torch.Generator().manual_seed(seed)
    tensor = 60 + 100 * torch.rand(1, 40, 50, 1, generator=chance)
    return tio.Subject(us=tio.ScalarImage(tensor, affine=np.diag([1.6, -1.6, 1, 1]), **metadata))


MADE = {
    "Attenuation": lambda geometry: tio.Attenuation(geometry, 2),
    "TimeGain": lambda geometry: tio.TimeGain(geometry, (2, 5, -3)),
    "Speckle": lambda geometry: tio.Speckle(geometry, 0.7, seed=5),
    "Haze": lambda geometry: tio.Haze(geometry, 0.6, seed=5),
}
every_transform = pytest.mark.parametrize("name", MADE)


@every_transform
def test_geometry_is_that_of_the_metadata_of_each_image(name):
    """Spellings of a geometry are read from metadata, one of each sample."""
    beams = [CONVEX, PHASED._asdict(), "linear"]
    subjects = [frame(n, beams=each) for n, each in enumerate(beams)]
    out = MADE[name]("beams")(batch_of(subjects))
    for n, each in enumerate(beams):
        alone = MADE[name](each)(subjects[n])
        torch.testing.assert_close(out.us.data[n], alone.us.data)
        assert not torch.equal(alone.us.data, subjects[n].us.data)
    with pytest.raises(
        KeyError, match="'beams' of 'us', the geometry of its beams, which sample 1"
    ):
        MADE[name]("beams")(batch_of([subjects[0], frame()]))
    with pytest.raises(ValueError, match="angle of the geometry must be"):
        MADE[name]("beams")(frame(beams={"probe": "convex", "angle": 190}))


@every_transform
def test_history_is_replayed_without_the_metadata(name):
    out = getattr(tio, f"Random{name}")("beams")(frame(beams=PHASED))
    (record,) = out.history
    again = tio.from_dict(json.loads(json.dumps(record.to_dict(), allow_nan=False)))
    assert torch.equal(again(frame()).us.data, out.us.data)


@every_transform
@pytest.mark.parametrize(
    "geometry",
    [PHASED, BeamGeometry("linear"), {"probe": "convex", "center": (1.0, 2.0)}, "phased", "beams",
     ["convex", None, 60]],
    ids=lambda g: type(g).__name__,
)  # fmt: skip
@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_files_hold_the_geometry(name, geometry, ending, tmp_path):
    pytest.importorskip("yaml", reason="PyYAML is not installed")
    file = tmp_path / f"pipeline.{ending}"
    transform = MADE[name](geometry)
    tio.save_pipeline(tio.Compose([transform]), file)
    subject = frame(beams=CONVEX)
    for again in (tio.load_pipeline(file), tio.from_dict(transform.to_dict("class_path"))):
        assert torch.equal(again(subject).us.data, transform(subject).us.data)


def test_the_schema_takes_what_files_hold():
    validator = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    for geometry in (["phased", None, 70.0, 50.0, 30, [0.0, 0.0]], {"probe": "linear"}, "beams"):
        step = {"RandomAttenuation": {"geometry": geometry, "axes": [0, 2]}}
        validator.validate({"torchio_gpu": 1, "pipeline": [step]}, schema())
    with pytest.raises(validator.ValidationError):
        validator.validate({"torchio_gpu": 1, "pipeline": ["RandomAttenuation"]}, schema())


def test_images_have_gains_of_their_own():
    subject = tio.Subject(a=frame().us, b=frame(1).us)
    out = tio.TimeGain("linear", {"a": [0, 6], "b": [3, 3]})(subject)
    assert torch.equal(out.a.data, tio.TimeGain("linear", [0, 6])(subject.a).data)
    torch.testing.assert_close(out.b.data, subject.b.data + 3 * 255 / 60)


def test_random_gains_are_in_the_range_and_differ():
    subjects = [frame(n) for n in range(30)]
    record = tio.RandomTimeGain("linear", (-2, 5), 4)(batch_of(subjects)).records[0]
    gains = np.asarray(record.params.gains)[:, 0]
    assert gains.shape == (30, 4)
    assert -2 <= gains.min() < -1
    assert 4 < gains.max() <= 5
    record = tio.RandomAttenuation("linear", (1, 2))(batch_of(subjects)).records[0]
    rates = np.asarray(record.params.attenuation)
    assert 1 <= rates.min() < rates.max() <= 2


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: tio.Attenuation(5, 2), TypeError, "geometry must be"),
        (lambda: tio.Attenuation({"opening": 5}, 2), TypeError, "geometry must be"),
        (lambda: tio.Attenuation(["round"], 2), ValueError, "probe of the geometry must be one of"),
        (lambda: tio.Attenuation("linear", 2, (0, 0)), ValueError, "axes must be two of 0, 1, 2"),
        (lambda: tio.Attenuation("linear", 2, white=0), ValueError, "white must be a number > 0"),
        (lambda: tio.Attenuation("linear", 2, (0.0, 1.0)), ValueError, "axes must be two of 0, 1"),
        (lambda: tio.Attenuation("linear", 2, (False, True)), ValueError, "axes must be two of 0"),
        (lambda: tio.RandomTimeGain("linear", dynamic_range=-6), ValueError, "dynamic_range must"),
        (lambda: tio.RandomAttenuation("linear", (2, 1)), ValueError, "attenuation must be"),
        (lambda: tio.TimeGain("linear", {"a": [1], "b": [1, 2]}), ValueError, "gains must be as"),
        (lambda: tio.TimeGain("linear", []), ValueError, "gains must be"),
        (
            lambda: F.attenuate(torch.zeros(2, 1, 4, 4, 1), 1, ["linear", {"probe": "phased"}] * 2),
            ValueError, r"geometry must be one per sample \(2\), got 4",
        ),
        (
            lambda: F.attenuate(torch.zeros(2, 1, 4, 4, 1), 1, [{"probe": "phased"}] * 3),
            ValueError, r"geometry must be one per sample \(2\), got 3",
        ),
        (
            lambda: F.speckle(torch.zeros(1, 1, 4, 4, 1), 1, BeamGeometry("linear", width=1e9)),
            ValueError, "geometry must be of about the size of the image",
        ),
        (
            lambda: F.speckle(torch.zeros(1, 1, 4, 4, 1), 1, BeamGeometry("linear", width=2e4)),
            ValueError, "geometry must be of about the size of the image",
        ),
        (
            lambda: F.attenuate(torch.zeros(1, 1, 4, 4, 1), 1, "linear", dynamic_range=301),
            ValueError, "dynamic_range must be a number > 0 and <= 300, got 301",
        ),
        (
            lambda: tio.Attenuation("linear", 2, white=1e7),
            ValueError, r"white must be a number > 0 and <= 1e\+06, got",
        ),
        (
            lambda: F.haze(torch.zeros(1, 1, 4, 4, 1), 1, BeamGeometry(radius=1e9)),
            ValueError, "geometry must be of about the size of the image",
        ),
    ],
)  # fmt: skip
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("order", [1, -1])
def test_a_list_of_geometries_has_any_order(order):
    """Names of probes and geometries, mixed; a list of arguments is one geometry."""
    x = torch.full((2, 1, 40, 40, 1), 150.0)
    for mixed in (["phased", CONVEX], ["phased", "linear"], [LINEAR._asdict(), "phased"]):
        each = mixed[::order]
        out = F.attenuate(x, 2, each)
        for n, one in enumerate(each):
            torch.testing.assert_close(out[n : n + 1], F.attenuate(x[:1], 2, one))
    assert torch.equal(
        F.attenuate(x, 2, ["linear", None, 70, 50, 30, [0, 2]]),
        F.attenuate(x, 2, BeamGeometry("linear", depth=30, center=np.array([0, 2.0]))),
    )


def test_beams_may_be_far_longer_than_the_image():
    x = torch.full((1, 1, 30, 20, 1), 100.0)
    long = BeamGeometry("phased", angle=60, depth=1e9)
    out = F.speckle(x, 1, long, seeds=np.array([1]), lateral=1e9)
    assert out.isfinite().all()
    assert (out != x).any()


@pytest.mark.parametrize("name", ["examples_rgb_color.dcm", "examples_ybr_color.dcm"])
def test_a_real_frame_keeps_what_is_outside_of_the_fan(name):
    data = pytest.importorskip("pydicom.data", reason="pydicom is not installed")
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
    file = data.get_testdata_file(name, download=False)
    if file is None:
        pytest.skip(f"pydicom has no file {name} on this machine")
    try:
        pixels = pydicom.dcmread(file).pixel_array
    except (RuntimeError, AttributeError, NotImplementedError) as error:
        pytest.skip(f"{name} cannot be decoded here: {error}")
    pixels = pixels if pixels.ndim == 3 else pixels[0]
    grey = torch.from_numpy(pixels[..., :1].astype(np.float32).T.copy())[..., None]  # [1, X, Y, 1]
    probe = BeamGeometry(
        "phased", angle=70, depth=0.8 * grey.shape[2], center=(0, 0.1 * grey.shape[2])
    )
    inside = Fan(probe, tuple(grey.shape[1:]), (0, 1), (1.0, 1.0)).inside(grey.device)[None]
    seg = torch.ones(grey.shape, dtype=torch.uint8)
    scan = tio.Subject(us=tio.ScalarImage(grey), seg=tio.LabelMap(seg))
    others = [
        tio.AcousticShadow(probe, 20, width=0.4),
        tio.Reverberation(probe, 0.8, 0.1 * grey.shape[2]),
        tio.LabelAttenuation(probe, {1: 1}),
    ]
    made = tio.LabelsToUltrasound(probe, {1: 0.2}, image_key="made")(scan).made.data
    assert (made[~inside] == 0).all()
    assert (made[inside] > 0).float().mean() > 0.9
    for transform in [*(made(probe) for made in MADE.values()), *others]:
        out = transform(scan).us.data
        assert torch.equal(out[~inside], grey[~inside])
        assert (out != grey)[inside].float().mean() > 0.1
        assert out[inside].amin() >= 0
        assert out[inside].amax() <= 255

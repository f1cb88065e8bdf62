"""Transforms of ultrasound along beams: shadows, tissue, echoes, and images of label maps."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.close import assert_close
from tests.volumes import batch_of
from torchio_gpu import functional as F
from torchio_gpu.functional.ultrasound.geometry import BeamGeometry, Fan

PROBE = BeamGeometry("convex", angle=40.0, radius=30.0, depth=45.0)
AFFINE = np.diag([1.2, -0.9, 2, 1])


def frames(seed=0, channels=1, planes=1):
    """Return a subject with a sequence of frames, as channels, and labels of these."""
    chance = torch.Generator().manual_seed(seed)
    us = 255 * torch.rand(channels, 50, 60, planes, generator=chance)
    seg = torch.zeros(1, 50, 60, planes, dtype=torch.uint8)
    seg[:, 10:40, 20:], seg[:, 20:30, 25:30] = 1, 2
    return tio.Subject(
        us=tio.ScalarImage(us, affine=AFFINE, beams=PROBE), seg=tio.LabelMap(seg, affine=AFFINE)
    )


TISSUE = {"attenuation": {1: 2.0, 2: 8.0}}
#: Transforms, and their random twins, of one geometry.
TRANSFORMS = {
    "AcousticShadow": lambda g=PROBE, **k: tio.AcousticShadow(g, 12, 0.4, 0.3, 10, **k),
    "RandomAcousticShadow": lambda g=PROBE, **k: tio.RandomAcousticShadow(g, position=0.5, **k),
    "LabelAttenuation": lambda g=PROBE, **k: tio.LabelAttenuation(g, {1: 2, 2: 8}, **k),
    "RandomLabelAttenuation": lambda g=PROBE, **k: tio.RandomLabelAttenuation(
        g, {1: (1, 2), 2: 9}, **k
    ),
    "Reverberation": lambda g=PROBE, **k: tio.Reverberation(g, 0.5, 9, 3, **k),
    "RandomReverberation": lambda g=PROBE, **k: tio.RandomReverberation(g, **k),
    "LabelsToUltrasound": lambda g=PROBE, **k: tio.LabelsToUltrasound(
        g, {0: 0.1, 2: 0.3, 1: 0.2}, image_key="made", seed=4, **k
    ),
    "RandomLabelsToUltrasound": lambda g=PROBE, **k: tio.RandomLabelsToUltrasound(
        g, image_key="made", **k
    ),
}
EACH = pytest.mark.parametrize("name", TRANSFORMS)


def image_of(name):
    return "made" if "LabelsTo" in name else "us"


@EACH
@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("channels", [1, 4])
def test_frames_sequences_and_stacks(name, planes, channels):
    before = frames(0, channels, planes)
    after = TRANSFORMS[name]()(before)
    x, new = before.us.data, after[image_of(name)].data
    outside = ~Fan(PROBE, (50, 60, planes), (0, 1), (1.2, 0.9)).inside(x.device).expand_as(new)
    assert 0.1 < outside.double().mean() < 0.9
    if image_of(name) == "made":
        assert new.shape == (1, 50, 60, planes)
        assert (new[outside] == 0).all()
        assert (new[~outside] > 0).double().mean() > 0.9
        assert torch.equal(after.us.data, x)
    else:
        assert torch.equal(new[outside], x[outside])
        assert (new != x).any()
        first = TRANSFORMS[name.removeprefix("Random")]
        again = first()(frames(0, channels, planes)).us.data
        one = tio.ScalarImage(x[:1], affine=AFFINE)
        alone = first()(tio.Subject(us=one, seg=before.seg)).us.data
        torch.testing.assert_close(again[:1], alone, rtol=1e-5, atol=1e-3)


@EACH
def test_a_batch_equals_its_samples_and_replays(name):
    transform, subjects, seeds = (
        TRANSFORMS[name](p=0.7),
        [frames(n) for n in range(4)],
        [3, 1, 8, 5],
    )
    out = transform(batch_of(subjects, seeds))
    key = image_of(name)
    changed = 0
    for n in range(4):
        alone = transform(batch_of(subjects[n : n + 1], seeds[n : n + 1]))
        # a sample that is left out has no image made of it; logarithms of small echoes
        assert_close(out[key].data[n], alone[key].data[0], share=1e-3, reason="order of sums")
        was = 0 if key == "made" else subjects[n].us.data
        changed += (out[key].data[n] != was).any().item()
    assert 1 <= changed <= 4
    single = TRANSFORMS[name]()
    after = single(subjects[0])
    record = json.loads(json.dumps(after.history[0].to_dict()))
    other = tio.from_dict(record)(subjects[0])
    torch.testing.assert_close(other[key].data, after[key].data)


@EACH
def test_geometry_is_read_from_metadata(name):
    before = frames()
    before.seg = tio.LabelMap(before.seg.data, affine=AFFINE, beams=PROBE)
    torch.manual_seed(1)
    want = TRANSFORMS[name]()(before)[image_of(name)].data
    torch.manual_seed(1)
    got = TRANSFORMS[name]("beams")(before)[image_of(name)].data
    assert torch.equal(got, want)
    source = "seg" if image_of(name) == "made" else "us"
    with pytest.raises(KeyError, match=f"{name} needs metadata 'probe' of '{source}'"):
        TRANSFORMS[name]("probe")(before)


@EACH
def test_copies_and_pickles_do_the_same(name):
    transform = TRANSFORMS[name]()
    want = transform(batch_of([frames()], [7]))[image_of(name)].data
    for other in (copy.deepcopy(transform), pickle.loads(pickle.dumps(transform))):
        assert torch.equal(other(batch_of([frames()], [7]))[image_of(name)].data, want)
    again = tio.from_dict(json.loads(json.dumps(transform.to_dict())))
    assert torch.equal(again(batch_of([frames()], [7]))[image_of(name)].data, want)


def test_parameters_are_per_sample_and_have_gradients():
    strength = torch.tensor([0.3, 0.6], requires_grad=True)
    batch = batch_of([frames(0), frames(1)], [1, 2])
    tio.Reverberation(PROBE, strength, [5, 9])(batch)["us"].data.sum().backward()
    assert (strength.grad > 0).all()
    level = torch.tensor(3.0, requires_grad=True)
    out = tio.LabelAttenuation(PROBE, {2: level})(frames()).us.data
    out.sum().backward()
    assert level.grad < 0
    mean = torch.tensor([0.1, 0.2, 0.3], requires_grad=True)
    tio.LabelsToUltrasound(PROBE, mean)(frames()).us.data.sum().backward()
    assert (mean.grad > 0).all()


def test_tissue_is_that_of_the_functions():
    s = frames()
    spacing = np.array([1.2, 0.9, 2])
    out = tio.LabelAttenuation(PROBE, {2: 4.0, 1: 1.0}, "seg")(s).us.data
    want = F.label_attenuation(
        s.us.data[None], s.seg.data[None], [4.0, 1.0], [2, 1], PROBE, spacing
    )
    assert torch.equal(out, want[0])
    out = tio.LabelsToUltrasound(PROBE, {2: 0.4, 0: 0.1}, density={0: 0.5, 2: 1}, seed=3)(s).us.data
    want = F.labels_to_ultrasound(
        s.seg.data[None], [0.4, 0.1], 0, [1, 0.5], 0.5, 1.6, PROBE, [2, 0], spacing=spacing,
        seeds=np.array([3]),
    )  # fmt: skip
    assert torch.equal(out, want[0])


def test_a_number_is_the_distance_itself():
    params = tio.RandomReverberation(PROBE, distance=5).sample_params(batch_of([frames()], [1]))
    assert (params.distance == 5).all()


def test_labels_differ_in_level_by_default():
    transform = tio.RandomLabelsToUltrasound(PROBE, used_labels=[1, 2])
    params = transform.sample_params(batch_of([frames()] * 50, list(range(50))))
    level = 20 * np.log10(np.asarray(params.mean)[:, 0])
    assert -40 <= level.min() < -37
    assert -13 < level.max() <= -10
    assert np.median(abs(np.diff(level, axis=1))) >= 6  # 0.29 of 30 dB in expectation


def test_random_tissue_depends_on_seed_and_label_alone():
    transform = tio.RandomLabelsToUltrasound(PROBE, image_key="made")
    s = frames()
    more = tio.Subject(seg=tio.LabelMap(s.seg.data.clone(), affine=AFFINE))
    more.seg.data[:, 0, 0] = 9
    first, second = (transform.sample_params(batch_of([x], [5])) for x in (s, more))
    labels = [each.labels.ravel().tolist() for each in (first, second)]
    assert labels == [[0, 1, 2], [0, 1, 2, 9]]
    for name in ("mean", "std", "density", "attenuation", "impedance"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name)[..., :3])
        assert len(np.unique(getattr(second, name))) == 4
    ranges = tio.RandomLabelsToUltrasound(
        PROBE, used_labels=[2, 1], mean={1: (0.1, 0.2), 2: 0.7}, impedance=3, gain_per_cm=2, axial=1
    ).sample_params(batch_of([s], [5]))
    assert ranges.labels.ravel().tolist() == [1, 2]
    assert 0.1 <= ranges.mean[0, 0, 0] <= 0.2
    assert ranges.mean[0, 0, 1] == 0.7
    assert (ranges.impedance == 3).all()
    assert (ranges.gain_per_cm, ranges.axial) == (2, 1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s: tio.LabelAttenuation(PROBE, {1: 2}, "lungs")(s), KeyError, "needs the label"),
        (lambda s: tio.LabelAttenuation(PROBE, {1: 2})(s.us), KeyError, "needs a label map"),
        (lambda s: tio.LabelAttenuation(PROBE, {}), ValueError, "attenuation must have an entry"),
        (lambda s: tio.LabelAttenuation(PROBE, {"a": 2}), ValueError, "attenuation must have"),
        (lambda s: tio.LabelAttenuation(PROBE, {1: "a"}), TypeError, "attenuation of label 1 must"),
        (lambda s: tio.RandomLabelAttenuation(PROBE, {1: (3, 2)}), ValueError, "label 1 must be a"),
        (lambda s: tio.AcousticShadow(PROBE, 3, width=-1), ValueError, "width must be >= 0"),
        (lambda s: tio.RandomAcousticShadow(PROBE, position=2), ValueError, "position must be"),
        (lambda s: tio.Reverberation(PROBE, 1.5, 3), ValueError, "strength must be between 0 and"),
        (lambda s: tio.Reverberation(PROBE, 0.5, 0), ValueError, "distance must be > 0"),
        (lambda s: tio.RandomReverberation(PROBE, distance=(0, 3)), ValueError, "distance must"),
        (lambda s: tio.RandomReverberation(PROBE, distance=0), ValueError, "distance must be > 0"),
        (
            lambda s: tio.RandomLabelsToUltrasound(PROBE, used_labels=[-1, 2]),
            ValueError, "used_labels must be integers >= 0",
        ),
        (lambda s: tio.RandomReverberation(PROBE, echoes=1.5), TypeError, "echoes must be an int"),
        (lambda s: tio.LabelsToUltrasound(PROBE, {}), ValueError, "mean must have an ent"),
        (lambda s: tio.LabelsToUltrasound(PROBE, 0.3), ValueError, "mean must have an ent"),
        (lambda s: tio.LabelsToUltrasound(PROBE, {1: 1}, std={2: 1}), ValueError, "std must have"),
        (lambda s: tio.LabelsToUltrasound(PROBE, [1], std=-1), ValueError, "std must be >= 0"),
        (lambda s: tio.LabelsToUltrasound(PROBE, [1], density=3), ValueError, "density must be"),
        (lambda s: tio.LabelsToUltrasound(PROBE, [1], impedance=0), ValueError, "impedance must"),
        (lambda s: tio.LabelsToUltrasound(PROBE, [1], image_key="seg")(s), ValueError, "image_key"),
        (lambda s: tio.LabelsToUltrasound(PROBE, [1])(s.us), KeyError, "needs a label map"),
        (
            lambda s: tio.RandomLabelsToUltrasound(PROBE, mean={1: 3})(s),
            ValueError, r"mean must have a range for each used label, none for \[0, 2\]",
        ),
        (lambda s: tio.AcousticShadow("round", 3)(s), KeyError, "needs metadata 'round' of 'us'"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(frames())


def test_label_maps_have_the_grid_of_the_image():
    s = frames()
    moved = tio.Subject(us=s.us, seg=tio.LabelMap(s.seg.data, affine=np.eye(4)))
    with pytest.raises(ValueError, match="needs 'seg' to have one channel in the space of 'us'"):
        tio.LabelAttenuation(PROBE, {1: 2})(moved)
    with pytest.raises(ValueError, match="needs 'seg' to have one channel in the space of 'us'"):
        tio.LabelsToUltrasound(PROBE, [1])(moved)
    two = tio.Subject(us=s.us, seg=tio.LabelMap(s.seg.data.repeat(2, 1, 1, 1), affine=AFFINE))
    with pytest.raises(ValueError, match="in the space of 'us': it has 2"):
        tio.LabelAttenuation(PROBE, {1: 2})(two)


def test_an_image_that_exists_is_replaced():
    s = frames()
    out = tio.LabelsToUltrasound(PROBE, {1: 0.2}, seed=1)(s)
    del s["us"]
    assert torch.equal(out.us.data, tio.LabelsToUltrasound(PROBE, {1: 0.2}, seed=1)(s).us.data)


def test_label_maps_that_were_moved_before_are_read_where_they_are():
    s = frames()
    pipeline = tio.Compose([tio.Flip(0), tio.LabelAttenuation(PROBE, {1: 3})])
    by_steps = tio.LabelAttenuation(PROBE, {1: 3})(tio.Flip(0)(s))
    torch.testing.assert_close(pipeline(s).us.data, by_steps.us.data, rtol=1e-5, atol=1e-3)

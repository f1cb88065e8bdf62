"""Cards of the gallery say what the code does: facts are held against behaviour."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import torchio_gpu as tio
from benchmarks import costs
from docs import facts, gallery
from torchio_gpu.names import TRANSFORMS

pytest.importorskip("nilearn", reason="the head of the pictures comes with nilearn")
NAMES = gallery.names()
of_each = pytest.mark.parametrize("name", NAMES)


@cache
def head() -> tio.Subject:
    """Return the head of the pictures at 3 mm."""
    small = tio.Resample(3)(gallery.head())
    return tio.Subject(t1=small.t1, seg=small.seg)  # without the history


@cache
def phantom() -> tio.Subject:
    """Return the CT phantom at 2 mm, its images under the names of those of the head."""
    scan = gallery.ct_phantom(2)
    return tio.Subject(t1=scan.ct, seg=scan.seg, metal=scan.metal)


@cache
def frame() -> tio.Subject:
    """Return the phantom of ultrasound at 1 mm, its images under the names of those of the head."""
    scan = gallery.ultrasound_phantom(1)
    return tio.Subject(t1=scan.us, seg=scan.seg)


@pytest.fixture(autouse=True)
def _images_have_the_names_of_those_of_the_head(monkeypatch):
    shown = gallery.SHOWN["RandomLabelsToUltrasound"].to_dict()
    renamed = tio.from_dict({**shown, "image_key": "t1"})
    monkeypatch.setitem(gallery.SHOWN, "RandomLabelsToUltrasound", renamed)


def subject_of(name: str) -> tio.Subject:
    made = {gallery.FAMILIES["ct"]: phantom, gallery.FAMILIES["ultrasound"]: frame}
    return made.get(gallery.family(name), head)()


@cache
def facts_of(name: str) -> facts.Facts:
    return facts.facts_of(gallery.shown(name))


def seeded(function: Callable[[], tio.Subject]) -> tio.Subject:
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "max_displacement should stay below")
        head()  # which draws a seed the first time
        torch.manual_seed(1)
        return function()


def test_every_transform_has_a_card_or_a_reason():
    random = {name for name in TRANSFORMS if name.startswith("Random")}
    assert random <= set(NAMES), "every random transform has a card"
    twins = {name.removeprefix("Random") for name in random}
    assert sorted([*NAMES, *gallery.WITHOUT, *twins]) == sorted(TRANSFORMS)
    for name in NAMES:
        try:
            assert gallery.shown(name).name == name
            assert gallery.family(name) in gallery.FAMILIES.values()
        except (TypeError, ValueError) as error:
            raise AssertionError(f"{name} needs arguments in docs/gallery.py: {error}") from error


def test_a_new_transform_gets_a_card(monkeypatch):
    monkeypatch.setattr(gallery, "TRANSFORMS", (*TRANSFORMS, "RandomSharpen", "Sharpen", "Trim"))
    assert set(gallery.names()) - set(NAMES) == {"RandomSharpen", "Trim"}


@of_each
def test_what_can_be_undone_is_undone(name):
    before = subject_of(name)
    after = seeded(lambda: gallery.shown(name)(before))
    back = after.apply_inverse_transform(warn=False)
    kept = [("t1", "intensity"), ("seg", "label")]
    images = [image for image, kind in kept if kind in facts_of(name).changes]
    for image in images:
        if not facts_of(name).invertible:
            assert torch.equal(back[image].data, after[image].data)
            continue
        assert back[image].spatial_shape == before[image].spatial_shape
        inner = (..., *[slice(24, -24)] * 3)  # which no transform here moves out of sight
        x, y = (each[image].data[inner].float() for each in (before, back))
        assert (x - y).abs().mean() < 0.5 * x.std()  # half as far as other content would be
        if after[image].spatial_shape == before[image].spatial_shape:
            changed = (x - after[image].data[inner].float()).abs().mean()
            assert (x - y).abs().mean() < 0.6 * changed


@of_each
def test_a_gradient_reaches_the_image_where_the_image_has_an_effect(name):
    """Output that depends on the image by differences depends on it by its gradient, too."""
    if "intensity" not in facts_of(name).changes:
        assert facts_of(name).image_gradient is None
        return
    torch.manual_seed(0)
    before = subject_of(name)
    other = before.t1.data + 0.01 * torch.rand(before.t1.data.shape)
    moved = tio.Subject(dict(before) | {"t1": tio.ScalarImage(other, affine=before.t1.affine)})
    one, two = (seeded(lambda s=s: gallery.shown(name)(s)) for s in (before, moved))
    assert facts_of(name).image_gradient == (not torch.equal(one.t1.data, two.t1.data))


def _vectors(v: Tensor) -> tuple[Tensor, np.ndarray]:
    return v.expand(3, 6, 6, 6), np.diag([4.0, 4, 4, 1])


#: Ways to give the twin of a random transform a tensor, by parameter; these alone get a gradient.
GIVEN: dict[str, dict[str, Callable[[Tensor], tio.Transform]]] = {
    "RandomAffine": {
        "scales": lambda v: tio.Affine(scales=1 + v),
        "degrees": lambda v: tio.Affine(degrees=v),
        "translation": lambda v: tio.Affine(translation=v),
    },
    "RandomAnisotropy": {"downsampling": lambda v: tio.Anisotropy(0, 2 + v)},
    "RandomBiasField": {"coefficients": lambda v: tio.BiasField(v.expand(20))},
    "RandomBlur": {"std": lambda v: tio.Blur(1 + v)},
    "RandomBrightness": {
        "factor": lambda v: tio.Brightness(1 + v),
        "offset": lambda v: tio.Brightness(1, v),
    },
    "RandomContrast": {"factor": lambda v: tio.Contrast(1 + v)},
    "RandomDiffeomorphism": {"vectors": lambda v: tio.Diffeomorphism(*_vectors(v))},
    "RandomDisplacement": {"vectors": lambda v: tio.Displacement(*_vectors(v))},
    "RandomElasticDeformation": {
        "control_points": lambda v: tio.ElasticDeformation(v.expand(5, 5, 5, 3))
    },
    "RandomFlip": {},
    "RandomGamma": {"log_gamma": lambda v: tio.Gamma(v.exp())},
    "RandomGhosting": {"intensity": lambda v: tio.Ghosting(3, 1, v)},
    "RandomGibbs": {},
    "RandomLabelsToImage": {
        "mean": lambda v: tio.LabelsToImage("seg", mean=v.expand(3), std=torch.ones(3)),
        "std": lambda v: tio.LabelsToImage("seg", mean=torch.ones(3), std=v.expand(3)),
    },
    "RandomLowResolution": {},
    "RandomMotion": {
        "degrees": lambda v: tio.Motion(v.expand(1, 3), torch.zeros(1, 3), (0.5,)),
        "translation": lambda v: tio.Motion(torch.zeros(1, 3), v.expand(1, 3), (0.5,)),
    },
    "RandomNoise": {
        "mean": lambda v: tio.Noise(v, 0.1, seed=1),
        "std": lambda v: tio.Noise(0.0, v, seed=1),
    },
    "RandomSpike": {"intensity": lambda v: tio.Spike([(0.3, 0.6, 0.7)], v[None])},
    "RandomSwap": {},
}


@pytest.mark.parametrize("name", GIVEN)
def test_gradients_reach_the_parameters_that_the_card_names(name):
    assert set(facts_of(name).parameter_gradients) == set(GIVEN[name])
    images = facts._sample()
    for parameter, made in GIVEN[name].items():
        value = torch.tensor(0.2, requires_grad=True)
        out = made(value)(tio.SubjectsBatch(dict(images)))
        new = next(i for n, i in out.images.items() if n != "seg" and i is not images.get(n))
        (new.data * torch.rand(new.data.shape)).sum().backward()
        assert value.grad is not None, parameter
        assert value.grad != 0, parameter


@of_each
def test_passes_are_those_that_are_carried_out(name):
    """Steps that are interpolated in one sampling differ from steps one by one; others do not."""
    shown, said = gallery.shown(name), facts_of(name).passes
    motion, gamma, before = tio.RandomAffine(), tio.RandomGamma(), subject_of(name)

    def shares(*steps: tio.Transform) -> bool:
        lines = tio.Compose(steps).explain(before).splitlines()
        passes = [line for line in lines if re.match(r" +(t1|seg): (?!together)", line)]
        return len({line.split(":")[0] for line in passes}) == len(passes)

    def differs(*steps: tio.Transform) -> bool:
        one, all_ = (seeded(lambda f=f: tio.Compose(steps, fuse=f)(before)) for f in (True, False))
        return not torch.equal(one.t1.data, all_.t1.data)

    if said == "one sampling, with spatial neighbours":
        assert shares(motion, shown)
        assert shares(shown, motion)
    elif said == "one sampling, with spatial neighbours before it":
        assert shares(motion, shown)
        assert differs(motion, shown)
        assert not differs(shown, motion)
    elif said == "one sampling, with spatial neighbours after it":
        assert shares(shown, motion)
        assert not differs(motion, shown)
    elif said == "one pass, with pointwise neighbours":
        assert shares(gamma, shown, gamma)
    elif said == "one sampling, between a change of the grid and a motion":
        assert differs(tio.Resample(4), shown, motion)
        assert not differs(motion, shown, motion)
    elif said.startswith("one pass, with neighbours that change lines of k-space"):
        assert shares(tio.RandomGibbs(), shown)
        assert shares(shown, tio.RandomGibbs()) != said.endswith(" before it")
    else:
        assert said == "a pass of its own"
        assert not differs(motion, shown, motion)
        assert not differs(gamma, shown, gamma)


@of_each
def test_the_effect_is_visible(name):
    """Images differ by a percent of the range that is drawn, or are of another shape."""
    changes = facts_of(name).changes
    image = "t1" if "intensity" in changes else "seg"
    before = subject_of(name)[image].data.float()
    after = gallery.after(name, subject_of(name))[image].data.float()
    span = before.max()
    if subject_of(name) is phantom() and name != "RandomWindow":  # drawn in a window
        low, high = gallery.CT_WINDOW
        before, after, span = before.clamp(low, high), after.clamp(low, high), high - low
    if after.shape == before.shape:
        change = (after - before).abs()
        if name == "RandomZipper":  # in one plane across AP, by ten percent
            assert change.mean((0, 1, 3)).max() > 0.1 * span
        else:
            assert change.mean() > 0.01 * span


@of_each
def test_the_code_of_a_card_is_what_is_drawn(name):
    text = gallery.card(name, facts_of(name), "1 ms")
    (code,) = re.findall(r"^```python\n(.*)\n```$", text, re.MULTILINE)
    again = seeded(lambda: eval(code, {"tio": tio})(subject_of(name)))
    drawn = seeded(lambda: gallery.shown(name)(subject_of(name)))
    assert torch.equal(again.t1.data, drawn.t1.data)
    assert torch.equal(again.seg.data, drawn.seg.data)
    assert f"### [{name}](reference/{name}.md)" in text


def test_a_card_says_its_facts():
    known = facts.Facts(True, True, ("std",), ("intensity", "label"), "a pass of its own")
    text = gallery.card("RandomBlur", known, "12 ms")
    for line in (
        "- **Time:** 12 ms",
        "- **Can be undone:** yes",
        "- **Gradients reach:** image, `std`",
        "- **Changes:** images and label maps",
        "- **Passes:** a pass of its own",
        "Blur scalar images by a Gaussian of random width. With given parameters: "
        "[`Blur`](reference/Blur.md).",
    ):
        assert line in text.splitlines()
    other = replace(known, invertible=False, image_gradient=None, parameter_gradients=())
    text = gallery.card("Crop", other, "not measured")
    assert "- **Can be undone:** no" in text
    assert "- **Gradients reach:** nothing" in text
    assert "With given parameters" not in text
    text = gallery.card("RandomGamma", known, "1 ms").splitlines()
    assert text[2].startswith("[![RandomGamma, before and after: Change the contrast at random: s")
    assert text[6].startswith("Change the contrast at random: `sign(x) |x| ** exp(log_gamma)`.")


def test_times_are_those_that_are_stored():
    result = costs.newest()
    assert result is not None
    assert str(result["date"])[:10] in gallery.measured()
    assert result["machine"]["cpu"] in gallery.measured()
    stored = {row["name"]: row["median"] for row in result["rows"]}
    assert {name for name in TRANSFORMS if name.startswith("Random")} <= set(stored)
    for name, time in gallery.times().items():
        assert float(time.removesuffix(" ms")) == pytest.approx(stored[name], rel=0.01)


def test_costs_are_measured_with_their_machine(monkeypatch, capsys):
    monkeypatch.setattr(costs, "SHAPE", (8, 9, 10))
    threads = torch.get_num_threads()
    result = costs.run("cpu", 1, ["RandomFlip"])
    torch.set_num_threads(threads)
    (row,) = result["rows"]
    assert row["name"] == "RandomFlip"
    assert 0 < row["low"] <= row["median"] <= row["high"]
    assert (result["suite"], result["threads"], result["shape"]) == ("costs", 1, (8, 9, 10))
    assert "RandomFlip" in capsys.readouterr().out


def test_the_picture_shows_the_head_before_and_after(tmp_path):
    image_files = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    file = tmp_path / "RandomNoise.jpg"
    gallery.draw("RandomNoise", gallery.head(), facts_of("RandomNoise"), file)
    picture = np.asarray(image_files.open(file).convert("L"), dtype=float)
    rough = np.abs(np.diff(picture[len(picture) // 4 :], axis=0))
    left, right = np.array_split(rough, 2, axis=1)
    assert right.mean() > 3 * left.mean()
    assert left.max() > 20  # the head is there
    assert Path(file).stat().st_size < 100_000

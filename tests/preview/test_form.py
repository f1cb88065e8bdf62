"""Every transform has controls that work, or says why it has none."""

from __future__ import annotations

import json

import pytest

import torchio_gpu as tio
from tests.preview.subjects import KINDS, subject
from torchio_gpu.names import TRANSFORMS
from torchio_gpu.preview.errors import StepError
from torchio_gpu.preview.form import check_files, form, forms, why_no_form
from torchio_gpu.preview.session import Session, Wish
from torchio_gpu.transforms.naming import COMMON, parameters
from torchio_gpu.transforms.parameters.ranges import Range

#: Transforms that take what no page can hold.
WITHOUT = {
    *("B0Distortion", "Lambda", "Displacement", "Diffeomorphism", "SliceMotion"),
    *("MixUp", "CutMix", "ClassMix"),
}
NUMERIC = ("number", "numbers", "range")


@pytest.fixture(scope="module")
def session() -> Session:
    return Session(subject())


def start(name: str, **given: object) -> dict:
    """Return a step as the page adds it: with the values that controls begin with."""
    controls = form(name, KINDS)["controls"]
    values = {c["name"]: c["start"] for c in controls if c["start"] != c["default"]}
    return {"name": name, "arguments": {**values, **given}, "on": True}


def test_transforms_without_controls_say_why():
    assert {name for name in TRANSFORMS if why_no_form(name)} == WITHOUT
    for each in forms(KINDS):
        assert bool(each["why_not"]) == (each["name"] in WITHOUT)
        assert bool(each["controls"]) != bool(each["why_not"])


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if name not in WITHOUT])
def test_a_transform_can_be_added(session, name):
    described = form(name, KINDS, 100.0)
    assert described["summary"].endswith(".")
    assert json.loads(json.dumps(described)) == described
    shown = {control["name"] for control in described["controls"]}
    own = {n for n in parameters(getattr(tio.transforms, name)) if n not in COMMON}
    assert shown == own | {"p", "include", "exclude"} - ({"p"} if name == "To" else set())
    for control in described["controls"]:
        assert control["meaning"], control
        if control["kind"] in NUMERIC:
            assert control["min"] < control["max"]
            assert 50 <= (control["max"] - control["min"]) / control["step"] <= 1000 or (
                control["step"] == 1
            )
        assert control["kind"] != "option" or control["options"], control
    if name == "PCA":  # of more channels than the image has
        with pytest.raises(StepError, match="num_components must not be above the number of"):
            session.result(Wish([start(name)]))
    else:
        assert session.result(Wish([start(name)]))


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if name not in WITHOUT])
def test_sliders_reach_only_what_the_constructor_takes(session, name):
    for control in form(name, KINDS, 100.0)["controls"]:
        if control["kind"] not in NUMERIC:
            continue
        low, high = control["min"], control["max"]
        values = [low, high]
        if control["kind"] == "range":
            values = [[low, high], *([[low, low], [high, high]] if control["random"] else [])]
        if (name, control["name"]) == ("BiasField", "order"):
            values = [3]  # the order that the coefficients have
        for value in values:
            step = start(name, **{control["name"]: value})
            session.texts(Wish([step]))  # constructs it


@pytest.mark.parametrize(
    ("name", "argument", "attribute"),
    [
        ("RandomAffine", "scales", "_scales"), ("RandomAffine", "degrees", "_degrees"),
        ("RandomBlur", "std", "_std"), ("RandomNoise", "std", "_std"),
        ("RandomAnisotropy", "downsampling", "_downsampling"),
        ("RandomGamma", "log_gamma", "_log_gamma"),
        ("RandomLowResolution", "zoom", "_zoom"), ("RandomGhosting", "num_ghosts", "_num_ghosts"),
        ("RandomContrast", "factor", "_factor"), ("RandomMotion", "translation", "_translation"),
        ("RandomSpike", "num_spikes", "_num_spikes"), ("RandomBrightness", "offset", "_offset"),
    ],
)  # fmt: skip
def test_a_single_number_means_the_range_that_the_transform_draws_from(name, argument, attribute):
    (control,) = (c for c in form(name, KINDS)["controls"] if c["name"] == argument)
    d = 3 if control["step"] == 1 or argument == "downsampling" else 0.5
    meant = [eval(end, {"d": d}) for end in control["around"].split(", ")]
    drawn: Range = getattr(getattr(tio, name)(**{argument: d}), attribute)
    assert meant == [drawn.low[0], drawn.low[0] + drawn.span[0]]


def test_controls_in_units_of_the_image_reach_as_far_as_its_intensities():
    (std,) = (c for c in form("RandomNoise", KINDS, 800.0)["controls"] if c["name"] == "std")
    assert (std["unit"], std["min"], std["max"]) == ("intensity", 0.0, 800.0)


@pytest.mark.parametrize(
    "description",
    [
        {"Resample": "/etc/passwd"},
        {"Resample": {"target": "scan.nii.gz"}},
        {"HistogramStandardization": "landmarks.pt"},
        {"HistogramStandardization": {"landmarks": {"t1": "landmarks.npy"}}},
        {"_target_": "torchio_gpu.Resample", "target": "scan.nii.gz"},
        {"class_path": "torchio_gpu.transforms.Resample", "init_args": {"target": "scan.nii.gz"}},
        {"OneOf": [{"RandomBlur": {}}, {"Resample": "scan.nii.gz", "weight": 2}]},
        {"transform": "Resample", "arguments": {"target": "scan.nii.gz"}, "params": {}},
        {"ToReferenceSpace": "scan.nii.gz"},
    ],
)
def test_no_description_names_a_file(description):
    with pytest.raises(ValueError, match=r"must name an image of the subject here, since only"):
        check_files([description], list(KINDS))


def test_names_of_images_and_words_of_the_documentation_are_no_files():
    check_files({"Resample": {"target": "t1", "image_interpolation": "nearest"}}, list(KINDS))
    landmarks = {"landmarks": {"t1": [0, 1]}, "masking_method": "Left"}
    check_files({"HistogramStandardization": landmarks}, [])

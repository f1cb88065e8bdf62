"""Pipelines in files: what is written, and that it is read alike."""

import json
import stat

import pytest
import torch
from torch import distributions

import torchio_gpu as tio
from tests.transforms.test_descriptions import CASES, Base

pytestmark = pytest.mark.filterwarnings("ignore:max_displacement should stay below")


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_every_transform_is_saved_and_loaded(suffix, tmp_path):
    path = tmp_path / f"p.{suffix}"
    for name, create in CASES.items():
        transform = create()
        tio.save_pipeline(transform, path)
        again = tio.load_pipeline(path)
        assert type(again) is type(transform), name
        # keys of JSON are strings
        assert json.dumps(again.to_dict()) == json.dumps(transform.to_dict()), name


def test_files_are_short(tmp_path):
    augment = tio.Compose([
        tio.ToCanonical(),
        tio.Resample(2),
        tio.RandomAffine(degrees=15, scales=(0.9, 1.1), p=0.8),
        tio.OneOf({tio.RandomMotion(5): 2, tio.RandomGhosting(): 1}, p=0.5),
        tio.OneOf([tio.RandomBlur((0, 1)), tio.RandomNoise()]),
        tio.RandomGamma(distributions.Normal(0, 0.1)),
        tio.RandomNoise(std=tio.Choice([0.1, 1e-5]), include=["yes", "010", "1e3", "t 1", "0o7"]),
        Base(3),
    ])  # fmt: skip
    tio.save_pipeline(augment, tmp_path / "p.yaml")
    assert (
        (tmp_path / "p.yaml").read_text()
        == """\
torchio_gpu: 1
pipeline:
- ToCanonical
- Resample: 2
- RandomAffine: {scales: [0.9, 1.1], degrees: 15, p: 0.8}
- OneOf:
    transforms:
    - RandomMotion: 5
      weight: 2
    - RandomGhosting: {}
      weight: 1
    p: 0.5
- OneOf:
  - RandomBlur: [0, 1]
  - RandomNoise
- RandomGamma: {log_gamma: {Normal: {loc: 0.0, scale: 0.1}}}
- RandomNoise: {std: {Choice: [0.1, 1.0e-05]}, include: ['yes', '010', '1e3', t 1, '0o7']}
- Base: 3
"""
    )
    again = tio.load_pipeline(tmp_path / "p.yaml", allow=Base)
    assert again.to_dict() == augment.to_dict()


def test_other_roots(tmp_path):
    path = tmp_path / "p.yaml"
    for transform, text in (
        (tio.RandomBlur(), "pipeline: RandomBlur\n"),
        (tio.Compose([]), "pipeline: []\n"),
        (tio.Compose([tio.RandomBlur()], fuse=False),
         "pipeline:\n  Compose: {transforms: [RandomBlur], fuse: false}\n"),
        (tio.Compose({"a": tio.RandomBlur()}),
         "pipeline:\n  Compose: {transforms: {a: RandomBlur}}\n"),
    ):  # fmt: skip
        tio.save_pipeline(transform, path)
        assert path.read_text() == "torchio_gpu: 1\n" + text
        assert tio.load_pipeline(path).to_dict() == transform.to_dict()


def test_json_is_the_same_form(tmp_path):
    tio.save_pipeline(tio.Compose([tio.RandomBlur(), tio.Blur(2)]), tmp_path / "p.json")
    written = json.loads((tmp_path / "p.json").read_text())
    assert written == {"torchio_gpu": 1, "pipeline": ["RandomBlur", {"Blur": 2}]}


class Words(tio.transforms.Transform):
    """Transform of a user whose arguments have names that files use as well."""

    def __init__(self, weight=1, params=None, init_args=None, class_path=None, **kwargs):
        super().__init__(**kwargs)
        self.weight, self.params = weight, params
        self.init_args, self.class_path = init_args, class_path

    def apply_transform(self, subject):
        return subject


def written_and_read(transform, folder):
    """Return what is read from each way to write a transform."""
    styles = "_target_", "class_path"
    texts = [json.loads(json.dumps(transform.to_dict(style))) for style in styles]
    paths = [folder / "p.yaml", folder / "p.json"]
    for path in paths:
        tio.save_pipeline(transform, path)
    found = [tio.from_dict(text, Words) for text in texts]
    return [*found, *(tio.load_pipeline(path, Words) for path in paths)]


@pytest.mark.parametrize(
    "step",
    [
        tio.Compose({"weight": tio.Flip(1), "b": tio.Flip(2)}),
        tio.Compose({"params": tio.Flip(1), "params_type": tio.Flip(2)}),
        tio.Compose({"transforms": tio.Flip(1), "RandomFlip": tio.Flip(), "init_args": tio.Flip()}),
        tio.Flip(keep={"weight": "params"}),
        Words(weight=2), Words(params={"a": 1}), Words(init_args=[1, 2]),
        Words(params={"weight": 1, "params": 2}),
    ],
    ids=lambda step: str(step)[:40],
)  # fmt: skip
def test_names_that_files_use_are_read_right(step, tmp_path):
    second = tio.Flip(0)
    for transform in (step, tio.Compose([step]), tio.OneOf([step, second]),
                      tio.OneOf({step: 3, second: 1})):  # fmt: skip
        for again in written_and_read(transform, tmp_path):
            assert type(again) is type(transform)
            assert json.dumps(again.to_dict()) == json.dumps(transform.to_dict())


@pytest.mark.parametrize(
    ("step", "owner"),
    [
        (tio.Compose({"a": tio.Flip(), "_target_": tio.Flip()}), "transforms of Compose"),
        (tio.Compose({"class_path": tio.Flip()}), "transforms of Compose"),
        (tio.Flip(keep={"_target_": "before"}), "keep of Flip"),
        (tio.Blur(std={"class_path": 1}), "std of Blur"),
        (Words(params={"_target_": 1}), "params of Words"),
        (Words(params=[{"_target_": 1}]), "params of Words"),
        (Words(class_path="a"), "Words"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_names_under_which_files_have_a_class_are_refused(step, owner, tmp_path):
    for transform in (step, tio.Compose({"a": step}), tio.OneOf([step])):
        for write in (transform.to_dict, lambda t=transform: t.to_dict("class_path"),
                      lambda t=transform: tio.save_pipeline(t, tmp_path / "p.yaml")):  # fmt: skip
            with pytest.raises(TypeError, match=rf"^{owner} must not hold the name '(_t|cl)"):
                write()
    assert not list(tmp_path.iterdir())


def test_files_appear_whole_or_not_at_all(tmp_path):
    path = tmp_path / "p.yaml"
    tio.save_pipeline(tio.RandomBlur(), path)
    path.chmod(0o600)
    before = path.read_text()
    with pytest.raises(TypeError, match="function of Lambda must be a number, a string"):
        tio.save_pipeline(tio.Compose([tio.RandomBlur(), tio.Lambda(torch.abs)]), path)
    for suffix in ("yaml", "json"):
        with pytest.raises(ValueError, match=r"must take at most 100000 values .*, got 658987:"):
            tio.save_pipeline(tio.Displacement(torch.rand(3, 60, 60, 60)), tmp_path / f"p.{suffix}")
    names = ["x" * 4000] * 300
    with pytest.raises(ValueError, match=r"must take at most 1048576 bytes .*, got 12"):
        tio.save_pipeline(tio.RandomNoise(include=names), path)
    assert path.read_text() == before
    tio.save_pipeline(tio.RandomNoise(), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["p.yaml"]


def test_errors_of_arguments(tmp_path):
    with pytest.raises(
        ValueError, match=r"path must end in \.yaml, \.yml or \.json, got '.*p\.txt"
    ):
        tio.save_pipeline(tio.RandomBlur(), tmp_path / "p.txt")
    with pytest.raises(FileNotFoundError, match="path must be in an existing folder"):
        tio.save_pipeline(tio.RandomBlur(), tmp_path / "none" / "p.yaml")
    with pytest.raises(TypeError, match="transform must be a Transform, got <built-in"):
        tio.save_pipeline(torch.abs, tmp_path / "p.yaml")
    assert not list(tmp_path.iterdir())

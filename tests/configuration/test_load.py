"""Pipelines from files and texts: what they build, and the line of each error."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import distributions

import torchio_gpu as tio
from tests.volumes import subject
from torchio_gpu.transforms.inverse import Inverse

SHORT = """\
torchio_gpu: 1
pipeline:
  - ToCanonical
  - Resample: 2.5
  - CropOrPad: [12, 14, null]   # a comment
  - RandomAffine: {degrees: 15, scales: [0.9, 1.1], p: 0.8}
  - OneOf: [{RandomMotion: {degrees: 5}, weight: 2}, {RandomGhosting: {}, weight: 1}]
  - RandomNoise:
      std: {Choice: [1e-3, .1]}
      include: [t1]
  - RandomGamma: {log_gamma: {Normal: {loc: 0, scale: 0.5}}}
  - RemapLabels: {remapping: {1: 2, 2: 1}}
  - SomeOf: {transforms: [RandomFlip, {RandomBlur: 1, weight: 3}], num_transforms: [0, 2]}
  - RandomAffineElasticDeformation:
      affine_kwargs: {degrees: {Uniform: {low: 0, high: 5}}}
      elastic_kwargs: {max_displacement: 0.5}
"""


def expected() -> tio.Compose:
    return tio.Compose([
        tio.ToCanonical(),
        tio.Resample(2.5),
        tio.CropOrPad((12, 14, None)),
        tio.RandomAffine(degrees=15, scales=(0.9, 1.1), p=0.8),
        tio.OneOf({tio.RandomMotion(degrees=5): 2, tio.RandomGhosting(): 1}),
        tio.RandomNoise(std=tio.Choice([1e-3, 0.1]), include=["t1"]),
        tio.RandomGamma(distributions.Normal(0, 0.5)),
        tio.RemapLabels({1: 2, 2: 1}),
        tio.SomeOf([tio.RandomFlip(), tio.RandomBlur(1)], (0, 2), weights=(1, 3)),
        tio.RandomAffineElasticDeformation(
            affine_kwargs={"degrees": distributions.Uniform(0, 5)},
            elastic_kwargs={"max_displacement": 0.5},
        ),
    ])  # fmt: skip


def test_the_short_form_is_what_python_says(tmp_path):
    path = tmp_path / "augment.yaml"
    path.write_text(SHORT)
    results = []
    for each in (tio.load_pipeline(path), tio.load_pipeline(str(path)), tio.load_pipeline(SHORT)):
        assert each.to_dict() == expected().to_dict()
        torch.manual_seed(0)
        results.append(each(subject()).t1.data)
    torch.manual_seed(0)
    wanted = expected()(subject()).t1.data
    assert all(torch.equal(result, wanted) for result in results)


@pytest.mark.parametrize(
    ("step", "transform"),
    [
        ("RandomFlip", tio.RandomFlip()),
        ("RandomFlip:", tio.RandomFlip()),
        ("RandomFlip: {}", tio.RandomFlip()),
        ("RandomFlip: LR", tio.RandomFlip("LR")),
        ("RandomFlip: [LR, 1]", tio.RandomFlip(("LR", 1))),
        ("Pad: {padding: 1, padding_mode: -.INF}", tio.Pad(1, -float("inf"))),
        ("Pad: {padding: 0x10, padding_mode: -1.5e+1}", tio.Pad(16, -15.0)),
        ("Pad: [010, 0o17, +1]", tio.Pad((10, 15, 1))),
        ("Mask: no", tio.Mask("no")),  # a word of YAML 1.2
        ("Mask: '1'", tio.Mask("1")),
        ("Mask: !!str 1", tio.Mask("1")),
        ("Noise: {std: !!float 1}", tio.Noise(std=1.0)),
        ("Noise: {std: {t1: 1, 'on': 2}}", tio.Noise(std={"t1": 1, "on": 2})),
        ("Blur: {std: {Normal: 3}}", tio.Blur({"Normal": 3})),  # an image of that name
        ("Compose: {transforms: {a: RandomFlip}, fuse: false}",
         tio.Compose({"a": tio.RandomFlip()}, fuse=False)),
        ("Compose: [RandomFlip]", tio.Compose([tio.RandomFlip()])),
        ("Inverse: Flip", tio.Flip(0).inverse()),
        ("Inverse: {Flip: LR}", tio.Flip("LR").inverse()),
        ("Inverse: {Inverse: {Flip: {axes: [0, 1]}}}", Inverse(tio.Flip((0, 1)).inverse())),
        ("Inverse: {transform: {Flip: LR}}", tio.Flip("LR").inverse()),
        ("OneOf: {transforms: [RandomFlip, RandomBlur], weights: [1, 2]}",
         tio.OneOf([tio.RandomFlip(), tio.RandomBlur()], (1, 2))),
        ("{_target_: torchio_gpu.RandomBlur, std: [1, 2]}", tio.RandomBlur((1, 2))),
        ("{class_path: torchio_gpu.RandomBlur, init_args: {std: [1, 2]}}", tio.RandomBlur((1, 2))),
        ("{class_path: torchio_gpu.transforms.intensity.blur.RandomBlur}", tio.RandomBlur()),
        ("RandomBlur: {_target_: torchio_gpu.Choice, values: [1, 2]}",
         tio.RandomBlur(tio.Choice([1, 2]))),
        ("RandomBlur: {std: {Choice: {values: [1, 2], probabilities: [1, 3]}}}",
         tio.RandomBlur(tio.Choice([1, 2], [1, 3]))),
    ],
)  # fmt: skip
def test_steps(step, transform):
    loaded = tio.load_pipeline(f"torchio_gpu: 1\npipeline:\n- {step}\n")
    assert loaded.to_dict() == tio.Compose([transform]).to_dict()
    alone = tio.load_pipeline(f"torchio_gpu: 1\npipeline:\n  {step}\n")
    assert alone.to_dict() == transform.to_dict()


def test_long_forms_are_whole_files(tmp_path):
    for style in ("_target_", "class_path"):
        path = tmp_path / "long.json"
        path.write_text(json.dumps(expected().to_dict(style)))
        assert tio.load_pipeline(path).to_dict() == expected().to_dict()


def test_records_are_loaded(tmp_path):
    torch.manual_seed(0)
    out = tio.Compose([tio.RandomAffine(), tio.RandomNoise()])(subject())
    tio.save_pipeline(out.get_composed_history(), tmp_path / "history.yaml")
    again = tio.load_pipeline(tmp_path / "history.yaml")
    assert torch.equal(again(subject()).t1.data, out.t1.data)


def test_paths_of_images_are_strings(tmp_path):
    path = tmp_path / "reference.nii"
    tio.ScalarImage(torch.rand(1, 5, 6, 7)).save(path)
    loaded = tio.load_pipeline(f"torchio_gpu: 1\npipeline: [Resample: {path}]\n")
    assert loaded(subject()).t1.spatial_shape == (5, 6, 7)


class Doubled(tio.IntensityTransform):
    """Transform of a user."""

    def __init__(self, factor: float = 2.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def apply_transform(self, subject):
        for image in self.get_images(subject):
            image.set_data(image.data * self.factor)
        return subject


def test_classes_of_the_user_must_be_allowed():
    text = "torchio_gpu: 1\npipeline:\n- Doubled: 3\n- OneOf: [Doubled]\n"
    with pytest.raises(ValueError, match="line 3: there is no transform 'Doubled'"):
        tio.load_pipeline(text)
    loaded = tio.load_pipeline(text, allow=Doubled)
    assert loaded[0].factor == 3
    assert loaded(torch.ones(1, 2, 2, 2)).unique().item() == 6
    assert tio.load_pipeline(text, allow=[Doubled]).to_dict() == loaded.to_dict()


HEAD = "torchio_gpu: 1\npipeline:\n- RandomFlip\n- "  # the step is in line 4
WRONG = {
    "RandomAffine: {degree: 15}":
        "4: RandomAffine has no argument 'degree'; did you mean degrees?",
    "RandomAffine:\n    p: 0.5\n    scale: 2":
        "6: RandomAffine has no argument 'scale'; did you mean scales?",
    "RandomAffine:\n    p: 1\n    degrees: [1, 2, 3, 4]": "6: RandomAffine: degrees must be",
    "RandomNoise:\n    mean: 0\n    std:\n    - 0\n    - -1": "6: RandomNoise: std must be",
    "RandomAfine": "4: there is no transform 'RandomAfine'; did you mean RandomAffine?",
    "randomflip: LR": "4: there is no transform 'randomflip'; did you mean RandomFlip?",
    "Abacus": "4: there is no transform 'Abacus'",
    "Transform": "4: there is no transform 'Transform'",
    "Recorded": "4: there is no transform 'Recorded'",
    "Gamma": "4: Gamma needs gamma",
    "Motion: {degrees: 3}": "4: Motion needs translation, times",
    "RandomFlip: {1: 2}": "4: RandomFlip has no argument 1; it takes axes, flip_probability",
    "RemapLabels: {1: 2}": "4: RemapLabels has no argument 1; it takes remapping,",
    "ToCanonical: 1": "4: ToCanonical takes no argument without its name, got 1",
    "{RandomFlip: LR, p: 0.5}": "4: a transform must have one key, its name",
    "Inverse: {Flap: LR}": "4: Inverse has no argument 'Flap'; it takes transform",
    "Inverse: {Flip: LR, RandomBlur: 1}": "4: Inverse has no argument 'Flip'; it takes transform",
    "Inverse: {Flip: {axs: LR}}": "4: Flip has no argument 'axs'; did you mean axes?",
    "OneOf: {RandomFlip: LR}": "4: OneOf has no argument 'RandomFlip'; it takes transforms",
    "{RandomFlip: LR, weight: 2}": "4: weight is for the transforms of OneOf and SomeOf",
    "{}": "4: a transform must have one key, its name",
    "3": "4: a transform must be a name, or a dict such as RandomFlip: {axes: LR}, got 3",
    "": "4: a transform must be a name, or a dict such as RandomFlip: {axes: LR}, got None",
    "OneOf: [RandomFlip, {RandomBlur: 1, weight: x}]": "4: weight must be a number, got 'x'",
    "OneOf: {transforms: [{RandomFlip: 0, weight: 2}], weights: [2]}":
        "4: weights must be given once",
    "OneOf: {transforms: [RandomFlip], weights: [1, 2]}": "4: OneOf: weights must be 1 numbers",
    "OneOf: {transforms: 3}": "4: transforms must be a list, got 3",
    "Compose: {transforms: [RandomFlip, [RandomFlip]]}": "4: a transform must be a name, or a",
    "Lambda: abs": "4: Lambda: function must be a function, got 'abs'",
    "SubjectFunction: abs": "4: there is no transform 'SubjectFunction'",
    "RandomFlip: {axes: LR, axes: AP}": "4: key 'axes' must stand once in a dict, got it twice",
    "RandomNoise: {std: {Choice: []}}": "4: Choice: values of a Choice must be",
    "RandomNoise: {std: {Normal: {loc: 0}}}": "4: Normal needs scale",
    "RandomNoise: {std: {Normal: {loc: 0, scale: -1}}}": "4: Normal: Expected parameter scale",
    "RandomNoise: {std: {Normal: {loc: a, scale: 1}}}": "4: loc must be numbers, got 'a'",
    "RandomNoise: {std: {Norma: {loc: 0, scale: 1}}}": "4: RandomNoise: std must be",
    "{_target_: torchio_gpu.RandomFlip, axis: 0}":
        "4: RandomFlip has no argument 'axis'; did you mean axes?",
    "{_target_: torchio_gpu.RandomFlp}": "4: _target_ must name a transform, such as ",
    "{_target_: torchio_gpu.Choice, values: [1]}": "4: a transform is needed here, got Choice",
    "{class_path: torchio_gpu.RandomFlip, axes: 0}": "4: arguments must be under init_args",
    "{class_path: torchio_gpu.RandomFlip, init_args: 3}": "4: init_args must be a dict, got 3",
    "Pad: {padding: [1, 2}": "4: ",  # in words of libyaml, or of PyYAML itself
    "Pad:\n  \tpadding: 1": "5: found character ",
}  # fmt: skip


@pytest.mark.parametrize("step", WRONG)
def test_errors_name_the_line(step, tmp_path, monkeypatch):
    # as torch.compile leaves it
    monkeypatch.setattr(distributions.Distribution, "_validate_args", False)
    path = tmp_path / "p.yml"
    path.write_text(f"{HEAD}{step}\n")
    with pytest.raises(ValueError) as error:
        tio.load_pipeline(path)
    message = str(error.value)
    assert message.startswith(f"{path}:{WRONG[step]}"), message
    assert "\n" not in message
    with pytest.raises(ValueError) as error:
        tio.load_pipeline(f"{HEAD}{step}\n")
    assert str(error.value).startswith(f"line {WRONG[step]}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("torchio_gpu: 2\npipeline: []\n", "line 1: torchio_gpu must be at most 1, the newest"),
        ("torchio_gpu: '1'\npipeline: []\n", "line 1: torchio_gpu must be the version of the form"),
        ("pipeline: []\n", r"line 1: a pipeline must have the key torchio_gpu, got \['pipeline'\]"),
        ("torchio_gpu: 1\n\n", "line 1: a pipeline must have the key pipeline"),
        ("torchio_gpu: 1\npipelin: []\n", "line 2: .* got 'pipelin'; did you mean pipeline?"),
        ("- RandomFlip\n- RandomNoise\n", "line 1: a pipeline must begin with torchio_gpu: 1"),
        ("\n", "a pipeline must begin with .*, got nothing"),
        ("torchio_gpu: 1\npipeline: []\n---\n{}\n", "line 3: a file must hold one document"),
        ('{"torchio_gpu": 1, "pipeline": [{"Gamma": {}}]}', r"^pipeline\[0\].Gamma: Gamma needs"),
        ('{"torchio_gpu": 1, "torchio_gpu": 1}', "key 'torchio_gpu' must stand once"),
        ("{torchio_gpu: 1, pipeline: [RandomFlop]}", "line 1: there is no transform 'RandomFlop'"),
    ],
)  # fmt: skip
def test_errors_of_the_frame(text, message):
    with pytest.raises(ValueError, match=message):
        tio.load_pipeline(text)


def test_errors_in_json_name_the_place(tmp_path):
    path = tmp_path / "p.json"
    path.write_text('{"torchio_gpu": 1,\n "pipeline": [{"RandomAffine": {"degree": 3}}]}')
    with pytest.raises(ValueError) as error:
        tio.load_pipeline(path)
    assert str(error.value) == (
        f"{path}: pipeline[0].RandomAffine.degree: RandomAffine has no argument 'degree'; "
        "did you mean degrees?"
    )
    path.write_text('{"torchio_gpu": 1,\n "pipeline": [}')
    with pytest.raises(ValueError, match=r"p\.json:2: Expecting value"):
        tio.load_pipeline(path)


def test_errors_of_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"path_or_text must name a file, '.*none\.yaml'"):
        tio.load_pipeline(tmp_path / "none.yaml")
    with pytest.raises(ValueError, match=r"must end in .yaml, .yml or .json, got '.*p.txt'"):
        tio.load_pipeline(tmp_path / "p.txt")
    (tmp_path / "p.yaml").write_bytes(b"torchio_gpu: \xff")
    with pytest.raises(ValueError, match=r"p\.yaml: text must be in UTF-8, byte 13 is not"):
        tio.load_pipeline(tmp_path / "p.yaml")
    with pytest.raises(FileNotFoundError):
        tio.load_pipeline(str(tmp_path / ".yaml" / "folder.yaml"))
    for bad in (3, None, ["a"]):
        with pytest.raises(TypeError, match="path_or_text must be a path or a string"):
            tio.load_pipeline(bad)


def test_json_needs_no_pyyaml(tmp_path):
    path = tmp_path / "p.json"
    script = f"""
import sys
sys.modules["yaml"] = None  # as if it were not installed
import torchio_gpu as tio
made = tio.Compose([tio.RandomFlip("LR")])
tio.save_pipeline(made, {str(path)!r})
print(tio.load_pipeline({str(path)!r}), tio.load_pipeline(open({str(path)!r}).read()))
for attempt in (
    lambda: tio.load_pipeline("torchio_gpu: 1\\n"),
    lambda: tio.load_pipeline("{{torchio_gpu: 1}}"),
    lambda: tio.save_pipeline(made, {str(tmp_path / "p.yaml")!r}),
):
    try:
        attempt()
    except (ImportError, ValueError) as error:
        print(type(error).__name__, error)
"""
    folder = Path(tio.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, encoding="utf-8",
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(folder / "kernels")])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, *errors = done.stdout.splitlines()
    assert first == "Compose([RandomFlip(axes=('LR',))]) Compose([RandomFlip(axes=('LR',))])"
    assert 'ImportError YAML needs PyYAML: pip install "torchio-gpu[config]"' in errors[0]
    assert errors[1].startswith("ValueError Expecting property name")
    assert errors[2].startswith("ImportError YAML needs PyYAML")
